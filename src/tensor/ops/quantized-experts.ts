/**
 * The feed-forward networks with quantized weights: one, and the routed experts of a mixture. Gate, up and SwiGLU
 * are one kernel, down and the weighted sum another; a token's activations are rounded once for all its experts.
 * A token's result has the same bits whatever other tokens are in the batch. No gradients.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { formatCode, type QuantizedTensor, TILE_ROWS } from "../quantized.ts";
import { sameShape, type Tensor } from "../tensor.ts";
import { activationMemory, lentMemory, quantizedLinear, refuseGradient } from "./quantized-linear.ts";
import { decodeRow, dotProduct, matrixBytes, roundedActivations } from "./quantized-reference.ts";
import { type ExpertPlan, expertPlan, type Routing } from "./routing.ts";
import { swiglu } from "./swiglu.ts";

/** Most rows (tokens times experts per token) of one call; more tokens go piece by piece, with the same results. */
const CALL_ROWS = 16384;
/** Most rows whose products with down lie in memory before they are summed. */
const FEW_ROWS = 64;

const gateUpKernel = defineKernel({
  name: "quantized_gate_up",
  operands: {
    x: "in f32",
    offsets: "in i32?",
    index: "in i32?",
    w: "in u8",
    y: "inout f32",
    rows: "out u8?",
  },
  ints: ["format", "groups", "tokens", "f", "k", "count"],
  work: ({ f, k, count }) => (f * k * count) / 4,
  reference: ({ x, offsets, index, w, y }, { format, groups, tokens, f, k }) => {
    const quantized = Array.from({ length: tokens }, (_, t) =>
      roundedActivations(format, x.subarray(t * k, (t + 1) * k)),
    );
    for (let g = 0; g < groups; g++) {
      const [begin, end] = offsets ? [offsets[g], offsets[g + 1]] : [0, tokens];
      if (begin === end) continue;
      const start = g * matrixBytes(format, 2 * f, k);
      for (let j = 0; j < f; j++) {
        const gate = decodeRow(format, w, start, j, k);
        const up = decodeRow(format, w, start, f + j, k);
        for (let r = begin; r < end; r++) {
          const row = quantized[index ? index[r] : r];
          const v = dotProduct(row, gate);
          y[r * f + j] = (v / (1 + Math.exp(-v))) * dotProduct(row, up);
        }
      }
    }
  },
});

const downKernel = defineKernel({
  name: "quantized_down",
  operands: {
    x: "in f32",
    offsets: "in i32",
    ids: "in i32",
    weights: "in f32",
    slots: "in i32",
    w: "in u8",
    y: "inout f32",
    rows: "out u8",
    partial: "out f32?",
  },
  ints: ["format", "begin", "experts", "tokens", "topK", "n", "k", "accumulate"],
  work: ({ tokens, topK, n, k }) => (tokens * topK * n * k) / 8,
  reference: (
    { x, ids, weights, slots, w, y },
    { format, begin, experts, tokens, topK, n, k, accumulate },
  ) => {
    if (!accumulate) y.fill(0, 0, tokens * n);
    for (let i = 0; i < tokens * topK; i++) {
      const expert = ids[i] - begin;
      if (expert < 0 || expert >= experts) continue;
      const row = roundedActivations(format, x.subarray(slots[i] * k, (slots[i] + 1) * k));
      const token = Math.floor(i / topK);
      for (let j = 0; j < n; j++) {
        const product = dotProduct(row, decodeRow(format, w, expert * matrixBytes(format, n, k), j, k));
        y[token * n + j] += weights[i] * product;
      }
    }
  },
});

/** Gate over up whose halves begin a row group each. @throws ShapeError */
function checkHalves(where: string, gateUp: QuantizedTensor, f: number): void {
  if (gateUp.rows === 2 * f && f % TILE_ROWS === 0) return;
  throw new ShapeError("gateUp must hold gate over up, each in whole groups of rows", {
    where,
    name: "gateUp",
    expected: `${2 * f} rows, the half a multiple of ${TILE_ROWS}`,
    found: gateUp.shape,
  });
}

/**
 * down(silu(gate x) * up x): x [.., d]; gateUp [2f, d] holds gate over up; down [d, f]; output [.., d]. Two kernels
 * if f is a multiple of 8. @throws ShapeError
 */
