/** SwiGLU (Shazeer 2020): the gate and the value lie side by side, as one matrix product leaves them. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

const swigluKernel = defineKernel({
  name: "swiglu",
  operands: { x: "in f32", y: "out f32" },
  ints: ["rows", "f"],
  work: ({ rows, f }) => 5 * rows * f,
  reference: ({ x, y }, { rows, f }) => {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < f; i++) {
        const gate = x[2 * r * f + i];
        y[r * f + i] = (gate / (1 + Math.exp(-gate))) * x[2 * r * f + f + i];
      }
    }
  },
});

const swigluGradKernel = defineKernel({
  name: "swiglu_grad",
  operands: { x: "in f32", dy: "in f32", dx: "inout f32" },
  ints: ["rows", "f", "accumulate"],
  work: ({ rows, f }) => 8 * rows * f,
  reference: ({ x, dy, dx }, { rows, f, accumulate }) => {
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < f; i++) {
        const at = 2 * r * f + i;
        const gate = x[at];
        const s = 1 / (1 + Math.exp(-gate));
        const d = dy[r * f + i];
        const dGate = d * x[at + f] * s * (1 + gate * (1 - s));
        const dUp = d * gate * s;
        dx[at] = accumulate ? dx[at] + dGate : dGate;
        dx[at + f] = accumulate ? dx[at + f] + dUp : dUp;
      }
    }
  },
});

/**
 * silu(first half) * second half of the last axis: [.., 2f] -> [.., f]. The gradient is computed from the input;
 * nothing else is saved. @throws ShapeError if the last axis is odd
 */
export function swiglu(gateUp: Tensor): Tensor {
  const width = gateUp.shape.at(-1) ?? 0;
  if (width === 0 || width % 2 !== 0) {
    throw new ShapeError("the last axis must be even", {
      where: "swiglu",
      expected: "[.., 2f]",
      found: gateUp.shape,
    });
  }
  const { device } = gateUp;
  const f = width / 2;
  const rows = gateUp.size / width;
  const y = device.empty([...gateUp.shape.slice(0, -1), f]);
  swigluKernel.run(device, { x: gateUp, y }, { rows, f });
  record([y], [gateUp], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    swigluGradKernel.run(device, { x: gateUp, dy: dy!, dx }, { rows, f, accumulate });
  });
  return y;
}
