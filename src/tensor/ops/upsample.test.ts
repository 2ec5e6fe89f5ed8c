import { expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { add, scale } from "./elementwise.ts";
import { resize } from "./resize.ts";
import { upsampleNearest } from "./upsample.ts";

it.each([
  [[0, 2, 2, 3], 2],
  [[1, 1, 1, 1], 3],
  [[2, 3, 5, 7], 2],
  [[1, 4, 6, 36], 2],
  [[1, 2, 3, 4], 1],
] as const)("agrees with the reference at [%s] by %i", async (shape, factor) => {
  await checkBackends(([x]) => upsampleNearest(x, factor), [shape]);
});

it("has right gradients, also where the input is used twice", async () => {
  await checkGradients(([x]) => upsampleNearest(x, 3), [[2, 2, 3, 5]]);
  await checkGradients(([x]) => add(upsampleNearest(x, 2), scale(upsampleNearest(x, 2), 3)), [[1, 2, 2, 6]]);
  await checkBackends(([x]) => add(upsampleNearest(x, 2), scale(upsampleNearest(x, 2), 3)), [[1, 2, 2, 6]]);
});

it("is what resize does by whole factors", async () => {
  const device = await cpuDevice(2, true);
  const x = device.tensor(
    Float32Array.from({ length: 60 }, (_, i) => i),
    [1, 3, 4, 5],
  );
  using found = upsampleNearest(x, 2);
  using expected = resize(x, [6, 8], "nearest");
  expect(await found.data()).toEqual(await expected.data());
});

it("refuses factors that are not whole", () => {
  const x = createReferenceDevice().zeros([1, 2, 2, 1]);
  for (const factor of [0, 1.5, -1, Number.NaN])
    expect(() => upsampleNearest(x, factor)).toThrow(/whole factor/);
});
