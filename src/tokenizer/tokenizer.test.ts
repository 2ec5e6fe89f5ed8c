import { readFileSync } from "node:fs";
import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { DeepseekError } from "../tensor/errors.ts";
import { TOKEN } from "./families.ts";
import { fimPrompt } from "./fim.ts";
import type { TokenizerJson } from "./schema.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";
import { trainBpe } from "./train-bpe.ts";

/** Any character; half of them low, where the classes differ most. (fast-check's "binary" takes seconds to set up.) */
const character = fc
  .oneof(fc.integer({ min: 0, max: 0x3100 }), fc.integer({ min: 0, max: 0x10f7ff }))
  .map((n) => String.fromCodePoint(n < 0xd800 ? n : n + 0x800));

let json: TokenizerJson;
let tokenizer: Tokenizer;
beforeAll(async () => {
  const texts = ["tokenizer.ts", "policy.ts", "families.ts"].map((name) =>
    readFileSync(new URL(name, import.meta.url), "utf8"),
  );
  // "th" is a token, whatever the sources say.
  texts.push("this that then ".repeat(100), "héllo wörld 你好 🚀 ".repeat(5));
  json = await trainBpe(texts, { vocabSize: 600 });
  tokenizer = loadTokenizer(json);
});

// biome-ignore lint/suspicious/noExplicitAny: the tests break parsed JSON in arbitrary places
type Loose = Record<string, any>;

/** A copy of the trained file with changes. */
function file(change: (copy: Loose) => void): Record<string, unknown> {
  const copy = JSON.parse(JSON.stringify(json));
  change(copy);
  return copy;
}

const added = (id: number, content: string, rest: object = {}) => ({
  id,
  content,
  single_word: false,
  lstrip: false,
  rstrip: false,
  normalized: false,
  special: false,
  ...rest,
});

describe("the text of a file", () => {
  const text = (vocab: string) =>
    JSON.stringify({ ...json, model: { ...json.model, vocab: "here", merges: [] } }).replace(
      '"here"',
      () => `{${vocab}}`,
    );
  const ids = (vocab: string) => () => loadTokenizer(text(vocab));

  it("keeps ids as they are written, and names in their order", () => {
    expect(ids('"a":9007199254740993')).toThrow(/non-negative integer.*9007199254740993/);
    expect(ids('"a":1.5')).toThrow("1.5");
    expect(ids('"a":"1"')).toThrow(/non-negative integer.*a/);
    expect(ids('"b":5,"7":5')).toThrow(/share an id.*b.*7/);
    expect(loadTokenizer(text('"b":1.0,"7":2,"__proto__":0')).tokenOf(0)).toBe("__proto__");
  });

  it("says where it is no JSON", () => {
    expect(() => loadTokenizer('{\n "model": {,}')).toThrow(
      /tokenizer.json: not valid JSON: .*line 2, column 12/,
    );
    expect(() => loadTokenizer(json, "{]")).toThrow(/tokenizer_config.json: not valid JSON/);
    expect(() => loadTokenizer("[]")).toThrow("not an object");
    expect(() => loadTokenizer('{"model":{"vocab":[]}}')).toThrow(/model.vocab: not an object/);
  });

  it("gives the tokenizer that the parsed file gives", () => {
    const [parsed, read] = [loadTokenizer(json), loadTokenizer(JSON.stringify(json))];
    const sample = `héllo wörld 12 ${TOKEN.eos} 你好`;
    expect(read.encode(sample)).toEqual(parsed.encode(sample));
    expect(read.specialIds).toEqual(parsed.specialIds);
  });
});

