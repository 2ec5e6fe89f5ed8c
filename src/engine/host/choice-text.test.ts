import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { anyReply, splitById, testTokenizer, tokensOfReply } from "../../chat/testing.ts";
import { CALL_TOKENS, ToolCallParser, withoutCallTokens } from "../../chat/tool-calls.ts";
import { GROUNDING_TAGS } from "../../chat/vl2-prompt.ts";
import { worldTokenizer } from "../../data/world/vocabulary.ts";
import { f16ToF32 } from "../../tensor/float-formats.ts";
import { TOKEN } from "../../tokenizer/families.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import { sampleTexts } from "../testing-folder.ts";
import { type ChoiceOptions, ChoiceText } from "./choice-text.ts";
import type { Delta } from "./protocol.ts";

let tokenizer: Tokenizer;
const tools = Object.values(TOKEN).filter((token) => token.includes("tool"));
beforeAll(async () => {
  tokenizer = loadTokenizer(await trainBpe(sampleTexts(200), { vocabSize: 420, specialTokens: tools }));
});

const raw: ChoiceOptions = { stop: [], logprobs: false, silent: new Set(), ends: new Set(), chat: null };
const chat = (more: Partial<NonNullable<ChoiceOptions["chat"]>> = {}): ChoiceOptions => ({
  ...raw,
  chat: {
    opensReasoning: false,
    stripsSpace: false,
    tools: true,
    parallelToolCalls: true,
    spoken: new Map(tools.map((token) => [tokenizer.idOf(token)!, token])),
    callId: (index) => `call_${index}`,
    ...more,
  },
});

type News = Omit<Delta, "id" | "choice">;

/** Reads `text` token by token up to the end or a stop. */
function read(options: ChoiceOptions, text: string) {
  const choice = new ChoiceText(tokenizer, options);
  const news: News[] = [];
  for (const id of tokenizer.encode(text, { addSpecialTokens: false })) {
    const item = choice.push({ id, logprob: -1, top: [{ id, logprob: -1 }] });
    if (item) news.push(item);
    if (choice.over) break;
  }
  const rest = choice.end();
  if (rest) news.push(rest);
  const calls: { id?: string; name?: string; arguments: string }[] = [];
  for (const { index, id, name, arguments: part = "" } of news.flatMap((n) => n.toolCalls ?? [])) {
    calls[index] ??= { id, name, arguments: "" };
    calls[index].arguments += part;
  }
  return {
    choice,
    news,
    content: news.map((n) => n.content ?? "").join(""),
    reasoning: news.map((n) => n.reasoning ?? "").join(""),
    calls,
    logprobs: news.flatMap((n) => n.logprobs ?? []),
  };
}

describe("raw text", () => {
  it("comes out whole, whatever the tokens", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (text) => {
        const { content } = read(raw, text);
        expect(content).toBe(
          tokenizer.decode(tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: true })),
        );
      }),
      { numRuns: 200 },
    );
  });

  it("ends before a stop string that spans tokens, and its tokens' probabilities with it", () => {
    const { content, logprobs, choice } = read(
      { ...raw, stop: ["f the a"], logprobs: true },
      "one of the and of it",
    );
    expect(content).toBe("one o");
    expect(choice.over).toBe(true);
    // " of" is in part before the stop string.
    expect(logprobs.map(({ token }) => token).join("")).toBe("one of");
  });

  it("gives every token's probability once, with its place in the text", () => {
    const text = "Grüße, the 你好 of";
    const { content, logprobs, news } = read({ ...raw, logprobs: true }, text);
    expect(content).toBe(text);
    expect(logprobs.flatMap(({ bytes }) => bytes)).toEqual([...new TextEncoder().encode(text)]);
    expect(logprobs.every(({ offset }, i) => i === 0 || offset >= logprobs[i - 1].offset)).toBe(true);
    // No delta holds half a character.
    expect(news.some((n) => n.content?.includes("\uFFFD"))).toBe(false);
  });
});

