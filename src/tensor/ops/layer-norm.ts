/**
 * Layer normalization over the last axis (Ba, Kiros and Hinton 2016, arXiv 1607.06450), alone or of a residual sum that
 * is computed in the same pass.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";
import { blockRowsFor } from "./column-sums.ts";

const layerNormKernel = defineKernel({
  name: "layer_norm",
  operands: {
    x: "in f32",
    r: "in f32?",
    w: "in f32",
    b: "in f32",
    sum: "out f32?",
    y: "out f32",
    mean: "out f32?",
    inverse: "out f32?",
  },
  ints: ["rows", "n"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 3 * rows * n,
  reference: ({ x, r, w, b, sum, y, mean, inverse }, { rows, n }, { epsilon }) => {
    for (let i = 0; i < rows; i++) {
      const row = x.slice(i * n, (i + 1) * n);
      if (r) for (let j = 0; j < n; j++) row[j] += r[i * n + j];
      sum?.set(row, i * n);
      const center = row.reduce((total, v) => total + v, 0) / n;
      const variance = row.reduce((total, v) => total + (v - center) ** 2, 0) / n;
      const factor = 1 / Math.sqrt(variance + epsilon);
      if (mean) mean[i] = center;
      if (inverse) inverse[i] = factor;
      for (let j = 0; j < n; j++) y[i * n + j] = (row[j] - center) * factor * w[j] + b[j];
    }
  },
});

const layerNormGradKernel = defineKernel({
  name: "layer_norm_grad",
  operands: {
    x: "in f32",
    w: "in f32",
    mean: "in f32",
    inverse: "in f32",
    dy: "in f32",
    base: "in f32?",
    dx: "inout f32?",
    dw: "inout f32?",
    db: "inout f32?",
    partial: "out f32?",
  },
  ints: ["rows", "n", "blockRows", "accumulateW", "accumulateB"],
  work: ({ rows, n }) => 6 * rows * n,
  reference: ({ x, w, mean, inverse, dy, base, dx, dw, db }, { rows, n, accumulateW, accumulateB }) => {
    if (dw && !accumulateW) dw.fill(0, 0, n);
    if (db && !accumulateB) db.fill(0, 0, n);
    for (let i = 0; i < rows; i++) {
      const hat = (j: number) => (x[i * n + j] - mean[i]) * inverse[i];
      let direct = 0;
      let along = 0;
      for (let j = 0; j < n; j++) {
        const g = dy[i * n + j] * w[j];
        direct += g / n;
        along += (g * hat(j)) / n;
        if (dw) dw[j] += dy[i * n + j] * hat(j);
        if (db) db[j] += dy[i * n + j];
      }
      if (!dx) continue;
      for (let j = 0; j < n; j++) {
        const at = i * n + j;
        const value = inverse[i] * (dy[at] * w[j] - direct - hat(j) * along);
        dx[at] = (base ? base[at] : 0) + value;
      }
    }
  },
});

function checkAffine(where: string, name: string, vector: Tensor, n: number): void {
  if (n > 0 && vector.dtype === "f32" && sameShape(vector.shape, [n])) return;
  throw new ShapeError(`the ${name} does not match the last axis`, {
    where,
    name,
    expected: `f32 [${n}]`,
    found: `${vector.dtype} [${vector.shape}]`,
  });
}

/**
 * (x - mean) / sqrt(variance + eps) weight + bias over the last axis, with the biased variance: f32 [.., n], [n],
 * [n] -> [.., n]. @throws ShapeError
 */
export function layerNorm(x: Tensor, weight: Tensor, bias: Tensor, eps: number): Tensor {
  return normalize("layerNorm", x, null, weight, bias, eps).normalized;
}

/**
 * The sum x + residual and its layer norm, in one pass over memory: f32 [.., n] twice, [n], [n] -> [.., n] twice. The
 * same bits as `add` and `layerNorm`. @throws ShapeError
 */
export function addLayerNorm(
  x: Tensor,
  residual: Tensor,
  weight: Tensor,
  bias: Tensor,
  eps: number,
): { readonly sum: Tensor; readonly normalized: Tensor } {
  if (!sameShape(x.shape, residual.shape)) {
    throw new ShapeError("shapes differ", {
      where: "addLayerNorm",
      name: "residual",
      expected: x.shape,
      found: residual.shape,
    });
  }
  return normalize("addLayerNorm", x, residual, weight, bias, eps);
}

function normalize(
  where: string,
  x: Tensor,
  residual: Tensor | null,
  weight: Tensor,
  bias: Tensor,
  eps: number,
) {
  const n = x.shape.at(-1) ?? 0;
  checkAffine(where, "weight", weight, n);
  checkAffine(where, "bias", bias, n);
  const { device } = x;
  const rows = x.size / n;
  const affine = [weight, bias];
  const inputs = residual ? [x, residual, ...affine] : [x, ...affine];
  const needed = device.tape !== null && inputs.some((input) => input.requiresGrad);
  const sum = residual ? device.empty(x.shape) : x;
  const y = device.empty(x.shape);
  const mean = needed ? device.empty([rows]) : null;
  const inverse = needed ? device.empty([rows]) : null;
  layerNormKernel.run(
    device,
    { x, r: residual, w: weight, b: bias, sum: residual ? sum : null, y, mean, inverse },
    { rows, n },
    { epsilon: eps },
  );
  record(residual ? [y, sum] : [y], inputs, ([dy, dSum = null], grads) => {
    const first = inputs.length - 2;
    const forW = dy && grads.wants(first) ? grads.target(first) : null;
    const forB = dy && grads.wants(first + 1) ? grads.target(first + 1) : null;
    const wanted = inputs.slice(0, first).map((_, i) => grads.wants(i));
    // The gradient of a sum goes to both of its terms; that of a single input is added where it belongs at once.
    const forX = dy && !residual && wanted[0] ? grads.target(0) : null;
    const forSum = dy && residual && wanted.includes(true) ? device.empty(x.shape) : null;
    if (dy && (forX || forSum || forW || forB)) {
      const dx = forX?.tensor ?? forSum;
      const blockRows = blockRowsFor(rows);
      const partial = forW || forB ? device.empty([2, Math.ceil(rows / blockRows), n]) : null;
      layerNormGradKernel.run(
        device,
        {
          x: sum,
          w: weight,
          mean: mean!,
          inverse: inverse!,
          dy,
          base: forX ? (forX.accumulate ? forX.tensor : null) : dSum,
          dx,
          dw: forW?.tensor ?? null,
          db: forB?.tensor ?? null,
          partial,
        },
        { rows, n, blockRows, accumulateW: forW?.accumulate ?? 0, accumulateB: forB?.accumulate ?? 0 },
      );
    }
    if (!residual) return;
    const gradient = forSum ?? dSum;
    for (let i = 0; gradient && i < first; i++) if (wanted[i]) grads.add(i, gradient);
  });
  return { sum, normalized: y };
}
