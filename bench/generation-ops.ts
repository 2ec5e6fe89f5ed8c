/**
 * The ops of models that draw at their shapes (VQ and VAE decoders at 96 x 96 and 192 x 192, JanusFlow's U-ViT at 24 x 24), each
 * against its limit (`support/op-cases.ts`).
 */
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { choiceEntropy, nearestCode, unitRows } from "../src/tensor/ops/codes.ts";
import { conv2d } from "../src/tensor/ops/conv2d.ts";
import { cosineSimilarity } from "../src/tensor/ops/cosine.ts";
import { depthwiseConv2d } from "../src/tensor/ops/depthwise.ts";
import { groupNorm } from "../src/tensor/ops/group-norm.ts";
import { meanAbsoluteError, meanSquaredError } from "../src/tensor/ops/mean-error.ts";
import { modulate } from "../src/tensor/ops/modulate.ts";
import { movingAverage } from "../src/tensor/ops/moving-average.ts";
import { normalNoise, timeSinusoids } from "../src/tensor/ops/noise.ts";
import { responseNorm } from "../src/tensor/ops/response-norm.ts";
import { sigmoid, silu } from "../src/tensor/ops/silu.ts";
import { upsampleNearest } from "../src/tensor/ops/upsample.ts";
import { Random } from "../src/tensor/random.ts";
import type { BenchmarkResult } from "./run.ts";
import { OpCases } from "./support/op-cases.ts";

export const name = "generation-ops";

export async function run(log: (line: string) => void): Promise<BenchmarkResult> {
  await using device = await createCpuDevice();
  const cases = new OpCases(device);
  const make = (...shape: number[]) => cases.make(...shape);
  const image = make(1, 192, 192, 128);
  const pass = 4 * image.size;
  const [w, b] = [make(128), make(128)];
  for (const [label, op] of [
    ["silu", silu],
    ["sigmoid", sigmoid],
  ] as const) {
    cases.forward(label, "copy", 2 * pass, () => op(image));
    cases.backward(`${label} backward`, "copy", 3 * pass, [image], () => op(image));
  }
  for (const activation of [null, "silu"] as const) {
    const label = `groupNorm 192 x 192 of 128${activation ? ", silu" : ""}`;
    const op = () => groupNorm(image, w, b, 32, 1e-6, activation);
    cases.forward(label, "copy", 3 * pass, op);
    cases.backward(`${label} backward`, "copy", 5 * pass, [image, w, b], op);
  }
  cases.forward("groupNorm 192 x 192 of 128, then silu", "copy", 5 * pass, () =>
    silu(groupNorm(image, w, b, 32, 1e-6)),
  );
  const half = make(1, 96, 96, 128);
  cases.forward("upsampleNearest 96 to 192 of 128", "copy", 1.25 * pass, () => upsampleNearest(half, 2));
  cases.backward("upsampleNearest 96 to 192 of 128 backward", "copy", 1.25 * pass, [half], () =>
    upsampleNearest(half, 2),
  );
  const [tokens, taps, bias] = [make(1, 24, 24, 1536), make(7, 7, 1536), make(1536)];
  const products = 2 * tokens.size * 49;
  const depthwise = () => depthwiseConv2d(tokens, taps, bias);
  cases.forward("depthwise 7 x 7, 24 x 24 of 1536", "inner loop", products, depthwise);
  cases.backward("depthwise 7 x 7, input's gradient", "inner loop", products, [tokens], depthwise);
  cases.backward("depthwise 7 x 7, weight's gradient", "inner loop", products, [taps], depthwise);
  const wide = make(1, 24, 24, 6144);
  const [scale, shift, both] = [make(6144), make(6144), make(1, 2 * 6144)];
  const bytes = 4 * wide.size;
  cases.forward("responseNorm 24 x 24 of 6144", "copy", 3 * bytes, () =>
    responseNorm(wide, scale, shift, 1e-6),
  );
  cases.backward("responseNorm backward", "copy", 5 * bytes, [wide, scale, shift], () =>
    responseNorm(wide, scale, shift, 1e-6),
  );
  cases.forward("modulate 24 x 24 of 6144", "copy", 2 * bytes, () => modulate(wide, both));
  cases.backward("modulate backward", "copy", 3 * bytes, [wide, both], () => modulate(wide, both));
  const [latents, codebook] = [make(576, 8), make(16384, 8)];
  cases.forward("nearestCode 576 among 16384 of 8", "inner loop", 2 * 576 * 16384 * 8, () =>
    nearestCode(latents, codebook),
  );
  cases.forward("unitRows 16384 of 8", "copy", 8 * codebook.size, () => unitRows(codebook));
  const choices = make(576, 16384);
  cases.forward("choiceEntropy 576 of 16384", "copy", 8 * choices.size, () => choiceEntropy(choices));
  const other = make(1, 192, 192, 128);
  cases.forward("meanSquaredError", "copy", 2 * pass, () => meanSquaredError(image, other));
  cases.forward("meanAbsoluteError", "copy", 2 * pass, () => meanAbsoluteError(image, other));
  cases.backward("meanSquaredError backward", "copy", 3 * pass, [image], () =>
    meanSquaredError(image, other),
  );
  const [states, features] = [make(8, 576, 1024), make(8, 576, 1024)];
  cases.forward("cosineSimilarity 4608 of 1024", "copy", 8 * states.size, () =>
    cosineSimilarity(states, features),
  );
  cases.forward("movingAverage", "copy", 3 * pass, () => movingAverage(image, other, 0.99));
  cases.forward("normalNoise 48 x 48 of 4", "copy", 4 * 48 * 48 * 4, () =>
    normalNoise(device, [48, 48, 4], new Random(1)),
  );
  cases.forward("timeSinusoids 30 of 768", "copy", 4 * 30 * 768, () =>
    timeSinusoids(
      device,
      Array.from({ length: 30 }, (_, i) => i),
      768,
    ),
  );
  const weight = make(128, 3, 3, 128);
  cases.forward("conv2d 3 x 3, 192 x 192 of 128 to 128", "inner loop", 2 * image.size * 9 * 128, () =>
    conv2d(image, weight, b, { padding: 1 }),
  );
  return cases.measure(log);
}
