/**
 * Model parameters under their official checkpoint names. Tensors that are multiplied with the same input are
 * stored as one (gate and up, query and key-value down-projections, all experts of a layer), so that kernels see
 * one large matrix; every official tensor is a named contiguous view of such a group, and so is its gradient.
 *
 * The groups are described before they are allocated: counting parameters needs no memory.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { ConfigError } from "../tensor/errors.ts";
import { isQuantized, type QuantFormat, QuantizedTensor, type Weight } from "../tensor/quantized.ts";
import type { Random } from "../tensor/random.ts";
import { type Device, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { loadGroup } from "./loading.ts";
import { fillTiles, tilePool } from "./random-tiles.ts";
import type { WeightSource } from "./weight-source.ts";

export type { BlockSource, TileSource, WeightSource } from "./weight-source.ts";

/** How a matrix is stored: as floats, or quantized. */
export type StorageFormat = "f32" | "bf16" | "f16" | QuantFormat;

/** Storage of each group. */
export type StorageRule = (spec: GroupSpec) => StorageFormat;

/** What a matrix does, as far as its storage depends on it. `latent` ones make or expand low-rank projections. */
export type MatrixRole = "embedding" | "head" | "latent" | "experts";

/** An official tensor inside a group: `offset` in elements from the group's start. */
export interface PartSpec {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
}

export interface GroupSpec {
  /** How the model asks for the stored tensor. */
  readonly key: string;
  readonly shape: Shape;
  readonly parts: readonly PartSpec[];
  /**
   * "matrix" takes the weight dtype and decays; "norm" starts at one; "offset", a linear layer's bias, starts at zero;
   * "bias", which moves a router's choice, starts at zero and is not trained.
   */
  readonly kind: "matrix" | "router" | "norm" | "offset" | "bias";
  /** Name under which other programs save the whole group as one tensor of `shape`. */
  readonly stackedName?: string;
  /** Routed experts in the group; 0 for what every token uses. */
  readonly experts?: number;
  readonly role?: MatrixRole;
}

/** One official matrix `[rows, columns]` that stands alone. */
export function matrix(
  name: string,
  rows: number,
  columns: number,
  options: { readonly kind?: GroupSpec["kind"]; readonly role?: MatrixRole } = {},
): GroupSpec {
  const shape = [rows, columns];
  return { key: name, shape, parts: [{ name, shape, offset: 0 }], kind: "matrix", ...options };
}

/** One official vector: a norm weight or a bias. */
export function vector(name: string, size: number, kind: "norm" | "bias" = "norm"): GroupSpec {
  return { key: name, shape: [size], parts: [{ name, shape: [size], offset: 0 }], kind };
}

/** Official matrices of one input width stored below each other as `[sum of rows, columns]`. */
export function fused(
  key: string,
  columns: number,
  parts: readonly (readonly [string, number])[],
  role?: MatrixRole,
): GroupSpec {
  let rows = 0;
  const specs = parts.map(([name, count]) => {
    const part = { name, shape: [count, columns], offset: rows * columns };
    rows += count;
    return part;
  });
  return { key, shape: [rows, columns], parts: specs, kind: "matrix", role };
}

/** Biases of linear layers that read the same input, end to end: `[sum of rows]`. */
export function joinedBias(key: string, parts: readonly (readonly [string, number])[]): GroupSpec {
  let size = 0;
  const specs = parts.map(([name, count]) => {
    const part = { name, shape: [count], offset: size };
    size += count;
    return part;
  });
  return { key, shape: [size], parts: specs, kind: "offset" };
}

/** A described group with its storage. */
export interface ParameterGroup extends GroupSpec {
  /** What layers multiply with. */
  readonly weight: Weight;
  /** The same as a float tensor. Reading it throws ConfigError where the weight is quantized. */
  readonly tensor: Tensor;
  /** Whether weight decay applies: the official tensors have two axes. */
  readonly decay: boolean;
  /** Whether gradients and the optimizer reach it; false for router biases. */
  readonly trainable: boolean;
}

export interface NamedParameter {
  readonly name: string;
  readonly shape: Shape;
  readonly group: ParameterGroup;
  readonly offset: number;
}

/** A group with its storage. */
class StoredGroup implements ParameterGroup {
  readonly key: string;
  readonly shape: Shape;
  readonly parts: readonly PartSpec[];
  readonly kind: GroupSpec["kind"];
  readonly stackedName?: string;
  readonly experts?: number;
  readonly role?: MatrixRole;
  readonly weight: Weight;
  readonly decay: boolean;
  readonly trainable: boolean;

  constructor(spec: GroupSpec, weight: Weight) {
    this.key = spec.key;
    this.shape = spec.shape;
    this.parts = spec.parts;
    this.kind = spec.kind;
    this.stackedName = spec.stackedName;
    this.experts = spec.experts;
    this.role = spec.role;
    this.weight = weight;
    this.decay = spec.kind === "matrix" || spec.kind === "router";
    this.trainable = spec.kind !== "bias";
  }

  get tensor(): Tensor {
    if (!isQuantized(this.weight)) return this.weight;
    throw new ConfigError("a quantized weight is no float tensor", {
      where: "Parameters",
      name: this.key,
      expected: "f32, bf16 or f16",
      found: this.weight.format,
      hint: "Load the model with dtype f32 to train it or to read single weights.",
    });
  }
}

