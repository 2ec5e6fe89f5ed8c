/** Parameter counts of a configuration, without allocating anything. */
import type { GroupSpec } from "../nn/parameters.ts";
import { sizeOf } from "../tensor/tensor.ts";
import type { LanguageConfig } from "./language-config.ts";
import { attentionSpecs, mainSpecs, mtpSpecs } from "./specs.ts";

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

export function countParameters(config: LanguageConfig): ParameterCounts {
  const { vocabSize, hiddenSize, mtpLayers, moe } = config;
  const share = (spec: GroupSpec) => (spec.experts && moe ? moe.router.topK / spec.experts : 1);
  const sum = (specs: readonly GroupSpec[], part: (spec: GroupSpec) => number) =>
    specs.reduce((total, spec) => total + sizeOf(spec.shape) * part(spec), 0);
  const all = () => 1;
  const main = mainSpecs(config);
  const extra = mtpSpecs(config);
  const total = sum(main, all);
  const activated = sum(main, share);
  const table = vocabSize * hiddenSize;
  return {
    total,
    activated,
    activatedWithoutEmbedding: activated - table,
    attentionPerLayer: sum(attentionSpecs(config, 0), all),
    mtp: sum(extra, all),
    mtpActivated: sum(extra, share),
    checkpoint: total + sum(extra, all) + 2 * mtpLayers * table,
  };
}
