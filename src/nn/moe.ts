/**
 * The mixture-of-experts layer (DeepSeekMoE, arXiv 2401.06066): a router picks `topK` of `experts` fine-grained
 * experts for each token; shared experts, one fused MLP, see every token. Routers differ by generation: softmax and
 * greedy (V1, V2-Lite), group-limited (V2), sigmoid with a correction bias that only chooses (V3).
 */
import { add } from "../tensor/ops/elementwise.ts";
import { experts } from "../tensor/ops/experts.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { route } from "../tensor/ops/routing.ts";
import { TILE_ROWS } from "../tensor/quantized.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import type { ForwardContext } from "./context.ts";
import { GatedMlp } from "./mlp.ts";
import type { ParameterGroup, PartSpec } from "./parameter-group.ts";
import { routerLogits } from "./router-logits.ts";
import type { ParameterScope } from "./scope.ts";

export interface RouterConfig {
  readonly topK: number;
  readonly scoring: "softmax" | "sigmoid";
  /** Whether a correction bias joins the scores for choosing (`noaux_tc`). */
  readonly bias: boolean;
  readonly groups: number;
  readonly topGroups: number;
  /** Score of a group: its best expert (V2) or the sum of its best two (V3). */
  readonly groupScore: "max" | "top2";
  /** What hides the experts of other groups; the V2 class uses zero even with a bias (DeepSeek-VL2). */
  readonly maskWith: "-inf" | "zero";
  readonly normalize: boolean;
  readonly scale: number;
}

/**
 * Rules of other papers that DeepSeekMoE was compared with (`baseline-moe.ts`). GShard counts its balance on first
 * choices; with a factor of capacity, training drops the choices that exceed it. A hash layer takes the expert of a
 * token's id from a table, `[V]`, and has no router.
 */
export type BaselineRule =
  | { readonly kind: "gshard" | "switch"; readonly capacityFactor: number | null }
  | { readonly kind: "hash"; readonly table: readonly number[] };

export interface MoeConfig {
  readonly experts: number;
  readonly sharedExperts: number;
  readonly expertWidth: number;
  readonly firstDenseLayers: number;
  readonly layerFrequency: number;
  readonly router: RouterConfig;
  /** Weight of the balance loss and whether it is taken per sequence. */
  readonly balanceAlpha: number;
  readonly balancePerSequence: boolean;
  /** Absent for the models of the family. */
  readonly baseline?: BaselineRule;
}

/** What the router of one layer decided, for losses and bookkeeping. */
export interface RouterOutput {
  /** Index of the layer, counting all layers. */
  readonly layer: number;
  /** `[B T, K]` i32, ascending in each row. */
  readonly ids: Tensor;
  /** `[B T, K]`, final: renormalized if the config says so, and scaled. */
  readonly weights: Tensor;
  /** `[B T, E]` scores without bias. */
  readonly scores: Tensor;
  /** Tokens sent to each expert, `[E]` i32. */
  readonly counts: Tensor;
  /** The correction bias, `[E]`, or null. */
  readonly bias: Tensor | null;
  /** What the balance loss counts instead of `ids`, `[B T, 1]` i32: first choices (GShard). */
  readonly firstChoice?: Tensor;
}

/** Declares the stacked matrices of all experts, `[E, 2 f, hidden]` and `[E, hidden, f]`. */
export function stackedExperts(scope: ParameterScope, config: MoeConfig, hidden: number) {
  const { experts: E, expertWidth: f, router } = config;
  const gateUp: PartSpec[] = [];
  const down: PartSpec[] = [];
  for (let expert = 0; expert < E; expert++) {
    const at = `experts.${expert}`;
    const offset = expert * 2 * f * hidden;
    gateUp.push({ name: `${at}.gate_proj.weight`, shape: [f, hidden], offset, expert });
    gateUp.push({ name: `${at}.up_proj.weight`, shape: [f, hidden], offset: offset + f * hidden, expert });
    down.push({ name: `${at}.down_proj.weight`, shape: [hidden, f], offset: expert * hidden * f, expert });
  }
  const stacked = (key: string, shape: number[], parts: PartSpec[]) =>
    scope.declare({
      ...{ key, shape, parts, stackedName: key, role: "experts" },
      routed: { experts: E, perToken: router.topK },
      // One kernel reads both, gate and up in whole groups of rows.
      alike: `${scope.prefix}experts`,
      unquantizable: f % TILE_ROWS !== 0,
    });
  return {
    gateUp: stacked("experts.gate_up_proj", [E, 2 * f, hidden], gateUp),
    down: stacked("experts.down_proj", [E, hidden, f], down),
  };
}

export class Moe {
  readonly #config: MoeConfig;
  readonly #layer: number;
  readonly #gate: ParameterGroup;
  /** Moves the router's choice; set by the balancing of the training loop, not by gradients. */
  readonly #bias: ParameterGroup | null;
  readonly #experts: { readonly gateUp: ParameterGroup; readonly down: ParameterGroup };
  readonly #shared: GatedMlp | null;

  /** @param hidden width of `x` and of the result @param layer index of the layer, counting all layers */
  constructor(scope: ParameterScope, config: MoeConfig, hidden: number, layer: number) {
    const { experts: E, sharedExperts, expertWidth } = config;
    this.#config = config;
    this.#layer = layer;
    this.#gate = scope.matrix("gate.weight", E, hidden, { alwaysF32: true });
    this.#bias = config.router.bias
      ? scope.vector("gate.e_score_correction_bias", E, { initial: "zeros", trained: false })
      : null;
    this.#experts = stackedExperts(scope, config, hidden);
    this.#shared =
      sharedExperts > 0
        ? new GatedMlp(scope.child("shared_experts"), hidden, sharedExperts * expertWidth)
        : null;
  }

  /** `x: [B, T, d]` (already normed) to the layer's output `[B, T, d]` and the router's decisions. */
  forward(x: Tensor, { routing }: Pick<ForwardContext, "routing">): { output: Tensor; router: RouterOutput } {
    const d = x.shape.at(-1)!;
    const flat = reshape(x, [sizeOf(x.shape) / d, d]); // [N, d]
    const { gateUp, down } = this.#experts;
    const bias = this.#bias?.tensor ?? null;
    const routed = route(routerLogits(flat, this.#gate.tensor, routing), bias, this.#config.router); // [N, K]
    const adapters = { gateUp: gateUp.adapter, down: down.adapter };
    const { output, plan } = experts(flat, routed, gateUp.weight, down.weight, adapters); // [N, d]
    const mixed = this.#shared ? add(output, this.#shared.forward(flat)) : output; // [N, d]
    const router = { layer: this.#layer, ...routed, counts: plan.counts, bias };
    return { output: reshape(mixed, x.shape), router };
  }
}
