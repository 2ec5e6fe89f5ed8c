/**
 * Tokenizers in the metadata of GGUF files (gguf.md section 7), both ways: byte-level BPE (`gpt2`) with the
 * pre-tokenizers of the family, of Llama 3 and of Qwen2, which GGUF names instead of spelling them out. Others are
 * refused by name, since a wrong pre-tokenizer gives plausible but wrong ids. Normalization (Qwen's NFC) has no key:
 * llama.cpp does without, and so do tokenizers read from its files.
 */
import type { GgufFile } from "../checkpoint/gguf/reader.ts";
import { bool, type GgufValue, i32s, MetadataReader, strings, text, u32 } from "../checkpoint/gguf/types.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { isControlToken, looksLikeControl, readAddedTokens } from "./added-tokens.ts";
import { FAMILIES, GGUF_RULES, type GgufRules, preTokenizerJson, type TokenizerFamily } from "./families.ts";
import { translateOniguruma } from "./oniguruma.ts";
import { compilePreTokenizer } from "./pre-tokenizer.ts";
import { readObject, readTokenizerFile } from "./read-file.ts";
import type {
  AddedTokenJson,
  BpeModelJson,
  PreTokenizerJson,
  TokenizerConfigJson,
  TokenizerJson,
} from "./schema.ts";
import { loadTokenizer, type Tokenizer } from "./tokenizer.ts";

/** Codes of `tokenizer.ggml.token_type`. */
const KIND = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5 } as const;

const key = (name: string) => `tokenizer.ggml.${name}`;

/** A GGUF file, as far as its tokenizer goes. */
export type GgufVocabulary = Pick<GgufFile, "name" | "metadata">;

/** The two Hugging Face files that say what a GGUF file's tokenizer metadata say. */
export interface TokenizerFiles {
  readonly tokenizer: TokenizerJson;
  readonly config: Partial<TokenizerConfigJson> & { readonly chat_template?: string };
}

/** The family whose special tokens stand at its ids in the list: nothing else has them there. */
function familyByTokens(tokens: readonly string[]): TokenizerFamily | undefined {
  // Later releases give placeholders other names.
  const expected = ({ tokens: special }: TokenizerFamily) =>
    special.filter(({ content, verified }) => verified && !content.includes("place\u2581holder"));
  return Object.values(FAMILIES).find((family) =>
    expected(family).every(({ content, id }) => tokens[id] === content),
  );
}

/** The splitting rules. Where the file names none, as files from before they had names, its tokens tell the family. */
function rulesOf(reader: MetadataReader): GgufRules {
  if (reader.text(key("model")) !== "gpt2") {
    reader.refuse(key("model"), "gpt2", "DeepSeek's tokenizers are byte-level BPE");
  }
  const named = reader.text(key("pre"), "default");
  const pre = named === "default" ? familyByTokens(reader.strings(key("tokens")))?.ggufPre : named;
  const rules = GGUF_RULES.get(pre ?? "");
  if (rules) return rules;
  return reader.refuse(
    key("pre"),
    [...GGUF_RULES.keys()].join(" | "),
    pre === undefined
      ? "The tokens are not those of a known family either: convert the model again with a current converter"
      : "Other rules for splitting text are not implemented",
  );
}

/**
 * Kinds of the tokens of a file that does not give them: what looks like a control token is one; what is neither the
 * symbol of a byte nor made by a merge can only be matched whole, as the letters are that a family adds.
 */
function kindsByShape(tokens: readonly string[], merges: readonly string[]): Int32Array {
  const made = new Set(merges.map((merge) => merge.replace(" ", "")));
  const letters = new Map(
    Object.values(FAMILIES).flatMap((family) =>
      family.letters.map(({ content, id }) => [id, content] as const),
    ),
  );
  return Int32Array.from(tokens, (content, id) => {
    if (content === `[PAD${id}]`) return KIND.unused;
    if (looksLikeControl(content) || content === "<pad>") return KIND.control;
    if (letters.get(id) === content) return KIND.userDefined;
    return content.length === 1 || made.has(content) ? KIND.normal : KIND.userDefined;
  });
}

/** Tokens by id with their kinds; FormatError if the lists do not fit. */
function readTokens(reader: MetadataReader): { tokens: readonly string[]; kinds: ArrayLike<number> } {
  const { where } = reader;
  const tokens = reader.strings(key("tokens"));
  if (!reader.has(key("token_type"))) {
    return { tokens, kinds: kindsByShape(tokens, reader.strings(key("merges"))) };
  }
  const kinds = reader.integers(key("token_type"));
  if (kinds.length !== tokens.length) {
    const detail = { where, name: key("token_type"), expected: tokens.length, found: kinds.length };
    throw new FormatError("token types and tokens differ in number", detail);
  }
  return { tokens, kinds };
}

