/**
 * Keeping experts evenly loaded: the balance losses of DeepSeekMoE and V2 (expert, device and communication
 * level), the sequence-wise loss of V3, and V3's router bias that needs no loss.
 *
 * Every loss is `mean over sequences of sum_i w_i P_i`: P_i is the mean score of expert i and carries the
 * gradient, w_i is a load that is counted and carries none. Coefficients (alpha) are applied by the caller. All
 * sequences have the same length, N / B rows.
 */
import { ConfigError, ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";

export interface BalanceOptions {
  /** Sequences B in the batch, of equal length; 1 counts over the whole batch (`seq_aux: false`). */
  readonly sequences: number;
  /** Experts per token. */
  readonly topK: number;
  /** Divides each token's scores by their sum: for sigmoid scores (V3). Softmax scores are taken as they are. */
  readonly normalizeScores: boolean;
  /** Experts the router chose, ascending: [N, K] i32 (MoE, V2). Default: the topK best scores (V3). */
  readonly ids?: Tensor;
}

const topKernel = defineKernel({
  name: "top_k_ids",
  operands: { scores: "in f32", ids: "out i32" },
  ints: ["rows", "experts", "topK"],
  work: ({ rows, experts }) => rows * experts * 2,
  reference: ({ scores, ids }, { rows, experts, topK }) => {
    for (let r = 0; r < rows; r++) {
      const s = scores.subarray(r * experts, (r + 1) * experts);
      const order = Array.from(s.keys()).sort((a, b) => s[b] - s[a] || a - b);
      ids.set(
        order.slice(0, topK).sort((a, b) => a - b),
        r * topK,
      );
    }
  },
});

/** What a load counts. */
const levels = { expert: 0, device: 1, communication: 2 } as const;

const loadKernel = defineKernel({
  name: "expert_load",
  operands: { ids: "in i32", out: "out f32" },
  ints: ["sequences", "tokens", "experts", "topK", "devices", "level"],
  floats: ["factor"],
  // One thread: counting is short, and an id out of range stops the kernel where the caller sees it.
  work: () => 0,
  reference: ({ ids, out }, { sequences, tokens, experts, topK, devices, level }, { factor }) => {
    const size = experts / devices;
    const deviceOf = (e: number) => Math.floor(e / size);
    for (let b = 0; b < sequences; b++) {
      const rows = Array.from({ length: tokens }, (_, t) => {
        const at = (b * tokens + t) * topK;
        return Array.from(ids.subarray(at, at + topK));
      });
      const chosen = rows.flat();
      for (let e = 0; e < experts; e++) {
        const load = [
          () => chosen.filter((id) => id === e).length,
          () => chosen.filter((id) => deviceOf(id) === deviceOf(e)).length / size,
          () => rows.filter((row) => row.some((id) => deviceOf(id) === deviceOf(e))).length,
        ][level]();
        out[b * experts + e] = load * factor;
      }
    }
  },
});

const lossKernel = defineKernel({
  name: "balance_loss",
  operands: { scores: "in f32", load: "in f32", terms: "out f32", loss: "out f32" },
  ints: ["rows", "tokens", "experts", "normalize"],
  work: ({ rows, experts }) => (rows * experts) / 8,
  reference: ({ scores, load, terms, loss }, { rows, tokens, experts, normalize }) => {
    let total = 0;
    for (let r = 0; r < rows; r++) {
      const w = Math.floor(r / tokens) * experts;
      let dot = 0;
      let sum = 0;
      for (let e = 0; e < experts; e++) {
        dot += scores[r * experts + e] * load[w + e];
        sum += scores[r * experts + e];
      }
      terms[r] = normalize ? dot / (sum + 1e-20) : dot;
      total += terms[r];
    }
    loss[0] = total / Math.max(1, rows);
  },
});

const lossBackwardKernel = defineKernel({
  name: "balance_loss_backward",
  operands: { scores: "in f32", load: "in f32", dLoss: "in f32", dScores: "inout f32" },
  ints: ["rows", "tokens", "experts", "normalize", "accumulate"],
  work: ({ rows, experts }) => (rows * experts) / 4,
  reference: ({ scores, load, dLoss, dScores }, { rows, tokens, experts, normalize, accumulate }) => {
    for (let r = 0; r < rows; r++) {
      const w = Math.floor(r / tokens) * experts;
      let dot = 0;
      let sum = 0;
      for (let e = 0; e < experts; e++) {
        dot += scores[r * experts + e] * load[w + e];
        sum += scores[r * experts + e];
      }
      const divisor = normalize ? sum + 1e-20 : 1;
      const mean = normalize ? dot / divisor : 0;
      for (let e = 0; e < experts; e++) {
        const d = ((dLoss[0] / rows) * (load[w + e] - mean)) / divisor;
        dScores[r * experts + e] = d + (accumulate ? dScores[r * experts + e] : 0);
      }
    }
  },
});

const biasKernel = defineKernel({
  name: "update_router_bias",
  operands: { bias: "inout f32", counts: "in i32" },
  ints: ["experts"],
  floats: ["gamma"],
  work: () => 0,
  reference: ({ bias, counts }, { experts }, { gamma }) => {
    const total = counts.subarray(0, experts).reduce((a, b) => a + b, 0);
    for (let e = 0; e < experts; e++) bias[e] += gamma * Math.sign(total - counts[e] * experts);
  },
});

const addCountsKernel = defineKernel({
  name: "add_counts",
  operands: { total: "inout i32", counts: "in i32" },
  ints: ["experts"],
  work: () => 0,
  reference: ({ total, counts }, { experts }) => {
    for (let e = 0; e < experts; e++) total[e] += counts[e];
  },
});

function loss(
  where: string,
  scores: Tensor,
  options: BalanceOptions,
  level: keyof typeof levels,
  devices: number,
  factor: (tokens: number, experts: number) => number,
): Tensor {
  const { sequences, topK } = options;
  if (scores.shape.length !== 2) {
    throw new ShapeError("scores must be [tokens, experts]", {
      where,
      expected: "[N, E]",
      found: scores.shape,
    });
  }
  const [rows, experts] = scores.shape;
  if (!Number.isInteger(sequences) || sequences < 1 || rows % sequences !== 0) {
    throw new ShapeError("tokens do not divide into sequences of equal length", {
      where,
      expected: `a divisor of ${rows} rows`,
      found: sequences,
    });
  }
  if (!Number.isInteger(devices) || devices < 1 || experts % devices !== 0) {
    throw new ConfigError("experts do not divide evenly among devices", {
      where,
      name: "devices",
      expected: `a divisor of ${experts}`,
      found: devices,
    });
  }
  if (!Number.isInteger(topK) || topK < 1 || topK > experts) {
    throw new ConfigError("topK out of range", {
      where,
      name: "topK",
      expected: `1 to ${experts}`,
      found: topK,
    });
  }
  const given = options.ids;
  if (given && !sameShape(given.shape, [rows, topK])) {
    throw new ShapeError("expert ids must be [tokens, topK]", {
      where,
      expected: [rows, topK],
      found: given.shape,
    });
  }
  const { device } = scores;
  const normalize = options.normalizeScores ? 1 : 0;
  const tokens = rows / sequences;
  const ids = given ?? device.empty([rows, topK], "i32");
  if (!given) topKernel.run(device, { scores, ids }, { rows, experts, topK });
  const load = device.empty([sequences, experts]);
  loadKernel.run(
    device,
    { ids, out: load },
    { sequences, tokens, experts, topK, devices, level: levels[level] },
    { factor: factor(Math.max(1, tokens), experts) },
  );
  if (!given) ids.dispose();
  const result = device.empty([1]);
  const terms = device.empty([rows]);
  lossKernel.run(device, { scores, load, terms, loss: result }, { rows, tokens, experts, normalize });
  terms.dispose();
  record([result], [scores], ([dLoss], grads) => {
    if (!grads.wants(0)) return;
    const { tensor: dScores, accumulate } = grads.target(0);
    lossBackwardKernel.run(
      device,
      { scores, load, dLoss: dLoss!, dScores },
      { rows, tokens, experts, normalize, accumulate },
    );
  });
  return result;
}

/**
 * Expert-level balance loss, without its alpha: scores [N, E] -> [1], the mean over sequences of sum_i f_i P_i with
 * f_i = E / (K T) times the tokens that chose expert i. 1 at perfect balance of scores that sum to 1. MoE and V2
 * pass the router's ids; V3 passes none and normalizes. @throws ShapeError, ConfigError
 */
export function sequenceBalanceLoss(scores: Tensor, options: BalanceOptions): Tensor {
  const { topK } = options;
  return loss("sequenceBalanceLoss", scores, options, "expert", 1, (t, experts) => experts / (topK * t));
}

/**
 * Device-level balance loss (DeepSeekMoE, V2), without its alpha: f is averaged and P summed over the experts of
 * each of `devices` equal blocks. scores [N, E] -> [1]. @throws ShapeError, ConfigError
 */
export function deviceBalanceLoss(
  scores: Tensor,
  options: BalanceOptions & { readonly devices: number },
): Tensor {
  const { topK, devices } = options;
  return loss("deviceBalanceLoss", scores, options, "device", devices, (t, experts) => experts / (topK * t));
}

/**
 * Communication balance loss (V2), without its alpha: like the device-level loss with f = D / (M T) times the
 * tokens sent to the device, D = devices and M = devicesPerToken. scores [N, E] -> [1].
 * @throws ShapeError, ConfigError
 */
export function communicationBalanceLoss(
  scores: Tensor,
  options: BalanceOptions & { readonly devices: number; readonly devicesPerToken: number },
): Tensor {
  const { devices, devicesPerToken } = options;
  const where = "communicationBalanceLoss";
  if (!(devicesPerToken >= 1 && devicesPerToken <= devices)) {
    throw new ConfigError("devicesPerToken out of range", {
      where,
      name: "devicesPerToken",
      expected: `1 to ${devices}`,
      found: devicesPerToken,
    });
  }
  return loss(where, scores, options, "communication", devices, (t) => devices / (devicesPerToken * t));
}

function checkCounts(where: string, values: Tensor, counts: Tensor): void {
  if (values.shape.length !== 1 || !sameShape(values.shape, counts.shape)) {
    throw new ShapeError("values and counts have different shapes", {
      where,
      expected: values.shape,
      found: counts.shape,
    });
  }
}

/**
 * V3's balancing without a loss, in place: bias [E] += gamma sign(mean - count), counts [E] i32 of the whole batch.
 * @throws ShapeError
 */
export function updateRouterBias(bias: Tensor, counts: Tensor, gamma: number): void {
  checkCounts("updateRouterBias", bias, counts);
  biasKernel.run(bias.device, { bias, counts }, { experts: bias.size }, { gamma });
}

/** total [E] i32 += counts [E] i32, for batches that are computed in parts. @throws ShapeError */
export function addCounts(total: Tensor, counts: Tensor): void {
  checkCounts("addCounts", total, counts);
  addCountsKernel.run(total.device, { total, counts }, { experts: total.size });
}

/** MaxVio of the Loss-Free Balancing paper: (largest count - mean) / mean; 0 if nothing was routed. */
export function maxViolation(counts: ArrayLike<number>): number {
  let total = 0;
  let largest = 0;
  for (let i = 0; i < counts.length; i++) {
    total += counts[i];
    largest = Math.max(largest, counts[i]);
  }
  return total === 0 ? 0 : (largest * counts.length) / total - 1;
}