describe("encode and decode", () => {
  it("round-trip any text; a lone surrogate becomes U+FFFD", () => {
    const unit = fc.oneof(character, fc.constantFrom("\uFEFF", "\0", "<", "｜"));
    fc.assert(
      fc.property(fc.array(unit, { maxLength: 20 }), (parts) => {
        const text = parts.join("");
        expect(tokenizer.decode(tokenizer.encode(text, { parseSpecial: false }))).toBe(text);
      }),
    );
    const code = fc.integer({ min: 0xd700, max: 0xe010 });
    fc.assert(
      fc.property(fc.array(code, { maxLength: 12 }), (codes) => {
        const text = String.fromCharCode(...codes);
        const wellFormed = new TextDecoder("utf-8", { ignoreBOM: true }).decode(
          new TextEncoder().encode(text),
        );
        expect(tokenizer.decode(tokenizer.encode(text))).toBe(wellFormed);
      }),
    );
    expect(tokenizer.decode(tokenizer.encode("a\uD800b"))).toBe("a\uFFFDb");
  });

  it("handle the empty text, a byte order mark and mixed bytes", () => {
    expect(tokenizer.encode("")).toEqual([]);
    expect(tokenizer.decode([])).toBe("");
    expect(tokenizer.decode(tokenizer.encode("\uFEFFa"))).toBe("\uFEFFa");
    expect(tokenizer.decode([tokenizer.idOf("Ã")!, tokenizer.idOf("!")!])).toBe("\uFFFD!");
  });

  it("parse control tokens unless told not to, and skip them on request", () => {
    const text = `a${TOKEN.fimHole}b${TOKEN.eos}`;
    const ids = tokenizer.encode(text);
    expect(ids).toEqual([tokenizer.idOf("a"), tokenizer.specialIds.fimHole, tokenizer.idOf("b"), 1]);
    expect(tokenizer.decode(ids)).toBe(text);
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe("ab");
    const untrusted = tokenizer.encode(text, { parseSpecial: false });
    expect(untrusted.some((id) => tokenizer.specialTokens.has(id))).toBe(false);
    expect(tokenizer.decode(untrusted, { skipSpecialTokens: true })).toBe(text);
  });

  it("match the longest added token first, on raw text, and decode it literally", () => {
    const other = loadTokenizer(
      file((copy) => {
        // As in DeepSeek LLM: the symbol of byte FC, which UTF-8 never uses, is a letter added after the vocabulary.
        copy.model.vocab = Object.fromEntries(
          Object.entries(copy.model.vocab).map(([token, id]) => [token === "ü" ? "unused" : token, id]),
        );
        copy.added_tokens.push(added(600, "ü"), added(601, "<t>"), added(602, "<t><t>"), added(603, "<x"));
      }),
    );
    expect(other.encode("<t><t><t>")).toEqual([602, 601]);
    expect(other.encode("<<t>")).toEqual([...other.encode("<"), 601]);
    expect(other.encode("ü", { parseSpecial: false })).toEqual([600]);
    expect(other.decode([600])).toBe("ü");
    expect([...other.bytesOf(600)]).toEqual([0xc3, 0xbc]);
    expect(other.vocabSize).toBe(604);
  });

  it("keep the vocabulary's id of an added token and number others from its size on, as the library does", () => {
    const size = Object.keys(json.model.vocab).length;
    const [first] = json.added_tokens.filter(({ content }) => !(content in json.model.vocab));
    const other = loadTokenizer(
      file((copy) => {
        copy.added_tokens.push(added(700, "th"), added(9, "<one>"), added(8, "<two>"), added(8, "<one>"));
        copy.added_tokens.push(added(7, ""));
      }),
      { added_tokens_decoder: { 5: { content: "<four>" }, 4: { content: "<three>", special: true } } },
    );
    expect(first.id).toBe(size);
    expect(json.model.vocab).toHaveProperty("th");
    expect(other.encode("th<one><two>")).toEqual([json.model.vocab.th, 600, 601]);
    expect(other.encode("<three><four>")).toEqual([602, 603]);
    expect(other.specialTokens.has(602)).toBe(true);
    expect(other.decode([json.model.vocab.th, 600, 603])).toBe("th<one><four>");
    // The symbol of a byte keeps its meaning when it is added as a letter too.
    const symbol = loadTokenizer(file((copy) => copy.added_tokens.push(added(600, "Ã"))));
    expect(symbol.encode("Ã")).toEqual([json.model.vocab.Ã]);
    expect(symbol.decode([...symbol.encode("é")])).toBe("é");
    expect(symbol.vocabSize).toBe(600);
  });

  // By the Rust library's rules (added_vocabulary.rs); M stands for the token, the rest is text.
  const sides: [object, string, readonly string[]][] = [
    [{ lstrip: true }, "a MASK b", ["a", "M", " b"]],
    [{ lstrip: true }, " \n\u3000MASK", ["M"]],
    [{ lstrip: true }, "MASK MASK", ["M", "M"]],
    [{ rstrip: true }, "a MASK b", ["a ", "M", "b"]],
    [{ rstrip: true }, "MASK \t\u0085MASK ", ["M", "M"]],
    [{ rstrip: true }, "MASK\uFEFF", ["M", "\uFEFF"]],
    [{ lstrip: true, rstrip: true }, "a  MASK  MASK  b", ["a", "M", "M", "b"]],
    [{ single_word: true }, "aMASK MASKa MASK,MASK", ["aMASK MASKa ", "M", ",", "M"]],
    [{ single_word: true }, "MASK_ éMASK MASK", ["MASK_ éMASK ", "M"]],
    [{ single_word: true }, "𝒳MASK MASK𝒳 🚀MASK🚀", ["𝒳MASK MASK𝒳 🚀", "M", "🚀"]],
    [{ single_word: true }, "MASKMASK", ["MASKMASK"]],
    [{ single_word: true, lstrip: true }, "a MASK MASKb", ["a", "M", " MASKb"]],
  ];
  it.each(sides)("of %j take white space or stand alone: %j", (flags, input, parts) => {
    for (const normalized of [false, true]) {
      const other = loadTokenizer(
        file((copy) => {
          copy.added_tokens.push(added(600, "MASK", { ...flags, normalized }));
        }),
      );
      const wanted = parts.flatMap((part) => (part === "M" ? [600] : tokenizer.encode(part)));
      expect(other.encode(input)).toEqual(wanted);
    }
  });

  it("are normalized by Unicode's forms between raw tokens, added tokens too", () => {
    const other = loadTokenizer(
      file((copy) => {
        copy.normalizer = { type: "Sequence", normalizers: [{ type: "NFC" }] };
        copy.added_tokens.push(added(600, "<e\u0301>"), added(601, "[e\u0301]", { normalized: true }));
      }),
    );
    expect(other.encode("e\u0301")).toEqual(tokenizer.encode("\u00E9"));
    expect(other.encode("<e\u0301>")).toEqual([600]);
    expect(other.encode("<\u00E9>")).toEqual(tokenizer.encode("<\u00E9>"));
    expect(other.encode("[e\u0301][\u00E9]")).toEqual([601, 601]);
    const compatible = loadTokenizer(file((copy) => (copy.normalizer = { type: "NFKD" })));
    expect(compatible.decode(compatible.encode("ﬁ"))).toBe("fi");
  });

  it("look for normalized added tokens only between the others", () => {
    const other = loadTokenizer(
      file((copy) => {
        copy.added_tokens.push(added(600, "bc"), added(601, "abc", { normalized: true }));
      }),
    );
    expect(other.encode("abc")).toEqual([other.idOf("a"), 600]);
  });

  it("refuse ids without a token and texts that are not strings", () => {
    expect(() => tokenizer.decode([600])).toThrow(/600/);
    expect(() => tokenizer.bytesOf(-1)).toThrow(DeepseekError);
    expect(() => tokenizer.streamDecoder().push(1e6)).toThrow(DeepseekError);
    expect(() => tokenizer.encode(undefined as unknown as string)).toThrow(/string/);
    expect(tokenizer.tokenOf(600)).toBeUndefined();
    expect(tokenizer.idOf("no such token")).toBeUndefined();
  });

  it("hand out bytes that the caller may change", () => {
    tokenizer.bytesOf(3)[0] = 0;
    expect(tokenizer.decode([3])).toBe("!");
  });
});

