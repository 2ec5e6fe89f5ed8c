/** What the loop needs of a data set: batches, and a position that can be saved and restored. */

/** What the loop counts of any batch, whatever else an objective finds in it. */
export interface Batch {
  /** Samples: sequences, pairs, images. */
  readonly batch: number;
  /** Tokens of a sample, padding included; 1 where samples have none. */
  readonly length: number;
  /** What its samples are (`text`, `images`), for the log. */
  readonly kind?: string;
  /** Its share of a step that has several: targets, for example. Default: `batch`. */
  readonly weight?: number;
}

/** `batch` sequences of `length` + 1 tokens, row after row. */
export interface TokenBatch extends Batch {
  /** [batch * (length + 1)] ids; the first `length` of a row are its inputs. */
  readonly tokens: Int32Array;
  /** [batch * length] targets; negative if there is nothing to predict (padding). */
  readonly targets: Int32Array;
  /** Lengths of documents that do not see each other, through all rows one after another; default: a row is one. */
  readonly documents?: readonly number[];
}

/** A seeded stream of batches without end. */
export interface BatchSource<B extends Batch = TokenBatch> {
  /**
   * The next `batch` samples; several batches run one after another, and their gradients are added: sequences of similar
   * length are padded less, and only one batch's values are in memory.
   */
  next(batch: number): Promise<B | readonly B[]>;
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
