/**
 * Which special tokens a tokenizer has and which of them it adds around a text, from `post_processor` of
 * `tokenizer.json` and from `tokenizer_config.json`. Where the config speaks (or names a Llama tokenizer class, whose
 * defaults are BOS yes, EOS no) it overrides the post-processor, as transformers' LlamaTokenizerFast does.
 */
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { TOKEN } from "./families.ts";

/** Ids of the special tokens a vocabulary has; undefined if it has none. */
export interface SpecialIds {
  readonly bos?: number;
  readonly eos?: number;
  /** The padding token, or EOS if the family has none of its own. */
  readonly pad?: number;
  readonly fimBegin?: number;
  readonly fimHole?: number;
  readonly fimEnd?: number;
}

export interface SpecialPolicy {
  readonly specialIds: SpecialIds;
  /** Ids put before every text. */
  readonly prefix: readonly number[];
  /** Ids put after every text. */
  readonly suffix: readonly number[];
}

type Json = Record<string, unknown>;
type IdOf = (token: string) => number | undefined;

const PADS = [TOKEN.pad, "<pad>"];

/** The text of a token that a config gives as a text or as an object. */
function contentOf(value: unknown): string | undefined {
  const content = typeof value === "object" && value !== null ? (value as Json).content : value;
  return typeof content === "string" ? content : undefined;
}

/** Id of the token a config names, or of the first of the family's names that exists. */
function named(
  config: Json | undefined,
  key: string,
  family: readonly string[],
  idOf: IdOf,
): number | undefined {
  const value = config?.[key];
  const content = typeof value === "object" && value !== null ? (value as Json).content : value;
  if (content === undefined || content === null) return family.map(idOf).find((id) => id !== undefined);
  const id = typeof content === "string" ? idOf(content) : undefined;
  if (id !== undefined) return id;
  throw new FormatError("the vocabulary lacks a token the config names", {
    where: "tokenizer_config.json",
    name: key,
    found: content,
  });
}

/** Ids around the sequence in a post-processor. */
function template(value: unknown, idOf: IdOf): { prefix: number[]; suffix: number[] } {
  const where = "tokenizer.json post_processor";
  const sides = { prefix: [] as number[], suffix: [] as number[] };
  if (value === null || value === undefined) return sides;
  const json = value as Json;
  if (json.type === "ByteLevel") return sides;
  if (json.type === "Sequence" && Array.isArray(json.processors)) {
    for (const item of json.processors) {
      const inner = template(item, idOf);
      sides.prefix.unshift(...inner.prefix);
      sides.suffix.push(...inner.suffix);
    }
    return sides;
  }
  if (json.type !== "TemplateProcessing" || !Array.isArray(json.single)) {
    throw new FormatError("unknown post-processor", {
      where,
      name: String(json.type),
      expected: ["Sequence", "ByteLevel", "TemplateProcessing"],
    });
  }
  let sequences = 0;
  for (const item of json.single as Json[]) {
    if (item.Sequence) {
      sequences++;
      continue;
    }
    const name = (item.SpecialToken as Json | undefined)?.id;
    const listed = ((json.special_tokens as Json | undefined)?.[String(name)] as Json | undefined)?.ids;
    const ids = Array.isArray(listed) ? (listed as number[]) : [idOf(String(name))];
    if (typeof name !== "string" || ids.some((id) => !Number.isInteger(id))) {
      throw new FormatError("unknown special token in the template", { where, found: JSON.stringify(item) });
    }
    (sequences ? sides.suffix : sides.prefix).push(...(ids as number[]));
  }
  if (sequences !== 1) throw new FormatError("template must hold one sequence", { where, found: sequences });
  return sides;
}

function decide(config: Json | undefined, key: string, llamaDefault: boolean): boolean | undefined {
  const value = config?.[key];
  if (typeof value === "boolean") return value;
  if (value !== undefined && value !== null) {
    throw new ConfigError("must be a boolean", { where: "tokenizer_config.json", name: key, found: value });
  }
  return /^LlamaTokenizer(Fast)?$/.test(String(config?.tokenizer_class)) ? llamaDefault : undefined;
}

function override(
  wanted: boolean | undefined,
  id: number | undefined,
  key: string,
  from: number[],
): number[] {
  if (wanted === undefined) return from;
  if (!wanted) return [];
  if (id !== undefined) return [id];
  throw new ConfigError("the tokenizer must add a token it does not have", {
    where: "tokenizer_config.json",
    name: key,
    found: true,
  });
}

/** Reads special ids and the BOS/EOS policy; `idOf` looks a token up. @throws FormatError or ConfigError by name. */
export function readPolicy(postProcessor: unknown, config: Json | undefined, idOf: IdOf): SpecialPolicy {
  const sides = template(postProcessor, idOf);
  const bos = named(config, "bos_token", [TOKEN.bos], idOf);
  const eos = named(config, "eos_token", [TOKEN.eos], idOf);
  // Padding is nothing but unused places: a name without a token, as fine-tunes leave it behind, changes nothing.
  const pad = idOf(contentOf(config?.pad_token) ?? "") ?? named(undefined, "pad_token", PADS, idOf) ?? eos;
  return {
    specialIds: {
      bos,
      eos,
      pad,
      fimBegin: idOf(TOKEN.fimBegin),
      fimHole: idOf(TOKEN.fimHole),
      fimEnd: idOf(TOKEN.fimEnd),
    },
    prefix: override(decide(config, "add_bos_token", true), bos, "add_bos_token", sides.prefix),
    suffix: override(decide(config, "add_eos_token", false), eos, "add_eos_token", sides.suffix),
  };
}
