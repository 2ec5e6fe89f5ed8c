import { beforeAll, expect, it } from "vitest";
import { builtinTemplate, chatTemplate } from "../../chat/template.ts";
import { TOKEN } from "../../tokenizer/families.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { DEFAULT_SPECIAL_TOKENS, trainBpe } from "../../tokenizer/train-bpe.ts";
import { sampleTexts } from "../testing-folder.ts";
import { toolTemplate } from "./request-plan.ts";
import { callFormat, rendersTools } from "./tool-format.ts";

/** Refuses a message with two calls. */
const ONE_CALL =
  "{%- for m in messages -%}{%- if m.tool_calls and (m.tool_calls | length) > 1 -%}" +
  "{{ raise_exception('one call') }}{%- endif -%}{%- endfor -%}";

let tokenizer: Tokenizer;
beforeAll(async () => {
  const tools = Object.values(TOKEN).filter((token) => token.includes("tool"));
  const specialTokens = [...DEFAULT_SPECIAL_TOKENS, ...tools];
  tokenizer = loadTokenizer(await trainBpe(sampleTexts(50), { vocabSize: 330, specialTokens }));
});

it("finds the form of calls in a template", () => {
  const v3 = callFormat(builtinTemplate(tokenizer, "v3"))!;
  const begin = `${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}`;
  const end = `${TOKEN.toolCallEnd}${TOKEN.toolCallsEnd}`;
  expect(v3.opening("f$&")).toBe(`${begin}function${TOKEN.toolSep}f$&\n\`\`\`json\n`);
  expect(v3.closing).toBe(`\n\`\`\`${end}`);
  const next = `${TOKEN.toolCallEnd}\n${TOKEN.toolCallBegin}function${TOKEN.toolSep}g`;
  expect(v3.between!("g")).toBe(`\n\`\`\`${next}\n\`\`\`json\n`);
  const v31 = callFormat(builtinTemplate(tokenizer, "v3.1"))!;
  expect([v31.opening("f"), v31.closing]).toEqual([`${begin}f${TOKEN.toolSep}`, end]);
  expect(v31.between!("g")).toBe(`${TOKEN.toolCallEnd}${TOKEN.toolCallBegin}g${TOKEN.toolSep}`);
  expect(callFormat(builtinTemplate(tokenizer, "llm"))).toBeNull();
  const single = chatTemplate(tokenizer, builtinTemplate(tokenizer, "v3").source.replace(/^/, ONE_CALL));
  expect(callFormat(single)).toMatchObject({ between: null, closing: v3.closing });
});

it("knows which templates tell the model of tools, and takes the built-in of the layout for one that does not", () => {
  const v3 = builtinTemplate(tokenizer, "v3");
  const plain = builtinTemplate(tokenizer, "llm");
  expect([v3, plain].map(rendersTools)).toEqual([true, false]);
  const hints = { modelType: "deepseek_v3" as const, name: "x" };
  // As V3's own: it writes calls, and leaves the description of tools to the caller.
  const silent = chatTemplate(tokenizer, v3.source.replace("{%- if tools -%}", "{%- if false -%}"));
  expect(rendersTools(silent)).toBe(false);
  expect(toolTemplate(tokenizer, silent, hints)?.builtin).toBe("v3");
  expect(toolTemplate(tokenizer, v3, hints)).toBe(v3);
  expect(toolTemplate(tokenizer, plain, hints)).toBeNull();
});
