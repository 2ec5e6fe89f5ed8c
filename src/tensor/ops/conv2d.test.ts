import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients } from "../testing.ts";
import { type ConvOptions, conv2d } from "./conv2d.ts";
import { add } from "./elementwise.ts";

type Case = [x: number[], weight: number[], options: ConvOptions];

const uneven = { top: 0, bottom: 1, left: 2, right: 0 };
const small: Case[] = [
  [[2, 4, 5, 3], [2, 3, 3, 3], { padding: 1 }],
  [[1, 5, 6, 2], [3, 2, 3, 2], { stride: 2, padding: uneven }],
  [[1, 7, 7, 1], [1, 2, 2, 1], { stride: 3 }],
  [[1, 3, 4, 2], [3, 1, 1, 2], {}],
  [[1, 3, 4, 2], [3, 1, 1, 2], { stride: 2, padding: 1 }],
  [[1, 4, 4, 1], [2, 4, 4, 1], { stride: 4 }],
];

describe("conv2d", () => {
  it("has the gradients that differences give", async () => {
    for (const [x, w, options] of small) {
      await checkGradients(([p, q, b]) => conv2d(p, q, b, options), [x, w, [w[0]]]);
    }
    await checkGradients(
      ([p, q]) => conv2d(p, q),
      [
        [1, 3, 3, 2],
        [2, 2, 2, 2],
      ],
    );
    const twice = ([p, q]: Parameters<typeof add>[0][]) => {
      const y = conv2d(p, q, null, { padding: 1 });
      return add(conv2d(y, q, null, { padding: 1 }), p);
    };
    await checkGradients(twice, [
      [1, 3, 4, 2],
      [2, 3, 3, 2],
    ]);
    await checkBackends(twice, [
      [1, 3, 4, 2],
      [2, 3, 3, 2],
    ]);
  });

  for (const [x, w, options] of [
    ...small,
    [[1, 13, 17, 5], [7, 3, 3, 5], { padding: 1 }],
    [[2, 9, 11, 33], [20, 3, 3, 33], { padding: 1 }],
    [[1, 16, 15, 40], [33, 3, 3, 40], { stride: 2, padding: { top: 0, bottom: 1, left: 0, right: 1 } }],
    [[1, 30, 28, 3], [19, 14, 14, 3], { stride: 14 }],
    [[1, 40, 50, 4], [6, 3, 3, 4], { padding: 1 }],
    [[1, 5, 5, 3], [300, 5, 5, 3], { padding: 4 }],
    // More than one block of rows, columns and depth everywhere, and of pixels in the weights' gradient.
    [[1, 36, 36, 50], [300, 3, 3, 50], { padding: 1 }],
    [[0, 5, 5, 3], [4, 3, 3, 3], {}],
  ] as Case[]) {
    it(`agrees with the reference at [${x}] by [${w}] ${JSON.stringify(options)}`, async () => {
      await checkBackends(([p, q, b]) => conv2d(p, q, b, options), [x, w, [w[0]]]);
    });
  }

  it("takes bf16 and f16 weights", async () => {
    for (const dtype of ["bf16", "f16"] as const) {
      const weight = { shape: [9, 3, 3, 6], dtype };
      await checkBackends(([p, q]) => conv2d(p, q, null, { padding: 1 }), [[1, 7, 6, 6], weight]);
    }
  });

  it("computes what torch computes", async () => {
    // torch.nn.functional.conv2d of arange images and kernels, by hand.
    const device = createReferenceDevice();
    const x = device.tensor([1, 2, 3, 4, 5, 6, 7, 8, 9], [1, 3, 3, 1]);
    const w = device.tensor([1, 0, 0, -1], [1, 2, 2, 1]);
    expect([...(await conv2d(x, w).data())]).toEqual([-4, -4, -4, -4]);
    const shifted = conv2d(x, w, device.tensor([100]), { stride: 2, padding: uneven });
    expect(shifted.shape).toEqual([1, 2, 2, 1]);
    expect([...(await shifted.data())]).toEqual([100, 96, 100, 107]);
  });

  it("refuses what makes no convolution", () => {
    const device = createReferenceDevice();
    const x = device.zeros([1, 4, 4, 3]);
    const w = device.zeros([2, 3, 3, 3]);
    expect(() => conv2d(x, device.zeros([2, 3, 3, 4]))).toThrow(/\[1,4,4,3\] and \[2,3,3,4\]/);
    expect(() => conv2d(x, device.zeros([2, 5, 3, 3]))).toThrow(/larger.*4 x 4.*5 x 3/);
    expect(() => conv2d(x, w, device.zeros([3]))).toThrow(/bias.*expected: f32 \[2\]/);
    expect(() => conv2d(x, w, null, { stride: 0 })).toThrow(/invalid stride/);
    expect(() => conv2d(x, w, null, { padding: -1 })).toThrow(/invalid padding/);
  });
});
