/** What every endpoint that generates takes: limits, sampling, what ends an answer, how it is told. */
import { z } from "zod";
import type { SamplingRequest } from "../engine/host/protocol.ts";
import { invalidRequest } from "./errors.ts";

/** Most choices of a prompt, and of a request over all its prompts. */
const MOST_CHOICES = 128;
export const MAX_CHOICES = 1024;
/** Stop strings, and their characters together: beyond any use, and far below what costs. */
const MOST_STOPS = 1024;
const MOST_STOP_CHARACTERS = 65_536;
/** What as good as forbids a token, regardless of its logit. */
const NEVER = -1e9;

const between = (low: number, high: number) => z.number().min(low).max(high).nullish();
/** A number of tokens; -1: as many as there is room for. */
const limit = z.int().min(-1).nullish();
const bias = z.number().min(-100).max(100);
const stopString = z
  .string()
  .min(1, "a stop string must not be empty")
  .refine((text) => !/\p{Cs}/u.test(text), "a stop string must not hold half a character");

/** The fields; in addition to OpenAI's those that servers of open models share. */
export const samplingFields = {
  model: z.string().nullish(),
  max_tokens: limit,
  max_completion_tokens: limit,
  n_predict: limit,
  min_tokens: z.int().min(0).nullish(),
  temperature: between(0, 2),
  top_p: between(0, 1),
  top_k: z.int().min(-1).nullish(),
  min_p: between(0, 1),
  repetition_penalty: z.number().gt(0).max(100).nullish(),
  presence_penalty: between(-2, 2),
  frequency_penalty: between(-2, 2),
  logit_bias: z
    .union([
      z.record(z.string().regex(/^\d{1,9}$/, "keys must be token ids"), bias),
      z.array(z.tuple([z.int().min(0), z.union([bias, z.literal(false)])])),
    ])
    .nullish(),
  // Any whole number: other programs draw them from 64 bits.
  seed: z.number().refine(Number.isInteger, "expected a whole number").nullish(),
  stop: z
    .union([
      stopString,
      z
        .array(stopString)
        .max(MOST_STOPS)
        .refine(
          (list) => list.reduce((sum, { length }) => sum + length, 0) <= MOST_STOP_CHARACTERS,
          `stop strings may have ${MOST_STOP_CHARACTERS} characters together`,
        ),
    ])
    .nullish(),
  stop_token_ids: z.array(z.int().min(0)).max(MOST_STOPS).nullish(),
  include_stop_str_in_output: z.boolean().nullish(),
  skip_special_tokens: z.boolean().nullish(),
  ignore_eos: z.boolean().nullish(),
  n: z.int().min(1).max(MOST_CHOICES).nullish(),
  echo: z.boolean().nullish(),
  cache_prompt: z.boolean().nullish(),
  inside: z.boolean().nullish(),
  return_tokens_as_token_ids: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.object({ include_usage: z.boolean().nullish() }).nullish(),
};

export type SamplingBody = z.infer<z.ZodObject<typeof samplingFields>>;

/** The limit on new tokens that a body gives, in whichever field; null: as many as fit, undefined: none is given. */
export function tokenLimit(body: SamplingBody): number | null | undefined {
  const given = body.max_completion_tokens ?? body.max_tokens ?? body.n_predict;
  if (given == null) return undefined;
  return given === -1 ? null : given;
}

/** A seed for a request that gives none (or -1, as some programs write that): answers then differ from call to call. */
function seedOf(given: number | null | undefined): number {
  if (given == null || given === -1) return crypto.getRandomValues(new Uint32Array(1))[0];
  return Number.isSafeInteger(given) ? given : Number(BigInt.asUintN(53, BigInt(given)));
}

function biasOf(given: SamplingBody["logit_bias"]): SamplingRequest["logitBias"] {
  if (Array.isArray(given)) return given.map(([id, value]) => [id, value === false ? NEVER : value] as const);
  return Object.entries(given ?? {}).map(([id, value]) => [Number(id), value] as const);
}

/** What generation takes, defaults filled in. @throws ApiError */
export function sampling(
  body: SamplingBody,
  maxTokens: number | null,
  logprobs: number | null,
): SamplingRequest {
  const topP = body.top_p ?? 1;
  const topK = Math.max(0, body.top_k ?? 0);
  const stop = body.stop ?? [];
  const minTokens = body.min_tokens ?? 0;
  if (maxTokens !== null && minTokens > maxTokens) {
    throw invalidRequest(
      `'min_tokens' is ${minTokens}, more than the ${maxTokens} tokens that may come.`,
      "min_tokens",
      "invalid_value",
    );
  }
  return {
    maxTokens,
    minTokens,
    temperature: body.temperature ?? 1,
    // OpenAI allows 0, which leaves only the likeliest token.
    topP: topP === 0 ? 1 : topP,
    topK: topP === 0 ? 1 : topK,
    minP: body.min_p ?? 0,
    repetitionPenalty: body.repetition_penalty ?? 1,
    presencePenalty: body.presence_penalty ?? 0,
    frequencyPenalty: body.frequency_penalty ?? 0,
    logitBias: biasOf(body.logit_bias),
    seed: seedOf(body.seed),
    stop: typeof stop === "string" ? [stop] : stop,
    stopIds: body.stop_token_ids ?? [],
    includeStop: body.include_stop_str_in_output ?? false,
    skipSpecial: body.skip_special_tokens ?? true,
    reusePrefix: body.cache_prompt ?? true,
    echo: body.echo ?? false,
    logprobs,
    inside: body.inside ?? false,
    n: body.n ?? 1,
    ignoreEos: body.ignore_eos ?? false,
  };
}

/** A request read, with what only the HTTP side needs. */
export interface Parsed<J> {
  readonly job: J;
  readonly model: string | null;
  readonly stream: boolean;
  readonly includeUsage: boolean;
}

/** How an answer is told. @throws ApiError */
export function streaming({
  stream,
  stream_options: options,
  model,
}: Pick<SamplingBody, "stream" | "stream_options" | "model">): Omit<Parsed<never>, "job"> {
  if (options && !stream) {
    throw invalidRequest("'stream_options' may only be given with 'stream': true.", "stream_options");
  }
  return { model: model ?? null, stream: stream ?? false, includeUsage: options?.include_usage ?? false };
}

/** @throws ApiError for more choices than a request may ask for */
export function checkChoices(choices: number): void {
  if (choices <= MAX_CHOICES) return;
  throw invalidRequest(`A request may ask for ${MAX_CHOICES} choices; this one asks for ${choices}.`, "n");
}
