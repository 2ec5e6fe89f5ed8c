/**
 * M, the measure of model size of DeepSeek LLM (arXiv 2401.02954, section 3.2): FLOPs a token of forward and backward without
 * vocabulary work, C = M D. Attention scores count over the full length; causality does not halve them.
 */
import { describeDecoder } from "../models/decoder.ts";
import type { LanguageConfig } from "../models/language-config.ts";
import type { GroupSpec } from "../nn/parameter-group.ts";
import { sizeOf } from "../tensor/tensor.ts";

/** The paper's formula for a dense decoder of width d with a SwiGLU of 8/3 d: 72 n d^2 + 12 n d l. */
export function denseFlopsPerToken(layers: number, width: number, length: number): number {
  return 72 * layers * width ** 2 + 12 * layers * width * length;
}

export interface ModelMeasures {
  /** M at a sequence length. */
  readonly flopsPerToken: number;
  /** Six times the matrix parameters that a token uses, without embedding and head: 6 N1. */
  readonly sixN1: number;
  /** The same with the head: 6 N2. */
  readonly sixN2: number;
}

/** Matrix parameters that a token uses; norms and biases multiply no matrix. */
function activatedMatrices(groups: Iterable<GroupSpec>): number {
  let total = 0;
  for (const { shape, role, routed } of groups) {
    if (shape.length < 2 || role === "embedding" || role === "head") continue;
    total += sizeOf(shape) * (routed ? routed.perToken / routed.experts : 1);
  }
  return total;
}

/**
 * The measures of any model of this package at sequences of `length` tokens: 6 FLOPs for each matrix parameter that a token
 * uses (activated experts, shared ones and routers among them; latent projections as they are trained), and attention of
 * 6 heads (d_qk + d_v) length a layer. Layers of multi-token prediction count, as they are trained.
 */
export function measureModel(config: LanguageConfig, length: number): ModelMeasures {
  const { attention: a, layers, mtpLayers, vocabSize, hiddenSize } = config;
  const { mainParameters, mtpParameters } = describeDecoder(config);
  const sixN1 = 6 * (activatedMatrices(mainParameters.groups()) + activatedMatrices(mtpParameters.groups()));
  const widths = a.kind === "mla" ? a.nopeDim + a.ropeDim + a.valueDim : 2 * a.headDim;
  return {
    flopsPerToken: sixN1 + 6 * (layers + mtpLayers) * a.heads * widths * length,
    sixN1,
    sixN2: sixN1 + 6 * vocabSize * hiddenSize,
  };
}
