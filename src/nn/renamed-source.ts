/**
 * Checkpoints that hold the same numbers under other names, also cut elsewhere: one program stores queries, keys and values
 * as one tensor, another as three. What is one tensor here and several there lies end to end in both.
 */
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";
import { type WeightSource, WrappedSource } from "./weight-source.ts";

export interface NamedShape {
  readonly name: string;
  readonly shape: Shape;
}

/** Tensors whose values, end to end, are those of others. */
export interface Renaming {
  readonly from: readonly NamedShape[];
  readonly to: readonly NamedShape[];
}

/** The same the other way. */
export const reversed = (renamings: readonly Renaming[]): Renaming[] =>
  renamings.map(({ from, to }) => ({ from: to, to: from }));

/** `inner` with the names and shapes of `to`; what no renaming names keeps its name. Weights are read as floats. */
export class RenamedSource extends WrappedSource {
  readonly #from = new Map<string, Renaming>();
  readonly #to = new Map<string, Renaming>();
  readonly #renamings: readonly Renaming[];

  constructor(inner: WeightSource, renamings: readonly Renaming[]) {
    super(inner);
    this.#renamings = renamings;
    for (const renaming of renamings) {
      for (const { name } of renaming.from) this.#from.set(name, renaming);
      for (const { name } of renaming.to) this.#to.set(name, renaming);
    }
  }

  /** @throws FormatError, ShapeError naming the tensor, as the file spells it, that is missing or has the wrong shape */
  check(): void {
    for (const { from } of this.#renamings) {
      for (const { name, shape: expected } of from) {
        const where = this.where ?? "load";
        if (!this.inner.has(name)) {
          throw new FormatError("the checkpoint lacks a tensor", { where, name, expected });
        }
        const found = this.inner.shape(name);
        if (found.join() === expected.join()) continue;
        throw new ShapeError("a tensor of the checkpoint has the wrong shape", {
          where,
          name,
          expected,
          found,
        });
      }
    }
  }

  override get blocks(): undefined {
    return undefined;
  }

  override *names(): Generator<string> {
    for (const name of this.inner.names()) {
      const renaming = this.#from.get(name);
      if (renaming === undefined) yield name;
      else if (renaming.from[0].name === name) for (const each of renaming.to) yield each.name;
    }
  }

  override has(name: string): boolean {
    const renaming = this.#to.get(name);
    if (renaming !== undefined) return renaming.from.every((each) => this.inner.has(each.name));
    return !this.#from.has(name) && this.inner.has(name);
  }

  override shape(name: string): Shape {
    const found = this.#to.get(name)?.to.find((each) => each.name === name);
    return found?.shape ?? this.inner.shape(name);
  }

  override async *readF32(name: string): AsyncGenerator<{ offset: number; values: Float32Array }> {
    const renaming = this.#to.get(name);
    if (renaming === undefined) {
      yield* this.inner.readF32(name);
      return;
    }
    // The values from `begin` to `end` of all, which begin `start` before those of each tensor.
    let begin = 0;
    for (const each of renaming.to) {
      if (each.name === name) break;
      begin += sizeOf(each.shape);
    }
    const end = begin + sizeOf(this.shape(name));
    let start = 0;
    for (const each of renaming.from) {
      const after = start + sizeOf(each.shape);
      if (after > begin && start < end) {
        for await (const { offset, values } of this.inner.readF32(each.name)) {
          const at = start + offset;
          const from = Math.max(0, begin - at);
          const to = Math.min(values.length, end - at);
          if (from < to) yield { offset: at + from - begin, values: values.subarray(from, to) };
        }
      }
      start = after;
    }
  }
}
