/**
 * The routed experts of a mixture-of-experts layer: sort by expert, two grouped products with SwiGLU between,
 * weighted sum back per token. Shared experts are an ordinary feed-forward network and not part of this op.
 */
import { ShapeError } from "../errors.ts";
import { isQuantized, type Weight } from "../quantized.ts";
import { sameShape, type Tensor } from "../tensor.ts";
import { frozenGroupedLinear, passesGradient } from "./frozen-weights.ts";
import { groupedLinear } from "./grouped-matmul.ts";
import { type Adapter, addGroupedLowRank } from "./low-rank.ts";
import { quantizedExperts } from "./quantized-experts.ts";
import { quantizedGroupedLinear } from "./quantized-linear.ts";
import { combineRows, type ExpertPlan, expertPlan, gatherRows, type Routing } from "./routing.ts";
import { swiglu } from "./swiglu.ts";

/** What is added to the products of the experts, or null. */
export interface ExpertAdapters {
  readonly gateUp: Adapter | null;
  readonly down: Adapter | null;
}

/**
 * Sum over the chosen experts of weight times down(silu(gate x) * up x).
 * x [N, d]; ids and weights [N, K]; gateUp [E, 2f, d] holds gate over up; down [E, d, f]; output [N, d].
 * The plan's counts tell how many tokens each expert got. Weights are both floats or both quantized.
 * @throws ShapeError
 */
export function experts(
  x: Tensor,
  { ids, weights }: Pick<Routing, "ids" | "weights">,
  gateUp: Weight,
  down: Weight,
  adapters: ExpertAdapters = { gateUp: null, down: null },
): { output: Tensor; plan: ExpertPlan } {
  const where = "experts";
  const quantized = isQuantized(gateUp) && isQuantized(down);
  const plain = adapters.gateUp === null && adapters.down === null;
  if (plain && quantized && !passesGradient(x, weights))
    return quantizedExperts(x, { ids, weights }, gateUp, down);
  if (!quantized && (isQuantized(gateUp) || isQuantized(down))) {
    throw new ShapeError("quantized and float expert weights are mixed", { where });
  }
  if (down.shape.length !== 3) {
    throw new ShapeError("down must be [experts, d, f]", {
      where,
      name: "down",
      expected: "[E, d, f]",
      found: down.shape,
    });
  }
  const [count, width, inner] = down.shape;
  if (!sameShape(gateUp.shape, [count, 2 * inner, width])) {
    throw new ShapeError("gateUp does not fit down", {
      where,
      name: "gateUp",
      expected: [count, 2 * inner, width],
      found: gateUp.shape,
    });
  }
  if (x.shape.length !== 2 || x.shape[1] !== width || x.shape[0] !== ids.shape[0]) {
    throw new ShapeError("x does not have one row per routed token", {
      where,
      name: "x",
      expected: [ids.shape[0], width],
      found: x.shape,
    });
  }
  const plan = expertPlan(ids, count);
  const rows = gatherRows(x, plan); // [N K, d]
  const product = (input: Tensor, weight: Weight, adapter: Adapter | null) => {
    const { offsets } = plan;
    const y = !isQuantized(weight)
      ? groupedLinear(input, offsets, weight)
      : passesGradient(input)
        ? frozenGroupedLinear(input, offsets, weight)
        : quantizedGroupedLinear(input, offsets, weight);
    return adapter === null ? y : addGroupedLowRank(y, input, offsets, adapter);
  };
  const hidden = swiglu(product(rows, gateUp, adapters.gateUp)); // [N K, f]
  const output = combineRows(product(hidden, down, adapters.down), weights, plan); // [N, d]
  return { output, plan };
}