it("tells the inside of the tokens that it scores, with them, whatever is told beside it", () => {
  const ids = tokenizer.encode("one of 你 the and", { addSpecialTokens: false });
  const [silent, end] = [tokenizer.specialIds.bos!, tokenizer.specialIds.eos!];
  const all = [silent, ...ids, end];
  const tokens = all.map((id, i) => ({
    ...{ id, logprob: -i, top: [id, 40, 41, 42, 43, 44, 45].map((id, n) => ({ id, logprob: -i - n / 8 })) },
    inside: {
      ...{ drafted: i % 2 === 1, refused: i % 3 === 2 ? 50 + i : null },
      experts: { topK: 2, ids: Uint8Array.of(i, 3, 7, 1), weights: Float32Array.of(0.1, i, 2, 1 / 3) },
    },
  }));
  const told = (more: Partial<ChoiceOptions>) => {
    const ended = { stop: ["e and"], silent: new Set([silent, end]), ends: new Set([end]) };
    const choice = new ChoiceText(tokenizer, { ...raw, ...ended, ...more });
    const news = tokens.map((token) => (choice.over ? null : choice.push(token)));
    return [...news, choice.end()].map((item) => ({ logprobs: [], inside: [], ...item }));
  };
  const both = told({ logprobs: true, inside: true, alternatives: 2 });
  const scored = told({ logprobs: true, alternatives: 2 });
  const alone = told({ logprobs: false, inside: true });
  expect(both.map(({ logprobs }) => logprobs)).toEqual(scored.map(({ logprobs }) => logprobs));
  expect(scored.flatMap(({ inside }) => inside)).toEqual([]);
  expect(alone.map(({ content, inside }) => ({ content, inside }))).toEqual(
    both.map(({ content, inside }) => ({ content, inside })),
  );
  for (const { logprobs, inside } of both) {
    expect(inside.map(({ id, text, logprob }) => ({ id, token: text, logprob }))).toEqual(
      logprobs.map(({ id, token, logprob }) => ({ id, token, logprob })),
    );
  }
  const entries = both.flatMap(({ inside }) => inside);
  // The token that the stop string begins in is told, those behind it are not.
  expect(entries.length).toBeGreaterThan(5);
  expect(entries.length).toBeLessThan(all.length - 1);
  expect(both.flatMap(({ logprobs }) => logprobs)[0].top).toHaveLength(2);
  for (const [i, entry] of entries.entries()) {
    const { inside, top } = tokens[i];
    expect(entry.alternatives.map(({ id, logprob }) => ({ id, logprob }))).toEqual(top.slice(0, 5));
    const refused =
      inside.refused === null ? null : { id: inside.refused, text: tokenizer.decode([inside.refused]) };
    expect({ drafted: entry.drafted, refused: entry.refused }).toEqual({ drafted: inside.drafted, refused });
    const { weights, ...rest } = entry.experts!;
    expect(rest).toEqual({ topK: 2, ids: inside.experts.ids });
    // Eleven bits of each.
    for (const [at, weight] of f16ToF32(weights).entries()) {
      const exact = inside.experts.weights[at];
      expect(Math.abs(weight - exact)).toBeLessThanOrEqual(exact / 2 ** 11);
    }
  }
});

it("scores tokens that are not printed, but not the one that ends the choice", () => {
  const [silent, end] = [tokenizer.specialIds.bos!, tokenizer.specialIds.eos!];
  const options = { ...raw, logprobs: true, silent: new Set([silent, end]), ends: new Set([end]) };
  const choice = new ChoiceText(tokenizer, options);
  const news = [silent, 40, silent, end].map((id) => choice.push({ id, logprob: -1 }));
  const all = [...news, choice.end()];
  expect(all.map((item) => item?.content ?? "").join("")).toBe(tokenizer.decode([40]));
  expect(all.flatMap((item) => item?.logprobs ?? [])).toHaveLength(3);
  expect(choice.tokens).toBe(4);
});

