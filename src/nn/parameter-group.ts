/**
 * What layers declare about their parameters, and the declared parameter with its storage. A group is what kernels
 * read as one tensor; its parts are the official tensors inside it.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Adapter } from "../tensor/ops/low-rank.ts";
import type { ProductRounding } from "../tensor/ops/rounded.ts";
import { isQuantized, type Weight } from "../tensor/quantized.ts";
import type { Shape, Tensor } from "../tensor/tensor.ts";

/**
 * What a matrix does, as far as its storage depends on it. `latent` ones make or expand low-rank projections; `vision` ones
 * are the linear layers of image towers, of projectors and of what draws, `filter` ones convolutions that are computed as products
 * and the other matrices of autoencoders.
 */
export type MatrixRole = "embedding" | "head" | "latent" | "experts" | "vision" | "filter";

/** An official tensor inside a group: `offset` in elements from the group's start. */
export interface PartSpec {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
  /** Which routed expert it belongs to. */
  readonly expert?: number;
  /** Rows of a head if the two halves of its rows are rotary pairs: some files interleave them. */
  readonly rotaryRows?: number;
}

export interface GroupSpec {
  /** Name of the stored tensor, in optimizer states and in folders of quantized weights. */
  readonly key: string;
  readonly shape: Shape;
  readonly parts: readonly PartSpec[];
  /** First values: normal draws, ones, zeros, or uniform draws within 1 / sqrt(columns) of zero. */
  readonly initial: "normal" | "ones" | "zeros" | "uniform";
  /** Whether gradients and the optimizer reach it. */
  readonly trained: boolean;
  /** Whether weight decay applies. */
  readonly decay: boolean;
  /** Whether it stays f32 whatever the model's weights are stored in: norms, biases, routers. */
  readonly alwaysF32: boolean;
  /** Name under which other programs save the whole group as one tensor of `shape`. */
  readonly stackedName?: string;
  /** Routed experts in the group and how many of them a token uses; absent if every token uses all of it. */
  readonly routed?: { readonly experts: number; readonly perToken: number };
  readonly role?: MatrixRole;
  /** Groups with the same name here are quantized together or not at all. */
  readonly alike?: string;
  /** Whether no kernel takes it quantized: it is f32 if it would be. */
  readonly unquantizable?: boolean;
  /** The two ways to store what this group holds, of which it is one. */
  readonly layout?: Layout;
  /** Which of the layout's pieces it is; absent for the official tensor. */
  readonly piece?: number;
}

/**
 * Two ways to store one official tensor: as it is, or as pieces that compute faster. The tensor and each piece consist
 * of `units` equal runs of values, and a run of the tensor determines the runs of the pieces with the same index.
 */
export interface Layout {
  readonly official: GroupSpec;
  readonly pieces: readonly GroupSpec[];
  readonly units: number;
  /** Whether kernels take the pieces only, so that the official tensor is never stored as it is; default false. */
  readonly onlyPieces?: boolean;
  /** Of each piece the rows of a unit that it takes over as they are, or null if it rearranges values. */
  readonly plainRows: readonly ({ readonly first: number; readonly count: number } | null)[];
  /** A unit of the official tensor to the unit of a piece. */
  split(unit: Float32Array, piece: number): Float32Array;
  /** The units of all pieces to that of the official tensor. */
  join(pieces: readonly Float32Array[]): Float32Array;
}

/** A declared group, with storage unless it is only described. */
export interface ParameterGroup extends GroupSpec {
  /** What layers multiply with. @throws ConfigError if the group is only described */
  readonly weight: Weight;
  /** The same as a float tensor. @throws ConfigError also if the weight is quantized */
  readonly tensor: Tensor;
  /** Whether training leaves it as it is, in whatever storage; set by `Parameters.freeze`. */
  frozen: boolean;
  /**
   * What is added to products with it; set by `LowRankAdapters`. Of pieces that stand for one official matrix the first has
   * the adapter of that matrix.
   */
  adapter: Adapter | null;
  /** How both sides of products with it are rounded; null: not at all. Set by `setPrecision`. */
  rounding: ProductRounding | null;
}

/** Sees to the storage of a spec; null for a description. */
export function parameterGroup(spec: GroupSpec, weight: Weight | null): ParameterGroup {
  return {
    ...spec,
    frozen: false,
    adapter: null,
    rounding: null,
    get weight() {
      if (weight !== null) return weight;
      throw new ConfigError("a described parameter has no values", {
        where: "ParameterScope",
        name: spec.key,
        hint: "Make the module with allocateModule to compute with it.",
      });
    },
    get tensor() {
      if (!isQuantized(this.weight)) return this.weight;
      throw new ConfigError("a quantized weight is not a float tensor", {
        where: "Parameters",
        name: spec.key,
        expected: "f32, bf16 or f16",
        found: this.weight.format,
        hint: "Load the model with dtype f32 to train it or to read single weights.",
      });
    },
  };
}

/** Bytes that the stored group takes. */
export function storedBytes({ weight }: ParameterGroup): number {
  return isQuantized(weight) ? weight.bytes : weight.size * bytesPerElement[weight.dtype];
}
