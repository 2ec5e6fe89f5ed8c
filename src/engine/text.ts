/**
 * Text-level generation: completion and fill-in-the-middle (DeepSeek-Coder, arXiv 2401.14196 section 3.1) over a
 * tokenizer, with stop strings. Tokens marked special and FIM sentinels are never printed. Left out: chat templates.
 */
import type { TokenModel } from "../models/token-model.ts";
import { ConfigError } from "../tensor/errors.ts";
import { fimPrompt, fimSentinels } from "../tokenizer/fim.ts";
import { withOpening } from "../tokenizer/opening.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { Engine } from "./engine.ts";
import { begin, type GeneratedToken, type GenerateOptions, type GenerationStats, run } from "./generate.ts";
import type { Prompt } from "./prompt.ts";

/** What produces tokens: a model for one sequence, or an engine beside its other requests. */
export type TextSource = TokenModel | Engine;

export interface TextOptions extends GenerateOptions {
  /** Texts before which the output ends; they may span tokens. */
  readonly stop?: string | readonly string[];
  /**
   * Whether BOS comes first; default: what the tokenizer itself adds. Released V3 tokenizers add none, although the
   * model expects it before a raw text: set it there. A prompt that begins with BOS gets no second one.
   */
  readonly bos?: boolean;
  /** Whether control tokens written out in the prompt become their ids; default true. Turn it off for text from outside. */
  readonly parseSpecial?: boolean;
}

/** A piece of output. */
export interface TextChunk {
  /** Never empty. */
  readonly text: string;
  /** Tokens decided since the last piece; what they spell may still be held back. */
  readonly tokens: readonly GeneratedToken[];
}

export interface TextStats extends GenerationStats {
  /** The stop string that ended the output, if one did. */
  readonly stopString: string | null;
}

function endings(source: TextSource, { specialIds }: Tokenizer): number[] {
  const { eos } = specialIds;
  return [...modelOf(source).config.eosTokenIds, ...(eos === undefined ? [] : [eos])];
}

/** Ids of `prompt` with BOS by the policy of `bos`. */
function promptIds(
  tokenizer: Tokenizer,
  prompt: string,
  { bos, parseSpecial = true }: TextOptions,
): number[] {
  const ids = tokenizer.encode(prompt, { addSpecialTokens: false, parseSpecial });
  const { bos: id } = tokenizer.specialIds;
  if (bos === false) return ids;
  if (bos && id === undefined) {
    throw new ConfigError("the tokenizer has no BOS token", { where: "completeText", name: "bos" });
  }
  return withOpening(tokenizer, ids, bos ? [id!] : undefined);
}

/** A generation that has been checked, by whichever source. */
interface Begun {
  readonly tokens: AsyncIterable<GeneratedToken>;
  stats(): GenerationStats;
}

function beginOn(source: TextSource, prompt: Prompt, options: GenerateOptions): Begun {
  if (!(source instanceof Engine)) {
    const recorder = begin(source, prompt, options);
    return { tokens: run(source, prompt, options, recorder), stats: () => recorder.stats() };
  }
  for (const name of ["cache", "prefillChunk", "mlaForm"] as const) {
    if (options[name] === undefined) continue;
    throw new ConfigError("option is decided by the engine", { where: "Engine", name, found: options[name] });
  }
  const generation = source.submit({ ...options, prompt });
  return { tokens: generation, stats: () => generation.stats };
}

function modelOf(source: TextSource): TokenModel {
  return source instanceof Engine ? source.model : source;
}

function stream(
  source: TextSource,
  tokenizer: Tokenizer,
  prompt: Prompt,
  options: TextOptions,
  stopIds: readonly number[],
): AsyncGenerator<TextChunk, TextStats> {
  const { vocabSize } = modelOf(source).config;
  const vocabularySize = options.vocabularySize ?? Math.min(tokenizer.vocabSize, vocabSize);
  const { stop = [], bos: _bos, parseSpecial: _parseSpecial, ...rest } = options;
  const stops = new StopStrings(typeof stop === "string" ? [stop] : stop);
  const begun = beginOn(source, prompt, { ...rest, stopIds, vocabularySize });
  const silent = new Set([...stopIds, ...fimSentinels(tokenizer)]);

  return (async function* () {
    const decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    let tokens: GeneratedToken[] = [];
    for await (const token of begun.tokens) {
      tokens.push(token);
      const text = silent.has(token.id) ? "" : stops.push(decoder.push(token.id));
      if (text !== "") {
        yield { text, tokens };
        tokens = [];
      }
      if (stops.found !== null) break;
    }
    // A character that was begun and not finished is not text.
    const rest = stops.end();
    if (rest !== "") yield { text: rest, tokens };
    const stats = begun.stats();
    if (stops.found === null) return { ...stats, stopString: null };
    return { ...stats, stopReason: "stop" as const, stopString: stops.found };
  })();
}

/**
 * Continues `prompt` (text, or ids and embeddings that are taken as they are) until EOS, a stop string or the token limit; the
 * return value says what was done. Stop ids default to the EOS tokens of configuration and tokenizer. An engine
 * starts at once, whether or not the text is read. @throws ConfigError at once: see `generate`; QueueFullError
 */
export function completeText(
  source: TextSource,
  tokenizer: Tokenizer,
  prompt: string | Prompt,
  options: TextOptions,
): AsyncGenerator<TextChunk, TextStats> {
  const given = typeof prompt === "string" ? promptIds(tokenizer, prompt, options) : prompt;
  return stream(source, tokenizer, given, options, options.stopIds ?? endings(source, tokenizer));
}

/**
 * Writes what belongs between `prefix` and `suffix`, in prefix-suffix-middle order. Ends as `completeText` does, and
 * at any FIM sentinel. @throws ConfigError at once, also if the tokenizer has no sentinels
 */
export function fillText(
  source: TextSource,
  tokenizer: Tokenizer,
  prefix: string,
  suffix: string,
  options: TextOptions,
): AsyncGenerator<TextChunk, TextStats> {
  const ids = fimPrompt(tokenizer, prefix, suffix, options.bos === undefined ? {} : { bos: options.bos });
  const stopIds = [...(options.stopIds ?? endings(source, tokenizer)), ...fimSentinels(tokenizer)];
  return stream(source, tokenizer, ids, options, stopIds);
}
