/** What the loop needs of a data set: batches of token rows, and a position that can be saved and restored. */

/** `batch` sequences of `length` + 1 tokens, row after row. */
export interface TokenBatch {
  /** [batch * (length + 1)] ids; the first `length` of a row are its inputs. */
  readonly tokens: Int32Array;
  /** [batch * length] targets; negative if there is nothing to predict (padding). */
  readonly targets: Int32Array;
  readonly batch: number;
  readonly length: number;
}

/** A seeded stream of batches without end. */
export interface BatchSource {
  /** The next `batch` sequences. */
  next(batch: number): Promise<TokenBatch>;
  /** Position as plain JSON. */
  state(): unknown;
  /** Continues exactly after the batch at which `state` was taken. @throws ConfigError on another data set's state */
  restore(state: unknown): void;
}

/** The inputs of a batch: [batch * length] ids. */
export function inputsOf({ tokens, batch, length }: TokenBatch): Int32Array {
  const inputs = new Int32Array(batch * length);
  for (let r = 0; r < batch; r++)
    inputs.set(tokens.subarray(r * (length + 1), (r + 1) * (length + 1) - 1), r * length);
  return inputs;
}
