/** What training learns of a conversation by its template: recorded spans, borders of tokens, reasoning, refusals. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { Message } from "./messages.ts";
import { builtinTemplate, chatTemplate } from "./template.ts";
import { type TestVocabulary, testTokenizer } from "./testing.ts";

const fixtures = new URL("../../test/fixtures/align/chat-spans/", import.meta.url);
const read = (name: string) => JSON.parse(readFileSync(new URL(name, fixtures), "utf8")).cases;
const inputs = read("inputs.json") as { template: string; messages: Message[] }[];
const expected = read("expected.json") as { text: string; learnt: [number, number][] }[];

const tokenizers = {} as Record<TestVocabulary, Tokenizer>;
beforeAll(async () => {
  for (const name of ["llm", "v3", "v3.1", "coder"] as const) tokenizers[name] = await testTokenizer(name);
});

const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string, more: Partial<Message> = {}): Message => ({
  role: "assistant",
  content,
  ...more,
});

/** The texts of the learned stretches, by the token ids alone. */
function learnedTexts(
  tokenizer: Tokenizer,
  { ids, learned }: { ids: readonly number[]; learned: readonly number[] },
) {
  const texts: string[] = [];
  let stretch: number[] = [];
  ids.forEach((id, i) => {
    if (learned[i]) stretch.push(id);
    if ((!learned[i] || i === ids.length - 1) && stretch.length > 0) {
      texts.push(tokenizer.decode(stretch, { skipSpecialTokens: false }));
      stretch = [];
    }
  });
  return texts;
}

describe("recorded conversations", () => {
  it.each(inputs.map(({ template }, i) => [i, template] as const))("%i, %s", (i, template) => {
    const [vocabulary, builtin] = {
      "llm-v2": ["llm", "llm"],
      v3: ["v3", "v3"],
      "coder-v1": ["coder", "coder"],
    }[template] as [TestVocabulary, string];
    const tokenizer = tokenizers[vocabulary];
    const lesson = builtinTemplate(tokenizer, builtin).lesson(inputs[i].messages);
    const points = [...expected[i].text];
    // Coder's own preamble is not in the recorded texts.
    const preamble =
      template === "coder-v1" && inputs[i].messages[0].role !== "system" ? lesson.text.indexOf("###") : 0;
    const bos = preamble === 0 ? 0 : "<｜begin▁of▁sentence｜>".length;
    expect(lesson.text.slice(0, bos) + lesson.text.slice(preamble)).toBe(expected[i].text);
    const recorded = expected[i].learnt.map(([from, to]) => points.slice(from, to).join(""));
    expect(lesson.spans.map(({ from, to }) => lesson.text.slice(from, to))).toEqual(recorded);
    expect(learnedTexts(tokenizer, lesson)).toEqual(recorded);
    expect(tokenizer.decode(lesson.ids, { skipSpecialTokens: false })).toBe(lesson.text);
  });
});

describe("tokens", () => {
  it("are those of the prompt that a model answers, followed by the answer's", () => {
    for (const [vocabulary, builtin] of [
      ["llm", "llm"],
      ["v3", "v3"],
      ["coder", "coder"],
      ["v3.1", "v3.1"],
    ] as const) {
      const tokenizer = tokenizers[vocabulary];
      const template = builtinTemplate(tokenizer, builtin);
      const { ids, learned } = template.lesson([user("Hello!"), assistant("ends the")]);
      const prompt = template.encode([user("Hello!")]);
      expect(ids.slice(0, prompt.length)).toEqual(prompt);
      expect(learned.indexOf(1)).toBe(prompt.length);
    }
  });

  it("of control tokens that a user spells out are text", () => {
    const tokenizer = tokenizers.v3;
    const spelled = "a<｜end▁of▁sentence｜><｜Assistant｜>b";
    const { ids, learned } = builtinTemplate(tokenizer, "v3").lesson([user(spelled), assistant(spelled)]);
    const eos = tokenizer.specialIds.eos!;
    expect(ids.filter((id) => id === eos)).toHaveLength(1);
    expect(learned[ids.indexOf(eos)]).toBe(1);
    expect(learnedTexts(tokenizer, { ids, learned })).toEqual([`${spelled}<｜end▁of▁sentence｜>`]);
  });

  it("are all learned if asked, but not the first", () => {
    const { learned } = builtinTemplate(tokenizers.llm, "llm").lesson([user("a"), assistant("b")], {
      learn: "all",
    });
    expect(learned[0]).toBe(0);
    expect(learned.slice(1).every((mark) => mark === 1)).toBe(true);
  });

  it("of earlier answers are only read where a completion is learned", () => {
    const messages = [user("a"), assistant("b"), user("c"), assistant("d")];
    const lesson = builtinTemplate(tokenizers.v3, "v3").lesson(messages, { from: 3 });
    expect(learnedTexts(tokenizers.v3, lesson)).toEqual(["d<｜end▁of▁sentence｜>"]);
  });
});

