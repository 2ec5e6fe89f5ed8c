/** Cosine similarity of rows, as torch has it. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";

/** x t, |x|^2 and |t|^2 of a row. */
function products(x: Float64Array, t: Float64Array, r: number, n: number) {
  let [both, own, other] = [0, 0, 0];
  for (let i = r * n; i < (r + 1) * n; i++) {
    both += x[i] * t[i];
    own += x[i] ** 2;
    other += t[i] ** 2;
  }
  return { both, own, other };
}

const cosinesKernel = defineKernel({
  name: "cosines",
  operands: { x: "in f32", t: "in f32", y: "out f32" },
  ints: ["rows", "n"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 3 * rows * n,
  reference: ({ x, t, y }, { rows, n }, { epsilon }) => {
    for (let r = 0; r < rows; r++) {
      const { both, own, other } = products(x, t, r, n);
      y[r] = both / Math.max(Math.sqrt(own * other), epsilon);
    }
  },
});

const cosinesGradKernel = defineKernel({
  name: "cosines_grad",
  operands: { x: "in f32", t: "in f32", dy: "in f32", d: "inout f32" },
  ints: ["rows", "n", "accumulate"],
  floats: ["epsilon"],
  work: ({ rows, n }) => 5 * rows * n,
  reference: ({ x, t, dy, d }, { rows, n, accumulate }, { epsilon }) => {
    for (let r = 0; r < rows; r++) {
      const { both, own, other } = products(x, t, r, n);
      const lengths = Math.sqrt(own * other);
      for (let i = r * n; i < (r + 1) * n; i++) {
        const turn = lengths > epsilon ? (x[i] * both) / own : 0;
        d[i] = (accumulate ? d[i] : 0) + (dy[r] * (t[i] - turn)) / Math.max(lengths, epsilon);
      }
    }
  },
});

/** x t / max(|x| |t|, eps) over the last axis: f32 [.., n] twice -> [..]. @throws ShapeError */
export function cosineSimilarity(x: Tensor, t: Tensor, eps = 1e-8): Tensor {
  const n = x.shape.at(-1) ?? 0;
  if (!sameShape(x.shape, t.shape) || n < 1) {
    throw new ShapeError("shapes differ, or rows are empty", {
      where: "cosineSimilarity",
      expected: x.shape,
      found: t.shape,
    });
  }
  const { device } = x;
  const rows = x.size / n;
  const y = device.empty(x.shape.slice(0, -1));
  cosinesKernel.run(device, { x, t, y }, { rows, n }, { epsilon: eps });
  record([y], [x, t], ([dy], grads) => {
    for (const [i, [own, other]] of [
      [x, t],
      [t, x],
    ].entries()) {
      if (!grads.wants(i)) continue;
      const { tensor: d, accumulate } = grads.target(i);
      cosinesGradKernel.run(
        device,
        { x: own, t: other, dy: dy!, d },
        { rows, n, accumulate },
        { epsilon: eps },
      );
    }
  });
  return y;
}
