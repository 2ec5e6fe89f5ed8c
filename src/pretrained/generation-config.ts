/** `generation_config.json`: what a model's makers advise for sampling, and the tokens that end a text. */
import { ConfigReader } from "../models/config-reader.ts";

/** Null if the file says nothing. */
export interface GenerationConfig {
  /** Whether to sample at all; if false the likeliest token is always taken. */
  readonly doSample: boolean | null;
  readonly temperature: number | null;
  readonly topP: number | null;
  readonly topK: number | null;
  readonly minP: number | null;
  readonly repetitionPenalty: number | null;
  readonly maxNewTokens: number | null;
  /** Weight of the prompt in drawing, as transformers' Janus has it. */
  readonly guidanceScale: number | null;
  /**
   * Tokens that end a text: those of this file, or those of `config.json` where it names none. As in transformers the
   * two are not joined: `config.json` of the DeepSeek LLM base models says 2, which is `#` in their vocabulary.
   */
  readonly eosTokenIds: readonly number[];
}

/** Reads the parsed file (null if there is none), with the end tokens of `config.json`. @throws ConfigError */
export function readGenerationConfig(json: unknown, configEos: readonly number[]): GenerationConfig {
  const reader = new ConfigReader(json ?? {}, "generation_config.json");
  const named = reader.tokens("eos_token_id");
  const number = (key: string) => (reader.raw(key) === undefined ? null : reader.number(key));
  return {
    doSample: reader.raw("do_sample") === undefined ? null : reader.boolean("do_sample", false),
    temperature: number("temperature"),
    topP: number("top_p"),
    topK: number("top_k"),
    minP: number("min_p"),
    repetitionPenalty: number("repetition_penalty"),
    guidanceScale: number("guidance_scale"),
    maxNewTokens: reader.optionalInteger("max_new_tokens", 1),
    eosTokenIds: [...new Set(named.length > 0 ? named : configEos)],
  };
}
