/**
 * The router of the family in its three forms, and moving rows to and from expert order.
 *
 * DeepSeekMoE and V2-Lite: softmax, one group (`greedy`). V2: softmax, groups ranked by their maximum
 * (`group_limited_greedy`). V3: sigmoid, a bias that only chooses, groups ranked by the sum of their two best
 * (`noaux_tc`). Scores and weights carry gradients to the logits; ids and the bias do not. No expert drops tokens.
 */
import { ConfigError, ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";

export interface RouteOptions {
  /** Experts per token. */
  readonly topK: number;
  /** How logits become scores: over all experts together, or each on its own. */
  readonly scoring: "softmax" | "sigmoid";
  /** Consecutive blocks of experts (`n_group`); 1: no groups. */
  readonly groups: number;
  /** Groups a token may use (`topk_group`). */
  readonly topGroups: number;
  /** How groups are ranked: by their best biased score, or by the sum of their two best. */
  readonly groupScore: "max" | "top2";
  /**
   * What replaces the biased scores of groups that lost: "-inf" as the V3 script does, "zero" as the V2 and VL2
   * code does. They choose differently if biased scores are negative.
   */
  readonly maskWith: "-inf" | "zero";
  /** Divides the chosen scores by their sum + 1e-20 (`norm_topk_prob`). */
  readonly normalize: boolean;
  /** Multiplies the weights, after normalization (`routed_scaling_factor`). */
  readonly scale: number;
}

export interface Routing {
  /** Chosen experts, ascending in each row: [N, K] i32. */
  readonly ids: Tensor;
  /** What each expert's output is multiplied by, in the order of `ids`: [N, K]. */
  readonly weights: Tensor;
  /** Scores of all experts, without bias: [N, E]. */
  readonly scores: Tensor;
}

/** Falling, NaN first. */
function falling(a: number, b: number): number {
  return Number(Number.isNaN(b)) - Number(Number.isNaN(a)) || (a === b ? 0 : b - a);
}

/** The k best of `candidates` by `value`, NaN before all, ties to the lowest index; ascending. */
function best(candidates: readonly number[], value: (i: number) => number, k: number): number[] {
  const order = [...candidates].sort((a, b) => falling(value(a), value(b)) || a - b);
  return order.slice(0, k).sort((a, b) => a - b);
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

const routeKernel = defineKernel({
  name: "route",
  operands: { logits: "in f32", bias: "in f32?", scores: "out f32", ids: "out i32", weights: "out f32" },
  ints: ["rows", "experts", "topK", "sigmoid", "groups", "topGroups", "topTwo", "zeroMask", "normalize"],
  floats: ["scale"],
  work: ({ rows, experts }) => rows * experts * 4,
  reference: (
    { logits, bias, scores, ids, weights },
    { rows, experts, topK, sigmoid, groups, topGroups, topTwo, zeroMask, normalize },
    { scale },
  ) => {
    for (let r = 0; r < rows; r++) {
      const x = logits.subarray(r * experts, (r + 1) * experts);
      const s = scores.subarray(r * experts, (r + 1) * experts);
      const top = Math.max(...x);
      for (let e = 0; e < experts; e++) s[e] = sigmoid ? 1 / (1 + Math.exp(-x[e])) : Math.exp(x[e] - top);
      const total = sigmoid ? 1 : s.reduce((a, b) => a + b, 0);
      for (let e = 0; e < experts; e++) s[e] /= total;

      const biased = s.map((v, e) => v + (bias ? bias[e] : 0));
      const size = experts / groups;
      const groupValue = (g: number) => {
        const [first, second] = biased.slice(g * size, (g + 1) * size).sort(falling);
        return topTwo ? first + second : first;
      };
      const kept = topGroups < groups ? best(range(groups), groupValue, topGroups) : range(groups);
      const keeps = (e: number) => kept.includes(Math.floor(e / size));
      const candidates = zeroMask ? range(experts) : range(experts).filter(keeps);
      const chosen = best(candidates, (e) => (keeps(e) ? biased[e] : 0), topK);
      // A bias that is no number makes none of what it chooses.
      const score = (e: number) => s[e] + (bias ? 0 * bias[e] : 0);
      const sum = normalize ? chosen.reduce((a, e) => a + score(e), 1e-20) : 1;
      chosen.forEach((e, j) => {
        ids[r * topK + j] = e;
        weights[r * topK + j] = (score(e) / sum) * scale;
      });
    }
  },
});

const routeBackwardKernel = defineKernel({
  name: "route_backward",
  operands: {
    scores: "in f32",
    ids: "in i32",
    dWeights: "in f32?",
    dScores: "in f32?",
    dLogits: "inout f32",
  },
  ints: ["rows", "experts", "topK", "sigmoid", "normalize", "accumulate"],
  floats: ["scale"],
  work: ({ rows, experts }) => rows * experts * 2,
  reference: (
    { scores, ids, dWeights, dScores, dLogits },
    { rows, experts, topK, sigmoid, normalize, accumulate },
    { scale },
  ) => {
    for (let r = 0; r < rows; r++) {
      const s = scores.subarray(r * experts, (r + 1) * experts);
      const ds = new Float64Array(experts);
      if (dScores) ds.set(dScores.subarray(r * experts, (r + 1) * experts));
      if (dWeights) {
        let sum = 0;
        let dot = 0;
        for (let j = 0; j < topK; j++) {
          sum += s[ids[r * topK + j]];
          dot += s[ids[r * topK + j]] * dWeights[r * topK + j];
        }
        const divisor = normalize ? sum + 1e-20 : 1;
        const mean = normalize ? dot / divisor : 0;
        for (let j = 0; j < topK; j++) {
          ds[ids[r * topK + j]] += (scale * (dWeights[r * topK + j] - mean)) / divisor;
        }
      }
      const dot = ds.reduce((a, d, e) => a + d * s[e], 0);
      for (let e = 0; e < experts; e++) {
        const d = sigmoid ? ds[e] * s[e] * (1 - s[e]) : s[e] * (ds[e] - dot);
        dLogits[r * experts + e] = d + (accumulate ? dLogits[r * experts + e] : 0);
      }
    }
  },
});

function checkOptions(experts: number, o: RouteOptions): void {
  const where = "route";
  const size = experts / o.groups;
  if (!Number.isInteger(o.groups) || o.groups < 1 || !Number.isInteger(size)) {
    throw new ConfigError("experts do not divide evenly into groups", {
      where,
      expected: `a divisor of ${experts}`,
      found: o.groups,
    });
  }
  if (!Number.isInteger(o.topGroups) || o.topGroups < 1 || o.topGroups > o.groups) {
    throw new ConfigError("topGroups out of range", {
      where,
      name: "topGroups",
      expected: `1 to ${o.groups}`,
      found: o.topGroups,
    });
  }
  if (!Number.isInteger(o.topK) || o.topK < 1 || o.topK > o.topGroups * size) {
    throw new ConfigError("topK exceeds the experts of the kept groups", {
      where,
      name: "topK",
      expected: `1 to ${o.topGroups * size}`,
      found: o.topK,
    });
  }
  if (o.groupScore === "top2" && o.groups > 1 && size < 2) {
    throw new ConfigError("groups ranked by their two best scores need at least two experts", {
      where,
      name: "groups",
      expected: `at most ${Math.floor(experts / 2)}`,
      found: o.groups,
    });
  }
}

/**
 * Scores all experts and chooses topK of them per token.
 * logits [N, E]; bias [E] or null is added to the scores for choosing only. Ties go to the lowest index. Where
 * logits or biases are NaN their experts are chosen, with NaN as a weight, so that it does not pass unseen; the ids
 * are still distinct and in range. @throws ShapeError, ConfigError
 */
export function route(logits: Tensor, bias: Tensor | null, options: RouteOptions): Routing {
  const where = "route";
  if (logits.shape.length !== 2) {
    throw new ShapeError("logits must be [tokens, experts]", {
      where,
      expected: "[N, E]",
      found: logits.shape,
    });
  }
  const [rows, experts] = logits.shape;
  if (bias !== null && !sameShape(bias.shape, [experts])) {
    throw new ShapeError("the bias must have one element per expert", {
      where,
      name: "bias",
      expected: [experts],
      found: bias.shape,
    });
  }
  checkOptions(experts, options);
  const { device } = logits;
  const { topK, groups, topGroups, scale } = options;
  const sigmoid = options.scoring === "sigmoid" ? 1 : 0;
  const normalize = options.normalize ? 1 : 0;
  const ids = device.empty([rows, topK], "i32");
  const weights = device.empty([rows, topK]);
  const scores = device.empty([rows, experts]);
  routeKernel.run(
    device,
    { logits, bias, scores, ids, weights },
    {
      ...{ rows, experts, topK, sigmoid, groups, topGroups, normalize },
      topTwo: options.groupScore === "top2" ? 1 : 0,
      zeroMask: options.maskWith === "zero" ? 1 : 0,
    },
    { scale },
  );
  record([weights, scores], [logits], ([dWeights, dScores], grads) => {
    if (!grads.wants(0)) return;
    const { tensor: dLogits, accumulate } = grads.target(0);
    routeBackwardKernel.run(
      device,
      { scores, ids, dWeights, dScores, dLogits },
      { rows, experts, topK, sigmoid, normalize, accumulate },
      { scale },
    );
  });
  return { ids, weights, scores };
}

/** Where every (token, choice) pair stands when pairs are sorted by expert, then token, then choice. */
export interface ExpertPlan {
  /** Pairs of each expert: [E] i32. */
  readonly counts: Tensor;
  /** First sorted row of each expert, and the number of rows at the end: [E + 1] i32. */
  readonly offsets: Tensor;
  /** Token of each sorted row: [N * K] i32. */
  readonly rows: Tensor;
  /** Sorted row of each pair: [N, K] i32, a permutation. */
  readonly slots: Tensor;
  readonly topK: number;
}

const planKernel = defineKernel({
  name: "expert_plan",
  operands: { ids: "in i32", counts: "out i32", offsets: "out i32", sorted: "out i32", slots: "out i32" },
  ints: ["rows", "experts", "topK"],
  // One thread: two passes over few integers.
  work: () => 0,
  reference: ({ ids, counts, offsets, sorted, slots }, { rows, experts, topK }) => {
    const pairs = range(rows * topK);
    for (const i of pairs) {
      if (ids[i] < 0 || ids[i] >= experts) {
        throw new ShapeError("expert id out of range", {
          where: "expertPlan",
          expected: `0 to ${experts - 1}`,
          found: ids[i],
        });
      }
    }
    const order = [...pairs].sort((a, b) => ids[a] - ids[b] || a - b);
    order.forEach((pair, slot) => {
      slots[pair] = slot;
      sorted[slot] = Math.floor(pair / topK);
    });
    for (let e = 0; e < experts; e++) {
      counts[e] = pairs.filter((i) => ids[i] === e).length;
      offsets[e] = pairs.filter((i) => ids[i] < e).length;
    }
    offsets[experts] = pairs.length;
  },
});

/**
 * Sorts the pairs of `ids` [N, K] (i32, each in [0, experts)) by expert, stably.
 * An id out of range stops the kernel. @throws ShapeError
 */
export function expertPlan(ids: Tensor, experts: number): ExpertPlan {
  if (ids.shape.length !== 2) {
    throw new ShapeError("expert ids must be [tokens, topK]", {
      where: "expertPlan",
      expected: "[N, K]",
      found: ids.shape,
    });
  }
  const [rows, topK] = ids.shape;
  const { device } = ids;
  const counts = device.empty([experts], "i32");
  const offsets = device.empty([experts + 1], "i32");
  const sorted = device.empty([rows * topK], "i32");
  const slots = device.empty([rows, topK], "i32");
  planKernel.run(device, { ids, counts, offsets, sorted, slots }, { rows, experts, topK });
  return { counts, offsets, rows: sorted, slots, topK };
}

const gatherKernel = defineKernel({
  name: "gather_rows",
  operands: { x: "in f32", index: "in i32", y: "out f32" },
  ints: ["rows", "width"],
  work: ({ rows, width }) => (rows * width) / 2,
  reference: ({ x, index, y }, { rows, width }) => {
    for (let r = 0; r < rows; r++) y.set(x.subarray(index[r] * width, (index[r] + 1) * width), r * width);
  },
});

const combineKernel = defineKernel({
  name: "combine_rows",
  operands: { x: "in f32", weights: "in f32?", slots: "in i32", out: "inout f32" },
  ints: ["rows", "topK", "width", "accumulate"],
  work: ({ rows, topK, width }) => (rows * topK * width) / 2,
  reference: ({ x, weights, slots, out }, { rows, topK, width, accumulate }) => {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < width; i++) {
        let sum = 0;
        for (let j = r * topK; j < (r + 1) * topK; j++) {
          sum += (weights ? weights[j] : 1) * x[slots[j] * width + i];
        }
        out[r * width + i] = sum + (accumulate ? out[r * width + i] : 0);
      }
    }
  },
});

