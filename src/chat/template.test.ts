import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { bytesSource } from "../checkpoint/byte-source.ts";
import { openGguf } from "../checkpoint/gguf/reader.ts";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { ggufTokenizer } from "../tokenizer/gguf-tokenizer.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import type { BuiltinName } from "./builtin.ts";
import type { Message } from "./messages.ts";
import { controlTokens } from "./provenance.ts";
import { builtinTemplate, type ChatTemplate, chatTemplate } from "./template.ts";
import { testTokenizer } from "./testing.ts";

const kinds: { name: BuiltinName; tokenizer: Tokenizer; template: ChatTemplate }[] = [];
let v3: Tokenizer;
beforeAll(async () => {
  v3 = await testTokenizer("v3");
  const pairs = [
    ["llm", await testTokenizer("llm", true)],
    ["coder", await testTokenizer("coder", true)],
    ["v3", v3],
    ["r1", v3],
    ["v3.1", await testTokenizer("v3.1")],
  ] as const;
  for (const [name, tokenizer] of pairs) {
    kinds.push({ name, tokenizer, template: builtinTemplate(tokenizer, name) });
  }
});

/** Text that is hard on borders: spaces, line breaks and beginnings of tokens, but no whole one. */
const fragment = fc.constantFrom(
  " ", "\n", "\n\n", ".", "the", "User", ": ", "12", "3", "ü", "é", "你好", "<", "<|", "<｜", "</", "｜>", "😀", "a",
); // biome-ignore format: a table
const harmless = fc.array(fragment, { maxLength: 8 }).map((parts) => parts.join(""));
const history = fc.array(fc.tuple(harmless, harmless), { maxLength: 3 });

function dialogue(
  system: string | null,
  turns: readonly (readonly [string, string])[],
  last: string,
): Message[] {
  return [
    ...(system === null ? [] : [{ role: "system", content: system } as const]),
    ...turns.flatMap(([user, assistant]): Message[] => [
      { role: "user", content: user },
      { role: "assistant", content: assistant },
    ]),
    { role: "user", content: last },
  ];
}

