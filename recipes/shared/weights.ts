/** Parts of one checkpoint as parts of a model. */

import { openCheckpoint } from "../../src/checkpoint/folder.ts";
import { modelWeights } from "../../src/checkpoint/model.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { type WeightSource, WrappedSource } from "../../src/nn/weight-source.ts";

/** `inner`, whose names begin with `from` where they are asked for with `to`. */
class MovedSource extends WrappedSource {
  readonly #from: string;
  readonly #to: string;

  constructor(inner: WeightSource, from: string, to: string) {
    super(inner);
    this.#from = from;
    this.#to = to;
  }

  #stored(name: string): string {
    return name.startsWith(this.#to) ? this.#from + name.slice(this.#to.length) : name;
  }

  override *names(): Iterable<string> {
    for (const name of this.inner.names()) {
      if (name.startsWith(this.#from)) yield this.#to + name.slice(this.#from.length);
    }
  }

  override has(name: string): boolean {
    return this.inner.has(this.#stored(name));
  }

  override shape(name: string) {
    return this.inner.shape(this.#stored(name));
  }

  override readF32(name: string) {
    return this.inner.readF32(this.#stored(name));
  }
}

/** Fills `parameters`, whose names begin with `to`, with the tensors of a folder whose names begin with `from`. */
export async function loadPart(
  folder: string,
  from: string,
  parameters: Parameters,
  to: string,
): Promise<void> {
  const checkpoint = await openCheckpoint(nodeFolder(folder));
  try {
    await parameters.load(new MovedSource(modelWeights(checkpoint), from, to));
  } finally {
    await checkpoint.close();
  }
}
