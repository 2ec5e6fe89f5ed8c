import { describe, expect, it } from "vitest";
import { ShapeError } from "../errors.ts";
import { QuantizedTensor } from "../quantized.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { differentiate } from "../tape.ts";
import { sizeOf } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { gelu } from "./gelu.ts";
import { linear } from "./linear.ts";
import { dequantizeRows, quantizeInto } from "./quantize.ts";
import { sumAll } from "./reduce.ts";

describe("linear", () => {
  it("has the gradients that differences give", async () => {
    for (const shapes of [
      [
        [2, 3, 4],
        [5, 4],
      ],
      [
        [1, 1],
        [1, 1],
      ],
      [[4], [3, 4]],
    ]) {
      await checkGradients(([x, w]) => linear(x, w), shapes);
    }
  });

  it("adds a bias to every row, with its gradient, in every storage of the weight", async () => {
    for (const shapes of [
      [[2, 3, 4], [5, 4], [5]],
      [[1, 1], [1, 1], [1]],
    ]) {
      await checkGradients(([x, w, b]) => linear(x, w, b), shapes);
    }
    await checkGradients(([x, w, b]) => linear(linear(x, w, b), w, b), [[3, 4], [4, 4], [4]]);
    await checkBackends(([x, w, b]) => linear(x, w, b), [[35, 20], [24, 20], [24]]);
    const device = createReferenceDevice();
    const x = device.tensor([1, 2, 3, 4, 5, 6], [3, 2]);
    const bias = device.tensor([10, 20, 30], [3]);
    const weight = device.tensor([1, 0, 0, 1, 1, 1], [3, 2]);
    expect([...(await linear(x, weight, bias).data())]).toEqual([11, 22, 33, 13, 24, 37, 15, 26, 41]);
    expect(() => linear(x, weight, device.tensor([1, 2], [2]))).toThrow(/bias.*expected: f32 \[3\].*\[2\]/);
    using quantized = new QuantizedTensor(device, "q8", [3, 2]);
    const without = linear(x, quantized);
    const found = await linear(x, quantized, bias).data();
    const plain = await without.data();
    found.forEach((value, i) => {
      expect(value).toBe(plain[i] + [10, 20, 30][i % 3]);
    });
    const bent = await linear(x, quantized, bias, "gelu").data();
    expect(bent).toEqual(await gelu(linear(x, quantized, bias)).data());
    bias.requiresGrad = true;
    quantizeInto(quantized, 0, 0, weight);
    // Through quantized weights gradients come as through their floats.
    const floats = device.unscoped(() => dequantizeRows(quantized, 0, 0, bias.size));
    const gradients: unknown[] = [];
    for (const weight of [quantized, floats]) {
      x.requiresGrad = true;
      differentiate(device, () => sumAll(linear(x, weight, bias, "gelu"))).dispose();
      gradients.push([await x.grad!.data(), await bias.grad!.data()]);
      for (const tensor of [x, bias]) {
        tensor.grad!.dispose();
        tensor.grad = null;
      }
    }
    expect(gradients[0]).toEqual(gradients[1]);
    floats.dispose();
  });

  it("applies bias and activation on the way, with the bits of separate ops, in every kernel", async () => {
    for (const [m, n, k] of [
      [1, 130, 33],
      [5, 37, 70],
      [35, 24, 20],
      [150, 70, 600],
      [20, 20, 2100],
      [7, 3, 0],
      [40, 3, 0],
    ]) {
      const shapes = [[m, k], [n, k], [n]];
      for (const activation of ["gelu", "gelu_tanh"] as const) {
        await checkBackends(([x, w, b], device) => device.noGrad(() => linear(x, w, b, activation)), shapes);
        await checkBackends(([x, w], device) => device.noGrad(() => linear(x, w, null, activation)), shapes);
      }
      if (k > 0) await checkBackends(([x, w, b]) => linear(x, w, b), shapes);
      const device = await cpuDevice(2, true);
      const random = new Random(4);
      const [x, w, b] = shapes.map((shape) =>
        device.tensor(
          Float32Array.from({ length: sizeOf(shape) }, () => random.normal()),
          shape,
        ),
      );
      const fused = await linear(x, w, b, "gelu").data();
      expect(fused).toEqual(await gelu(linear(x, w, b)).data());
      const plain = await linear(x, w).data();
      const offsets = await b.data();
      expect(await linear(x, w, b).data()).toEqual(plain.map((v, i) => v + offsets[i % n]));
    }
  });

  it("has gradients through the activation, from the same bits", async () => {
    for (const activation of ["gelu", "gelu_tanh"] as const) {
      await checkGradients(([x, w, b]) => linear(x, w, b, activation), [[3, 4], [5, 4], [5]]);
      await checkBackends(([x, w, b]) => linear(x, w, b, activation), [[13, 20], [24, 20], [24]]);
    }
    const device = await cpuDevice(1, true);
    const [x, w] = [device.tensor([0.5, -2, 3, 1], [2, 2]), device.tensor([1, 0.25, -1, 2], [2, 2])];
    const apart = await linear(x, w, null, "gelu").data();
    w.requiresGrad = true;
    const { y } = differentiate(device, () => {
      const y = linear(x, w, null, "gelu");
      return { loss: sumAll(y), y };
    });
    expect(await y.data()).toEqual(apart);
  });

  it("sums the gradients of an input used twice", async () => {
    await checkGradients(
      ([x, w]) => linear(linear(x, w), w),
      [
        [3, 4],
        [4, 4],
      ],
    );
    await checkBackends(
      ([x, w]) => linear(linear(x, w), w),
      [
        [35, 20],
        [20, 20],
      ],
    );
  });

  it("is the same on every backend", async () => {
    for (const [m, n, k] of [
      [1, 130, 33],
      [2, 7, 5],
      [4, 33, 130],
      [5, 3, 1],
      [33, 7, 130],
      [130, 65, 33],
      [0, 4, 3],
    ]) {
      await checkBackends(
        ([x, w]) => linear(x, w),
        [
          [m, k],
          [n, k],
        ],
      );
    }
    for (const dtype of ["bf16", "f16"] as const) {
      await checkBackends(([x, w]) => linear(x, w), [[3, 5, 70], { shape: [31, 70], dtype }]);
      await checkBackends(([x, w]) => linear(x, w), [[70], { shape: [31, 70], dtype }]);
    }
  });

  it("keeps the leading axes", () => {
    const device = createReferenceDevice();
    expect(linear(device.zeros([2, 3, 4]), device.zeros([5, 4])).shape).toEqual([2, 3, 5]);
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    expect(() => linear(device.zeros([2, 3]), device.zeros([3, 2]))).toThrow(
      /expected: \[n, 3\].*found: \[3, 2\]/,
    );
    const half = device.zeros([2, 3], "f16");
    half.requiresGrad = true;
    expect(() => linear(device.zeros([2, 3]), half)).toThrow(ShapeError);
  });
});