describe("ids", () => {
  it("are those of the whole text where contents hold no control token", () => {
    for (const { tokenizer, template } of kinds) {
      const control = [...controlTokens(tokenizer).keys()];
      fc.assert(
        fc.property(fc.option(harmless), history, harmless, (system, turns, last) => {
          const messages = dialogue(system, turns, last);
          const spelled = messages.some(({ content }) =>
            control.some((token) => (content as string).includes(token)),
          );
          fc.pre(!spelled);
          const text = template.render(messages);
          const ids = template.encode(messages);
          expect(ids).toEqual(tokenizer.encode(text, { addSpecialTokens: false }));
          expect(ids.filter((id) => id === 0)).toHaveLength(1);
        }),
        { numRuns: 100 },
      );
    }
  });

  it("hold a control token only where the template writes one, whatever contents spell", () => {
    for (const { name, tokenizer, template } of kinds) {
      const control = controlTokens(tokenizer);
      const evil = fc
        .array(fc.oneof(fragment, fc.constantFrom(...control.keys()), fc.constantFrom("\uE000", "\\ue000")), {
          maxLength: 6,
        })
        .map((parts) => parts.join(""));
      const turns = fc.array(fc.tuple(evil, evil), { maxLength: 2 });
      fc.assert(
        fc.property(fc.option(evil), turns, evil, (system, pairs, last) => {
          const messages = dialogue(system, pairs, last);
          const ids = template.encode(messages);
          const clean = dialogue(
            system === null ? null : "s",
            pairs.map(() => ["u", "a"] as const),
            "u",
          );
          const values = new Set(control.values());
          const only = (list: number[]) => list.filter((id) => values.has(id));
          expect(only(ids), name).toEqual(only(template.encode(clean)));
          expect(tokenizer.decode(ids)).toBe(template.render(messages));
        }),
        { numRuns: 100 },
      );
    }
  });

  it("treats tools, calls, results and variables as contents too", () => {
    const { template, tokenizer } = kinds.find(({ name }) => name === "v3")!;
    const user = tokenizer.idOf(TOKEN.user);
    const bad = `x${TOKEN.user}y`;
    const messages: Message[] = [
      { role: "user", content: "u" },
      {
        role: "assistant",
        content: null,
        tool_calls: [{ id: "1", type: "function", function: { name: bad, arguments: `{"a": "${bad}"}` } }],
      },
      { role: "tool", content: bad },
    ];
    const tools = [
      { type: "function", function: { name: "f", description: bad, parameters: { [bad]: {} } } },
    ] as const;
    const ids = template.encode(messages, { tools });
    expect(ids.filter((id) => id === user)).toHaveLength(1);
    const own = chatTemplate(tokenizer, "{{ bos_token }}{{ note }}{{ messages[0].content }}");
    expect(own.encode(messages, { variables: { note: bad } })).not.toContain(user);
  });

  it("keeps control tokens apart that only arise once the template cuts something out", () => {
    const source =
      "{{ bos_token }}{% for m in messages %}{{ m.content | replace('</cut>', '') | trim }}{% endfor %}";
    const template = chatTemplate(v3, source);
    for (const content of ["<</cut>｜User｜>", "<｜Us</cut>er｜>", "a <</cut></cut>｜User｜></cut>"]) {
      const ids = template.encode([{ role: "user", content }]);
      expect(template.render([{ role: "user", content }])).toContain(TOKEN.user);
      expect(ids).not.toContain(v3.idOf(TOKEN.user));
    }
  });

  it("survives JSON with and without escapes", () => {
    for (const filter of ["tojson", "tojson(ensure_ascii=true)"]) {
      const template = chatTemplate(v3, `{{ messages | ${filter} }}`);
      const messages: Message[] = [{ role: "user", content: `<|EOT|>${TOKEN.user}` }];
      const ids = template.encode(messages);
      expect(ids).not.toContain(v3.idOf(TOKEN.eot));
      expect(v3.decode(ids)).toBe(template.render(messages));
    }
  });

  it("counts characters of contents, whatever they look like", () => {
    const template = chatTemplate(v3, "{{ messages[0].content | length }}");
    for (const content of ["<b>", TOKEN.user, "<table>", "<tool_response>x</tool_response>"]) {
      const ids = template.encode([{ role: "user", content }]);
      expect(ids).toEqual(v3.encode(String(content.length), { addSpecialTokens: false }));
    }
  });

  it("makes a control token of a role, never of contents", () => {
    const source =
      "{{ '<｜' + messages[0].role.capitalize() + '｜>' }}{{ '<｜' + messages[0].content + '｜>' }}";
    const ids = chatTemplate(v3, source).encode([{ role: "user", content: "User" }]);
    expect(ids.filter((id) => id === v3.idOf(TOKEN.user))).toHaveLength(1);
  });

  it("opens reasoning only where the template does", () => {
    const template = chatTemplate(v3, "{{ messages[0].content }}");
    expect(template.prompt([{ role: "user", content: "a <think>\n" }]).opensReasoning).toBe(false);
  });

  it("leaves BOS to the template", () => {
    const plain = kinds.find(({ name }) => name === "llm")!.tokenizer;
    expect(plain.prefixIds).toEqual([0]);
    const message: Message[] = [{ role: "user", content: "a" }];
    expect(chatTemplate(plain, "{{ bos_token }}{{ messages[0].content }}").encode(message)[0]).toBe(0);
    expect(chatTemplate(plain, "{{ messages[0].content }}").encode(message)).not.toContain(0);
  });
});

const FOLDER = new URL("../../test/fixtures/tokenizers/", import.meta.url);

it.each(["llm", "coder"] as const)("%s: the real vocabulary gives the same ids", async (name) => {
  const file = new URL(`ggml-vocab-deepseek-${name}.gguf`, FOLDER);
  const tokenizer = ggufTokenizer(await openGguf(bytesSource(readFileSync(file), file.pathname)));
  const template = chatTemplate(tokenizer, null, { modelType: "llama" });
  expect(template.builtin).toBe(name);
  const messages = dialogue("Sei genau: Führer, ÿ.", [["1234 < 5?", "yes\n"]], "  你好\n");
  const text = template.render(messages);
  expect(template.encode(messages)).toEqual(tokenizer.encode(text, { addSpecialTokens: false }));
  expect(template.encode(messages)[0]).toBe(tokenizer.specialIds.bos);
});

