/** Images with every pixel repeated: torch's interpolate in mode nearest by a whole factor, without tables of weights. */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Tensor } from "../tensor.ts";

type UpsampleShape = Record<"lines" | "width" | "n" | "factor", number>;

/** Calls `visit` for each value of the result with the index of the pixel that it repeats. */
function eachCopy({ lines, width, n, factor }: UpsampleShape, visit: (x: number, y: number) => void): void {
  for (let l = 0; l < lines * factor; l++) {
    for (let i = 0; i < width * factor; i++) {
      const pixel = Math.floor(l / factor) * width + Math.floor(i / factor);
      for (let c = 0; c < n; c++) visit(pixel * n + c, (l * width * factor + i) * n + c);
    }
  }
}

const upsampleKernel = defineKernel({
  name: "upsample_nearest",
  operands: { x: "in f32", y: "out f32" },
  ints: ["lines", "width", "n", "factor"],
  work: ({ lines, width, n, factor }) => (lines * width * n * factor ** 2) / 2,
  reference: ({ x, y }, shape) =>
    eachCopy(shape, (from, to) => {
      y[to] = x[from];
    }),
});

const upsampleGradKernel = defineKernel({
  name: "upsample_nearest_grad",
  operands: { dy: "in f32", dx: "inout f32" },
  ints: ["lines", "width", "n", "factor", "accumulate"],
  work: ({ lines, width, n, factor }) => lines * width * n * factor ** 2,
  reference: ({ dy, dx }, shape) => {
    if (!shape.accumulate) dx.fill(0, 0, shape.lines * shape.width * shape.n);
    eachCopy(shape, (from, to) => {
      dx[from] += dy[to];
    });
  },
});

/**
 * Every pixel `factor` x `factor` times: f32 [batch, height, width, n] -> [batch, height factor, width factor, n].
 * @throws ShapeError
 */
export function upsampleNearest(x: Tensor, factor: number): Tensor {
  const [batch, height, width, n] = x.shape;
  if (x.shape.length !== 4 || !Number.isSafeInteger(factor) || factor < 1) {
    throw new ShapeError("not images, or not a whole factor", {
      where: "upsampleNearest",
      expected: "[batch, height, width, channels] and a whole number from 1 up",
      found: `[${x.shape}] and ${factor}`,
    });
  }
  const { device } = x;
  const shape = { lines: batch * height, width, n, factor };
  const y = device.empty([batch, height * factor, width * factor, n]);
  if (y.size > 0) upsampleKernel.run(device, { x, y }, shape);
  record([y], [x], ([dy], grads) => {
    const { tensor: dx, accumulate } = grads.target(0);
    if (y.size > 0) upsampleGradKernel.run(device, { dy: dy!, dx }, { ...shape, accumulate });
  });
  return y;
}