function readVocabulary(reader: MetadataReader): { vocab: Map<string, number>; added: AddedTokenJson[] } {
  const { tokens, kinds } = readTokens(reader);
  const vocab = new Map<string, number>();
  const added: AddedTokenJson[] = [];
  const seen = new Map<string, number>();
  tokens.forEach((content, id) => {
    const kind = kinds[id];
    // Rows that only pad the embedding; older converters call them user-defined.
    if (kind === KIND.unused || (kind === KIND.userDefined && content === `[PAD${id}]`)) return;
    const name = `${key("tokens")}[${id}]`;
    const fail = (message: string, expected: unknown, found: unknown): never => {
      throw new FormatError(message, { where: reader.where, name, expected, found });
    };
    if (content === "" || seen.has(content)) {
      fail(
        "token is empty or occurs twice",
        "a token of its own",
        content === "" ? "" : [seen.get(content), id],
      );
    }
    seen.set(content, id);
    const special = kind === KIND.control || kind === KIND.unknown;
    if (kind === KIND.normal) vocab.set(content, id);
    else if (special || kind === KIND.userDefined) {
      const sides = { single_word: false, lstrip: false, rstrip: false };
      added.push({ id, content, ...sides, normalized: !special, special });
    } else fail("token type", Object.values(KIND), kind);
  });
  placeAdded(vocab, added);
  return { vocab, added };
}

/**
 * Puts added tokens into the vocabulary as far as their ids need it: the library numbers those that are not in it from
 * its size on. As few as possible, since tokens of the vocabulary are decoded as byte symbols if they are such.
 */
function placeAdded(vocab: Map<string, number>, added: readonly AddedTokenJson[]): void {
  const total = vocab.size + added.length;
  const largest = added.at(-1)?.id ?? -1;
  // The tail that ends with the largest id has no gaps exactly if its ids count down from the end.
  let tail = added.length;
  while (tail > 0 && added[tail - 1].id === largest - (added.length - tail)) tail--;
  const numbered = largest + 1 === total ? tail : added.length;
  for (const { content, id } of added.slice(0, numbered)) vocab.set(content, id);
}

/** The post-processor that puts BOS before and EOS after a text. */
function postProcessor(prefix: SpecialToken | null, suffix: SpecialToken | null): Record<string, unknown> {
  if (!prefix && !suffix)
    return { type: "ByteLevel", add_prefix_space: false, trim_offsets: false, use_regex: false };
  const around = (sequence: "A" | "B", typeId: number) => {
    const special = (token: SpecialToken | null) =>
      token ? [{ SpecialToken: { id: token.content, type_id: typeId } }] : [];
    return [...special(prefix), { Sequence: { id: sequence, type_id: typeId } }, ...special(suffix)];
  };
  const tokens = [prefix, suffix].filter((token) => token !== null);
  const listed = tokens.map(({ content, id }) => [content, { id: content, ids: [id], tokens: [content] }]);
  return {
    type: "TemplateProcessing",
    single: around("A", 0),
    pair: [...around("A", 0), ...around("B", 1)],
    special_tokens: Object.fromEntries(listed),
  };
}

interface SpecialToken {
  readonly content: string;
  readonly id: number;
}

/**
 * `tokenizer.json` and `tokenizer_config.json` of a GGUF file's tokenizer. @throws ConfigError for a tokenizer that is
 * not supported, by name; FormatError for lists that do not fit each other
 */
