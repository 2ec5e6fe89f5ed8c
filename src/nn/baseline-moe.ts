/**
 * Mixtures of experts that DeepSeekMoE was compared with (arXiv 2401.06066 section 4), for research: GShard's top 2
 * (arXiv 2006.16668) without random dispatch, Switch's top 1 (arXiv 2101.03961), and hash layers (arXiv 2106.04426). That
 * comparison drops no tokens; with a factor of capacity the first two drop in training what those papers drop.
 */
import { expertCapacity, keptChoices } from "../tensor/ops/expert-capacity.ts";
import { experts } from "../tensor/ops/experts.ts";
import { multiply } from "../tensor/ops/multiply.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { type Routing, route } from "../tensor/ops/routing.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import { captured, type ForwardContext } from "./context.ts";
import { type BaselineRule, type MoeConfig, type RouterOutput, stackedExperts } from "./moe.ts";
import type { ParameterGroup } from "./parameter-group.ts";
import { routerLogits } from "./router-logits.ts";
import type { ParameterScope } from "./scope.ts";

/** Far enough above zero that the softmax of a row with one such element is 1 there to the bit. */
const CERTAIN = 64;

/** A row for each token id whose softmax is certain of the expert in `table`: `[V E]`. */
export function hashLogits(table: readonly number[], experts: number): Float32Array {
  const rows = new Float32Array(table.length * experts);
  table.forEach((expert, id) => {
    rows[id * experts + expert] = CERTAIN;
  });
  return rows;
}

export class BaselineMoe {
  readonly #config: MoeConfig;
  readonly #capacityFactor: number | null;
  readonly #layer: number;
  /** Null in a hash layer. */
  readonly #gate: ParameterGroup | null;
  readonly #experts: { readonly gateUp: ParameterGroup; readonly down: ParameterGroup };

  /** @param hidden width of `x` and of the result @param layer index of the layer, counting all layers */
  constructor(
    scope: ParameterScope,
    config: MoeConfig & { readonly baseline: BaselineRule },
    hidden: number,
    layer: number,
  ) {
    const { baseline } = config;
    this.#config = config;
    this.#capacityFactor = baseline.kind === "hash" ? null : baseline.capacityFactor;
    this.#layer = layer;
    this.#gate =
      baseline.kind === "hash"
        ? null
        : scope.matrix("gate.weight", config.experts, hidden, { alwaysF32: true });
    this.#experts = stackedExperts(scope, config, hidden);
  }

  /** `x: [B, T, d]` (already normed) to the layer's output `[B, T, d]` and what chose its experts. */
  forward(x: Tensor, context: ForwardContext): { output: Tensor; router: RouterOutput } {
    const { router: options, experts: count } = this.#config;
    const d = x.shape.at(-1)!;
    const flat = reshape(x, [sizeOf(x.shape) / d, d]); // [N, d]
    const logits =
      this.#gate === null
        ? reshape(context.hashed!, [flat.shape[0], count]) // [N, E]
        : routerLogits(flat, this.#gate.tensor, context.routing); // [N, E]
    const routed = route(logits, null, options); // [N, K]
    const { gateUp, down } = this.#experts;
    const adapters = { gateUp: gateUp.adapter, down: down.adapter };
    const kept = this.#kept(routed, context); // [N, K]
    const { output, plan } = experts(flat, kept, gateUp.weight, down.weight, adapters); // [N, d]
    const decided = { layer: this.#layer, ...routed, counts: plan.counts, bias: null };
    const { device } = x;
    const router =
      options.topK === 1
        ? decided
        : { ...decided, firstChoice: device.noGrad(() => route(logits, null, { ...options, topK: 1 }).ids) }; // [N, 1]
    return { output: reshape(output, x.shape), router };
  }

  /** The choices with weight 0 where a training pass drops them; the other weights of a token stay as they are. */
  #kept({ ids, weights, scores }: Routing, { training, capture }: ForwardContext) {
    if (this.#capacityFactor === null || !training) return { ids, weights };
    const [tokens, experts] = scores.shape;
    const capacity = expertCapacity(this.#capacityFactor, this.#config.router.topK, tokens, experts);
    const { kept, taken } = keptChoices(ids, scores, capacity); // [N, K], [E]
    captured(capture, `router.${this.#layer}.kept`, kept);
    captured(capture, `router.${this.#layer}.taken`, taken);
    return { ids, weights: multiply(weights, kept) };
  }
}
