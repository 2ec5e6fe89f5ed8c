/**
 * Log-probabilities of given tokens, a prompt's own or those of its continuation, each given those before it, for
 * evaluations that compare texts. The head runs over every row that scores one, a slice at a time: the logits of a long
 * prompt would fill the memory.
 */
import type { TokenModel } from "../models/token-model.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { type Contents, spanAt } from "./prompt.ts";
import { type GeneratedToken, scoredToken } from "./token-sampler.ts";

/** Rows whose logits are in memory at once: 33 MB for 129,280 tokens. */
const SLICE = 64;

export class PromptScores {
  /** Of the token at `first`, the one after it, and so on. Embeddings have none. */
  readonly scores: GeneratedToken[] = [];
  readonly #prompt: Contents;
  readonly #alternatives: boolean | number;
  readonly #count: number;
  readonly #first: number;

  /**
   * @param count tokens that exist: rows of a padded head beyond it count for nothing
   * @param first the first token that is scored; nothing comes before that at 0
   */
  constructor(prompt: Contents, alternatives: boolean | number, count: number, first = 1) {
    this.#prompt = prompt;
    this.#alternatives = alternatives;
    this.#count = count;
    this.#first = first;
  }

  /** The token that is scored next. */
  get #next(): number {
    return this.#first + this.scores.length;
  }

  /** Tokens at the beginning whose rows score nothing that is still missing. */
  get unneeded(): number {
    return this.#next - 1;
  }

  /** Whether all tokens have their score. */
  get complete(): boolean {
    return this.#next >= this.#prompt.tokens.length;
  }

  /** Of a pass over `tokens` tokens from position `start` on: the first row whose logits score a token, and their number. */
  due(start: number, tokens: number): { first: number; rows: number } {
    // The row at a position scores the token after it; what was scored before the cache was lost stays.
    const from = Math.max(start, this.#next - 1);
    const to = Math.min(start + tokens, this.#prompt.tokens.length - 1);
    return { first: from - start, rows: Math.max(0, to - from) };
  }

  /** Takes the states `[1, n, d]` that are due. @throws LogitsError */
  async add(model: TokenModel, states: Tensor): Promise<void> {
    const [, total] = states.shape;
    const { tokens, spans } = this.#prompt;
    for (let begin = 0, end = 0; begin < total; begin = end) {
      const position = this.#next;
      const span = spanAt(this.#prompt, position);
      if (span !== null) {
        end = Math.min(total, begin + span.start + span.length - position);
        for (let i = begin; i < end; i++) this.scores.push({ id: tokens[this.#next] });
        continue;
      }
      const next = spans.find(({ start }) => start > position)?.start ?? Number.POSITIVE_INFINITY;
      end = Math.min(total, begin + SLICE, begin + next - position);
      const rows = Array.from({ length: end - begin }, (_, i) => begin + i);
      using output = model.device.inference(() => model.logits(model.rows(states, rows))); // [n, V]
      for (const logits of await rowsOfLogits(output)) {
        const id = tokens[this.#next];
        this.scores.push(scoredToken(logits, id, this.#alternatives, this.#count));
      }
    }
  }
}

/** The rows of a tensor `[rows, V]`: its own memory, if the device shows it, so that they end with it. */
export async function rowsOfLogits(output: Tensor): Promise<Float32Array[]> {
  const [rows, width] = output.shape;
  const view = output.mappedView(0, output.size);
  const flat = view
    ? new Float32Array(view.buffer, view.byteOffset, output.size)
    : ((await output.data()) as Float32Array);
  return Array.from({ length: rows }, (_, i) => flat.subarray(i * width, (i + 1) * width));
}