describe("replies", () => {
  const call = (name: string, args: string) =>
    `${TOKEN.toolCallBegin}function${TOKEN.toolSep}${name}\n\`\`\`json\n${args}\n\`\`\`${TOKEN.toolCallEnd}`;
  const two = `I look.${TOKEN.toolCallsBegin}${call("f", '{"a": 1}')}\n${call("g", "{}")}${TOKEN.toolCallsEnd}`;

  it("are taken apart into content and calls, whose arguments come as they are written", () => {
    const { content, calls, choice, news } = read(chat(), two);
    expect(content).toBe("I look.");
    expect(calls).toEqual([
      { id: "call_0", name: "f", arguments: '{"a": 1}' },
      { id: "call_1", name: "g", arguments: "{}" },
    ]);
    expect(choice.calls).toBe(2);
    expect(news.filter((n) => n.toolCalls).length).toBeGreaterThan(3);
  });

  it("end at the second call where one is wanted", () => {
    const { calls, choice } = read(chat({ parallelToolCalls: false }), two);
    expect(calls).toHaveLength(1);
    expect(choice.over).toBe(true);
  });

  it("have their reasoning split off, with its tokens counted", () => {
    const { content, reasoning, choice } = read(chat({ opensReasoning: true }), "to be\n</think>\n\nit is");
    expect({ content, reasoning }).toEqual({ content: "it is", reasoning: "to be" });
    expect(choice.reasoningTokens).toBeGreaterThan(0);
    expect(choice.reasoningTokens).toBeLessThan(choice.tokens);
  });

  it("keep what is left of a call that cannot be read, without its control tokens", () => {
    const { content, calls } = read(chat(), `a ${TOKEN.toolCallsBegin}the of${TOKEN.toolCallEnd} b`);
    expect({ content, calls }).toEqual({ content: "a the of b", calls: [] });
  });

  it("lose the one space that a plain layout puts before them", () => {
    expect(read(chat({ stripsSpace: true }), "  the of").content).toBe(" the of");
  });
});

