import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ReasoningSplitter, splitReasoning } from "./reasoning.ts";
import { heldBack, parseToolCalls, ToolCallParser, type ToolPiece } from "./tool-calls.ts";

const [CALLS, CALLS_END] = ["<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"];
const [CALL, CALL_END, SEP] = ["<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>", "<｜tool▁sep｜>"];
const v3 = (name: string, args: string) =>
  `${CALL}function${SEP}${name}\n\`\`\`json\n${args}\n\`\`\`${CALL_END}`;
const v31 = (name: string, args: string) => `${CALL}${name}${SEP}${args}${CALL_END}`;
const call = (index: number, name: string, args: string) => ({
  id: `call_${index}`,
  type: "function",
  function: { name, arguments: args },
});

/** Pieces with neighbors of one kind joined: what must not depend on how the stream is cut. */
function feed(parts: readonly string[]): ToolPiece[] {
  const parser = new ToolCallParser();
  const joined: ToolPiece[] = [];
  for (const piece of [...parts.flatMap((part) => parser.push(part)), ...parser.end()]) {
    const last = joined.at(-1);
    if ("text" in piece) expect(piece.text).not.toBe("");
    if (piece.kind === "content" && last?.kind === "content" && piece.malformed === last.malformed) {
      joined[joined.length - 1] = { ...last, text: last.text + piece.text };
    } else if (piece.kind === "arguments" && last?.kind === "arguments") {
      joined[joined.length - 1] = { ...last, text: last.text + piece.text };
    } else joined.push(piece);
  }
  return joined;
}

const nested = '{"code": "```js\\nf()\\n```", "tags": ["<｜", "```"]}';
const samples = {
  "no call": "just < text <｜ with ``` in it <",
  "broken off in the first marker": "text <｜too",
  "one of V3": `Let me see.${CALLS}${v3("get_weather", '{"city": "Paris"}')}${CALLS_END}`,
  "two of V3": `${CALLS}${v3("a", "{}")}\n${v3("b", nested)}${CALLS_END}`,
  "one of V3.1": `ok\n\n${CALLS}${v31("get_weather", '{"city":\n "Paris" }')}${CALLS_END}`,
  "two of V3.1, with a fence": `${CALLS}${v31("a", nested)}${v31("b", '\n```json\n{"x": 1}\n```\n')}${CALLS_END} bye`,
  "no outer brackets": `x ${v31("a", "{}")} y`,
  "no JSON": `${CALLS}${v31("a", "{x}")}${CALLS_END}after`,
  "a list": `${CALLS}${v3("a", "[1]")}${CALLS_END}`,
  "broken off": `${CALLS}${v3("a", '{"x": 1}')}\n${CALL}function${SEP}b\n\`\`\`json\n{"y": "<｜tool▁ca`,
  "broken off in the name": `text${CALLS}${CALL}function${SEP}na`,
  "nothing inside": `${CALLS}${CALLS_END}then`,
  "junk inside": `${CALLS} hm, no. ${v31("a", "{}")}${CALLS_END}`,
  "no separator": `${CALLS}${CALL}a {}${CALL_END}${CALLS_END} text`,
  "stray ends": `a${CALL_END}b${SEP}c${CALLS_END}`,
  "a call within a head": `${CALL}a${CALL}b${SEP}{}${CALL_END}`,
};

