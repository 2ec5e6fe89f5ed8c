/**
 * Which format each parameter group is stored in. Routers, norms and biases are always f32. At 4 bits, what all tokens
 * pass through and what is small compared with the experts keeps 8: the low-rank attention matrices, where an error reaches
 * every head, the embedding and the output head. So do the linear layers of image towers and projectors
 * (docs/quantization.md has the figures); convolutions stay floats.
 */
import { bytesPerElement } from "../tensor/dtype.ts";
import { type QuantFormat, quantizedBytes } from "../tensor/quantized.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { GroupSpec, Layout } from "./parameter-group.ts";

/** How a matrix is stored: as floats, or quantized. */
export type StorageFormat = "f32" | "bf16" | "f16" | QuantFormat;

/** Storage of each group; not asked for groups that are always f32. */
export type StorageRule = (spec: GroupSpec) => StorageFormat;

const isQuantizedFormat = (format: StorageFormat) => format === "q4" || format === "q8";

/**
 * The storage rule that a dtype stands for.
 * @param vision linear layers of image towers and projectors; default: 8 bits where `dtype` is quantized, else `dtype`
 */
export function storageRule(dtype: StorageFormat, vision?: StorageFormat): StorageRule {
  const seeing = vision ?? (isQuantizedFormat(dtype) ? "q8" : dtype);
  const filter = [seeing, dtype].find((format) => !isQuantizedFormat(format)) ?? "f32";
  return ({ role }) => {
    if (role === "vision") return seeing;
    if (role === "filter") return filter;
    return dtype === "q4" && (role === "latent" || role === "embedding" || role === "head") ? "q8" : dtype;
  };
}

/** A rule settled for one module. */
export interface StoragePlan {
  /** Format of a group of the module. */
  format(spec: GroupSpec): StorageFormat;
  /** Whether the module stores the pieces of a layout in place of its official tensor. */
  usesPieces(layout: Layout): boolean;
}

/**
 * Settles `wanted` for a module with these groups. Where the rule quantizes one of the groups that are `alike`, all of
 * them are quantized, in 8 bits if the rule says floats; those that no kernel reads quantized are f32. Layouts whose
 * groups are quantized, or that have to be, are stored in pieces.
 */
export function resolveStorage(groups: Iterable<GroupSpec>, wanted: StorageRule): StoragePlan {
  const quantized = new Set<string>();
  for (const group of groups) {
    if (group.alike === undefined) continue;
    const forms = group.layout ? [group.layout.official, ...group.layout.pieces] : [group];
    if (forms.some((form) => isQuantizedFormat(wanted(form)))) quantized.add(group.alike);
  }
  const together = ({ alike }: GroupSpec) => alike !== undefined && quantized.has(alike);
  return {
    format(spec) {
      if (spec.alwaysF32) return "f32";
      const format = wanted(spec);
      if (spec.unquantizable) return isQuantizedFormat(format) || together(spec) ? "f32" : format;
      if (!together(spec)) return format;
      return isQuantizedFormat(format) ? format : "q8";
    },
    usesPieces: ({ official, onlyPieces = false }) => onlyPieces || together(official),
  };
}

/** The groups that a module with these official groups stores under a plan. */
export function* plannedGroups(groups: Iterable<GroupSpec>, plan: StoragePlan): Generator<GroupSpec> {
  for (const group of groups) {
    if (group.layout && plan.usesPieces(group.layout)) yield* group.layout.pieces;
    else yield group;
  }
}

/** Bytes of one group. */
export function groupBytes({ shape }: GroupSpec, format: StorageFormat): number {
  if (format !== "q4" && format !== "q8") return sizeOf(shape) * bytesPerElement[format];
  const [rows, columns] = shape.slice(-2);
  return (shape.length === 3 ? shape[0] : 1) * quantizedBytes(format, rows, columns);
}
