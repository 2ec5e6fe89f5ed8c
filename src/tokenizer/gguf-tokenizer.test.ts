/** Tokenizers through GGUF metadata and back, and the real vocabularies if they are at hand. */
import { readFileSync } from "node:fs";
import { beforeAll, describe, expect, it } from "vitest";
import { bytesSource } from "../checkpoint/byte-source.ts";
import { openGguf } from "../checkpoint/gguf/reader.ts";
import { type GgufValue, i32s, strings, text, u32 } from "../checkpoint/gguf/types.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { preTokenizerJson, TOKEN } from "./families.ts";
import { ggufTokenizer, ggufTokenizerFiles, ggufTokenizerMetadata } from "./gguf-tokenizer.ts";
import type { TokenizerJson } from "./schema.ts";
import { loadTokenizer } from "./tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "./train-bpe.ts";

// This file: enough pairs for the vocabulary, and characters beyond ASCII.
const SAMPLE = readFileSync(new URL(import.meta.url), "utf8");
const config = trainedTokenizerConfig(512);
let json: TokenizerJson;
beforeAll(async () => {
  json = await trainBpe([SAMPLE], { vocabSize: 320 });
});

const file = (metadata: Map<string, GgufValue>) => ({ name: "test.gguf", metadata });
const key = (name: string) => `tokenizer.ggml.${name}`;
function changed(change: (metadata: Map<string, GgufValue>) => void) {
  const metadata = ggufTokenizerMetadata(json, config, 330);
  change(metadata);
  return file(metadata);
}
function items(metadata: Map<string, GgufValue>, name: string): unknown[] {
  const value = metadata.get(key(name));
  return value?.type === "array" ? [...(value.items as Iterable<unknown>)] : [];
}

