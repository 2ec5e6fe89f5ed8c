/** Weights with their low-rank adapters merged into them: W + factor B A. */
import { FormatError } from "../tensor/errors.ts";
import { matmul } from "../tensor/ops/matmul.ts";
import { loadGroup } from "./loading.ts";
import type { LowRankAdapters } from "./low-rank-adapters.ts";
import { weightsOf } from "./model-weights.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import type { Parameters } from "./parameters.ts";
import { type BlockSource, type WeightSource, WrappedSource } from "./weight-source.ts";

/**
 * A source whose adapted tensors are read merged, as floats, a few rows at a time. It has no tiles: a tile holds several
 * tensors.
 */
export class MergedSource extends WrappedSource {
  readonly #adapters: LowRankAdapters;
  readonly #pairs: ReadonlyMap<string, { readonly a: string; readonly b: string }>;

  /** @throws FormatError if the source holds an adapted matrix in another form, stacked with others */
  constructor(inner: WeightSource, adapters: LowRankAdapters) {
    super(inner);
    this.#adapters = adapters;
    this.#pairs = new Map([...adapters.pairs()].map((pair) => [pair.weight, pair]));
    for (const name of this.#pairs.keys()) {
      if (inner.has(name)) continue;
      throw new FormatError("an adapted matrix is not stored by itself", {
        where: inner.where ?? "MergedSource",
        name,
        hint: "Stacked experts cannot be merged while they stream: load the model with its adapter.",
      });
    }
  }

  override get tiles(): undefined {
    return undefined;
  }

  override get blocks(): BlockSource | undefined {
    const { blocks } = this.inner;
    if (blocks === undefined) return undefined;
    return {
      blockType: (name) => (this.#pairs.has(name) ? null : blocks.blockType(name)),
      readBlocks: (name) => blocks.readBlocks(name),
      rowReader: (name) => blocks.rowReader?.(name) ?? null,
    };
  }

  override async *readF32(name: string): AsyncGenerator<{ offset: number; values: Float32Array }> {
    const pair = this.#pairs.get(name);
    if (pair === undefined) {
      yield* this.inner.readF32(name);
      return;
    }
    const { parameters, factor } = this.#adapters;
    const [a, b] = [parameters.get(pair.a), parameters.get(pair.b)];
    const { device } = a;
    const columns = a.shape[1];
    for await (const { offset, values } of this.inner.readF32(name)) {
      const first = Math.floor(offset / columns);
      const end = Math.ceil((offset + values.length) / columns);
      using added = device.inference(() => matmul(b.slice(first, end), a)); // [end - first, columns]
      const more = (await added.data()) as Float32Array;
      const merged = values.slice();
      const skipped = offset - first * columns;
      for (let i = 0; i < merged.length; i++) merged[i] += factor * more[skipped + i];
      yield { offset, values: merged };
    }
  }
}

/**
 * Adds the adapters to the weights that they adapt, in place, rounded to the floats that these are stored in. @throws
 * ConfigError if one is quantized
 */
export async function mergeAdapters(
  model: { readonly parameters: Parameters },
  adapters: LowRankAdapters,
): Promise<void> {
  const groups = new Set<ParameterGroup>(adapters.matrices.map(({ group }) => group));
  // Asked for first, so that nothing is merged where something cannot be.
  for (const group of groups) void group.tensor;
  const merged = new MergedSource(weightsOf(model), adapters);
  for (const group of groups) await loadGroup(group, merged);
}
