/**
 * The parameters of a module under their official checkpoint names. Every official tensor is a named contiguous view
 * of the group that is stored, and so is its gradient.
 */
import { ConfigError } from "../tensor/errors.ts";
import { isQuantized, type QuantFormat } from "../tensor/quantized.ts";
import type { Random } from "../tensor/random.ts";
import { type Device, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { withPieces } from "./layouts.ts";
import { loadGroup } from "./loading.ts";
import { type ParameterGroup, storedBytes } from "./parameter-group.ts";
import { fillTiles, tilePool } from "./random-tiles.ts";
import type { WeightSource } from "./weight-source.ts";

export interface NamedParameter {
  readonly name: string;
  readonly shape: Shape;
  readonly group: ParameterGroup;
  readonly offset: number;
}

/** Elements initialized at once. */
const chunkElements = 1 << 20;

export class Parameters implements Disposable {
  readonly #groups: readonly ParameterGroup[];
  readonly #device: Device | null;
  readonly #owned: boolean;
  readonly #views = new Map<string, Tensor>();
  #byKey: ReadonlyMap<string, ParameterGroup> | null = null;
  #byName: ReadonlyMap<string, NamedParameter> | null = null;

  /** @param device null if the groups are only described @param owned whether disposing frees the groups */
  constructor(groups: readonly ParameterGroup[], device: Device | null, owned = true) {
    this.#groups = groups;
    this.#device = device;
    this.#owned = owned;
  }

  /** @throws ConfigError if the parameters are only described */
  get device(): Device {
    if (this.#device !== null) return this.#device;
    throw new ConfigError("described parameters have no device", { where: "Parameters" });
  }

  /** Stored groups, in checkpoint order. */
  groups(): Iterable<ParameterGroup> {
    return this.#groups;
  }

  /** The stored tensor that the model computes with. @throws ConfigError */
  group(key: string): ParameterGroup {
    const group = this.#keyed().get(key);
    if (!group) throw new ConfigError("no such parameter group", { where: "Parameters.group", name: key });
    return group;
  }

  /** Whether there is a group of this key. */
  hasGroup(key: string): boolean {
    return this.#keyed().has(key);
  }

  has(name: string): boolean {
    return this.#places().has(name);
  }

  /** Where an official tensor is stored. @throws ConfigError */
  place(name: string): NamedParameter {
    return this.#find(name);
  }

  /** Whether everything that training is to change is stored in f32, as it needs. */
  get trainable(): boolean {
    for (const { weight, frozen, trained } of this.#groups) {
      if (!frozen && trained && (isQuantized(weight) || weight.dtype !== "f32")) return false;
    }
    return true;
  }

  /** Whether training changes nothing of them. */
  get frozen(): boolean {
    return this.#groups.every(({ frozen, trained }) => frozen || !trained);
  }

  /** Freezes the groups that `frozen` names and thaws the others: frozen ones get no gradient. */
  freeze(frozen: (group: ParameterGroup) => boolean): void {
    for (const group of this.#groups) {
      group.frozen = frozen(group);
      const { weight, trained } = group;
      if (isQuantized(weight) || weight.disposed) continue;
      weight.requiresGrad = trained && !group.frozen && weight.dtype === "f32";
    }
  }

  /** Official tensors, in checkpoint order. `get` gives their values. */
  named(): Iterable<NamedParameter> {
    return this.#places().values();
  }

  /** The official tensor `name` as a view that lives as long as the parameters. @throws ConfigError */
  get(name: string): Tensor {
    let view = this.#views.get(name);
    if (!view) {
      const part = this.#find(name);
      view = this.device.unscoped(() => partOf(part.group.tensor, part));
      this.#views.set(name, view);
    }
    return view;
  }

  /** The gradient of an official tensor, a new view that the caller owns; null if there is none. @throws ConfigError */
  gradient(name: string): Tensor | null {
    const part = this.#find(name);
    const { weight } = part.group;
    const grad = isQuantized(weight) ? null : weight.grad;
    return grad && partOf(grad, part);
  }

  /** Frees all gradients. */
  clearGradients(): void {
    for (const { weight } of this.#groups) {
      if (isQuantized(weight)) continue;
      weight.grad?.dispose();
      weight.grad = null;
    }
  }

  /** Number of elements. */
  get count(): number {
    let total = 0;
    for (const { shape } of this.#groups) total += sizeOf(shape);
    return total;
  }

  /** Bytes of the stored groups. */
  get bytes(): number {
    let total = 0;
    for (const group of this.#groups) total += storedBytes(group);
    return total;
  }

  /**
   * First values as the layers declare them, normal ones with standard deviation `std` (V2 and V3: 0.006).
   * Quantized weights repeat random tiles (`random-tiles.ts`).
   */
  initialize(random: Random, std = 0.006): void {
    const pools = new Map<QuantFormat, Uint8Array>();
    for (const { weight, initial, parts } of this.#groups) {
      if (isQuantized(weight)) {
        const pool = pools.get(weight.format) ?? tilePool(weight.format, random, std);
        pools.set(weight.format, pool);
        fillTiles(weight, pool, random);
        continue;
      }
      for (const { offset, shape } of parts) {
        const size = sizeOf(shape);
        for (let begin = 0; begin < size; begin += chunkElements) {
          const values = new Float32Array(Math.min(chunkElements, size - begin));
          if (initial === "ones") values.fill(1);
          else if (initial === "normal")
            for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
          else if (initial === "uniform") {
            const bound = 1 / Math.sqrt(shape.at(-1)!);
            for (let i = 0; i < values.length; i++) values[i] = bound * (2 * random.uniform() - 1);
          }
          weight.set(values, offset + begin);
        }
      }
    }
  }

  /**
   * Reads every parameter from `source`: whole groups if it has them stacked or as tiles, else the official
   * tensors; quantizes while reading if the storage asks for it. `progress` is called for every finished group.
   * @throws FormatError, ShapeError
   */
  async load(source: WeightSource, progress?: (group: ParameterGroup) => void): Promise<void> {
    const stored = withPieces(source, this.#groups);
    for (const group of this.#groups) {
      await loadGroup(group, stored);
      progress?.(group);
    }
  }

  #keyed(): ReadonlyMap<string, ParameterGroup> {
    this.#byKey ??= new Map(this.#groups.map((group) => [group.key, group]));
    return this.#byKey;
  }

  #places(): ReadonlyMap<string, NamedParameter> {
    if (this.#byName === null) {
      const places = new Map<string, NamedParameter>();
      for (const group of this.#groups) {
        for (const { name, shape, offset } of group.parts) places.set(name, { name, shape, group, offset });
      }
      this.#byName = places;
    }
    return this.#byName;
  }

  #find(name: string): NamedParameter {
    const part = this.#places().get(name);
    if (!part) throw new ConfigError("no such parameter", { where: "Parameters", name });
    return part;
  }

  [Symbol.dispose](): void {
    for (const view of this.#views.values()) view.dispose();
    if (!this.#owned) return;
    this.clearGradients();
    for (const { weight } of this.#groups) weight[Symbol.dispose]();
  }
}

function partOf(stored: Tensor, { offset, shape }: { offset: number; shape: Shape }): Tensor {
  const { device } = stored;
  const rows = device.unscoped(() => {
    using line = stored.view([stored.size]);
    return line.slice(offset, offset + sizeOf(shape));
  });
  const part = rows.view(shape);
  rows.dispose();
  return part;
}
