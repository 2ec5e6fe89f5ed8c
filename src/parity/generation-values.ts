/** What parity checks of models that draw share: images in the reference's order, and gradients under official names. */
import type { Parameters } from "../nn/parameters.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Captured } from "./comparison.ts";
import { channelsFirst, type VisionCase } from "./vision-values.ts";

/** Images `[B, height, width, n]` as the reference has them, channels first. */
export async function reordered(tensor: Tensor): Promise<Float32Array> {
  const [, height, width, channels] = tensor.shape;
  return channelsFirst(await tensor.data(), channels, height * width);
}

/** Compares images, or the first of them where the reference kept no more. */
export async function compareImages(run: VisionCase, name: string, tensor: Tensor): Promise<void> {
  const values = await reordered(tensor);
  await run.compare(name, values.subarray(0, (await run.expected.values(name)).length));
}

/** Images of an input, channels last, on the device. */
export async function imagesOf(run: VisionCase, name: string): Promise<Tensor> {
  const { pixels, shape } = await run.images(name);
  return run.device.tensor(pixels, shape);
}

/** Compares all captured images that the reference has under these names. */
export async function compareCapturedImages(
  run: VisionCase,
  captured: Captured,
  rename: (name: string) => string,
): Promise<void> {
  for (const [name, tensor] of captured.tensors) {
    const wanted = rename(name);
    if (run.expected.has(wanted)) await compareImages(run, wanted, tensor);
  }
}

/** Gradients by official names, of weights that are stored in another order too. */
async function officialGradients(parameters: Parameters): Promise<Map<string, Float32Array | null>> {
  const found = new Map<string, Float32Array | null>();
  for (const { name, group } of parameters.named()) {
    using gradient = parameters.gradient(name);
    const values = gradient && Float32Array.from(await gradient.data());
    const { layout, piece } = group;
    if (layout === undefined || piece === undefined || values === null) {
      found.set(layout?.official.key ?? name, values);
      continue;
    }
    const unit = values.length / layout.units;
    const joined = new Float32Array(values.length);
    for (let i = 0; i < values.length; i += unit) joined.set(layout.join([values.subarray(i, i + unit)]), i);
    found.set(layout.official.key, joined);
  }
  return found;
}

/** Compares gradients; where the reference has none, there must be none, or zeros. */
export async function compareAllGradients(
  run: VisionCase,
  parts: readonly Parameters[],
  prefix: string,
): Promise<void> {
  for (const parameters of parts) {
    for (const [name, values] of await officialGradients(parameters)) {
      const wanted = prefix + name;
      if (!run.expected.has(wanted)) {
        if (values?.some((v) => v !== 0)) run.comparison.missing(wanted);
        continue;
      }
      const size = (await run.expected.values(wanted)).length;
      await run.compare(wanted, values ?? new Float32Array(size));
    }
  }
}