describe("ggufTokenizerMetadata and ggufTokenizer", () => {
  it("keep ids, special tokens and policy", () => {
    const original = loadTokenizer(json, config);
    const metadata = ggufTokenizerMetadata(json, config, 330);
    const back = ggufTokenizer(file(metadata));
    for (const sample of [SAMPLE, ` x ${TOKEN.user}hi${TOKEN.eos}`, "", "üñ\r\n 🚀"]) {
      for (const parseSpecial of [true, false]) {
        const ids = original.encode(sample, { parseSpecial });
        expect(back.encode(sample, { parseSpecial })).toEqual(ids);
        expect(back.decode(ids)).toBe(sample);
      }
    }
    expect(back.specialIds).toEqual(original.specialIds);
    expect(back.specialTokens).toEqual(original.specialTokens);
    expect(back.prefixIds).toEqual([]);
    expect(back.vocabSize).toBe(original.vocabSize);
  });

  it("write what llama.cpp reads", () => {
    const metadata = ggufTokenizerMetadata(JSON.stringify(json), JSON.stringify(config), 330);
    const plain = Object.fromEntries(
      [...metadata].flatMap(([name, value]) => (value.type === "array" ? [] : [[name, value.value]])),
    );
    expect(plain).toEqual({
      [key("model")]: "gpt2",
      [key("pre")]: "deepseek-v3",
      [key("bos_token_id")]: 0,
      [key("eos_token_id")]: 1,
      [key("padding_token_id")]: 2,
      [key("fim_suf_token_id")]: 314,
      [key("fim_pre_token_id")]: 315,
      [key("fim_mid_token_id")]: 316,
      [key("add_bos_token")]: false,
      [key("add_eos_token")]: false,
    });
    const tokens = items(metadata, "tokens");
    const types = items(metadata, "token_type");
    expect([tokens.length, types.length]).toEqual([330, 330]);
    expect([tokens[0], types[0], types[3], types[319]]).toEqual([TOKEN.bos, 3, 1, 3]);
    expect([tokens[320], types[320], tokens[329], types[329]]).toEqual(["[PAD320]", 5, "[PAD329]", 5]);
    expect(items(metadata, "merges")).toHaveLength(json.model.merges.length);
    expect(items(metadata, "merges")[0]).toBe((json.model.merges[0] as [string, string]).join(" "));
  });

  it("keep BOS, user-defined tokens and chat templates", () => {
    const sides = { single_word: false, lstrip: false, rstrip: false, normalized: true };
    const added = [
      ...json.added_tokens,
      { id: 320, content: "Ωx", special: false, ...sides },
      { id: 321, content: "<|x|>", special: false, ...sides },
    ];
    const settings = { ...config, add_bos_token: true, chat_template: "{{ bos_token }}" };
    const metadata = ggufTokenizerMetadata({ ...json, added_tokens: added }, settings, 330);
    expect(items(metadata, "token_type").slice(319, 323)).toEqual([3, 4, 3, 5]);
    expect(metadata.get("tokenizer.chat_template")).toEqual(text("{{ bos_token }}"));
    const back = ggufTokenizer(file(metadata));
    expect(back.encode("aΩx<|x|>")).toEqual([0, back.idOf("a"), 320, 321]);
    expect(back.decode([320])).toBe("Ωx");
    // The two files make the same tokenizer without GGUF, with the config's policy or by the post-processor alone.
    const files = ggufTokenizerFiles(file(metadata));
    expect(files.config).toMatchObject({
      add_bos_token: true,
      bos_token: TOKEN.bos,
      chat_template: "{{ bos_token }}",
    });
    expect(loadTokenizer(files.tokenizer).encode("aΩx")).toEqual([0, back.idOf("a"), 320]);
    const named = [
      { name: "default", template: "a" },
      { name: "tool_use", template: "b" },
    ];
    const several = ggufTokenizerMetadata(json, { ...config, chat_template: named }, 330);
    expect(several.get("tokenizer.chat_template")).toEqual(text("a"));
    expect(several.get("tokenizer.chat_template.tool_use")).toEqual(text("b"));
  });

  it("name all pre-tokenizers by what they do", () => {
    for (const [name, pre] of [
      ["llm-100k", "deepseek-llm"],
      ["coder-32k", "deepseek-coder"],
      ["v3-128k", "deepseek-v3"],
      ["llama3", "llama-bpe"],
      ["qwen2", "qwen2"],
    ] as const) {
      const model = { ...json.model, ignore_merges: name === "llama3" };
      const metadata = ggufTokenizerMetadata(
        { ...json, model, pre_tokenizer: preTokenizerJson(name) },
        config,
        320,
      );
      expect(metadata.get(key("pre"))).toEqual(text(pre));
      expect(ggufTokenizerFiles(file(metadata)).tokenizer.pre_tokenizer).toEqual(preTokenizerJson(name));
      // The same rules in another spelling: its own stage around them.
      const wrapped = { type: "Sequence" as const, pretokenizers: [preTokenizerJson(name)] };
      const again = ggufTokenizerMetadata({ ...json, model, pre_tokenizer: wrapped }, config, 320);
      expect(again.get(key("pre"))).toEqual(text(pre));
    }
  });

  it("take fim ids from the file before they look for known texts", () => {
    const back = ggufTokenizer(changed((m) => m.set(key("fim_pre_token_id"), u32(7))));
    expect(back.specialIds).toMatchObject({ fimBegin: 7, fimHole: 314, fimEnd: 316 });
  });
});

