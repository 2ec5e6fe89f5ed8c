import { expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { cpuDevice } from "../testing.ts";
import { normalNoise, timeSinusoids } from "./noise.ts";

it("draws the generator's normals in order, the same on every backend, and goes on where it stopped", async () => {
  const [a, b, whole] = [new Random(7, 2), new Random(7, 2), new Random(7, 2)];
  const cpu = await cpuDevice(2, true);
  using x = normalNoise(cpu, [3, 5], a);
  using rest = normalNoise(cpu, [2, 2], a);
  using y = normalNoise(createReferenceDevice(), [3, 5], b);
  expect(await x.data()).toEqual(await y.data());
  const expected = Float32Array.from({ length: 19 }, () => whole.normal());
  expect([...(await x.data()), ...(await rest.data())]).toEqual([...expected]);
});

it("has mean 0 and variance 1", async () => {
  using x = normalNoise(createReferenceDevice(), [100, 1000], new Random(1));
  const values = Float32Array.from(await x.data());
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const variance = values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / values.length;
  expect(Math.abs(mean)).toBeLessThan(0.015);
  expect(Math.abs(variance - 1)).toBeLessThan(0.02);
});

it("puts cosines before sines, of falling frequencies", async () => {
  const device = createReferenceDevice();
  using y = timeSinusoids(device, [0, 400], 4);
  const values = await y.data();
  expect(Array.from(values.subarray(0, 4))).toEqual([1, 1, 0, 0]);
  [Math.cos(400), Math.cos(4), Math.sin(400), Math.sin(4)].forEach((v, i) => {
    expect(values[4 + i]).toBeCloseTo(v, 5);
  });
  expect(() => timeSinusoids(device, [1], 3)).toThrow(/width; expected: an even number/);
});
