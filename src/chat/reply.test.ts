import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ReplyOptions, ReplyReader } from "./reply.ts";
import { anyReply, type ReplyPart, splitById, testTokenizer, tokensOfReply } from "./testing.ts";
import { parseToolCalls } from "./tool-calls.ts";

let tokenizer: Tokenizer;
let bare: Tokenizer;
beforeAll(async () => {
  tokenizer = await testTokenizer("v3.1");
  bare = await testTokenizer("llm");
});

function read(from: Tokenizer, ids: readonly number[], options: ReplyOptions = {}) {
  const reader = new ReplyReader(from, options);
  const pieces = [...ids.flatMap((id) => reader.push(id)), ...reader.end()];
  return { pieces, stopString: reader.stopString, ...reader.result };
}
const spelled = (text: string): ReplyPart => ({ control: false, text });
const token = (text: string): ReplyPart => ({ control: true, text });
const ids = (...parts: ReplyPart[]) => tokensOfReply(tokenizer, parts, [3]);

const call = `${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}f${TOKEN.toolSep}{"x": 1}${TOKEN.toolCallEnd}${TOKEN.toolCallsEnd}`;

describe("control tokens of replies", () => {
  it("count by their ids alone, in any mixture and any cut", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(anyReply(), sizes, fc.boolean(), (parts, cuts, opensReasoning) => {
        const { reasoning, rest, reveal } = splitById(parts, opensReasoning);
        const expected = parseToolCalls(rest);
        const found = read(tokenizer, tokensOfReply(tokenizer, parts, cuts), { opensReasoning });
        expect(found).toMatchObject({
          reasoning,
          content: reveal(expected.content),
          calls: JSON.parse(reveal(JSON.stringify(expected.calls))),
          malformed: expected.malformed,
        });
        for (const piece of found.pieces) expect(JSON.stringify(piece)).not.toMatch(/\\ud/i);
      }),
      { numRuns: 400 },
    );
  });

  it("spelled in ordinary tokens are text: a whole call, and a tag within the reasoning", () => {
    expect(read(tokenizer, ids(spelled(`a ${call} b`)))).toMatchObject({
      content: `a ${call} b`,
      calls: [],
      malformed: false,
    });
    const thought = ids(spelled("they write </think> here"), token("</think>"), spelled("b</think>"));
    expect(read(tokenizer, thought, { opensReasoning: true })).toMatchObject({
      reasoning: "they write </think> here",
      content: "b</think>",
    });
  });

  it("are read as text where the vocabulary has no such tokens", () => {
    const text = bare.encode(`hm</think>a${call}`, { addSpecialTokens: false });
    expect(read(bare, text, { opensReasoning: true })).toMatchObject({
      reasoning: "hm",
      content: "a",
      calls: [{ function: { name: "f", arguments: '{"x": 1}' } }],
    });
  });

  it("count as their names for stop strings, and no half of one comes out", () => {
    const reply = ids(spelled("hm"), token("</think>"), spelled("a END b"));
    const stopped = (stop: string) => read(tokenizer, reply, { opensReasoning: true, stop });
    expect(stopped("END")).toMatchObject({ reasoning: "hm", content: "a " });
    expect(stopped("hink>a")).toMatchObject({ reasoning: "hm", content: "", stopString: "hink>a" });
    expect(stopped("m</th")).toMatchObject({ reasoning: "h", content: "", stopString: "m</th" });
    expect(stopped("think>x")).toMatchObject({ reasoning: "hm", content: "a END b", stopString: null });
  });
});
