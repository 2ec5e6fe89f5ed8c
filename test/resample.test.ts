/** Resizing, pixel shuffle and unfold against what torch computed, on every build of the kernels. */
import { describe, expect, it } from "vitest";
import { permute } from "../src/tensor/ops/permute.ts";
import { pixelShuffle, unfold } from "../src/tensor/ops/pixel-shuffle.ts";
import { type ResizeMode, resize } from "../src/tensor/ops/resize.ts";
import { createReferenceDevice } from "../src/tensor/reference/backend.ts";
import type { Device, Tensor } from "../src/tensor/tensor.ts";
import { cpuDevice } from "../src/tensor/testing.ts";
import { fixtureTensors } from "../src/vision/image/testing.ts";

const inputs = fixtureTensors("resample/inputs.safetensors");
const outputs = fixtureTensors("resample/expected.safetensors");

/** Runs `op` on a case with its channels last, and compares what it gives, channels first. */
async function compare(input: string, output: string, op: (x: Tensor) => Tensor, shape?: number[]) {
  const expected = outputs(output);
  const devices: Device[] = [createReferenceDevice(), await cpuDevice(2, false), await cpuDevice(2, true)];
  for (const device of devices) {
    const y = device.tidy(() => {
      const x = permute(device.tensor(inputs(input).floats, inputs(input).shape), [0, 2, 3, 1]);
      return permute(op(x), [0, 3, 1, 2]);
    });
    expect(shape ?? y.shape).toEqual(expected.shape);
    const found = (await y.data()) as Float32Array;
    y.dispose();
    const worst = found.reduce((most, v, i) => Math.max(most, Math.abs(v - expected.floats[i])), 0);
    expect(worst).toBeLessThan(1e-5);
  }
}

describe("torch's resampling", () => {
  const cases = outputs.names.filter((name) => name.startsWith("bilinear"));
  it("covers both filters", () => expect(cases.length).toBe(8));

  it.each(cases)("%s", async (name) => {
    const [mode, sizes] = name.split(".");
    const size = Number(sizes.split("-")[1]);
    await compare(name, name, (x) => resize(x, [size, size], mode as ResizeMode));
  });

  it("nearest, twice the size", () => compare("ramp", "nearest_x2", (x) => resize(x, [8, 12], "nearest")));

  it("pixel shuffle", () => compare("ramp", "pixel_shuffle_2", (x) => pixelShuffle(x, 2)));

  it("unfold with a stride of its size", () =>
    compare("ramp", "unfold_2x2_stride_2", (x) => unfold(x, 2), [1, 16, 6]));
});
