/**
 * The ops of vision towers at their shapes (SigLIP-L, SAM-B and its neck), each against its limit (`support/op-cases.ts`).
 */
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { conv2d } from "../src/tensor/ops/conv2d.ts";
import { add } from "../src/tensor/ops/elementwise.ts";
import { gelu } from "../src/tensor/ops/gelu.ts";
import { addLayerNorm, layerNorm } from "../src/tensor/ops/layer-norm.ts";
import { linear } from "../src/tensor/ops/linear.ts";
import { multiply } from "../src/tensor/ops/multiply.ts";
import { permute } from "../src/tensor/ops/permute.ts";
import { pixelShuffle, unfold } from "../src/tensor/ops/pixel-shuffle.ts";
import { resize } from "../src/tensor/ops/resize.ts";
import type { BenchmarkResult } from "./run.ts";
import { OpCases } from "./support/op-cases.ts";

export const name = "vision-ops";

export async function run(log: (line: string) => void): Promise<BenchmarkResult> {
  await using device = await createCpuDevice();
  const cases = new OpCases(device);
  const make = (...shape: number[]) => cases.make(...shape);

  // SAM's tokens: 64 x 64 of 768.
  const x = make(4096, 768);
  const r = make(4096, 768);
  const [w, b] = [make(768), make(768)];
  const pass = 4 * x.size;
  for (const form of ["gelu", "gelu_tanh"] as const) {
    cases.forward(form, "copy", 2 * pass, () => gelu(x, form));
    cases.backward(`${form} backward`, "copy", 3 * pass, [x], () => gelu(x, form));
  }
  cases.forward("layerNorm", "copy", 2 * pass, () => layerNorm(x, w, b, 1e-6));
  cases.backward("layerNorm backward", "copy", 3 * pass, [x, w, b], () => layerNorm(x, w, b, 1e-6));
  cases.forward("add, layerNorm", "copy", 4 * pass, () => layerNorm(add(x, r), w, b, 1e-6));
  cases.forward("addLayerNorm", "copy", 4 * pass, () => addLayerNorm(x, r, w, b, 1e-6));
  cases.forward("multiply", "copy", 3 * pass, () => multiply(x, r));
  cases.forward("multiply by channel", "copy", 2 * pass, () => multiply(x, w));
  const grid = x.view([64, 64, 768]);
  cases.forward("permute channels first", "copy", 2 * pass, () => permute(grid, [2, 0, 1]));
  const plane = x.view([768, 4096]);
  cases.forward("permute channels last", "copy", 2 * pass, () => permute(plane, [1, 0]));
  const split = x.view([4096, 3, 4, 64]);
  cases.forward("permute heads to front", "copy", 2 * pass, () => permute(split, [1, 2, 0, 3]));
  const small = make(1, 64, 64, 256);
  cases.forward("resize 64 to 96, bilinear", "copy", 4 * 256 * (64 ** 2 + 96 ** 2), () =>
    resize(small, [96, 96], "bilinear"),
  );
  const photo = make(1, 1024, 1024, 3);
  cases.forward("resize 1024 to 384, antialiased", "copy", 12 * (1024 ** 2 + 384 ** 2), () =>
    resize(photo, [384, 384], "bilinear_antialias"),
  );
  const tiles = make(4, 27, 27, 1152);
  cases.forward("unfold 27 x 27 by 2", "copy", 4 * (tiles.size + 4 * 196 * 4608), () => unfold(tiles, 2));
  const folded = make(4, 14, 14, 4608);
  cases.forward("pixelShuffle by 2", "copy", 8 * folded.size, () => pixelShuffle(folded, 2));

  // The first product of a feed-forward layer of SAM-B and of SigLIP-L.
  for (const [m, n, k] of [
    [4096, 3072, 768],
    [576, 4096, 1024],
  ]) {
    const [input, weight, bias] = [make(m, k), make(n, k), make(n)];
    const amount = 2 * m * n * k;
    const label = `linear ${m} x ${k} to ${n}`;
    cases.forward(label, "inner loop", amount, () => linear(input, weight));
    cases.forward(`${label}, bias`, "inner loop", amount, () => linear(input, weight, bias));
    for (const form of ["gelu", "gelu_tanh"] as const) {
      cases.forward(`${label}, bias, ${form}`, "inner loop", amount, () => linear(input, weight, bias, form));
    }
    cases.forward(`${label}, then gelu`, "inner loop", amount, () => gelu(linear(input, weight, bias)));
  }
  for (const [size, inputs, outputs, kernel, stride, padding] of [
    [1024, 3, 768, 16, 16, 0],
    [64, 768, 256, 1, 1, 0],
    [64, 256, 256, 3, 1, 1],
    [96, 256, 512, 3, 2, 1],
    [48, 512, 1024, 3, 2, 1],
  ]) {
    const [image, weight] = [make(1, size, size, inputs), make(outputs, kernel, kernel, inputs)];
    const op = () => conv2d(image, weight, null, { stride, padding });
    const amount = 2 * (size / stride) ** 2 * outputs * kernel ** 2 * inputs;
    const label = `conv2d ${kernel} x ${kernel}, ${size} x ${size} of ${inputs} to ${outputs}, stride ${stride}`;
    cases.forward(label, "inner loop", amount, op);
    if (inputs > 3) cases.backward(`${label}, input's gradient`, "inner loop", amount, [image], op);
    cases.backward(`${label}, weight's gradient`, "inner loop", amount, [weight], op);
  }

  return cases.measure(log);
}
