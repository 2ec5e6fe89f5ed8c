/**
 * Lessons, token ids of which some are learned, packed into rows as training reads them: best fit decreasing, isolated from
 * each other, so that each is learned as if it came alone (DeepSeek-V3's fine-tuning). A row is padded, never filled with a
 * torn lesson; a lesson longer than a row is cut at its end.
 */
import { checkNumber } from "../tensor/check-value.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { BatchSource, TokenBatch } from "./batches.ts";
import { bestFitRows } from "./best-fit.ts";

/** What is read, and which of it is learned. */
export interface Lesson {
  readonly ids: ArrayLike<number>;
  /** For each id 1 if the model has to produce it, else 0. */
  readonly learned: ArrayLike<number>;
}

/** Lessons by number, wherever they lie; each fits into a row. */
export interface LessonList {
  /** Tokens of each. */
  readonly lengths: ArrayLike<number>;
  /** Learned tokens of each, but for its first, which nothing predicts. */
  readonly targets: ArrayLike<number>;
  read(index: number): Promise<Lesson>;
}

export interface PackedRowOptions {
  /** Tokens of a row. */
  readonly length: number;
  /** Seed of the order of rows; default 0. */
  readonly seed?: number;
  /** Id of padding, from which nothing is learned; default 0. */
  readonly padId?: number;
}

/** A row of lessons with targets that look into no other lesson. */
export interface PackedRow {
  readonly ids: Int32Array;
  /** The token to learn at each place; -1 for none. */
  readonly targets: Int32Array;
  /** Lengths of the lessons in it, and of the padding behind them. */
  readonly documents: readonly number[];
}

/** Lessons in rows of `length` tokens, indices as `bestFitRows` gives them. */
export function packedRow(
  lessons: readonly Lesson[],
  row: readonly number[],
  length: number,
  padId = 0,
): PackedRow {
  const ids = new Int32Array(length).fill(padId);
  const targets = new Int32Array(length).fill(-1);
  const documents: number[] = [];
  let at = 0;
  for (const index of row) {
    const lesson = lessons[index];
    const count = Math.min(lesson.ids.length, length);
    for (let i = 0; i < count; i++) {
      ids[at + i] = lesson.ids[i];
      // The last token of a lesson says nothing of the next one's first.
      if (i > 0 && lesson.learned[i]) targets[at + i - 1] = lesson.ids[i];
    }
    documents.push(count);
    at += count;
  }
  if (at < length) documents.push(length - at);
  return { ids, targets, documents };
}

/** Learned tokens after the first, among the first `length`. */
function targetsOf({ learned }: Lesson, length: number): number {
  let count = 0;
  for (let i = 1; i < Math.min(learned.length, length); i++) if (learned[i]) count++;
  return count;
}

/** @throws ConfigError for lessons whose ids and marks differ in number */
function listOf(lessons: readonly Lesson[], length: number): LessonList {
  const uneven = lessons.findIndex(({ ids, learned }) => ids.length !== learned.length);
  if (uneven >= 0) {
    const { ids, learned } = lessons[uneven];
    throw new ConfigError("ids and marks of a lesson differ in number", {
      ...{ where: "PackedRows", name: `lesson ${uneven}`, expected: ids.length, found: learned.length },
    });
  }
  return {
    lengths: lessons.map(({ ids }) => Math.min(ids.length, length)),
    targets: lessons.map((lesson) => targetsOf(lesson, length)),
    read: async (index) => lessons[index],
  };
}

/** Batches of packed rows without end, every pass over them in another order. */
export class PackedRows implements BatchSource {
  /** Lessons longer than a row, whose ends are not learned. */
  readonly truncated: number;
  /** Lessons of which a row shows nothing that is learned: they are left out. */
  readonly dropped: number;
  /** Tokens that are learned in a pass over all rows. */
  readonly targets: number;
  readonly #list: LessonList;
  /** Tokens of the lessons that rows hold. */
  readonly #held: number;
  readonly #rows: readonly (readonly number[])[];
  readonly #length: number;
  readonly #padId: number;
  readonly #seed: number;
  #taken = 0;
  #pass = -1;
  #order: number[] = [];