describe("what converters leave out or write otherwise", () => {
  it.each([
    ["u32 2^32 - 1", u32(2 ** 32 - 1)],
    ["i32 -1", { type: "i32", value: -1 }],
    ["u64 2^64 - 1", { type: "u64", value: 2n ** 64n - 1n }],
  ] as [string, GgufValue][])("takes an optional id of %s for none", (_, value) => {
    const names = ["padding", "separator", "unknown", "mask", "eot", "eom", "fim_pre", "fim_rep"];
    for (const odd of [value, u32(330)]) {
      const back = ggufTokenizer(
        changed((m) => {
          for (const name of names) m.set(key(`${name}_token_id`), odd);
        }),
      );
      expect(back.specialIds).toMatchObject({ bos: 0, eos: 1, fimBegin: 315 });
    }
    const bare = ggufTokenizer(changed((m) => m.set(key("bos_token_id"), value)));
    expect(bare.prefixIds).toEqual([]);
    const wanted = changed((m) => {
      m.set(key("bos_token_id"), value);
      m.set(key("add_bos_token"), { type: "bool", value: true });
    });
    expect(() => ggufTokenizer(wanted)).toThrow(/bos_token_id.*since it is to be added/);
  });

  it("tells the kinds of tokens by their shape where the file does not", () => {
    const sides = { single_word: false, lstrip: false, rstrip: false, normalized: true };
    const added = [
      ...json.added_tokens,
      { id: 320, content: "<|x|>", special: true, ...sides },
      { id: 321, content: "<pad>", special: true, ...sides },
      { id: 322, content: "<think>", special: false, ...sides },
    ];
    const metadata = ggufTokenizerMetadata({ ...json, added_tokens: added }, config, 330);
    const typed = ggufTokenizerFiles(file(metadata)).tokenizer;
    metadata.delete(key("token_type"));
    expect(ggufTokenizerFiles(file(metadata)).tokenizer).toEqual(typed);
    const back = ggufTokenizer(file(metadata));
    expect(back.encode(`a<think><|x|>${TOKEN.eos}`)).toEqual([back.idOf("a"), 322, 320, 1]);
  });

  it("writes a tokenizer.json whose added tokens the library numbers as the file does", () => {
    // Control tokens at the beginning, rows without a token in between, one more at the end.
    const odd = changed((m) => {
      const tokens = items(m, "tokens") as string[];
      const types = Int32Array.from(items(m, "token_type") as number[]);
      tokens[325] = "<late>";
      types[325] = 4;
      m.set(key("tokens"), strings(tokens));
      m.set(key("token_type"), i32s(types));
    });
    const back = ggufTokenizer(odd);
    expect(back.encode(`${TOKEN.bos}<late>${TOKEN.fimHole}`)).toEqual([0, 325, 314]);
    expect(back.decode([325, 0])).toBe(`<late>${TOKEN.bos}`);
    const { tokenizer: files } = ggufTokenizerFiles(odd);
    for (const { content, id } of files.added_tokens) expect(files.model.vocab[content]).toBe(id);
    const plain = ggufTokenizerFiles(changed(() => {})).tokenizer;
    expect(Object.keys(plain.model.vocab)).toHaveLength(plain.added_tokens[3].id);
  });

  it("reads a token of unknown type as a control token", () => {
    const back = changed((m) => {
      const types = Int32Array.from(items(m, "token_type") as number[]);
      types[2] = 2;
      m.set(key("token_type"), i32s(types));
    });
    expect(ggufTokenizer(back).specialTokens.has(2)).toBe(true);
  });
});