const combineBackwardKernel = defineKernel({
  name: "combine_backward",
  operands: {
    x: "in f32",
    weights: "in f32",
    slots: "in i32",
    dOut: "in f32",
    dx: "inout f32?",
    dWeights: "inout f32?",
  },
  ints: ["rows", "topK", "width", "accumulateX", "accumulateWeights"],
  work: ({ rows, topK, width }) => rows * topK * width,
  reference: (
    { x, weights, slots, dOut, dx, dWeights },
    { rows, topK, width, accumulateX, accumulateWeights },
  ) => {
    for (let j = 0; j < rows * topK; j++) {
      const row = slots[j] * width;
      const from = Math.floor(j / topK) * width;
      let dot = 0;
      for (let i = 0; i < width; i++) {
        dot += x[row + i] * dOut[from + i];
        if (dx) dx[row + i] = weights[j] * dOut[from + i] + (accumulateX ? dx[row + i] : 0);
      }
      if (dWeights) dWeights[j] = dot + (accumulateWeights ? dWeights[j] : 0);
    }
  },
});

/** Rows of `x` [N, d] in the order of the plan: [N K, d]. @throws ShapeError */
export function gatherRows(x: Tensor, plan: ExpertPlan): Tensor {
  const [rows, topK] = plan.slots.shape;
  if (x.shape.length !== 2 || x.shape[0] !== rows) {
    throw new ShapeError("x does not have one row per token of the plan", {
      where: "gatherRows",
      expected: `[${rows}, d]`,
      found: x.shape,
    });
  }
  const { device } = x;
  const width = x.shape[1];
  const y = device.empty([rows * topK, width]);
  gatherKernel.run(device, { x, index: plan.rows, y }, { rows: rows * topK, width });
  record([y], [x], ([dy], grads) => {
    if (!grads.wants(0)) return;
    const { tensor: out, accumulate } = grads.target(0);
    const { slots } = plan;
    combineKernel.run(device, { x: dy!, weights: null, slots, out }, { rows, topK, width, accumulate });
  });
  return y;
}

