/**
 * Model parameters under their official checkpoint names. Tensors that are multiplied with the same input are
 * stored as one (gate and up, query and key-value down-projections, all experts of a layer), so that kernels see
 * one large matrix; every official tensor is a named contiguous view of such a group, and so is its gradient.
 *
 * The groups are described before they are allocated: counting parameters needs no memory.
 */
import { bytesPerElement, type DType } from "../tensor/dtype.ts";
import { ConfigError, FormatError, ShapeError } from "../tensor/errors.ts";
import type { Random } from "../tensor/random.ts";
import { type Device, type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";

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
  /** "matrix" takes the weight dtype and decays; "norm" starts at one; "bias" starts at zero and is not trained. */
  readonly kind: "matrix" | "router" | "norm" | "bias";
  /** Name under which other programs save the whole group as one tensor of `shape`. */
  readonly stackedName?: string;
  /** Routed experts in the group; 0 for what every token uses. */
  readonly experts?: number;
}

/** One official matrix `[rows, columns]` that stands alone. */
export function matrix(
  name: string,
  rows: number,
  columns: number,
  kind: GroupSpec["kind"] = "matrix",
): GroupSpec {
  const shape = [rows, columns];
  return { key: name, shape, parts: [{ name, shape, offset: 0 }], kind };
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
): GroupSpec {
  let rows = 0;
  const specs = parts.map(([name, count]) => {
    const part = { name, shape: [count, columns], offset: rows * columns };
    rows += count;
    return part;
  });
  return { key, shape: [rows, columns], parts: specs, kind: "matrix" };
}

/** A described group with its storage. */
export interface ParameterGroup extends GroupSpec {
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

/** Where weights come from: a checkpoint, as far as models need to know it. */
export interface WeightSource {
  /** Names of everything stored. */
  names(): Iterable<string>;
  has(name: string): boolean;
  shape(name: string): Shape;
  /** The values in order, as consecutive chunks; `offset` in elements. */
  readF32(name: string): AsyncIterable<{ offset: number; values: Float32Array }>;
}

export class Parameters implements Disposable {
  readonly device: Device;
  /** Storage type of matrices; norms, routers and biases stay f32. */
  readonly dtype: DType;
  readonly #groups = new Map<string, ParameterGroup>();
  readonly #named = new Map<string, NamedParameter>();
  readonly #views = new Map<string, Tensor>();

  /** Allocates the groups (zeros). Gradients reach f32 groups only. @throws ConfigError on a name used twice */
  constructor(device: Device, specs: readonly GroupSpec[], dtype: "f32" | "bf16" | "f16" = "f32") {
    this.device = device;
    this.dtype = dtype;
    for (const spec of specs) {
      const storage = spec.kind === "matrix" ? dtype : "f32";
      const tensor = device.unscoped(() => device.empty(spec.shape, storage, true));
      const trainable = spec.kind !== "bias";
      tensor.requiresGrad = trainable && storage === "f32";
      const group = { ...spec, tensor, decay: spec.kind === "matrix" || spec.kind === "router", trainable };
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

  has(name: string): boolean {
    return this.#named.has(name);
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
    const { grad } = part.group.tensor;
    return grad && partOf(grad, part);
  }

  /** Frees all gradients. */
  clearGradients(): void {
    for (const { tensor } of this.#groups.values()) {
      tensor.grad?.dispose();
      tensor.grad = null;
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
    for (const { tensor } of this.#groups.values()) total += tensor.size * bytesPerElement[tensor.dtype];
    return total;
  }

  /** Normal values of standard deviation `std` (V2 and V3: 0.006) for matrices, ones for norms, zeros for biases. */
  initialise(random: Random, std = 0.006): void {
    for (const { group, offset, shape } of this.#named.values()) {
      const size = sizeOf(shape);
      for (let begin = 0; begin < size; begin += chunkElements) {
        const values = new Float32Array(Math.min(chunkElements, size - begin));
        if (group.kind === "norm") values.fill(1);
        else if (group.kind !== "bias")
          for (let i = 0; i < values.length; i++) values[i] = std * random.normal();
        group.tensor.set(values, offset + begin);
      }
    }
  }

  /** Reads every parameter from `source`, whole groups where it has them stacked. @throws FormatError, ShapeError */
  async load(source: WeightSource): Promise<void> {
    for (const group of this.#groups.values()) {
      const { stackedName, tensor, shape, parts } = group;
      if (stackedName !== undefined && source.has(stackedName)) {
        await this.#read(source, stackedName, shape, tensor, 0);
        continue;
      }
      for (const part of parts) await this.#read(source, part.name, part.shape, tensor, part.offset);
    }
  }

  async #read(
    source: WeightSource,
    name: string,
    shape: Shape,
    tensor: Tensor,
    start: number,
  ): Promise<void> {
    if (!source.has(name)) {
      throw new FormatError("the checkpoint lacks a tensor", { where: "load", name, expected: shape });
    }
    const found = source.shape(name);
    if (found.length !== shape.length || found.some((n, i) => n !== shape[i])) {
      throw new ShapeError("a tensor of the checkpoint has another shape", {
        where: "load",
        name,
        expected: shape,
        found,
      });
    }
    let read = 0;
    for await (const { offset, values } of source.readF32(name)) {
      tensor.set(values, start + offset);
      read += values.length;
    }
    if (read !== sizeOf(shape)) {
      throw new FormatError("a tensor was read incompletely", {
        where: "load",
        name,
        expected: sizeOf(shape),
        found: read,
      });
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
    for (const { tensor } of this.#groups.values()) tensor.dispose();
  }
}

/** Elements initialised at once. */
const chunkElements = 1 << 20;

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