  /**
   * @throws ConfigError for lessons whose ids and marks differ in number, those of a list that no row holds, or of which none
   * teaches anything
   */
  constructor(lessons: readonly Lesson[] | LessonList, { length, seed = 0, padId = 0 }: PackedRowOptions) {
    const where = "PackedRows";
    checkNumber({ where }, "length", length, { integer: true, min: 2, max: 2 ** 24 });
    const given = "read" in lessons ? null : lessons;
    const list = given === null ? (lessons as LessonList) : listOf(given, length);
    const used: number[] = [];
    for (let i = 0; i < list.lengths.length; i++) if (list.targets[i] > 0) used.push(i);
    this.dropped = list.lengths.length - used.length;
    if (used.length === 0) {
      throw new ConfigError("no lesson teaches anything", {
        ...{
          where,
          expected: `learned tokens among the first ${length} of a lesson, not only the first of all`,
        },
        found: `${list.lengths.length} lessons`,
      });
    }
    this.truncated = given === null ? 0 : used.filter((i) => given[i].ids.length > length).length;
    this.#list = list;
    const rows = bestFitRows(
      used.map((i) => list.lengths[i]),
      length,
    );
    this.#rows = rows.map((row) => row.map((i) => used[i]));
    this.#held = used.reduce((sum, i) => sum + list.lengths[i], 0);
    this.#length = length;
    this.#padId = padId;
    this.#seed = seed;
    this.targets = used.reduce((sum, i) => sum + list.targets[i], 0);
  }

  /** Rows of a pass. */
  get rows(): number {
    return this.#rows.length;
  }

  /** Share of all places that hold a lesson. */
  get density(): number {
    return this.#held / (this.rows * this.#length);
  }

  /** The rows of one pass in their order of packing, `batch` together: to score them. */
  async *once(batch: number): AsyncGenerator<TokenBatch> {
    for (let at = 0; at < this.rows; at += batch) yield await this.#batch(this.#rows.slice(at, at + batch));
  }

  async next(batch: number): Promise<TokenBatch> {
    return this.#batch(Array.from({ length: batch }, () => this.#nextRow()));
  }

  /** The same rows as batches of at most `mostTokens` tokens, or of one row: their gradients add up to those of one. */
  inParts(mostTokens: number): BatchSource {
    const most = Math.max(1, Math.floor(mostTokens / this.#length));
    return {
      next: async (batch) => {
        const batches: TokenBatch[] = [];
        for (let left = batch; left > 0; left -= most) batches.push(await this.next(Math.min(left, most)));
        return batches;
      },
      state: () => this.state(),
      restore: (state) => this.restore(state),
    };
  }

  async #batch(rows: readonly (readonly number[])[]): Promise<TokenBatch> {
    const [batch, length] = [rows.length, this.#length];
    // A row has one more token, which is only ever a target: here it is padding.
    const tokens = new Int32Array(batch * (length + 1)).fill(this.#padId);
    const targets = new Int32Array(batch * length);
    const documents: number[] = [];
    for (const [b, indices] of rows.entries()) {
      const lessons = await Promise.all(indices.map((index) => this.#list.read(index)));
      const row = packedRow(
        lessons,
        lessons.map((_, i) => i),
        length,
        this.#padId,
      );
      tokens.set(row.ids, b * (length + 1));
      targets.set(row.targets, b * length);
      documents.push(...row.documents);
    }
    const weight = targets.reduce((count, target) => count + (target >= 0 ? 1 : 0), 0);
    return { tokens, targets, documents, batch, length, weight };
  }

  #nextRow(): readonly number[] {
    const at = this.#taken++;
    const pass = Math.floor(at / this.rows);
    if (pass !== this.#pass) {
      this.#order = new Random(this.#seed, pass).shuffle(Array.from(this.#rows, (_, i) => i));
      this.#pass = pass;
    }
    return this.#rows[this.#order[at % this.rows]];
  }

  state(): unknown {
    return { taken: this.#taken, rows: this.rows, targets: this.targets, seed: this.#seed };
  }

  restore(state: unknown): void {
    const found = (state ?? {}) as Record<string, unknown>;
    const { rows, targets } = this;
    if (found.rows !== rows || found.targets !== targets || found.seed !== this.#seed) {
      throw new ConfigError("the saved state is of other lessons or of another seed", {
        where: "PackedRows",
        expected: `${rows} rows, ${targets} targets, seed ${this.#seed}`,
        found: `${found.rows} rows, ${found.targets} targets, seed ${found.seed}`,
      });
    }
    checkNumber({ where: "PackedRows" }, "taken", found.taken, { integer: true, min: 0 });
    this.#taken = found.taken;
  }
}
