/** Vocabularies of words, against what the Rust library `tokenizers` gave for the same files. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { ggufTokenizerMetadata } from "./gguf-tokenizer.ts";
import { finish, LONG_TEXT } from "./slices.ts";
import { loadTokenizer } from "./tokenizer.ts";

// biome-ignore lint/suspicious/noExplicitAny: the tests break parsed JSON in arbitrary places
type Loose = Record<string, any>;

interface Case {
  readonly name: string;
  readonly tokenizer: Loose;
  /** `ids` are null where the library refuses the text. */
  readonly encode: readonly { readonly text: string; readonly ids: readonly number[] | null }[];
  readonly decode: readonly {
    readonly ids: readonly number[];
    readonly text: string;
    readonly skipped: string;
  }[];
}

const fixture = new URL("../../test/fixtures/tokenizers/word-level.json", import.meta.url);
const cases: readonly Case[] = JSON.parse(readFileSync(fixture, "utf8"));
const world = cases[0].tokenizer;

/** A copy of the world's file with changes. */
function file(change: (copy: Loose) => void): Loose {
  const copy = structuredClone(world);
  change(copy);
  return copy;
}

describe("the library's results", () => {
  it.each(cases.map((value) => [value.name, value] as const))("%s", (_, { tokenizer, encode, decode }) => {
    const loaded = loadTokenizer(JSON.stringify(tokenizer));
    for (const { text, ids } of encode) {
      const encoded = () => loaded.encode(text, { addSpecialTokens: false });
      if (ids === null) expect(encoded, text).toThrow(FormatError);
      else expect(encoded(), text).toEqual(ids);
    }
    expect(decode.length).toBeGreaterThan(0);
    for (const { ids, text, skipped } of decode) {
      for (const [skipSpecialTokens, expected] of [
        [false, text],
        [true, skipped],
      ] as const) {
        expect(loaded.decode(ids, { skipSpecialTokens })).toBe(expected);
        const stream = loaded.streamDecoder({ skipSpecialTokens });
        const streamed = () => ids.map((id) => stream.push(id)).join("") + stream.end();
        expect(streamed()).toBe(expected);
        // A decoder can be used again.
        expect(streamed()).toBe(expected);
      }
    }
  });
});

describe("a vocabulary of words", () => {
  const tokenizer = loadTokenizer(world);

  it("adds BOS as its file says, and finds its special tokens", () => {
    expect(tokenizer.encode("the ring")).toEqual([1, ...tokenizer.encode("the ring").slice(1)]);
    expect(tokenizer.specialIds).toMatchObject({ bos: 1, eos: 2, pad: 0 });
    expect(tokenizer.vocabSize).toBe(116);
    const unprefixed = loadTokenizer(world, { add_bos_token: false });
    expect(unprefixed.encode("the")).toEqual(tokenizer.encode("the").slice(1));
  });

  it("names a piece that it lacks, and cuts a long one", () => {
    expect(() => tokenizer.encode("the blueish ring")).toThrow(/lacks a piece.*blueish.*116 words/);
    expect(() => tokenizer.encode("x".repeat(5000))).toThrow(/x{40}…;/);
  });

  it("takes no control token from plain text", () => {
    const plain = { parseSpecial: false, addSpecialTokens: false };
    for (const text of ["<|User|>", "a <\uFF5Cend\u2581of\u2581sentence\uFF5C>", "<image_placeholder>"]) {
      expect(() => tokenizer.encode(text, plain)).toThrow(/control token in plain text/);
    }
    expect(tokenizer.encode("the ring ?", plain)).toEqual(tokenizer.encode("the ring ?").slice(1));
    const withUnknown = loadTokenizer(
      file((copy) => {
        copy.model.vocab["<unk>"] = 116;
      }),
    );
    expect(withUnknown.encode("<|User|> blueish the", plain)).toEqual([116, 116, tokenizer.idOf("the")]);
    expect(withUnknown.encode("<|User|>", { addSpecialTokens: false })).toEqual([7]);
  });

  it("gives the same ids of a long text in slices", () => {
    const text = "<|User|>: what color is the ring ? ".repeat(LONG_TEXT / 8);
    expect(finish(tokenizer.encodeSlices(text))).toEqual(tokenizer.encode(text));
    const pause = tokenizer.encodeSlices(`${text} ${"x".repeat(2 * LONG_TEXT)}`);
    expect(() => finish(pause)).toThrow(FormatError);
  });

  it("spells each token's bytes as it prints them", () => {
    const spelled = (token: string) => new TextDecoder().decode(tokenizer.bytesOf(tokenizer.idOf(token)!));
    expect(["ring", "7", ",", "<|ref|>"].map(spelled)).toEqual([" ring", "7", ", ", "<|ref|>"]);
  });

  it.each<[string, (copy: Loose) => void]>([
    ["ByteLevel", (c) => (c.pre_tokenizer = { type: "ByteLevel" })],
    ["Whitespace", (c) => (c.pre_tokenizer = { type: "Whitespace" })],
    ["pre_tokenizer", (c) => (c.pre_tokenizer = null)],
    ["Unigram", (c) => (c.model.type = "Unigram")],
    ["unk_token", (c) => (c.model.unk_token = 3)],
    ["share an id", (c) => (c.model.vocab.other = 5)],
    ["Metaspace", (c) => (c.decoder = { type: "Metaspace" })],
    ["ByteLevel", (c) => (c.decoder = { type: "ByteLevel" })],
    ["one Strip after Fuse", (c) => c.decoder.decoders.push(c.decoder.decoders[0])],
    ["one Strip after Fuse", (c) => c.decoder.decoders.push(c.decoder.decoders.at(-1))],
    ["Strip stop after Fuse", (c) => (c.decoder.decoders.at(-1).stop = 1)],
    ["Strip content", (c) => (c.decoder.decoders.at(-1).content = "ab")],
    ["Strip", (c) => (c.decoder.decoders.at(-1).start = -1)],
    ["Replace pattern", (c) => (c.decoder.decoders[0].pattern = { String: "" })],
    ["Replace content", (c) => (c.decoder.decoders[0].content = null)],
    ["tokenizer.json decoder: regular", (c) => (c.decoder.decoders[0].pattern = { Regex: "a++" })],
    ["a list", (c) => (c.decoder = { type: "Sequence" })],
    ["null", (c) => (c.decoder = { type: "Sequence", decoders: [null] })],
  ])("refuses %s", (name, change) => {
    expect(() => loadTokenizer(file(change))).toThrow(FormatError);
    expect(() => loadTokenizer(file(change))).toThrow(name);
  });

  it("has no form in GGUF", () => {
    expect(() => ggufTokenizerMetadata(world, {}, 128)).toThrow(ConfigError);
    expect(() => ggufTokenizerMetadata(world, {}, 128)).toThrow(/model.type.*WordLevel/);
  });
});
