/** Sums and products element by element. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import { sameShape, type Tensor } from "../tensor.ts";

const addKernel = defineKernel({
  name: "add_scaled",
  operands: { a: "in f32", b: "in f32", y: "out f32" },
  ints: ["n"],
  floats: ["alpha", "beta"],
  work: ({ n }) => n,
  reference: ({ a, b, y }, { n }, { alpha, beta }) => {
    for (let i = 0; i < n; i++) y[i] = alpha * a[i] + beta * b[i];
  },
});

const scaleKernel = defineKernel({
  name: "scale",
  operands: { x: "in f32", y: "out f32" },
  ints: ["n"],
  floats: ["alpha"],
  work: ({ n }) => n / 2,
  reference: ({ x, y }, { n }, { alpha }) => {
    for (let i = 0; i < n; i++) y[i] = alpha * x[i];
  },
});

function checkShapes(where: string, a: Tensor, b: Tensor): void {
  if (!sameShape(a.shape, b.shape)) {
    throw new ShapeError("shapes differ", { where, expected: a.shape, found: b.shape });
  }
}

/** alpha a + beta b, f32, same shapes. @throws ShapeError */
export function addScaled(a: Tensor, b: Tensor, alpha: number, beta: number): Tensor {
  checkShapes("addScaled", a, b);
  const y = a.device.empty(a.shape);
  addKernel.run(a.device, { a, b, y }, { n: a.size }, { alpha, beta });
  record([y], [a, b], ([dy], grads) => {
    [alpha, beta].forEach((factor, i) => {
      if (grads.wants(i)) grads.add(i, factor === 1 ? dy! : scale(dy!, factor));
    });
  });
  return y;
}

/** a + b, f32, same shapes. @throws ShapeError */
export function add(a: Tensor, b: Tensor): Tensor {
  return addScaled(a, b, 1, 1);
}

/** y += x in place, outside the tape. @throws ShapeError */
add.into = (y: Tensor, x: Tensor): Tensor => {
  checkShapes("add.into", y, x);
  addKernel.run(y.device, { a: y, b: x, y }, { n: y.size }, { alpha: 1, beta: 1 });
  return y;
};

/** alpha x, f32. */
export function scale(x: Tensor, alpha: number): Tensor {
  const y = x.device.empty(x.shape);
  scaleKernel.run(x.device, { x, y }, { n: x.size }, { alpha });
  record([y], [x], ([dy], grads) => grads.add(0, scale(dy!, alpha)));
  return y;
}
