import { beforeAll, describe, expect, it } from "vitest";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { BUILTIN_TEMPLATES, builtinFor, CODER_PREAMBLE } from "./builtin.ts";
import type { Message, Tool } from "./messages.ts";
import { builtinTemplate, chatTemplate, type RenderOptions } from "./template.ts";
import { type TestVocabulary, testTokenizer } from "./testing.ts";

const vocabularies: Record<string, Tokenizer> = {};
beforeAll(async () => {
  for (const name of ["v3", "v3.1", "coder", "llm"] satisfies TestVocabulary[]) {
    vocabularies[name] = await testTokenizer(name);
  }
});

const { bos, eos } = TOKEN;
const system = (content: string): Message => ({ role: "system", content });
const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string | null, more: Partial<Message> = {}): Message => ({
  role: "assistant",
  content,
  ...more,
});
const turns = [user("u1"), assistant("a1"), user("u2")];
const render = (name: string, messages: Message[], options: RenderOptions = {}) =>
  builtinTemplate(vocabularies[{ llm: "llm", coder: "coder", "v3.1": "v3.1" }[name] ?? "v3"], name).render(
    messages,
    options,
  );
const call = (id: string, name: string, args: string) =>
  ({ id, type: "function", function: { name, arguments: args } }) as const;

describe("the layouts, to the character", () => {
  it("LLM, MoE, V2, Coder-V2", () => {
    expect(render("llm", [system("S"), ...turns])).toBe(
      `${bos}S\n\nUser: u1\n\nAssistant: a1${eos}User: u2\n\nAssistant:`,
    );
    expect(render("llm", turns, { addGenerationPrompt: false })).toBe(
      `${bos}User: u1\n\nAssistant: a1${eos}User: u2\n\n`,
    );
  });

  it("Coder v1, with its preamble, another one, or a system message instead", () => {
    const body = "### Instruction:\nu1\n### Response:\na1\n<|EOT|>\n### Instruction:\nu2\n### Response:\n";
    expect(render("coder", turns)).toBe(`${bos}${CODER_PREAMBLE}\n${body}`);
    expect(render("coder", turns, { variables: { preamble: "P" } })).toBe(`${bos}P\n${body}`);
    expect(render("coder", [system("S"), ...turns])).toBe(`${bos}S\n${body}`);
  });

  it.each(["v2.5", "v3"])("%s; system messages come first, joined by an empty line", (name) => {
    const body = "<｜User｜>u1<｜Assistant｜>a1<｜end▁of▁sentence｜><｜User｜>u2<｜Assistant｜>";
    expect(render(name, turns)).toBe(`<｜begin▁of▁sentence｜>${body}`);
    expect(render(name, [system("S"), ...turns, system("T")])).toBe(`<｜begin▁of▁sentence｜>S\n\nT${body}`);
    // Thought that is part of the content stays.
    expect(render(name, [user("u"), assistant("<think>t</think>a"), user("v")])).toBe(
      `${bos}<｜User｜>u<｜Assistant｜><think>t</think>a${eos}<｜User｜>v<｜Assistant｜>`,
    );
  });

  it("R1 forgets earlier thought and opens the next, unless told not to", () => {
    const messages = [user("u1"), assistant("<think>\nt\n</think>\n\na1"), user("u2")];
    const body = `${bos}<｜User｜>u1<｜Assistant｜>\n\na1${eos}<｜User｜>u2<｜Assistant｜>`;
    expect(render("r1", messages)).toBe(`${body}<think>\n`);
    expect(render("r1", messages, { thinking: true })).toBe(`${body}<think>\n`);
    expect(render("r1", messages, { thinking: false })).toBe(body);
  });

  it("V3.1 closes or opens the thought in the prompt", () => {
    const body = `${bos}S<｜User｜>u1<｜Assistant｜></think>a1${eos}<｜User｜>u2<｜Assistant｜>`;
    expect(render("v3.1", [system("S"), ...turns])).toBe(`${body}</think>`);
    expect(render("v3.1", [system("S"), ...turns], { thinking: true })).toBe(`${body}<think>`);
    const thought = [system("S"), user("u1"), assistant("<think>t</think>a1"), user("u2")];
    expect(render("v3.1", thought, { thinking: false })).toBe(`${body}</think>`);
  });

  const calling = [
    user("u"),
    assistant("", { tool_calls: [call("1", "f", '{"x": 1}'), call("2", "g", "{}")] }),
    { role: "tool", content: "r1", tool_call_id: "1" },
    { role: "tool", content: "r2", tool_call_id: "2" },
  ] satisfies Message[];

  it.each(["v3", "r1"])("%s: tool calls, their results, and the answer behind them", (name) => {
    const start =
      `${bos}<｜User｜>u<｜Assistant｜><｜tool▁calls▁begin｜>` +
      '<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{"x": 1}\n```<｜tool▁call▁end｜>\n' +
      "<｜tool▁call▁begin｜>function<｜tool▁sep｜>g\n```json\n{}\n```<｜tool▁call▁end｜>" +
      `<｜tool▁calls▁end｜>${eos}` +
      "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>r1<｜tool▁output▁end｜>" +
      "<｜tool▁output▁begin｜>r2<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
    expect(render(name, calling)).toBe(start);
    const answered = render(name, [...calling, assistant("a"), user("v")], { thinking: false });
    expect(answered).toBe(`${start}a${eos}<｜User｜>v<｜Assistant｜>`);
    const asked = render(name, [...calling, user("v")], { thinking: false });
    expect(asked).toBe(`${start}<｜User｜>v<｜Assistant｜>`);
    const spoken = render(name, [user("u"), assistant("wait", { tool_calls: [call("1", "f", "{}")] })]);
    expect(spoken).toContain("<｜Assistant｜>wait<｜tool▁calls▁begin｜>");
  });

  it("V3.1: tool calls and their results", () => {
    const start =
      `${bos}<｜User｜>u<｜Assistant｜></think><｜tool▁calls▁begin｜>` +
      '<｜tool▁call▁begin｜>f<｜tool▁sep｜>{"x": 1}<｜tool▁call▁end｜>' +
      "<｜tool▁call▁begin｜>g<｜tool▁sep｜>{}<｜tool▁call▁end｜>" +
      `<｜tool▁calls▁end｜>${eos}` +
      "<｜tool▁output▁begin｜>r1<｜tool▁output▁end｜><｜tool▁output▁begin｜>r2<｜tool▁output▁end｜>";
    expect(render("v3.1", calling)).toBe(start);
    expect(render("v3.1", [...calling, assistant("a"), user("v")])).toBe(
      `${start}a${eos}<｜User｜>v<｜Assistant｜></think>`,
    );
  });

  const tools: Tool[] = [
    { type: "function", function: { name: "f", description: "d", parameters: { type: "object" } } },
  ];

  it("describes tools behind the system text, in the layouts that have calls", () => {
    for (const name of ["v3", "r1", "v3.1"]) {
      const text = render(name, [system("S"), user("u")], { tools });
      expect(text.startsWith(`${bos}S\n\n## Functions\n`)).toBe(true);
      expect(text).toContain('{"name": "f", "description": "d", "parameters": {"type": "object"}}');
      expect(text).toContain("<｜tool▁calls▁end｜><｜User｜>u");
      expect(render(name, [user("u")], { tools }).startsWith(`${bos}## Functions\n`)).toBe(true);
    }
    for (const name of ["llm", "coder"]) {
      expect(() => render(name, turns, { tools })).toThrow(/chat template "(llm|coder)".*no place for tools/);
      expect(() => render(name, calling)).toThrow(/no place for tool calls/);
    }
  });

  it("does not depend on how a Jinja engine treats white space around blocks", () => {
    for (const source of Object.values(BUILTIN_TEMPLATES)) {
      expect(source.replaceAll(/\{%-.*?-%\}|\{\{-.*?-\}\}/gs, "").trim()).toBe("");
    }
  });
});