export function ggufTokenizerFiles({ name, metadata }: GgufVocabulary): TokenizerFiles {
  const reader = new MetadataReader(metadata, name);
  const { preTokenizer, addBos, ignoreMerges } = rulesOf(reader);
  const { vocab, added } = readVocabulary(reader);
  const tokens = reader.strings(key("tokens"));
  /** Ids beyond the list stand for no token, which only BOS and EOS must not. */
  const special = (which: "bos" | "eos" | "padding"): SpecialToken | null => {
    const id = reader.tokenId(key(`${which}_token_id`));
    if (id === null) return null;
    if (id < tokens.length) return { content: tokens[id], id };
    return which === "padding"
      ? null
      : reader.refuse(key(`${which}_token_id`), `an id below ${tokens.length}`);
  };
  const bos = special("bos");
  const eos = special("eos");
  const pad = special("padding");
  const prefix = reader.boolean(key("add_bos_token"), addBos);
  const suffix = reader.boolean(key("add_eos_token"), false);
  if (prefix && !bos) reader.refuse(key("bos_token_id"), "an id, since it is to be added");
  if (suffix && !eos) reader.refuse(key("eos_token_id"), "an id, since it is to be added");
  const template = reader.text("tokenizer.chat_template", "");
  return {
    tokenizer: {
      version: "1.0",
      truncation: null,
      padding: null,
      added_tokens: added,
      normalizer: null,
      pre_tokenizer: preTokenizerJson(preTokenizer),
      post_processor: postProcessor(prefix ? bos : null, suffix ? eos : null),
      decoder: { type: "ByteLevel", add_prefix_space: true, trim_offsets: true, use_regex: true },
      model: {
        type: "BPE",
        dropout: null,
        unk_token: null,
        continuing_subword_prefix: null,
        end_of_word_suffix: null,
        fuse_unk: false,
        byte_fallback: false,
        ignore_merges: ignoreMerges,
        vocab: Object.fromEntries(vocab),
        merges: [...reader.strings(key("merges"))],
      },
    },
    config: {
      add_bos_token: prefix,
      add_eos_token: suffix,
      ...(bos && { bos_token: bos.content }),
      ...(eos && { eos_token: eos.content }),
      ...(pad && { pad_token: pad.content }),
      unk_token: null,
      clean_up_tokenization_spaces: false,
      model_input_names: ["input_ids", "attention_mask"],
      tokenizer_class: "PreTrainedTokenizerFast",
      ...(template !== "" && { chat_template: template }),
    },
  };
}

/** The tokenizer of a GGUF file. @throws as `ggufTokenizerFiles` */
export function ggufTokenizer(file: GgufVocabulary): Tokenizer {
  const { tokenizer: json, config } = ggufTokenizerFiles(file);
  const tokenizer = loadTokenizer(json, config);
  const reader = new MetadataReader(file.metadata, file.name);
  const id = (name: string) => {
    const found = reader.tokenId(key(`fim_${name}_token_id`));
    return found === null || found >= tokenizer.vocabSize ? undefined : found;
  };
  const { fimBegin, fimHole, fimEnd } = tokenizer.specialIds;
  return {
    ...tokenizer,
    specialIds: {
      ...tokenizer.specialIds,
      fimBegin: id("pre") ?? fimBegin,
      fimHole: id("suf") ?? fimHole,
      fimEnd: id("mid") ?? fimEnd,
    },
  };
}

/** A text on which splitting rules that differ show it: every character of the first two planes, alone and in company. */
function probe(): string {
  const parts: string[] = [];
  for (let code = 0; code < 0x20000; code++) {
    if (code >= 0xd800 && code < 0xe000) continue;
    const c = String.fromCodePoint(code);
    parts.push(c);
    if (code < 0x3100 || (code >= 0xff00 && code < 0xffff)) parts.push(` ${c}${c}12345\n\n  ${c}a.\r\n`);
  }
  return parts.join("");
}

/** A pre-tokenizer with its patterns in one spelling: official files write line breaks as they are or escaped. */
function spelled(json: unknown): string {
  return JSON.stringify(json, (key, value) =>
    key === "Regex" && typeof value === "string" ? translateOniguruma(value) : value,
  );
}

/** The name of the rules in GGUF, by what the pre-tokenizer does. @throws ConfigError for rules without a name */
function preOf(json: unknown, ignoreMerges: boolean): string {
  const fitting = [...GGUF_RULES].filter(([, rules]) => rules.ignoreMerges === ignoreMerges);
  const written = spelled(json);
  for (const [pre, rules] of fitting) {
    if (spelled(preTokenizerJson(rules.preTokenizer)) === written) return pre;
  }
  const sample = probe();
  const split = (rules: unknown) => {
    const pieces: string[] = [];
    compilePreTokenizer(rules)(sample, (piece) => pieces.push(piece));
    return pieces.join("\u0000");
  };
  const wanted = split(json);
  for (const [pre, rules] of fitting) {
    if (split(preTokenizerJson(rules.preTokenizer)) === wanted) return pre;
  }
  throw new ConfigError("the pre-tokenizer has no name in GGUF", {
    where: "tokenizer.json",
    name: ignoreMerges ? "pre_tokenizer and model.ignore_merges" : "pre_tokenizer",
    expected: `the rules of ${fitting.map(([pre]) => pre).join(" | ")}`,
    found: "others",
  });
}

