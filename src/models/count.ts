/** Parameter counts and bytes of a configuration, without allocating anything. */
import type { GroupSpec } from "../nn/parameter-group.ts";
import { describeModule } from "../nn/scope.ts";
import { groupBytes, plannedGroups, resolveStorage, type StorageRule } from "../nn/storage.ts";
import { sizeOf } from "../tensor/tensor.ts";
import { layerAttention } from "./block.ts";
import { type Decoder, describeDecoder } from "./decoder.ts";
import type { LanguageConfig } from "./language-config.ts";

export interface ParameterCounts {
  /** The main model, norms and router biases included. */
  readonly total: number;
  /** What one token uses of it, input embedding and head included. */
  readonly activated: number;
  /** `activated` without the input embedding. */
  readonly activatedWithoutEmbedding: number;
  /** Attention of one layer with its latent norms. */
  readonly attentionPerLayer: number;
  /** What multi-token prediction adds. */
  readonly mtp: number;
  /** What one token uses of that, without the shared embedding and head. */
  readonly mtpActivated: number;
  /** All elements of a released checkpoint, where MTP layers repeat the embedding and the head. */
  readonly checkpoint: number;
}

/** @throws ConfigError on counts beyond reason */
export function countParameters(config: LanguageConfig): ParameterCounts {
  const { vocabSize, hiddenSize, mtpLayers } = config;
  const sum = (groups: Iterable<GroupSpec>, part: (spec: GroupSpec) => number) => {
    let total = 0;
    for (const group of groups) total += sizeOf(group.shape) * part(group);
    return total;
  };
  const share = ({ routed }: GroupSpec) => (routed ? routed.perToken / routed.experts : 1);
  const { mainParameters, mtpParameters } = describeDecoder(config);
  const total = mainParameters.count;
  const mtp = mtpParameters.count;
  const activated = sum(mainParameters.groups(), share);
  const table = vocabSize * hiddenSize;
  return {
    total,
    activated,
    activatedWithoutEmbedding: activated - table,
    attentionPerLayer: describeModule((scope) => layerAttention(scope, config)).parameters.count,
    mtp,
    mtpActivated: sum(mtpParameters.groups(), share),
    checkpoint: total + mtp + 2 * mtpLayers * table,
  };
}

/** Bytes of a model's weights under a rule, and those that one token reads, the embedding's table not among them. */
export function weightBytes(decoder: Decoder, rule: StorageRule): { total: number; perToken: number } {
  const { config, parameters, mainParameters, mtpParameters } = decoder;
  const plan = resolveStorage(parameters.groups(), rule);
  let total = 0;
  let perToken = 0;
  for (const group of plannedGroups(mainParameters.groups(), plan)) {
    const bytes = groupBytes(group, plan.format(group));
    total += bytes;
    if (group.role === "embedding" && !config.tieEmbeddings) continue;
    perToken += group.routed ? (bytes * group.routed.perToken) / group.routed.experts : bytes;
  }
  for (const group of plannedGroups(mtpParameters.groups(), plan)) {
    total += groupBytes(group, plan.format(group));
  }
  return { total, perToken };
}

/** Values that one token adds to the cache of one layer. */
export function cacheWidth(config: LanguageConfig): number {
  const { module } = describeModule((scope) => layerAttention(scope, config));
  return module.cacheWidths.reduce((sum, width) => sum + width, 0);
}