describe("streamDecoder", () => {
  it("equals decode for any sequence of ids, valid UTF-8 or not", () => {
    const byteId = fc.integer({ min: 0, max: 599 });
    fc.assert(
      fc.property(fc.array(byteId, { maxLength: 40 }), fc.boolean(), (ids, skipSpecialTokens) => {
        const stream = tokenizer.streamDecoder({ skipSpecialTokens });
        const streamed = ids.map((id) => stream.push(id)).join("") + stream.end();
        expect(streamed).toBe(tokenizer.decode(ids, { skipSpecialTokens }));
      }),
      { numRuns: 500 },
    );
  });

  it("holds back incomplete characters", () => {
    const ids = [...new TextEncoder().encode("é🚀")].map((byte) => {
      for (let id = 3; id < 259; id++) if (tokenizer.bytesOf(id)[0] === byte) return id;
      throw new Error(`no symbol for ${byte}`);
    });
    const stream = tokenizer.streamDecoder();
    expect(ids.map((id) => stream.push(id))).toEqual(["", "é", "", "", "", "🚀"]);
    expect(stream.end()).toBe("");
    stream.push(ids[2]);
    expect(stream.end()).toBe("\uFFFD");
    expect(stream.push(3) + stream.end()).toBe("!");
  });
});

describe("BOS and EOS policy", () => {
  const template = {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: TOKEN.bos, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    special_tokens: { [TOKEN.bos]: { id: TOKEN.bos, ids: [0], tokens: [TOKEN.bos] } },
  };
  const around = (postProcessor: unknown, config?: unknown) => {
    const loaded = loadTokenizer(
      file((copy) => {
        copy.post_processor = postProcessor;
      }),
      config,
    );
    expect(loaded.encode("!", { addSpecialTokens: false })).toEqual([3]);
    return loaded.encode("!");
  };

  it("comes from the post-processor", () => {
    expect(around(null)).toEqual([3]);
    expect(around(template)).toEqual([0, 3]);
    expect(around({ type: "Sequence", processors: [{ type: "ByteLevel" }, template] })).toEqual([0, 3]);
  });

  it("is overridden by the config", () => {
    expect(around(template, { add_bos_token: false })).toEqual([3]);
    expect(around(null, { add_bos_token: true, add_eos_token: true })).toEqual([0, 3, 1]);
    expect(around(null, { add_bos_token: true, bos_token: { content: TOKEN.eos } })).toEqual([1, 3]);
    expect(around(null, { tokenizer_class: "LlamaTokenizerFast" })).toEqual([0, 3]);
    expect(around(template, '{"tokenizer_class": "PreTrainedTokenizerFast"}')).toEqual([0, 3]);
  });

  it("refuses what it cannot follow", () => {
    expect(() => around({ type: "BertProcessing" })).toThrow("BertProcessing");
    expect(() => around(null, { bos_token: "<s>" })).toThrow("<s>");
    // Padding matters to nobody here.
    expect(around(null, { pad_token: "[PAD]" })).toEqual([3]);
    expect(() => around(null, { add_bos_token: "yes" })).toThrow("add_bos_token");
    expect(() => around({ ...template, single: [] })).toThrow("one sequence");
  });
});

