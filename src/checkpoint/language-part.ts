/** The language model inside a checkpoint of a model that sees, as a checkpoint of its own: names without its prefix. */

import { type BlockSource, type WeightSource, WrappedSource } from "../nn/weight-source.ts";
import type { Shape } from "../tensor/tensor.ts";

/** The tensors whose names begin with `prefix`, without it, as floats or blocks. */
export class LanguagePart extends WrappedSource {
  readonly #prefix: string;

  constructor(inner: WeightSource, prefix: string) {
    super(inner);
    this.#prefix = prefix;
  }

  override get blocks(): BlockSource | undefined {
    const { blocks } = this.inner;
    const inside = (name: string) => this.#prefix + name;
    return (
      blocks && {
        blockType: (name) => blocks.blockType(inside(name)),
        readBlocks: (name) => blocks.readBlocks(inside(name)),
        rowReader: (name) => blocks.rowReader?.(inside(name)) ?? null,
      }
    );
  }

  /** Tiles are kept by keys of the whole model. */
  override get tiles(): undefined {
    return undefined;
  }

  override *names(): Generator<string> {
    for (const name of this.inner.names()) {
      if (name.startsWith(this.#prefix)) yield name.slice(this.#prefix.length);
    }
  }

  override has(name: string): boolean {
    return this.inner.has(this.#prefix + name);
  }

  override shape(name: string): Shape {
    return this.inner.shape(this.#prefix + name);
  }

  override readF32(name: string): AsyncIterable<{ offset: number; values: Float32Array }> {
    return this.inner.readF32(this.#prefix + name);
  }
}
