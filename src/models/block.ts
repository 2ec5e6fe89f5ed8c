/** The pre-norm block that all families share: `x + attention(norm x)`, then `x + feedForward(norm x)`. */
import { MhaAttention } from "../nn/attention.ts";
import { captured, type ForwardContext } from "../nn/context.ts";
import { MlaAttention } from "../nn/mla.ts";
import { Mlp } from "../nn/mlp.ts";
import { Moe, type RouterOutput } from "../nn/moe.ts";
import type { Parameters } from "../nn/parameters.ts";
import { add } from "../tensor/ops/elementwise.ts";
import { rmsNorm } from "../tensor/ops/rms-norm.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { isMoeLayer, type LanguageConfig } from "./language-config.ts";

export class Block {
  readonly layer: number;
  readonly #epsilon: number;
  readonly #attention: MhaAttention | MlaAttention;
  readonly #feedForward: Mlp | Moe;
  readonly #inputNorm: Tensor;
  readonly #postNorm: Tensor;

  constructor(parameters: Parameters, config: LanguageConfig, layer: number) {
    const prefix = `model.layers.${layer}.`;
    const { attention, rope, moe } = config;
    this.layer = layer;
    this.#epsilon = config.normEpsilon;
    this.#attention =
      attention.kind === "mla"
        ? new MlaAttention(parameters, `${prefix}self_attn.`, attention, rope)
        : new MhaAttention(parameters, `${prefix}self_attn.`, attention);
    this.#feedForward =
      moe !== null && isMoeLayer(config, layer)
        ? new Moe(parameters, `${prefix}mlp.`, moe, layer)
        : new Mlp(parameters, `${prefix}mlp.`);
    this.#inputNorm = parameters.group(`${prefix}input_layernorm.weight`).tensor;
    this.#postNorm = parameters.group(`${prefix}post_attention_layernorm.weight`).tensor;
  }

  /**
   * `x: [B, T, d]` to `[B, T, d]`. What a router decided is added to `routers`, where that is asked for.
   * @param cached index of the block in the caches
   */
  forward(x: Tensor, context: ForwardContext, cached: number, routers: RouterOutput[] | null): Tensor {
    const { device } = x;
    const middle = device.tidy(() => {
      const normed = rmsNorm(x, this.#inputNorm, this.#epsilon); // [B, T, d]
      return add(x, this.#attention.forward(normed, context, cached)); // [B, T, d]
    });
    const [y] = device.tidy(() => {
      const normed = rmsNorm(middle, this.#postNorm, this.#epsilon); // [B, T, d]
      if (this.#feedForward instanceof Mlp) return [add(middle, this.#feedForward.forward(normed))]; // [B, T, d]
      const { output, router } = this.#feedForward.forward(normed, context.routing);
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
export function routerTensors({ ids, weights, scores, counts }: RouterOutput): Tensor[] {
  return [ids, weights, scores, counts];
}
