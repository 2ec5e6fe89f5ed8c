/** Convolutions under official names: loaded from [out, in, kh, kw], computed with channels last, saved as they came. */
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { type Shape, sizeOf } from "../tensor/tensor.ts";
import { Conv2d } from "./conv.ts";
import { weightsOf } from "./model-weights.ts";
import { allocateModule, describeModule, type ParameterScope } from "./scope.ts";
import type { StorageFormat } from "./storage.ts";
import type { WeightSource } from "./weight-source.ts";

const make = (scope: ParameterScope) => {
  const neck = scope.child("neck");
  return {
    point: new Conv2d(neck.child("0"), 3, 4, [1, 1], { bias: false }),
    wide: new Conv2d(neck.child("2"), 4, 2, [3, 2], { stride: 2, padding: 1 }),
    strided: new Conv2d(neck.child("3"), 4, 2, [1, 1], { stride: 2 }),
    parameters: scope.parameters,
  };
};

const shapes: Record<string, Shape> = {
  "neck.0.weight": [4, 3, 1, 1],
  "neck.2.weight": [2, 4, 3, 2],
  "neck.2.bias": [2],
  "neck.3.weight": [2, 4, 1, 1],
  "neck.3.bias": [2],
};
const random = new Random(6);
const tensors = new Map(
  Object.entries(shapes).map(([name, shape]) => {
    return [name, Float32Array.from({ length: sizeOf(shape) }, () => random.normal())];
  }),
);

const source: WeightSource = {
  names: () => tensors.keys(),
  has: (name) => tensors.has(name),
  shape: (name) => shapes[name],
  async *readF32(name) {
    const values = tensors.get(name)!;
    for (let offset = 0; offset < values.length; offset += 5)
      yield { offset, values: values.slice(offset, offset + 5) };
  },
};

/** The convolution of an image [height, width, in] with an official weight, plain. */
function convolved(
  image: Float32Array,
  [height, width]: number[],
  name: string,
  stride: number,
  padding: number,
) {
  const [outputs, inputs, kh, kw] = shapes[`${name}.weight`];
  const weight = tensors.get(`${name}.weight`)!;
  const bias = tensors.get(`${name}.bias`);
  const out: number[] = [];
  for (let oy = 0; oy * stride + kh <= height + 2 * padding; oy++) {
    for (let ox = 0; ox * stride + kw <= width + 2 * padding; ox++) {
      for (let o = 0; o < outputs; o++) {
        let sum = bias?.[o] ?? 0;
        for (let i = 0; i < inputs; i++) {
          for (let ky = 0; ky < kh; ky++) {
            for (let kx = 0; kx < kw; kx++) {
              const [y, x] = [oy * stride - padding + ky, ox * stride - padding + kx];
              if (y < 0 || y >= height || x < 0 || x >= width) continue;
              sum += weight[((o * inputs + i) * kh + ky) * kw + kx] * image[(y * width + x) * inputs + i];
            }
          }
        }
        out.push(sum);
      }
    }
  }
  return out;
}

describe("Conv2d", () => {
  it("declares official names and shapes", () => {
    const { parameters } = describeModule(make);
    const parts = [...parameters.groups()].flatMap((group) => group.parts);
    expect(Object.fromEntries(parts.map(({ name, shape }) => [name, shape]))).toEqual(shapes);
  });

  it.each(["f32", "bf16", "q8"] as StorageFormat[])("loads, computes and saves with %s", async (format) => {
    const device = createReferenceDevice();
    const { parameters, point, wide, strided } = allocateModule(device, () => format, make);
    await parameters.load(source);
    const kept = [...parameters.groups()].map(({ key, weight }) => [
      key,
      "format" in weight ? weight.format : weight.dtype,
    ]);
    const plain = format === "q8" ? "f32" : format;
    expect(Object.fromEntries(kept)).toEqual({
      "neck.0.weight": format,
      "neck.2.weight.channels_last": plain,
      "neck.2.bias": "f32",
      "neck.3.weight.channels_last": plain,
      "neck.3.bias": "f32",
    });
    const tolerance = format === "f32" ? 5 : 1;
    const values = Float32Array.from({ length: 5 * 6 * 4 }, () => random.normal());
    const image = device.tensor(values, [1, 5, 6, 4]);
    const thin = values.subarray(0, 5 * 6 * 3);
    for (const [layer, x, name, stride, padding, shape] of [
      [point, device.tensor(thin, [1, 5, 6, 3]), "neck.0", 1, 0, [1, 5, 6, 4]],
      [wide, image, "neck.2", 2, 1, [1, 3, 4, 2]],
      [strided, image, "neck.3", 2, 0, [1, 3, 3, 2]],
    ] as const) {
      const y = layer.forward(x);
      expect(y.shape).toEqual(shape);
      const found = await y.data();
      convolved(name === "neck.0" ? thin : values, [5, 6], name, stride, padding).forEach((v, i) => {
        expect(found[i]).toBeCloseTo(v, tolerance);
      });
    }
    if (format !== "f32") return;
    const saved = weightsOf({ parameters });
    expect([...saved.names()].sort()).toEqual(Object.keys(shapes).sort());
    for (const [name, shape] of Object.entries(shapes)) {
      expect(saved.shape(name)).toEqual(shape);
      const read: number[] = [];
      for await (const { values } of saved.readF32(name)) read.push(...values);
      expect(read).toEqual([...tensors.get(name)!]);
    }
  });
});
