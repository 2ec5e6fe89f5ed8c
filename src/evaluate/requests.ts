/** What is asked of an engine: how likely a continuation is, and what the model writes. */
import type { TokenConstraint } from "../engine/constraint.ts";
import type { Engine } from "../engine/engine.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { StreamDecoder, Tokenizer } from "../tokenizer/tokenizer.ts";

export interface Likelihood {
  /** Sum over the tokens of the continuation, in nats. */
  readonly logprob: number;
  /** Whether each of them is the most likely one; false where that was not asked for. */
  readonly isGreedy: boolean;
}

/** How likely `continuation` is behind `prompt`. @throws LogitsError, the signal's reason */
export async function likelihood(
  engine: Engine,
  { prompt, continuation }: { readonly prompt: readonly number[]; readonly continuation: readonly number[] },
  { greedy, signal }: { readonly greedy: boolean; readonly signal: AbortSignal },
): Promise<Likelihood> {
  const promptLogprobs = greedy ? 1 : true;
  const generation = engine.submit({ prompt, continuation, maxTokens: 0, promptLogprobs, signal });
  for await (const _ of generation);
  signal.throwIfAborted();
  const { promptScores: scores } = generation;
  return {
    logprob: scores.reduce((sum, { logprob }) => sum + logprob!, 0),
    isGreedy: greedy && scores.every(({ id, top }) => top![0].id === id),
  };
}

export interface WritingSettings {
  /** Most tokens of what is written. */
  readonly maxTokens: number;
  readonly temperature: number;
  readonly topP: number;
  /** Texts before which it ends. */
  readonly stop: readonly string[];
  /** Tokens that end it. */
  readonly stopIds: readonly number[];
  /** Tokens that are not shown, beside special ones. */
  readonly silentIds: readonly number[];
  readonly vocabularySize: number;
}

export interface Written {
  readonly text: string;
  /** With the token that ended it. */
  readonly ids: readonly number[];
  /** Whether it was cut at the limit of tokens. */
  readonly truncated: boolean;
}

/**
 * Text as it grows, up to a stop string. As a constraint of the sampler it ends a sequence in the very pass that completes the
 * string, so that what other sequences compute never depends on when somebody reads.
 */
class GrowingText implements TokenConstraint {
  readonly complete = true;
  readonly #decoder: StreamDecoder;
  readonly #stops: StopStrings;
  readonly #silent: ReadonlySet<number>;
  #text = "";

  constructor(tokenizer: Tokenizer, { stop, stopIds, silentIds }: WritingSettings) {
    this.#decoder = tokenizer.streamDecoder({ skipSpecialTokens: true });
    this.#stops = new StopStrings(stop);
    this.#silent = new Set([...stopIds, ...silentIds]);
  }

  mask(): void {}

  accept(id: number): void {
    if (!this.#silent.has(id)) this.#text += this.#stops.push(this.#decoder.push(id));
  }

  get finished(): boolean {
    return this.#stops.found !== null;
  }

  clone(): never {
    throw new Error("drafts are not asked for");
  }

  /** All of it, once no token follows. */
  end(): string {
    // A character that was begun and not finished is not text.
    return this.#text + (this.finished ? "" : this.#stops.end());
  }
}

/** What the model writes behind `prompt`. @throws LogitsError, the signal's reason */
export async function write(
  engine: Engine,
  tokenizer: Tokenizer,
  prompt: readonly number[],
  settings: WritingSettings,
  { seed, signal }: { readonly seed: number; readonly signal: AbortSignal },
): Promise<Written> {
  const { maxTokens, temperature, topP, stopIds, vocabularySize } = settings;
  const growing = new GrowingText(tokenizer, settings);
  const constraint = settings.stop.length > 0 ? growing : undefined;
  const generation = engine.submit({
    ...{ prompt, maxTokens, temperature, topP, stopIds, vocabularySize, seed, constraint, signal },
  });
  const ids: number[] = [];
  for await (const { id } of generation) {
    ids.push(id);
    if (constraint === undefined) growing.accept(id);
  }
  signal.throwIfAborted();
  return { text: growing.end(), ids, truncated: generation.stats.stopReason === "length" };
}
