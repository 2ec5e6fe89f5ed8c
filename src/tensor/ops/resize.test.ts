import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, sizeOf } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice, relativeError } from "../testing.ts";
import { add } from "./elementwise.ts";
import { type ResizeMode, resize } from "./resize.ts";

const modes: ResizeMode[] = ["nearest", "bilinear", "bilinear_antialias"];

it("takes channels in parts where not even one column of all of them fits the scratch memory", async () => {
  const shape = [1, 320, 1, 3600];
  const values = Float32Array.from({ length: sizeOf(shape) }, (_, i) => Math.sin(i * 0.37));
  const run = async (device: Device) => {
    using x = device.tensor(values, shape);
    using y = resize(x, [1, 2], "bilinear_antialias");
    return y.data();
  };
  expect(relativeError(await run(await cpuDevice(2, true)), await run(createReferenceDevice()))).toBeLessThan(
    2e-5,
  );
});

describe.each(modes)("resize, %s", (mode) => {
  it("has the gradients that differences give, where an image grows and shrinks", async () => {
    await checkGradients(([x]) => resize(x, [5, 7], mode), [[2, 3, 4, 2]]);
    await checkGradients(([x]) => resize(x, [2, 3], mode), [[1, 7, 8, 2]]);
    const twice = ([x]: Parameters<typeof add>[0][]) =>
      add(resize(x, [3, 4], mode), resize(resize(x, [5, 2], mode), [3, 4], mode));
    await checkGradients(twice, [[1, 3, 4, 2]]);
    await checkBackends(twice, [[1, 3, 4, 2]]);
  });

  for (const [x, size] of [
    [
      [1, 5, 6, 3],
      [11, 4],
    ],
    [
      [2, 16, 16, 40],
      [24, 24],
    ],
    [
      [1, 90, 70, 3],
      [13, 17],
    ],
    [
      [1, 1, 1, 5],
      [4, 3],
    ],
    [
      [1, 9, 7, 9],
      [1, 1],
    ],
    [
      [0, 4, 4, 2],
      [2, 2],
    ],
    // Lines longer than what waits in scratch memory: strips of columns.
    [
      [1, 300, 2, 40],
      [1, 90],
    ],
  ] as [number[], [number, number]][]) {
    it(`agrees with the reference from [${x}] to ${size}`, async () => {
      await checkBackends(([image]) => resize(image, size, mode), [x]);
    });
  }

  it("keeps an image of the same size to the bit", async () => {
    const device = createReferenceDevice();
    const values = Array.from({ length: 24 }, (_, i) => Math.fround(Math.sin(i)));
    const y = resize(device.tensor(values, [1, 3, 4, 2]), [3, 4], mode);
    expect([...(await y.data())]).toEqual(values);
  });

  it("refuses images of no size", () => {
    const device = createReferenceDevice();
    expect(() => resize(device.zeros([1, 2, 3, 4]), [0, 3], mode)).toThrow(/found: \[1,2,3,4\] and \[0,3\]/);
    expect(() => resize(device.zeros([1, 0, 3, 4]), [2, 3], mode)).toThrow(/no size/);
    expect(() => resize(device.zeros([2, 3, 4]), [2, 3], mode)).toThrow(/\[2,3,4\]/);
  });
});