describe("loadTokenizer refuses", () => {
  it.each<[string, (copy: Loose) => void]>([
    ["StripAccents", (c) => (c.normalizer = { type: "StripAccents" })],
    ["Lowercase", (c) => (c.normalizer = { type: "Sequence", normalizers: [{ type: "Lowercase" }] })],
    ["Unigram", (c) => (c.model.type = "Unigram")],
    ["byte_fallback", (c) => (c.model.byte_fallback = true)],
    ["unk_token", (c) => (c.model.unk_token = "<unk>")],
    ["dropout", (c) => (c.model.dropout = 0.1)],
    ["end_of_word_suffix", (c) => (c.model.end_of_word_suffix = "</w>")],
    ["Metaspace", (c) => (c.decoder = { type: "Metaspace" })],
    ["decoder", (c) => (c.decoder = null)],
    ["Whitespace", (c) => (c.pre_tokenizer = { type: "Whitespace" })],
    ["share an id", (c) => (c.model.vocab.other = 5)],
    ["merges[0]", (c) => (c.model.merges[0] = "abc")],
    ["model.vocab", (c) => (c.model.vocab["!"] = -3)],
    ["exceed the number of tokens by far", (c) => (c.model.vocab.huge = 2 ** 30)],
    ["exceed the number of tokens by far", (c) => (c.model.vocab.large = 2 ** 20)],
    ["tokenizer.json model", (c) => delete c.model],
    ["added_tokens", (c) => (c.added_tokens = [{ id: 3 }])],
  ])("%s", (name, change) => {
    expect(() => loadTokenizer(file(change))).toThrow(DeepseekError);
    expect(() => loadTokenizer(file(change))).toThrow(name);
  });

  it("text that is not JSON, and JSON that is no object", () => {
    expect(() => loadTokenizer("{")).toThrow(/JSON/);
    expect(() => loadTokenizer("[]")).toThrow(/list/);
    expect(() => loadTokenizer(null)).toThrow(/object/);
  });

  it("but takes merges written as strings, and an empty normalizer", () => {
    const other = loadTokenizer(
      file((copy) => {
        copy.model.merges = copy.model.merges.map((pair: string[]) => pair.join(" "));
        copy.normalizer = { type: "Sequence", normalizers: [] };
        copy.decoder = { type: "Sequence", decoders: [copy.decoder] };
      }),
    );
    expect(other.encode("export function héllo")).toEqual(tokenizer.encode("export function héllo"));
  });
});

describe("fimPrompt", () => {
  it("writes begin, prefix, hole, suffix, end, and BOS by the tokenizer's policy", () => {
    const { fimBegin, fimHole, fimEnd } = tokenizer.specialIds;
    const [a, b] = [tokenizer.idOf("a"), tokenizer.idOf("b")];
    const core = [fimBegin, a, fimHole, b, fimEnd];
    expect(fimPrompt(tokenizer, "a", "b")).toEqual(core);
    expect(fimPrompt(tokenizer, "a", "b", { bos: true })).toEqual([0, ...core]);
    const withBos = loadTokenizer(json, { add_bos_token: true });
    expect(fimPrompt(withBos, "a", "b")).toEqual([0, ...core]);
    expect(fimPrompt(withBos, "", "", { bos: false })).toEqual([fimBegin, fimHole, fimEnd]);
  });

  it("keeps sentinels inside the code as text", () => {
    const ids = fimPrompt(tokenizer, TOKEN.fimEnd, "b");
    expect(ids.filter((id) => id === tokenizer.specialIds.fimEnd)).toHaveLength(1);
  });

  it("names the missing token", async () => {
    const without = loadTokenizer(
      await trainBpe(["ab"], { vocabSize: 260, specialTokens: [TOKEN.fimBegin] }),
    );
    expect(() => fimPrompt(without, "a", "b")).toThrow("fim▁hole");
  });
});