/** Whether a tokenizer adds `id` and nothing else on one side. */
function adds(ids: readonly number[], id: number | undefined, name: string): boolean {
  if (ids.length === 0) return false;
  if (ids.length === 1 && ids[0] === id) return true;
  throw new ConfigError("GGUF cannot express what is added to every text", {
    where: "tokenizer.json",
    name,
    expected: id === undefined ? "nothing" : `nothing or ${id}`,
    found: ids,
  });
}

function chatTemplates(config: unknown): [string, GgufValue][] {
  const value = (config as { chat_template?: unknown } | null | undefined)?.chat_template;
  if (typeof value === "string") return [["tokenizer.chat_template", text(value)]];
  const pairs: [string, GgufValue][] = [];
  for (const item of Array.isArray(value) ? (value as { name?: unknown; template?: unknown }[]) : []) {
    if (typeof item?.name !== "string" || typeof item.template !== "string") continue;
    const name = item.name === "default" ? "" : `.${item.name}`;
    pairs.push([`tokenizer.chat_template${name}`, text(item.template)]);
  }
  return pairs;
}

/** The kind of an added token, by llama.cpp's converter. */
function kindOf(token: AddedTokenJson): number {
  return isControlToken(token) || token.content === "<pad>" ? KIND.control : KIND.userDefined;
}

/**
 * GGUF metadata of a tokenizer given as `tokenizer.json` and `tokenizer_config.json` (parsed or as text), for a model
 * of `vocabSize` embedding rows. @throws FormatError for damaged files, ConfigError for what GGUF cannot express
 */
export function ggufTokenizerMetadata(
  json: unknown,
  config: unknown,
  vocabSize: number,
): Map<string, GgufValue> {
  const tokenizer = loadTokenizer(json, config);
  const { file, model, vocab } = readTokenizerFile(json);
  if (model.type === "WordLevel") {
    throw new ConfigError("llama.cpp reads no vocabulary of words", {
      where: "tokenizer.json",
      name: "model.type",
      expected: "BPE",
      found: model.type,
    });
  }
  const settings = typeof config === "string" ? readObject(config, "tokenizer_config.json") : config;
  if (tokenizer.vocabSize > vocabSize) {
    throw new ConfigError("more tokens than embedding rows", {
      where: "tokenizer.json",
      expected: `at most ${vocabSize}`,
      found: tokenizer.vocabSize,
    });
  }
  const kinds = new Int32Array(vocabSize).fill(KIND.normal);
  const decoder = (settings as { added_tokens_decoder?: unknown } | null | undefined)?.added_tokens_decoder;
  for (const token of readAddedTokens(vocab, file.added_tokens, decoder)) {
    const side = (["lstrip", "rstrip", "single_word"] as const).find((name) => token[name]);
    if (side) {
      throw new ConfigError("GGUF cannot express a setting of a token", {
        where: "tokenizer.json added_tokens",
        name: `${token.content}: ${side}`,
        expected: false,
        found: true,
      });
    }
    kinds[token.id] = kindOf(token);
  }
  const seen = new Map<string, number>();
  const tokens = Array.from({ length: vocabSize }, (_, id) => {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) kinds[id] = KIND.unused;
    else if (seen.has(token)) {
      const found = [seen.get(token), id];
      throw new ConfigError("two tokens have the same text", { where: "tokenizer.json", name: token, found });
    } else seen.set(token, id);
    return token ?? `[PAD${id}]`;
  });
  const merges = (model.merges as BpeModelJson["merges"]).map((pair) =>
    typeof pair === "string" ? pair : pair.join(" "),
  );
  const { specialIds: ids, prefixIds, suffixIds } = tokenizer;
  const pairs: [string, GgufValue][] = [
    ["model", text("gpt2")],
    ["pre", text(preOf(file.pre_tokenizer as PreTokenizerJson, model.ignore_merges === true))],
    ["tokens", strings(tokens)],
    ["token_type", i32s(kinds)],
    ["merges", strings(merges)],
  ];
  const special = { bos: ids.bos, eos: ids.eos, padding: ids.pad } as const;
  const fim = { fim_pre: ids.fimBegin, fim_suf: ids.fimHole, fim_mid: ids.fimEnd } as const;
  for (const [name, id] of Object.entries({ ...special, ...fim })) {
    if (id !== undefined) pairs.push([`${name}_token_id`, u32(id)]);
  }
  pairs.push(["add_bos_token", bool(adds(prefixIds, ids.bos, "prefix"))]);
  pairs.push(["add_eos_token", bool(adds(suffixIds, ids.eos, "suffix"))]);
  return new Map([...pairs.map(([name, value]) => [key(name), value] as const), ...chatTemplates(settings)]);
}
