/** The pre-norm block that all families share: `x + attention(norm x)`, then `x + feedForward(norm x)`. */
import { MhaAttention } from "../nn/attention/causal.ts";
import { MlaAttention } from "../nn/attention/mla/attention.ts";
import { BaselineMoe } from "../nn/baseline-moe.ts";
import { captured, type ForwardContext } from "../nn/context.ts";
import { GatedMlp } from "../nn/mlp.ts";
import { Moe, type MoeConfig, type RouterOutput } from "../nn/moe.ts";
import { RmsNorm } from "../nn/norm.ts";
import type { ParameterScope } from "../nn/scope.ts";
import { add } from "../tensor/ops/elementwise.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { isMoeLayer, type LanguageConfig } from "./language-config.ts";

/** The attention of one layer, which is alike in all of them. */
export function layerAttention(scope: ParameterScope, config: LanguageConfig): MhaAttention | MlaAttention {
  const { attention, rope, hiddenSize } = config;
  return attention.kind === "mla"
    ? new MlaAttention(scope, attention, rope, hiddenSize)
    : new MhaAttention(scope, attention, hiddenSize);
}

type FeedForwardOfExperts = Moe | BaselineMoe;

function layerExperts(
  scope: ParameterScope,
  moe: MoeConfig,
  hidden: number,
  layer: number,
): FeedForwardOfExperts {
  const { baseline } = moe;
  return baseline === undefined
    ? new Moe(scope, moe, hidden, layer)
    : new BaselineMoe(scope, { ...moe, baseline }, hidden, layer);
}

export class Block {
  readonly layer: number;
  readonly attention: MhaAttention | MlaAttention;
  readonly #feedForward: GatedMlp | FeedForwardOfExperts;
  readonly #inputNorm: RmsNorm;
  readonly #postNorm: RmsNorm;

  /** @param layer index of the layer, counting all layers */
  constructor(scope: ParameterScope, config: LanguageConfig, layer: number) {
    const { hiddenSize, intermediateSize, moe, normEpsilon } = config;
    const mlp = scope.child("mlp");
    this.layer = layer;
    this.attention = layerAttention(scope.child("self_attn"), config);
    this.#feedForward =
      moe !== null && isMoeLayer(config, layer)
        ? layerExperts(mlp, moe, hiddenSize, layer)
        : new GatedMlp(mlp, hiddenSize, intermediateSize);
    this.#inputNorm = new RmsNorm(scope.child("input_layernorm"), hiddenSize, normEpsilon);
    this.#postNorm = new RmsNorm(scope.child("post_attention_layernorm"), hiddenSize, normEpsilon);
  }

  /**
   * `x: [B, T, d]` to `[B, T, d]`. What a router decided is added to `routers`, if that is asked for.
   * @param cached index of the block in the caches
   */
  forward(x: Tensor, context: ForwardContext, cached: number, routers: RouterOutput[] | null): Tensor {
    const { device } = x;
    const middle = device.tidy(() => {
      const normed = this.#inputNorm.forward(x); // [B, T, d]
      return add(x, this.attention.forward(normed, context, cached)); // [B, T, d]
    });
    const [y] = device.tidy(() => {
      const normed = this.#postNorm.forward(middle); // [B, T, d]
      if (this.#feedForward instanceof GatedMlp) return [add(middle, this.#feedForward.forward(normed))]; // [B, T, d]
      const { output, router } = this.#feedForward.forward(normed, context);
      captured(context.capture, `router.${this.layer}.topk_ids`, router.ids);
      captured(context.capture, `router.${this.layer}.topk_weights`, router.weights);
      routers?.push(router);
      const kept = routers ? routerTensors(router) : [];
      return [add(middle, output), ...kept]; // [B, T, d]
    });
    device.release(middle);
    return y;
  }
}

/** The tensors of a router's output that were made in the forward pass. */
export function routerTensors({ ids, weights, scores, counts, firstChoice }: RouterOutput): Tensor[] {
  return [ids, weights, scores, counts, ...(firstChoice ? [firstChoice] : [])];
}
