/**
 * Which format each matrix of a model is stored in. Routers, norms and biases are always f32. At 4 bits, what all
 * tokens pass through and what is small beside the experts keeps 8: the low-rank attention matrices, where an error
 * reaches every head, the embedding and the output head.
 */
import type { GroupSpec, StorageFormat, StorageRule } from "../nn/parameters.ts";
import { bytesPerElement } from "../tensor/dtype.ts";
import { quantizedBytes, TILE_ROWS } from "../tensor/quantized.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { LanguageConfig } from "./language-config.ts";
import { type LatentLayout, mainSpecs, mtpSpecs } from "./specs.ts";

/** The storage rule that a dtype stands for. */
export function storageRule(dtype: StorageFormat): StorageRule {
  if (dtype !== "q4") return () => dtype;
  return ({ role }) => (role === "latent" || role === "embedding" || role === "head" ? "q8" : "q4");
}

/** Format of a group under a dtype; f32 for what is no matrix. */
export function storageOf(spec: GroupSpec, rule: StorageRule): StorageFormat {
  return spec.kind === "matrix" ? rule(spec) : "f32";
}

const isQuantizedFormat = (format: StorageFormat) => format === "q4" || format === "q8";

/**
 * How a model stores its weights under a rule. Where the rule quantizes a projection of latent attention, all of them
 * take the layout of the absorbed form and are quantized, in 8 bits where the rule says floats; so are experts where
 * the rule quantizes one of their two matrices. Experts whose width is no multiple of 8, which no released model has,
 * stay f32: their kernel takes gate and up in whole groups of rows.
 */
export function resolveStorage(
  config: LanguageConfig,
  wanted: StorageRule,
): { readonly rule: StorageRule; readonly layout: LatentLayout } {
  const narrow = config.moe !== null && config.moe.expertWidth % TILE_ROWS !== 0;
  const experts = new Set<string>();
  for (const spec of [...mainSpecs(config), ...mtpSpecs(config)]) {
    if (spec.role === "experts" && isQuantizedFormat(wanted(spec))) experts.add(expertsOf(spec));
  }
  const rule: StorageRule = (spec) => {
    const format = wanted(spec);
    if (spec.role !== "experts" || !experts.has(expertsOf(spec))) return format;
    return narrow ? "f32" : isQuantizedFormat(format) ? format : "q8";
  };
  const ups = [...mainSpecs(config), ...mainSpecs(config, "absorbed")].filter(isLatentUp);
  if (!ups.some((spec) => isQuantizedFormat(rule(spec)))) return { rule, layout: "official" };
  return {
    layout: "absorbed",
    rule: (spec) => {
      const format = rule(spec);
      return isLatentUp(spec) && !isQuantizedFormat(format) ? "q8" : format;
    },
  };
}

/** What the matrices of one layer's experts have in common. */
function expertsOf({ key }: GroupSpec): string {
  return key.slice(0, key.lastIndexOf("."));
}

function isLatentUp({ key }: GroupSpec): boolean {
  return /\.(kv|k|v)_b_proj\.weight$/.test(key);
}

/** Bytes of one group. */
export function groupBytes(spec: GroupSpec, format: StorageFormat): number {
  if (format !== "q4" && format !== "q8") return sizeOf(spec.shape) * bytesPerElement[format];
  const [rows, columns] = spec.shape.slice(-2);
  return (spec.shape.length === 3 ? spec.shape[0] : 1) * quantizedBytes(format, rows, columns);
}

/** Bytes of a model's weights under a rule, and those that one token reads, the embedding's table not among them. */
export function weightBytes(config: LanguageConfig, rule: StorageRule): { total: number; perToken: number } {
  const { layout, rule: resolved } = resolveStorage(config, rule);
  let total = 0;
  let perToken = 0;
  for (const spec of mainSpecs(config, layout)) {
    const bytes = groupBytes(spec, storageOf(spec, resolved));
    total += bytes;
    if (spec.role === "embedding" && !config.tieEmbeddings) continue;
    perToken += spec.experts && config.moe ? (bytes * config.moe.router.topK) / spec.experts : bytes;
  }
  for (const spec of mtpSpecs(config, layout)) total += groupBytes(spec, storageOf(spec, resolved));
  return { total, perToken };
}