/**
 * Weighted sum per token of rows in the order of the plan: y [N K, d], weights [N, K] -> [N, d], added in the
 * order of the choices. @throws ShapeError
 */
export function combineRows(y: Tensor, weights: Tensor, plan: ExpertPlan): Tensor {
  const where = "combineRows";
  const { slots } = plan;
  const [rows, topK] = slots.shape;
  if (y.shape.length !== 2 || y.shape[0] !== rows * topK) {
    throw new ShapeError("y does not have one row per pair of the plan", {
      where,
      expected: `[${rows * topK}, d]`,
      found: y.shape,
    });
  }
  if (!sameShape(weights.shape, slots.shape)) {
    throw new ShapeError("weights do not match the plan", {
      where,
      expected: slots.shape,
      found: weights.shape,
    });
  }
  const { device } = y;
  const width = y.shape[1];
  const out = device.empty([rows, width]);
  combineKernel.run(device, { x: y, weights, slots, out }, { rows, topK, width, accumulate: 0 });
  record([out], [y, weights], ([dOut], grads) => {
    const dy = grads.wants(0) ? grads.target(0) : null;
    const dWeights = grads.wants(1) ? grads.target(1) : null;
    combineBackwardKernel.run(
      device,
      { x: y, weights, slots, dOut: dOut!, dx: dy?.tensor ?? null, dWeights: dWeights?.tensor ?? null },
      {
        ...{ rows, topK, width },
        accumulateX: dy?.accumulate ?? 0,
        accumulateWeights: dWeights?.accumulate ?? 0,
      },
    );
  });
  return out;
}
