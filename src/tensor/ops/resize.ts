/**
 * Images with channels last at another size, with torch's filters: nearest, bilinear (align_corners false), and bilinear
 * with antialiasing (torchvision's Resize). Filters are tables of weights, made here.
 */
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import { record } from "../record.ts";
import type { Device, Tensor } from "../tensor.ts";

export type ResizeMode = "nearest" | "bilinear" | "bilinear_antialias";

/** Which neighbors an output is made of: from `first` on, as many as there are weights. */
interface Taps {
  readonly first: number;
  readonly weights: readonly number[];
}

/** Taps of `m` outputs over `n` inputs, along one axis. */
function tapsOf(mode: ResizeMode, n: number, m: number): readonly Taps[] {
  const scale = n / m;
  return Array.from({ length: m }, (_, i): Taps => {
    if (mode === "nearest") return { first: Math.min(n - 1, Math.floor(i * scale)), weights: [1] };
    if (mode === "bilinear") {
      // In f32, as torch has it: its positions are off by up to 4e-6 pixels, which shows in results.
      const { fround } = Math;
      const at = Math.max(fround(fround(fround(scale) * fround(i + 0.5)) - 0.5), 0);
      const first = Math.min(n - 1, Math.floor(at));
      const part = at - first;
      return { first, weights: part > 0 && first + 1 < n ? [1 - part, part] : [1] };
    }
    const support = Math.max(scale, 1);
    const center = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - support + 0.5), 0);
    const end = Math.min(Math.trunc(center + support + 0.5), n);
    const raw = Array.from({ length: end - first }, (_, t) =>
      Math.max(0, 1 - Math.abs(first + t - center + 0.5) / support),
    );
    const sum = raw.reduce((total, weight) => total + weight, 0);
    return { first, weights: raw.map((weight) => weight / sum) };
  });
}

/** The taps of the gradient: of each of `n` inputs, the outputs that it is part of. They are neighbors. */
function transposed(taps: readonly Taps[], n: number): readonly Taps[] {
  const found = Array.from({ length: n }, () => ({ first: 0, weights: [] as number[] }));
  taps.forEach(({ first, weights }, i) => {
    weights.forEach((weight, t) => {
      const entry = found[first + t];
      if (entry.weights.length === 0) entry.first = i;
      entry.weights[i - entry.first] = weight;
    });
  });
  return found;
}

const resizeKernel = defineKernel({
  name: "resize",
  operands: {
    x: "in f32",
    lines: "in i32",
    lineWeights: "in f32",
    columns: "in i32",
    columnWeights: "in f32",
    y: "inout f32",
  },
  // biome-ignore format: one line per group
  ints: [
    "batch", "height", "width", "channels", "outHeight", "outWidth",
    "mostLines", "mostColumns", "accumulate",
  ],
  work: (s) => s.batch * s.outHeight * s.outWidth * s.channels * (s.mostLines + s.mostColumns),
  reference: ({ x, lines, lineWeights, columns, columnWeights, y }, s) => {
    for (let b = 0; b < s.batch; b++) {
      for (let i = 0; i < s.outHeight; i++) {
        for (let j = 0; j < s.outWidth; j++) {
          for (let c = 0; c < s.channels; c++) {
            let sum = 0;
            for (let p = 0; p < lines[2 * i + 1]; p++) {
              for (let q = 0; q < columns[2 * j + 1]; q++) {
                const line = b * s.height + lines[2 * i] + p;
                const pixel = line * s.width + columns[2 * j] + q;
                const weight = lineWeights[i * s.mostLines + p] * columnWeights[j * s.mostColumns + q];
                sum += weight * x[pixel * s.channels + c];
              }
            }
            const at = ((b * s.outHeight + i) * s.outWidth + j) * s.channels + c;
            y[at] = s.accumulate ? y[at] + sum : sum;
          }
        }
      }
    }
  },
});

/** Taps as tensors, and the most that an output has. */
function tables(device: Device, taps: readonly Taps[]) {
  const most = Math.max(1, ...taps.map(({ weights }) => weights.length));
  const places = new Int32Array(2 * taps.length);
  const values = new Float32Array(most * taps.length);
  taps.forEach(({ first, weights }, i) => {
    places.set([first, weights.length], 2 * i);
    values.set(weights, most * i);
  });
  return { most, places: device.tensor(places, [taps.length, 2], "i32"), weights: device.tensor(values) };
}

function run(
  x: Tensor,
  y: Tensor,
  lines: readonly Taps[],
  columns: readonly Taps[],
  accumulate: 0 | 1,
): void {
  if (y.size === 0) return;
  const { device } = x;
  const [batch, height, width, channels] = x.shape;
  device.unscoped(() => {
    const down = tables(device, lines);
    const across = tables(device, columns);
    resizeKernel.run(
      device,
      {
        x,
        lines: down.places,
        lineWeights: down.weights,
        columns: across.places,
        columnWeights: across.weights,
        y,
      },
      {
        batch,
        height,
        width,
        channels,
        outHeight: lines.length,
        outWidth: columns.length,
        mostLines: down.most,
        mostColumns: across.most,
        accumulate,
      },
    );
    for (const { places, weights } of [down, across]) for (const each of [places, weights]) each.dispose();
  });
}

/**
 * x at another size: [batch, height, width, channels] f32 -> [batch, size[0], size[1], channels]. `bilinear` is torch's
 * interpolate without align_corners, `bilinear_antialias` widens the filter where the image shrinks. @throws ShapeError
 */
export function resize(x: Tensor, size: readonly [height: number, width: number], mode: ResizeMode): Tensor {
  const [batch, height, width, channels] = x.shape;
  if (
    x.shape.length !== 4 ||
    height < 1 ||
    width < 1 ||
    !size.every((n) => Number.isSafeInteger(n) && n > 0)
  ) {
    throw new ShapeError("an image of no size, or to none", {
      where: "resize",
      expected: "[batch, height, width, channels] and [height, width] from 1 up",
      found: `[${x.shape}] and [${size}]`,
    });
  }
  const lines = tapsOf(mode, height, size[0]);
  const columns = tapsOf(mode, width, size[1]);
  const y = x.device.empty([batch, size[0], size[1], channels]);
  run(x, y, lines, columns, 0);
  record([y], [x], ([dy], grads) => {
    const { tensor, accumulate } = grads.target(0);
    run(dy!, tensor, transposed(lines, height), transposed(columns, width), accumulate);
  });
  return y;
}