export function quantizedMlp(x: Tensor, gateUp: QuantizedTensor, down: QuantizedTensor): Tensor {
  const where = "quantizedMlp";
  const [f, k] = [down.columns, gateUp.columns];
  if (gateUp.shape.length !== 2 || down.shape.length !== 2 || gateUp.rows !== 2 * f || x.shape.at(-1) !== k) {
    throw new ShapeError("input and weights do not match", {
      where,
      expected: `[.., ${k}], [${2 * f}, ${k}], [${k}, ${f}]`,
      found: `[${x.shape}], [${gateUp.shape}], [${down.shape}]`,
    });
  }
  refuseGradient(where, x);
  const { device } = x;
  if (f % TILE_ROWS !== 0) {
    using hidden = device.unscoped(() => {
      using wide = quantizedLinear(x, gateUp);
      return swiglu(wide);
    });
    return quantizedLinear(hidden, down);
  }
  const lead = x.shape.slice(0, -1);
  const tokens = lead.reduce((size, each) => size * each, 1);
  using hidden = device.unscoped(() => device.empty([...lead, f]));
  if (hidden.size > 0) {
    const { tiles } = gateUp.shards[0];
    const rows = lentMemory(gateUp, tiles, tokens);
    gateUpKernel.run(
      device,
      { x, offsets: null, index: null, w: tiles, y: hidden, rows },
      { format: formatCode(gateUp.format), groups: 1, tokens, f, k, count: tokens },
    );
    rows?.dispose();
  }
  return quantizedLinear(hidden, down);
}

/** The experts of tokens that fit one call, into `output` [N, d]. */
function runExperts(
  x: Tensor,
  ids: Tensor,
  weights: Tensor,
  plan: ExpertPlan,
  gateUp: QuantizedTensor,
  down: QuantizedTensor,
  output: Tensor,
): void {
  const { device } = x;
  const [tokens, topK] = ids.shape;
  const [f, d] = [down.columns, down.rows];
  const count = tokens * topK;
  using hidden = device.empty([count, f], "f32", false, gateUp.shards[0].tiles);
  for (const { begin, end, tiles } of gateUp.shards) {
    using offsets = plan.offsets.slice(begin, end + 1);
    const rows = lentMemory(gateUp, tiles, tokens);
    gateUpKernel.run(
      device,
      { x, offsets, index: plan.rows, w: tiles, y: hidden, rows },
      { format: formatCode(gateUp.format), groups: end - begin, tokens, f, k: d, count },
    );
    rows?.dispose();
  }
  for (const { begin, end, tiles } of down.shards) {
    using offsets = plan.offsets.slice(begin, end + 1);
    using rows = activationMemory(down, tiles, count);
    const partial =
      count <= FEW_ROWS ? device.empty([count * 8 * Math.ceil(d / 8)], "f32", false, tiles) : null;
    downKernel.run(
      device,
      { x: hidden, offsets, ids, weights, slots: plan.slots, w: tiles, y: output, rows, partial },
      {
        format: formatCode(down.format),
        ...{ begin, experts: end - begin, tokens, topK },
        ...{ n: d, k: f, accumulate: begin > 0 ? 1 : 0 },
      },
    );
    partial?.dispose();
  }
}

/**
 * Sum over the chosen experts of weight times down(silu(gate x) * up x), in ascending order of the experts.
 * x [N, d]; ids and weights [N, K], ids ascending in each row; gateUp [E, 2f, d] holds gate over up, f a multiple
 * of 8; down [E, d, f]; output [N, d]. @throws ShapeError
 */
export function quantizedExperts(
  x: Tensor,
  { ids, weights }: Pick<Routing, "ids" | "weights">,
  gateUp: QuantizedTensor,
  down: QuantizedTensor,
): { output: Tensor; plan: ExpertPlan } {
  const where = "quantizedExperts";
  const [count, d, f] = [down.count, down.rows, down.columns];
  if (
    gateUp.shape.length !== 3 ||
    down.shape.length !== 3 ||
    gateUp.count !== count ||
    gateUp.columns !== d
  ) {
    throw new ShapeError("gateUp and down do not match", {
      where,
      expected: "[E, 2f, d] and [E, d, f]",
      found: `[${gateUp.shape}] and [${down.shape}]`,
    });
  }
  checkHalves(where, gateUp, f);
  if (x.shape.length !== 2 || x.shape[1] !== d || x.shape[0] !== ids.shape[0]) {
    throw new ShapeError("x does not have one row per routed token", {
      where,
      name: "x",
      expected: [ids.shape[0], d],
      found: x.shape,
    });
  }
  if (!sameShape(ids.shape, weights.shape)) {
    throw new ShapeError("weights and ids have different shapes", {
      where,
      expected: ids.shape,
      found: weights.shape,
    });
  }
  refuseGradient(where, x, weights);
  const { device } = x;
  const tokens = x.shape[0];
  const plan = expertPlan(ids, count);
  const output = device.empty([tokens, d]);
  if (output.size === 0) return { output, plan };
  const each = Math.max(1, Math.floor(CALL_ROWS / Math.max(1, ids.shape[1])));
  if (tokens <= each) {
    device.unscoped(() => runExperts(x, ids, weights, plan, gateUp, down, output));
    return { output, plan };
  }
  for (let begin = 0; begin < tokens; begin += each) {
    device.tidy(() => {
      const part = (tensor: Tensor) => tensor.slice(begin, Math.min(tokens, begin + each));
      const [inputs, chosen, factors, to] = [x, ids, weights, output].map(part);
      const local = expertPlan(chosen, count);
      device.unscoped(() => runExperts(inputs, chosen, factors, local, gateUp, down, to));
    });
  }
  return { output, plan };
}