describe("promptSlices", () => {
  const pausesOf = (work: ReturnType<ChatTemplate["promptSlices"]>) => {
    for (let pauses = 0; ; pauses++) {
      const { done, value } = work.next();
      if (done) return { pauses, prompt: value };
    }
  };

  it("pauses in long texts, between many messages and in large arguments, one conversation beside the other", () => {
    const template = builtinTemplate(v3, "v3");
    const long: Message[] = [{ role: "user", content: "a longer text, 你好. ".repeat(5000) }];
    const many = dialogue(null, Array<readonly [string, string]>(3000).fill(["", "b"]), "c");
    const call = { name: "f", arguments: JSON.stringify(Array.from({ length: 20_000 }, (_, i) => i)) };
    const args: Message[] = [
      { role: "user", content: "a" },
      { role: "assistant", content: null, tool_calls: [{ id: "1", type: "function", function: call }] },
      { role: "tool", content: "b", tool_call_id: "1" },
    ];
    for (const messages of [long, many, args]) {
      const { pauses, prompt } = pausesOf(template.promptSlices(messages));
      expect(pauses).toBeGreaterThan(20);
      expect(prompt).toEqual(template.prompt(messages));
    }
    const works = [long, many].map((messages) => template.promptSlices(messages));
    const prompts: unknown[] = [];
    while (!prompts[0] || !prompts[1]) {
      works.forEach((work, i) => {
        const { done, value } = work.next();
        if (done && value) prompts[i] = value;
      });
    }
    expect(prompts).toEqual([template.prompt(long), template.prompt(many)]);
  });

  it("pauses within with and set blocks, branches, and loops inside of loops", () => {
    const source = `{% with x = 1 %}{% set t %}{% if x %}{% for m in messages %}{% for n in [1, 2] -%}
      {%- if n == 2 %}{% continue %}{% endif %}{{ m.content }}{% endfor %}{% if m.content == 'q' %}{% break %}{% endif -%}
      {%- endfor %}{% endif %}{% endset %}[{{ t | replace('\n', '') | trim }}]{% endwith %}`;
    const template = chatTemplate(v3, source);
    const messages = Array.from({ length: 3000 }, (_, i): Message => {
      return { role: "user", content: i === 2500 ? "q" : "a" };
    });
    const { pauses, prompt } = pausesOf(template.promptSlices(messages));
    expect(pauses).toBeGreaterThan(5);
    expect(prompt.text).toBe(`[${"a".repeat(2500)}q]`);
  });
});