export class Parameters implements Disposable {
  readonly device: Device;
  readonly #groups = new Map<string, ParameterGroup>();
  readonly #named = new Map<string, NamedParameter>();
  readonly #views = new Map<string, Tensor>();

  /**
   * Allocates the groups without values. Matrices are stored by `storage`; norms, routers and biases stay f32.
   * Gradients reach f32 groups only. @throws ConfigError on a name used twice
   */
  constructor(device: Device, specs: readonly GroupSpec[], storage: StorageFormat | StorageRule = "f32") {
    this.device = device;
    const rule = typeof storage === "function" ? storage : () => storage;
    for (const spec of specs) {
      const group = new StoredGroup(spec, allocate(device, spec, rule));
      if (this.#groups.has(spec.key)) throw new ConfigError("two groups of one key", { name: spec.key });
      this.#groups.set(spec.key, group);
      for (const part of spec.parts) {
        if (this.#named.has(part.name))
          throw new ConfigError("two parameters of one name", { name: part.name });
        this.#named.set(part.name, { name: part.name, shape: part.shape, group, offset: part.offset });
      }
    }
  }

  /** Stored groups, in checkpoint order. */
  groups(): Iterable<ParameterGroup> {
    return this.#groups.values();
  }

  /** The stored tensor that the model computes with. @throws ConfigError */
  group(key: string): ParameterGroup {
    const group = this.#groups.get(key);
    if (!group) throw new ConfigError("no such parameter group", { where: "Parameters.group", name: key });
    return group;
  }

  /** Whether there is a group of this key. */
  hasGroup(key: string): boolean {
    return this.#groups.has(key);
  }

  has(name: string): boolean {
    return this.#named.has(name);
  }

  /** Where an official tensor is stored. @throws ConfigError */
  place(name: string): NamedParameter {
    return this.#find(name);
  }

  /** Whether all matrices are stored in f32, as training needs. */
  get trainable(): boolean {
    for (const { weight } of this.#groups.values()) {
      if (isQuantized(weight) || weight.dtype !== "f32") return false;
    }
    return true;
  }

  /** Official tensors, in checkpoint order. `get` gives their values. */
  named(): Iterable<NamedParameter> {
    return this.#named.values();
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

  /** The gradient of an official tensor, a new view that the caller owns; null where there is none. @throws ConfigError */
  gradient(name: string): Tensor | null {
    const part = this.#find(name);
    const { weight } = part.group;
    const grad = isQuantized(weight) ? null : weight.grad;
    return grad && partOf(grad, part);
  }

  /** Frees all gradients. */
  clearGradients(): void {
    for (const { weight } of this.#groups.values()) {
      if (isQuantized(weight)) continue;
      weight.grad?.dispose();
      weight.grad = null;
    }
  }

  /** Number of elements. */
  get count(): number {
    let total = 0;
    for (const { shape } of this.#groups.values()) total += sizeOf(shape);
    return total;
  }

  get bytes(): number {
    let total = 0;
    for (const { weight } of this.#groups.values()) {
      total += isQuantized(weight) ? weight.bytes : weight.size * bytesPerElement[weight.dtype];
    }
    return total;
  }

  /**
   * Normal values of standard deviation `std` (V2 and V3: 0.006) for matrices, ones for norms, zeros for biases.
   * Quantized weights repeat random tiles (`random-tiles.ts`).
   */
  initialise(random: Random, std = 0.006): void {
    const pools = new Map<QuantFormat, Uint8Array>();
    for (const { weight, kind, parts } of this.#groups.values()) {
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
          if (kind === "norm") values.fill(1);
          else if (kind !== "bias" && kind !== "offset")
            for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
          weight.set(values, offset + begin);
        }
      }
    }
  }

  /**
   * Reads every parameter from `source`: whole groups where it has them stacked or as tiles, else the official
   * tensors; quantizes while reading where the storage asks for it. `progress` hears of every finished group.
   * @throws FormatError, ShapeError
   */
  async load(source: WeightSource, progress?: (group: ParameterGroup) => void): Promise<void> {
    for (const group of this.#groups.values()) {
      await loadGroup(group, source);
      progress?.(group);
    }
  }

  #find(name: string): NamedParameter {
    const part = this.#named.get(name);
    if (!part) throw new ConfigError("no parameter of this name", { where: "Parameters", name });
    return part;
  }

  [Symbol.dispose](): void {
    this.clearGradients();
    for (const view of this.#views.values()) view.dispose();
    for (const { weight } of this.#groups.values()) weight[Symbol.dispose]();
  }
}

/** Elements initialised at once. */
const chunkElements = 1 << 20;

function allocate(device: Device, spec: GroupSpec, rule: StorageRule): Weight {
  const storage = spec.kind === "matrix" ? rule(spec) : "f32";
  if (storage === "q4" || storage === "q8") return new QuantizedTensor(device, storage, spec.shape);
  const tensor = device.unscoped(() => device.empty(spec.shape, storage, true));
  tensor.requiresGrad = spec.kind !== "bias" && storage === "f32";
  return tensor;
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