describe("tool calls", () => {
  it.each(Object.entries(samples))("%s: every cut gives the same", (_, text) => {
    const whole = feed([text]);
    for (let at = 0; at <= text.length; at++) {
      expect(feed([text.slice(0, at), text.slice(at)]), `cut at ${at}`).toEqual(whole);
    }
    expect(feed([...text])).toEqual(whole);
  });

  it("any mixture, in any pieces, gives the same and loses nothing", () => {
    const part = fc.constantFrom(
      CALLS, CALLS_END, CALL, CALL_END, SEP, "function", "name", "\n", "```json\n", "\n```", "{}", '{"a": 1}', "<｜", " ",
    ); // biome-ignore format: a table
    const sizes = fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 60 });
    fc.assert(
      fc.property(fc.array(part, { maxLength: 14 }), sizes, (parts, cuts) => {
        const text = parts.join("");
        const pieces: string[] = [];
        let at = 0;
        for (const size of cuts) pieces.push(text.slice(at, (at += size)));
        pieces.push(text.slice(at));
        const whole = feed([text]);
        expect(feed(pieces)).toEqual(whole);
        for (const piece of whole) {
          if (piece.kind === "content" && !piece.malformed)
            expect(piece.text).not.toMatch(/<｜tool▁[a-z▁]*｜>/);
        }
      }),
      { numRuns: 1000 },
    );
  });

  it("reads both formats", () => {
    expect(parseToolCalls(samples["one of V3"])).toEqual({
      content: "Let me see.",
      calls: [call(0, "get_weather", '{"city": "Paris"}')],
      malformed: false,
    });
    expect(parseToolCalls(samples["two of V3"]).calls).toEqual([call(0, "a", "{}"), call(1, "b", nested)]);
    expect(parseToolCalls(samples["one of V3.1"])).toEqual({
      content: "ok\n\n",
      calls: [call(0, "get_weather", '{"city":\n "Paris" }')],
      malformed: false,
    });
    expect(parseToolCalls(samples["two of V3.1, with a fence"])).toEqual({
      content: " bye",
      calls: [call(0, "a", nested), call(1, "b", '{"x": 1}')],
      malformed: false,
    });
    expect(parseToolCalls(samples["no outer brackets"]).calls).toEqual([call(0, "a", "{}")]);
    expect(parseToolCalls(samples["no call"])).toEqual({
      content: samples["no call"],
      calls: [],
      malformed: false,
    });
  });

  it("gives text before a call, its name and its arguments as they come", () => {
    const parser = new ToolCallParser((index) => `id-${index}`);
    expect(parser.push("one <")).toEqual([{ kind: "content", text: "one " }]);
    expect(parser.push("b>")).toEqual([{ kind: "content", text: "<b>" }]);
    expect(parser.push(CALLS + CALL)).toEqual([]);
    expect(parser.push(`function${SEP}f`)).toEqual([]);
    expect(parser.push("\n")).toEqual([{ kind: "call", index: 0, id: "id-0", name: "f" }]);
    expect(parser.push('```json\n{"a"')).toEqual([{ kind: "arguments", index: 0, text: '{"a"' }]);
    expect(parser.push(": 1}\n``")).toEqual([{ kind: "arguments", index: 0, text: ": 1}" }]);
    expect(parser.push("`")).toEqual([]);
    expect(parser.push(CALL_END)).toEqual([{ kind: "end", index: 0 }]);
    expect(parser.push(CALLS_END)).toEqual([]);
    expect(parser.calls).toBe(1);
    expect(parser.end()).toEqual([]);
  });

  it.each([
    "no JSON",
    "a list",
    "nothing inside",
    "junk inside",
    "no separator",
    "stray ends",
    "broken off in the first marker",
  ] as const)("%s: comes back as text, flagged", (name) => {
    const { content, malformed } = parseToolCalls(samples[name]);
    expect(malformed).toBe(true);
    expect(content.length).toBeGreaterThan(0);
  });

  it("keeps every character of what cannot be read", () => {
    for (const name of [
      "nothing inside",
      "no separator",
      "stray ends",
      "broken off in the first marker",
      "broken off in the name",
    ] as const) {
      expect(parseToolCalls(samples[name]).content).toBe(samples[name]);
    }
    expect(parseToolCalls(samples["no JSON"]).content).toBe(`${CALLS}${v31("a", "{x}")}after`);
    const broken = parseToolCalls(samples["broken off"]);
    expect(broken.calls).toEqual([call(0, "a", '{"x": 1}')]);
    expect(broken.content).toBe(samples["broken off"].slice(samples["broken off"].lastIndexOf(CALL) - 1));
  });

  it("does not wait for ever for the end of a name", () => {
    const text = `${CALL}${"a".repeat(2000)}`;
    expect(new ToolCallParser().push(text)).toEqual([
      { kind: "content", text: CALL, malformed: true },
      { kind: "content", text: "a".repeat(2000) },
    ]);
  });

  it("holds back no more than could begin a marker", () => {
    expect(heldBack("abc<｜to", ["<｜tool▁sep｜>"])).toBe(4);
    expect(heldBack("abc<｜tox", ["<｜tool▁sep｜>"])).toBe(0);
    expect(heldBack("<a>", ["<a>"])).toBe(0);
  });
});

describe("reasoning", () => {
  const feedThought = (parts: readonly string[], inside: boolean) => {
    const splitter = new ReasoningSplitter(inside);
    const result = { reasoning: "", content: "" };
    for (const piece of [...parts.flatMap((part) => splitter.push(part)), ...splitter.end()]) {
      expect(piece.text).not.toBe("");
      result[piece.kind] += piece.text;
    }
    return result;
  };

  it.each([
    ["<think>\nI see.\n</think>\n\nAnswer.\n", false, "I see.", "Answer.\n"],
    ["\n<think>a</think>b", false, "a", "b"],
    ["I see.\n</think>Answer <think>x</think>", true, "I see.", "Answer <think>x</think>"],
    ["<think>\nrepeated </think>b", true, "repeated", "b"],
    ["no thought <think> here", false, "", "no thought <think> here"],
    [" <thin air", false, "", " <thin air"],
    ["broken off </thi", true, "broken off </thi", ""],
    ["<think>", false, "", ""],
    ["<think></think>", false, "", ""],
    ["</think>\nb", true, "", "b"],
    ["  a  b  </think>  ", true, "a  b", ""],
    ["  \n", false, "", "  \n"],
  ])("%j", (text, inside, reasoning, content) => {
    expect(splitReasoning(text, inside)).toEqual({ reasoning, content });
    for (let at = 0; at <= text.length; at++) {
      expect(feedThought([text.slice(0, at), text.slice(at)], inside)).toEqual({ reasoning, content });
    }
    expect(feedThought([...text], inside)).toEqual({ reasoning, content });
  });

  it("streams", () => {
    const splitter = new ReasoningSplitter(true);
    expect(splitter.push("one two ")).toEqual([{ kind: "reasoning", text: "one two" }]);
    expect(splitter.push("three")).toEqual([{ kind: "reasoning", text: " three" }]);
    expect(splitter.reasoning).toBe(true);
    expect(splitter.push(" </think>\n")).toEqual([]);
    expect(splitter.push("x")).toEqual([{ kind: "content", text: "x" }]);
    expect(splitter.reasoning).toBe(false);
  });
});