describe("the choice", () => {
  /** As little of a tokenizer as the rule looks at. */
  const holding = (tokens: Record<string, number>) =>
    ({ idOf: (token: string) => tokens[token] }) as unknown as Tokenizer;
  const users = { [TOKEN.user]: 5, [TOKEN.assistant]: 6 };
  const ends = { [bos]: 0, [eos]: 1 };
  const old = { [bos]: 100_000, [eos]: 100_001 };

  it.each([
    ["llm", old, { modelType: "llama" }],
    ["llm", old, {}],
    [
      "llm",
      { ...old, ...users, [TOKEN.eot]: 9 },
      { modelType: "deepseek_v2", name: "DeepSeek-V2-Lite-Chat" },
    ],
    ["v2.5", { ...old, ...users, [TOKEN.eot]: 9 }, { modelType: "deepseek_v2", name: "DeepSeek-V2.5-1210" }],
    ["coder", { [bos]: 32_013, [eos]: 32_014, [TOKEN.eot]: 32_021 }, { modelType: "llama" }],
    ["coder", { ...old, [TOKEN.eot]: 100_015 }, { modelType: "llama", name: "coder-7b-instruct-v1.5" }],
    ["v3", { ...ends, ...users, [TOKEN.eot]: 7 }, { modelType: "deepseek_v3" }],
    ["v3", { ...ends, ...users }, { modelType: "deepseek_v2", name: "run-r12" }],
    ["r1", { ...ends, ...users }, { name: "deepseek-ai/DeepSeek-R1-0528" }],
    ["v3.1", { ...ends, ...users, "<think>": 8, "</think>": 9 }, { name: "DeepSeek-R1" }],
    ["r1", { ...ends, ...users, "<think>": 8, "</think>": 9 }, { modelType: "qwen2" }],
    // Trained here: its prompts must not open a thought that it was never taught.
    ["v3", { ...ends, ...users }, { modelType: "llama" }],
    ["llm", ends, { modelType: "deepseek" }],
  ] as const)("%s", (expected, tokens, hints) => {
    expect(builtinFor(holding(tokens), hints)).toBe(expected);
  });

  it("is refused where nothing fits", () => {
    expect(() => builtinFor(holding(ends), { modelType: "deepseek_v3" })).toThrow(ConfigError);
    expect(() => builtinFor(holding({}), { modelType: "llama" })).toThrow(/brings no chat template/);
    expect(() => builtinTemplate(vocabularies.v3, "toString")).toThrow(/no such built-in template/);
    expect(chatTemplate(vocabularies["v3.1"], null).name).toBe("v3.1");
  });
});

it("says what ends a reply and whether it begins with a space", () => {
  const { llm, coder, v3 } = vocabularies;
  expect(builtinTemplate(llm, "llm")).toMatchObject({ stripsSpace: true, stopIds: [1] });
  expect(builtinTemplate(v3, "v3")).toMatchObject({ stripsSpace: false, stopIds: [1, v3.idOf(TOKEN.user)] });
  const { stopIds } = builtinTemplate(coder, "coder");
  expect(stopIds).toEqual([1, coder.idOf(TOKEN.eot)]);
});