/** A tokenizer as models without tool tokens have: markers are text, whose characters span tokens. */
describe("a call that breaks off, of a model without tool tokens", () => {
  let plain: Tokenizer;
  beforeAll(async () => {
    plain = loadTokenizer(await trainBpe(sampleTexts(200), { vocabSize: 300 }));
  });

  const args = '{"städt": "Zürich ``` 你好", "n": [1, 2]}';
  const v3 = `function${TOKEN.toolSep}get_weather\n\`\`\`json\n${args}\n\`\`\``;
  const v31 = `get_weather${TOKEN.toolSep}${args}`;
  const wrap = (...calls: string[]) =>
    `${TOKEN.toolCallsBegin}${calls.map((text) => TOKEN.toolCallBegin + text + TOKEN.toolCallEnd).join("\n")}${TOKEN.toolCallsEnd}`;

  type Chat = Partial<NonNullable<ChoiceOptions["chat"]>>;
  /** @param cut whether the length ends the tokens */
  function readBytes(parts: readonly Uint8Array[], more: Chat = {}, cut = false) {
    const byteIds = new Map(
      Array.from({ length: plain.vocabSize }, (_, id) => [plain.bytesOf(id).join(), id] as const),
    );
    const ids = parts.flatMap((part) => [...part].map((byte) => byteIds.get(String(byte))!));
    return readIds(ids, more, cut);
  }
  function readIds(ids: readonly number[], more: Chat = {}, cut = false) {
    const choice = new ChoiceText(plain, chat({ spoken: new Map(), ...more }));
    const news = [...ids.map((id) => choice.push({ id })), choice.end(cut)];
    const calls: string[] = [];
    for (const { index, arguments: part = "" } of news.flatMap((item) => item?.toolCalls ?? []))
      calls[index] = (calls[index] ?? "") + part;
    return {
      content: news.map((item) => item?.content ?? "").join(""),
      reasoning: news.map((item) => item?.reasoning ?? "").join(""),
      calls,
    };
  }
  const bytes = (text: string) => new TextEncoder().encode(text);

  const answers: [string, string][] = [
    ["V3's", wrap(v3)],
    ["V3.1's", wrap(v31)],
    ["two of V3", wrap(v3, v3)],
    ["two of V3.1", wrap(v31, v31)],
  ];

  it.each(answers)("%s, forced: no content, and arguments that begin the true ones", (_, text) => {
    const whole = bytes(text);
    for (let at = 0; at <= whole.length; at++) {
      const { content, calls } = readBytes([whole.subarray(0, at)], { forcedCalls: true });
      expect({ at, content }).toEqual({ at, content: "" });
      for (const call of calls) expect(args.slice(0, call.length), `cut at byte ${at}`).toBe(call);
    }
    const ids = plain.encode(text, { addSpecialTokens: false });
    for (let at = 0; at <= ids.length; at++) {
      const { content, calls } = readIds(ids.slice(0, at), { forcedCalls: true });
      expect({ at, content }).toEqual({ at, content: "" });
      for (const call of calls) expect(args.slice(0, call.length), `cut at token ${at}`).toBe(call);
    }
    expect(readBytes([whole], { forcedCalls: true }).calls.every((call) => call === args)).toBe(true);
  });

  it.each(answers)("%s, free: no part of a marker behind the text before it", (_, text) => {
    const whole = bytes(`I look. ${text}`);
    for (let at = 0; at <= whole.length; at++) {
      const { content, calls } = readBytes([whole.subarray(0, at)]);
      expect(content, `cut at byte ${at}`).not.toMatch(/[\uFF5C\u2581\uFFFD]|<./);
      for (const call of calls) expect(args.slice(0, call.length), `cut at byte ${at}`).toBe(call);
    }
  });

  it.each(answers)("%s, free and cut by length: no word of a call behind the text before it", (_, text) => {
    const before = "I look. ";
    const whole = bytes(before + text);
    for (let at = before.length; at < whole.length; at++) {
      const { content } = readBytes([whole.subarray(0, at)], {}, true);
      // What is no more than a lone < is as likely text.
      expect(content.replace(/<$/, ""), `cut at byte ${at}`).toBe(before);
    }
    // Where the model ends it so, it is what it wrote.
    const begun = whole.subarray(
      0,
      bytes(`${before}${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}get_w`).length,
    );
    expect(readBytes([begun]).content).not.toBe(before);
  });

  it("behind reasoning leaves the reasoning whole", () => {
    const whole = bytes(`<think>hm</think>\n\n${wrap(v3)}`);
    const from = bytes("<think>hm</think>").length;
    for (let at = from; at <= whole.length; at++) {
      const { content, reasoning } = readBytes([whole.subarray(0, at)], { forcedCalls: true });
      expect({ at, content, reasoning }).toEqual({ at, content: "", reasoning: "hm" });
    }
  });

  it("keeps a last < and half a character of an answer that is text", () => {
    expect(readBytes([bytes("if (a <")]).content).toBe("if (a <");
    expect(readBytes([bytes("Gr"), bytes("ü").subarray(0, 1)]).content).toBe("Gr\uFFFD");
    expect(readBytes([bytes("a "), bytes("ü").subarray(0, 1)], { opensReasoning: true }).reasoning).toBe(
      "a \uFFFD",
    );
  });
});

