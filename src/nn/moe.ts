/**
 * The mixture-of-experts layer (DeepSeekMoE, arXiv 2401.06066): a router picks `topK` of `experts` fine-grained
 * experts for each token; shared experts, one fused MLP, see every token. Routers differ by generation: softmax and
 * greedy (V1, V2-Lite), group-limited (V2), sigmoid with a correction bias that only chooses (V3).
 */
import { add } from "../tensor/ops/elementwise.ts";
import { experts } from "../tensor/ops/experts.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { route } from "../tensor/ops/routing.ts";
import type { Weight } from "../tensor/quantized.ts";
import { sizeOf, type Tensor } from "../tensor/tensor.ts";
import type { Routing } from "./context.ts";
import { Mlp, mlpSpecs } from "./mlp.ts";
import { type GroupSpec, matrix, type Parameters, type PartSpec, vector } from "./parameters.ts";
import { routerLogits } from "./router-logits.ts";

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
}

/** What the router of one layer decided, for losses and bookkeeping. */
export interface RouterOutput {
  /** Index of the layer, counting all layers. */
  readonly layer: number;
  /** `[B T, K]` i32, ascending in each row. */
  readonly ids: Tensor;
  /** `[B T, K]`, final: renormalised where the config says so, and scaled. */
  readonly weights: Tensor;
  /** `[B T, E]` scores without bias. */
  readonly scores: Tensor;
  /** Tokens sent to each expert, `[E]` i32. */
  readonly counts: Tensor;
  /** The correction bias, `[E]`, or null. */
  readonly bias: Tensor | null;
}

/** Parameters of one layer; `prefix` ends with `mlp.`. */
export function moeSpecs(prefix: string, config: MoeConfig, hidden: number): GroupSpec[] {
  const { experts: E, sharedExperts, expertWidth: f } = config;
  const specs: GroupSpec[] = [matrix(`${prefix}gate.weight`, E, hidden, { kind: "router" })];
  if (config.router.bias) specs.push(vector(`${prefix}gate.e_score_correction_bias`, E, "bias"));
  const gateUp: PartSpec[] = [];
  const down: PartSpec[] = [];
  for (let e = 0; e < E; e++) {
    const at = `${prefix}experts.${e}.`;
    const offset = e * 2 * f * hidden;
    gateUp.push({ name: `${at}gate_proj.weight`, shape: [f, hidden], offset });
    gateUp.push({ name: `${at}up_proj.weight`, shape: [f, hidden], offset: offset + f * hidden });
    down.push({ name: `${at}down_proj.weight`, shape: [hidden, f], offset: e * hidden * f });
  }
  const stacked = (name: string, shape: number[], parts: PartSpec[]): GroupSpec => {
    const key = `${prefix}experts.${name}`;
    return { key, shape, parts, kind: "matrix", stackedName: key, experts: E, role: "experts" };
  };
  specs.push(stacked("gate_up_proj", [E, 2 * f, hidden], gateUp), stacked("down_proj", [E, hidden, f], down));
  if (config.sharedExperts > 0)
    specs.push(...mlpSpecs(`${prefix}shared_experts.`, hidden, sharedExperts * f));
  return specs;
}

export class Moe {
  readonly #config: MoeConfig;
  readonly #layer: number;
  readonly #gate: Tensor;
  readonly #bias: Tensor | null;
  readonly #gateUp: Weight;
  readonly #down: Weight;
  readonly #shared: Mlp | null;

  constructor(parameters: Parameters, prefix: string, config: MoeConfig, layer: number) {
    this.#config = config;
    this.#layer = layer;
    const stored = (name: string) => parameters.group(prefix + name).tensor;
    this.#gate = stored("gate.weight");
    this.#bias = config.router.bias ? stored("gate.e_score_correction_bias") : null;
    this.#gateUp = parameters.group(`${prefix}experts.gate_up_proj`).weight;
    this.#down = parameters.group(`${prefix}experts.down_proj`).weight;
    this.#shared = config.sharedExperts > 0 ? new Mlp(parameters, `${prefix}shared_experts.`) : null;
  }

  /** `x: [B, T, d]` (already normed) to the layer's output `[B, T, d]` and the router's decisions. */
  forward(x: Tensor, routing: Routing): { output: Tensor; router: RouterOutput } {
    const d = x.shape.at(-1)!;
    const flat = reshape(x, [sizeOf(x.shape) / d, d]); // [N, d]
    const routed = route(routerLogits(flat, this.#gate, routing), this.#bias, this.#config.router); // [N, K]
    const { output, plan } = experts(flat, routed, this.#gateUp, this.#down); // [N, d]
    const mixed = this.#shared ? add(output, this.#shared.forward(flat)) : output; // [N, d]
    const router = { layer: this.#layer, ...routed, counts: plan.counts, bias: this.#bias };
    return { output: reshape(mixed, x.shape), router };
  }
}
