/** Tensors, devices, gradients and the operations that models are made of. */
export type { Backend, Buffer, Kernel, MemoryUse, Operand, OperandKind } from "./backend.ts";
export { type CpuOptions, createCpuDevice } from "./cpu/backend.ts";
export type { RawArray } from "./dtype.ts";
export { bytesPerElement, type DType } from "./dtype.ts";
export {
  ConfigError,
  DeepseekError,
  DisposedError,
  type ErrorDetail,
  FormatError,
  NotFiniteError,
  ShapeError,
} from "./errors.ts";
export * from "./float-formats.ts";
export { type AttentionOptions, attention } from "./ops/attention.ts";
export { attentionBidirectional, type BidirectionalOptions } from "./ops/attention-bidirectional.ts";
export { attentionIsolated } from "./ops/attention-isolated.ts";
export { choiceEntropy, nearestCode, unitRows } from "./ops/codes.ts";
export { type ConvOptions, conv2d, type Padding } from "./ops/conv2d.ts";
export { cosineSimilarity } from "./ops/cosine.ts";
export { type CrossEntropyOptions, crossEntropy, tokenLosses } from "./ops/cross-entropy.ts";
export { depthwiseConv2d } from "./ops/depthwise.ts";
export { add, addScaled, scale } from "./ops/elementwise.ts";
export { embedding } from "./ops/embedding.ts";
export { type Activation, gelu } from "./ops/gelu.ts";
export { groupNorm } from "./ops/group-norm.ts";
export { addLayerNorm, layerNorm } from "./ops/layer-norm.ts";
export { linear } from "./ops/linear.ts";
export { type Adapter, addLowRank, type LowRank } from "./ops/low-rank.ts";
export { type MatmulOptions, matmul } from "./ops/matmul.ts";
export { meanAbsoluteError, meanSquaredError, squaredErrors } from "./ops/mean-error.ts";
export { modulate } from "./ops/modulate.ts";
export { movingAverage } from "./ops/moving-average.ts";
export { multiply } from "./ops/multiply.ts";
export { normalNoise, timeSinusoids } from "./ops/noise.ts";
export { permute } from "./ops/permute.ts";
export { pixelShuffle, unfold } from "./ops/pixel-shuffle.ts";
export {
  type PolicyTerms,
  type PolicyTermsOptions,
  type PolicyTokens,
  policyTerms,
} from "./ops/policy-terms.ts";
export {
  type PreferenceTerms,
  type PreferenceTermsOptions,
  preferenceTerms,
} from "./ops/preference-terms.ts";
export { meanAll, squaredNorm, sumAll, weightedSum } from "./ops/reduce.ts";
export { concat, reshape, split } from "./ops/reshape.ts";
export { type ResizeMode, resize } from "./ops/resize.ts";
export { responseNorm } from "./ops/response-norm.ts";
export { rmsNorm } from "./ops/rms-norm.ts";
export { type RotaryOptions, type RotaryTables, rotary, rotaryTables } from "./ops/rotary.ts";
export {
  type ProductRounding,
  type RoundedFormat,
  roundedLinear,
  roundTiles,
  type ScaleTile,
} from "./ops/rounded.ts";
export { sigmoid, silu } from "./ops/silu.ts";
export { swiglu } from "./ops/swiglu.ts";
export {
  type TokenLogProbabilities,
  type TokenLogProbabilityOptions,
  tokenLogProbabilities,
} from "./ops/token-log-probabilities.ts";
export { upsampleNearest } from "./ops/upsample.ts";
export type { QuantFormat, QuantizedShard, QuantizedTensor, Weight } from "./quantized.ts";
export { Random, type RandomState } from "./random.ts";
export { createReferenceDevice } from "./reference/backend.ts";
export { differentiate } from "./tape.ts";
export type { Backward, Gradients, Recorder } from "./tensor.ts";
export { Device, disposeAll, type Shape, sameShape, sizeOf, Tensor } from "./tensor.ts";