describe("control tokens", () => {
  let thinker: Tokenizer;
  beforeAll(async () => {
    thinker = await testTokenizer("v3.1");
  });

  function readIds(ids: readonly number[], opensReasoning: boolean, logprobs = false) {
    const names = ["<think>", "</think>", ...CALL_TOKENS];
    const spoken = new Map(names.map((name) => [thinker.idOf(name)!, name]));
    const choice = new ChoiceText(thinker, { ...chat({ spoken, opensReasoning }), logprobs });
    const news = [...ids.map((id) => choice.push({ id, logprob: -1 })), choice.end()];
    const calls: { name?: string; arguments: string }[] = [];
    for (const { index, name, arguments: part = "" } of news.flatMap((item) => item?.toolCalls ?? [])) {
      calls[index] ??= { name, arguments: "" };
      calls[index].arguments += part;
    }
    return {
      news,
      calls,
      content: news.map((item) => item?.content ?? "").join(""),
      reasoning: news.map((item) => item?.reasoning ?? "").join(""),
      scored: news.flatMap((item) => item?.logprobs ?? []).map(({ id }) => id),
    };
  }

  it("count by their ids alone, in any mixture and any cut", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 3 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(anyReply(), sizes, fc.boolean(), (parts, cuts, opensReasoning) => {
        const { reasoning, rest, reveal } = splitById(parts, opensReasoning);
        const parser = new ToolCallParser();
        let content = "";
        const calls: { name: string; arguments: string }[] = [];
        for (const piece of [...parser.push(rest), ...parser.end()]) {
          if (piece.kind === "content") content += withoutCallTokens(piece.text);
          else if (piece.kind === "call") calls.push({ name: reveal(piece.name), arguments: "" });
          else if (piece.kind === "arguments") calls[piece.index].arguments += reveal(piece.text);
        }
        const ids = tokensOfReply(thinker, parts, cuts);
        const found = readIds(ids, opensReasoning, true);
        expect(found.reasoning).toBe(reasoning);
        expect(found.calls).toEqual(calls);
        expect(found.scored).toEqual(ids);
        // White space between calls is none of the content.
        expect(found.content.replace(/\s/g, "")).toBe(reveal(content).replace(/\s/g, ""));
        expect(JSON.stringify(found.news)).not.toMatch(/\\ud/i);
      }),
      { numRuns: 400 },
    );
  });

  it("spelled in ordinary tokens are text: a whole call, and a tag within the reasoning", () => {
    const call = `${TOKEN.toolCallsBegin}${TOKEN.toolCallBegin}f${TOKEN.toolSep}{}${TOKEN.toolCallEnd}${TOKEN.toolCallsEnd}`;
    const spelled = (text: string) => tokensOfReply(thinker, [{ control: false, text }], [3]);
    expect(readIds(spelled(`a ${call} b`), false)).toMatchObject({ content: `a ${call} b`, calls: [] });
    const thought = [...spelled("as </think> says"), thinker.idOf("</think>")!, ...spelled("b")];
    expect(readIds(thought, true)).toMatchObject({ reasoning: "as </think> says", content: "b" });
  });
});

describe("answers about images", () => {
  const { tokenizer: vocabulary, config } = worldTokenizer({ image: "<image>" });
  const world = loadTokenizer(vocabulary, config);
  const answer = "a <|ref|> red ring <|/ref|> <|det|> [[1,2,3,4],[0,0,999,999]] <|/det|> and <|ref|> bar";

  it("tell boxes once, when their list ends, beside the text; what is never closed stays text", () => {
    const spoken = new Map(GROUNDING_TAGS.map((tag) => [world.idOf(tag)!, tag]));
    const grounding = { image: 2, size: { width: 100, height: 50 } };
    const choice = new ChoiceText(world, chat({ tools: false, spoken, grounding }));
    const plain = new ChoiceText(world, chat({ tools: false, spoken }));
    const ids = world.encode(answer, { addSpecialTokens: false });
    const news = [...ids.map((id) => choice.push({ id })), choice.end()].filter((each) => each !== null);
    const expected = [...ids.map((id) => plain.push({ id })), plain.end()].filter((each) => each !== null);
    const contents = (list: readonly News[]) => list.map(({ content }) => content);
    expect(contents(news)).toEqual(contents(expected));
    expect(contents(news).join("")).toContain("<|ref|>");
    expect(news.flatMap(({ grounding = [] }) => grounding)).toMatchObject([
      {
        ...{ label: "red ring", image: 2 },
        boxes: [
          { numbers: [1, 2, 3, 4], box: [0, 0, 0, 0] },
          { numbers: [0, 0, 999, 999], box: [0, 0, 100, 50] },
        ],
      },
    ]);
    expect(expected.some((each) => "grounding" in each)).toBe(false);
  });

  it("end before a stop string of the template, even where those that were asked for are shown", () => {
    const options = { ...raw, stop: ["ring"], ownStops: ["bar"], includeStop: true };
    const read = (words: string) => {
      const choice = new ChoiceText(world, options);
      const ids = world.encode(words, { addSpecialTokens: false });
      const news = [...ids.map((id) => choice.push({ id })), choice.end()];
      return news.map((each) => each?.content ?? "").join("");
    };
    expect(read("a red ring and a bar")).toBe("a red ring");
    expect(read("a red bar and a ring").trim()).toBe("a red");
  });
});