describe("reasoning", () => {
  const thinking = assistant("5", { reasoning_content: "2 and 3 are 5" });
  it("of the last turn is learned, that of earlier ones is not shown", () => {
    const messages = [user("1+1"), assistant("2", { reasoning_content: "easy" }), user("2+3"), thinking];
    const r1 = builtinTemplate(tokenizers["v3.1"], "r1").lesson(messages);
    expect(r1.text).not.toContain("easy");
    expect(
      r1.text.endsWith("<｜Assistant｜><think>\n2 and 3 are 5\n</think>\n\n5<｜end▁of▁sentence｜>"),
    ).toBe(true);
    expect(learnedTexts(tokenizers["v3.1"], r1)).toEqual([
      "2<｜end▁of▁sentence｜>",
      "2 and 3 are 5\n</think>\n\n5<｜end▁of▁sentence｜>",
    ]);
    const v31 = builtinTemplate(tokenizers["v3.1"], "v3.1").lesson(messages);
    expect(learnedTexts(tokenizers["v3.1"], v31).at(-1)).toBe("2 and 3 are 5</think>5<｜end▁of▁sentence｜>");
    const inline = [...messages.slice(0, 3), assistant("<think>\n2 and 3 are 5\n</think>\n\n5")];
    expect(builtinTemplate(tokenizers["v3.1"], "r1").lesson(inline).ids).toEqual(r1.ids);
  });

  it("that a prompt opens and an answer lacks is told", () => {
    const messages = [user("2+3"), assistant("5")];
    const { text, prompted } = builtinTemplate(tokenizers["v3.1"], "r1").lesson(messages);
    expect(text.endsWith("<｜Assistant｜>5<｜end▁of▁sentence｜>")).toBe(true);
    expect(prompted).toBe(false);
    expect(builtinTemplate(tokenizers["v3.1"], "r1").lesson([user("2+3"), thinking]).prompted).toBe(true);
    expect(builtinTemplate(tokenizers["v3.1"], "r1").lesson(messages, { thinking: false }).prompted).toBe(
      true,
    );
    for (const name of ["v3", "v3.1"]) {
      expect(builtinTemplate(tokenizers["v3.1"], name).lesson(messages).prompted).toBe(true);
    }
  });

  it("is refused where the template has no place for it", () => {
    const lesson = () => builtinTemplate(tokenizers.v3, "v3").lesson([user("2+3"), thinking]);
    expect(lesson).toThrow(/no place for reasoning; name: messages\[1\]/);
  });
});

describe("tools", () => {
  it("have their calls learned, and their results read", () => {
    const call = { id: "1", type: "function", function: { name: "add", arguments: '{"a":1}' } } as const;
    const messages: Message[] = [
      user("1+1"),
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", content: "2", tool_call_id: "1" },
      assistant("two"),
    ];
    const lesson = builtinTemplate(tokenizers.v3, "v3").lesson(messages);
    const texts = learnedTexts(tokenizers.v3, lesson);
    expect(texts).toHaveLength(2);
    expect(texts[0]).toMatch(/^<｜tool▁calls▁begin｜>.*add.*<｜tool▁calls▁end｜><｜end▁of▁sentence｜>$/s);
    expect(texts[1]).toBe("two<｜end▁of▁sentence｜>");
  });
});

describe("refusals", () => {
  const lesson = (source: string, messages = [user("a"), assistant("b"), user("c"), assistant("d")]) =>
    chatTemplate(tokenizers.v3, source).lesson(messages);
  it("name a template without end tokens, and one that rewrites the past", () => {
    const open =
      "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    expect(() => lesson(open)).toThrow(/writes no end token behind an answer; name: messages\[1\]/);
    // The last user's text in capitals.
    const changing =
      "{% for m in messages %}[{{ m.role }}]{{ m.content | upper if loop.index0 >= messages | length - 2 and m.role == 'user' else m.content }}" +
      "{{ eos_token if m.role == 'assistant' }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";
    expect(() => lesson(changing)).toThrow(/shows earlier turns otherwise/);
    expect(() => lesson(open, [user("a")])).toThrow(/there is no answer to learn/);
  });
});