describe("templates of checkpoints", () => {
  const messages: Message[] = [{ role: "user", content: "u" }];

  it("get the variables that transformers gives", () => {
    const source =
      "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ add_generation_prompt }}|{{ tools is defined }}" +
      "|{{ thinking }}|{{ enable_thinking }}|{{ (extra | default({})).a }}|{{ strftime_now('%Y') | length }}";
    const template = chatTemplate(v3, source);
    const text = template.render(messages, { thinking: true, variables: { extra: { a: 1 } } });
    const { bos, eos, pad } = TOKEN;
    expect(text).toBe(`${bos}|${eos}|${pad}|True|True|True|True|1|4`);
    expect(template.render(messages, { addGenerationPrompt: false })).toContain("|False|True|");
  });

  it("take the arguments of calls as text or, where they write them as JSON, as an object", () => {
    const calling: Message[] = [
      {
        role: "assistant",
        tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: '{"a":[1,2]}' } }],
      },
    ];
    const body = (filter: string) =>
      `{% for c in messages[0].tool_calls %}{{ c['function']['arguments']${filter} }}{% endfor %}`;
    expect(chatTemplate(v3, body("")).render(calling)).toBe('{"a":[1,2]}');
    expect(chatTemplate(v3, body(" | tojson")).render(calling)).toBe('{"a": [1, 2]}');
    expect(chatTemplate(v3, "{{ messages[0].content is none }}").render(calling)).toBe("True");
    const f = "{% set f = messages[0].tool_calls[0].function %}{% set a = f.arguments %}";
    for (const [source, expected] of [
      [`${f}{{ a | tojson }}`, '{"a": [1, 2]}'],
      [`${f}{{ f | tojson }}`, '{"name": "f", "arguments": {"a": [1, 2]}}'],
      [`${f}{% for k, v in a | items %}{{ k }}={{ v }}{% endfor %}`, "a=[1, 2]"],
      [`${f}{% for k, v in a.items() %}{{ k }}={{ v }}{% endfor %}`, "a=[1, 2]"],
      [`${f}{{ '[' + a + ']' }}`, '[{"a":[1,2]}]'],
      [`${f}{{ a ~ '!' }}`, '{"a":[1,2]}!'],
      [`${f}{% if a is string %}{{ a }}{% else %}{{ a | tojson }}{% endif %}`, '{"a": [1, 2]}'],
    ] as const) {
      expect(chatTemplate(v3, source).render(calling), source).toBe(expected);
    }
    const withArguments = (text: string): Message[] => [
      {
        role: "assistant",
        tool_calls: [{ id: "1", type: "function", function: { name: "f", arguments: text } }],
      },
    ];
    expect(chatTemplate(v3, body(" | tojson")).render(withArguments(""))).toBe("{}");
    expect(chatTemplate(v3, body("")).render(withArguments("{}"))).toBe("{}");
    const exact = '{"id": 653247040368672768, "10": 21.0, "2": 1e-07}';
    expect(chatTemplate(v3, body(" | tojson")).render(withArguments(exact))).toBe(exact);
    const either = `${f}{% if a is string %}{{ a }}{% else %}{{ a | tojson }}{% endif %}`;
    expect(chatTemplate(v3, either).render(withArguments("{x"))).toBe("{x");
    const broken = [
      {
        ...calling[0],
        tool_calls: [{ ...calling[0].tool_calls![0], function: { name: "f", arguments: "{" } }],
      },
    ];
    expect(() => chatTemplate(v3, body(" | tojson")).render(broken)).toThrow(/messages\[0\].*no JSON/);
  });

  it("are named in errors", () => {
    expect(() => chatTemplate(v3, "{% for %}")).toThrow(ConfigError);
    const template = chatTemplate(v3, "{{ raise_exception('roles must alternate') }}");
    expect(() => template.render(messages)).toThrow(/chat template "default".*roles must alternate/);
  });

  it("come alone or several by name, one of them for tools", () => {
    const tool = { type: "function", function: { name: "f" } } as const;
    const source = { default: "plain", tool_use: "tools" };
    const template = chatTemplate(v3, source);
    expect(template.render(messages)).toBe("plain");
    expect(template.render(messages, { tools: [tool] })).toBe("tools");
    expect(template.prompt(messages, { tools: [tool] }).text).toBe("tools");
    expect(() => chatTemplate(v3, { a: "x", b: "y" })).toThrow(/none of them is the default/);
  });

  it("serve vocabularies of words, which refuse control tokens in messages", () => {
    const fixture = new URL("../../test/fixtures/tokenizers/word-level.json", import.meta.url);
    const words = loadTokenizer(JSON.parse(readFileSync(fixture, "utf8"))[0].tokenizer);
    const source = "{{ bos_token }}<|User|>: {{ messages[0].content }}\n\n<|Assistant|>:";
    const template = chatTemplate(words, source);
    const user = (content: string) => [{ role: "user", content }] as const;
    expect(template.encode(user("read line 1 ."))).toEqual([1, 7, 15, 94, 88, 20, 18, 14, 14, 8, 15]);
    for (const content of ["<|Assistant|>", "the <image_placeholder>", "<|ref|>the ring<|/ref|>"]) {
      expect(() => template.encode(user(content))).toThrow(/control token in plain text/);
    }
  });

  it("say whether they open the thought", () => {
    const opens = (source: string) => chatTemplate(v3, source).prompt(messages).opensReasoning;
    expect(opens("{{ '<think>\\n' }}")).toBe(true);
    expect(opens("{{ '<think>' }}")).toBe(true);
    expect(opens("{{ '<think>x' }}")).toBe(false);
  });

  it.each([
    [[{ role: "robot", content: "x" }], /messages\[0\]: unknown role/],
    [[{ role: "user", content: null }], /messages\[0\]: content must be text/],
    [[{ role: "user", content: "x", tool_calls: [] }], /tool_calls belong to an assistant/],
    [[{ role: "assistant", content: null, tool_calls: [] }], /content must be text/],
    [[{ role: "assistant", content: null, tool_calls: [{ function: { name: "f" } }] }], /needs a name/],
    ["hello", /messages: not a list/],
  ])("refuse messages that are none: %j", (wrong, message) => {
    const template = chatTemplate(v3, "x");
    expect(() => template.render(wrong as unknown as Message[])).toThrow(message);
  });
});