describe("refusals by name", () => {
  it.each([
    ["model", text("llama"), /tokenizer.ggml.model.*gpt2.*llama/],
    [
      "pre",
      text("tekken"),
      /tokenizer.ggml.pre.*deepseek-llm \| deepseek-coder \| deepseek-v3 \| llama-bpe.*tekken/,
    ],
    ["tokens", u32(1), /tokenizer.ggml.tokens.*array of strings/],
    ["token_type", i32s(new Int32Array(3)), /token_type.*330.*found: 3/],
    ["merges", strings(["a"]), /merges/],
    ["bos_token_id", u32(5000), /bos_token_id.*below 330/],
  ] as const)("of a file: %s", (name, value, message) => {
    expect(() => ggufTokenizer(changed((m) => m.set(key(name), value)))).toThrow(message);
  });

  it("of a file without rules, with two equal tokens, or with unknown types", () => {
    expect(() => ggufTokenizer(changed((m) => m.delete(key("pre"))))).toThrow(ConfigError);
    const tokens = (change: (list: string[]) => void) =>
      changed((m) => {
        const list = items(m, "tokens") as string[];
        change(list);
        m.set(key("tokens"), strings(list));
      });
    expect(() => ggufTokenizer(tokens((list) => list.splice(9, 1, list[8])))).toThrow(/tokens\[9\].*8, 9/);
    expect(() => ggufTokenizer(tokens((list) => list.splice(9, 1, "")))).toThrow(FormatError);
    const types = new Int32Array(330).fill(1);
    types[4] = 9;
    expect(() => ggufTokenizer(changed((m) => m.set(key("token_type"), i32s(types))))).toThrow(
      /tokens\[4\].*found: 9/,
    );
  });

  it("of tokenizers that GGUF cannot express", () => {
    const write =
      (change: object, size = 330, settings: unknown = config) =>
      () =>
        ggufTokenizerMetadata({ ...json, ...change }, settings, size);
    expect(write({}, 319)).toThrow(/more tokens.*319.*320/);
    expect(write({ pre_tokenizer: { type: "Digits", individual_digits: true } })).toThrow(/pre_tokenizer/);
    expect(write({ model: { ...json.model, ignore_merges: true } })).toThrow(/ignore_merges.*llama-bpe/);
    const greedy = { ...json.added_tokens[0], content: "<m>", rstrip: true };
    expect(write({ added_tokens: [...json.added_tokens, greedy] })).toThrow(/<m>: rstrip/);
    const twice = {
      type: "TemplateProcessing",
      single: [
        { SpecialToken: { id: TOKEN.bos } },
        { SpecialToken: { id: TOKEN.user } },
        { Sequence: { id: "A" } },
      ],
      special_tokens: {},
    };
    expect(write({ post_processor: twice }, 330, {})).toThrow(/prefix/);
  });
});

const FOLDER = new URL("../../test/fixtures/tokenizers/", import.meta.url);
describe.each(["llm", "coder"])("the vocabulary of DeepSeek %s", (name) => {
  const path = new URL(`ggml-vocab-deepseek-${name}.gguf`, FOLDER);

  it("is known by its tokens where the file names neither rules nor types", async () => {
    const original = await openGguf(bytesSource(new Uint8Array(readFileSync(path)), path.pathname));
    const metadata = new Map(original.metadata);
    const typed = ggufTokenizer(file(metadata));
    metadata.delete(key("pre"));
    metadata.delete(key("token_type"));
    const back = ggufTokenizer(file(metadata));
    const sample = `Führer ${SAMPLE.slice(0, 4000)} 你好 12345\r\n ÀÁ${TOKEN.eos}`;
    expect(back.encode(sample)).toEqual(typed.encode(sample));
    metadata.set(key("pre"), text("default"));
    expect(ggufTokenizer(file(metadata)).encode(sample)).toEqual(typed.encode(sample));
  });

  it("comes back the same", async () => {
    const original = await openGguf(bytesSource(new Uint8Array(readFileSync(path)), path.pathname));
    const { tokenizer, config: settings } = ggufTokenizerFiles(original);
    const size = items(new Map(original.metadata), "tokens").length;
    const again = ggufTokenizerMetadata(tokenizer, settings, size);
    for (const [entry, value] of again) {
      if (entry === key("token_type") || entry.startsWith(key("fim"))) continue;
      expect(value, entry).toEqual(original.metadata.get(entry));
    }
    // The file is older than the type of unused rows, and leaves off the mark of control tokens.
    const before = items(new Map(original.metadata), "token_type");
    const tokens = items(new Map(original.metadata), "tokens") as string[];
    items(again, "token_type").forEach((type, id) => {
      if (type !== before[id]) expect(type, tokens[id]).toBe(tokens[id].startsWith("[PAD") ? 5 : 3);
    });
  });
});
