/** Examples as rows of tokens, of which what follows the prompt is learned. Rows of similar length go together. */
import type { Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import type { Batch, BatchSource } from "../../src/train/batches.ts";
import type { Example } from "./examples.ts";
import { CONTEXT } from "./model.ts";

const [BOS, EOS, PAD] = [0, 1, 2];
const IGNORED = -100;
/** Passes of one step: rows are sorted by length and cut into so many. */
const PASSES = 4;

export interface RowBatch extends Batch {
  /** [batch * length] */
  readonly ids: Int32Array;
  readonly targets: Int32Array;
}

export interface ExampleRow {
  readonly ids: readonly number[];
  readonly prompt: number;
}

const plain = { addSpecialTokens: false, parseSpecial: false };

/** Null for an example that does not fit. */
export function exampleRow(tokenizer: Tokenizer, { prompt, completion }: Example): ExampleRow | null {
  const before = [BOS, ...tokenizer.encode(prompt, plain)];
  const ids = [...before, ...tokenizer.encode(completion, plain), EOS];
  return ids.length > CONTEXT ? null : { ids, prompt: before.length };
}

export function stacked(rows: readonly ExampleRow[]): RowBatch {
  const length = Math.max(...rows.map(({ ids }) => ids.length)) - 1;
  const ids = new Int32Array(rows.length * length).fill(PAD);
  const targets = new Int32Array(rows.length * length).fill(IGNORED);
  let weight = 0;
  for (const [r, row] of rows.entries()) {
    ids.set(row.ids.slice(0, -1), r * length);
    for (let i = row.prompt; i < row.ids.length; i++) targets[r * length + i - 1] = row.ids[i];
    weight += row.ids.length - row.prompt;
  }
  return { batch: rows.length, length, ids, targets, weight };
}

/** A stream of examples: `example(i)` for i = 0, 1, .. */
export class ExampleBatches implements BatchSource<RowBatch> {
  readonly #tokenizer: Tokenizer;
  readonly #example: (index: number) => Example;
  #next = 0;

  constructor(tokenizer: Tokenizer, example: (index: number) => Example) {
    this.#tokenizer = tokenizer;
    this.#example = example;
  }

  async next(batch: number): Promise<readonly RowBatch[]> {
    const rows: ExampleRow[] = [];
    while (rows.length < batch) {
      const row = exampleRow(this.#tokenizer, this.#example(this.#next++));
      if (row !== null) rows.push(row);
    }
    rows.sort((a, b) => a.ids.length - b.ids.length);
    const size = Math.ceil(batch / PASSES);
    return Array.from({ length: Math.ceil(batch / size) }, (_, i) =>
      stacked(rows.slice(i * size, (i + 1) * size)),
    );
  }

  state(): unknown {
    return { next: this.#next };
  }

  restore(state: unknown): void {
    this.#next = (state as { next: number }).next;
  }
}
