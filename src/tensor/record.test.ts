/** What operations tell the tape, and when. */
import { expect, it } from "vitest";
import { ShapeError } from "./errors.ts";
import { record } from "./record.ts";
import { createReferenceDevice } from "./reference/backend.ts";
import { Tape } from "./tape.ts";
import type { Gradients } from "./tensor.ts";
import { doubles } from "./testing.ts";

it("an op of two outputs and two inputs gets the gradients of its outputs, and gives those that are wanted", () => {
  const device = createReferenceDevice();
  const [a, b] = [device.tensor([1, 2]), device.tensor([3, 4])];
  a.requiresGrad = true;
  using tape = new Tape(device);
  const [y, z] = [device.tensor([0, 0]), device.tensor([0, 0])];
  const seen: unknown[] = [];
  record([y, z], [a, b], ([dy, dz], gradients: Gradients) => {
    seen.push(Array.from(doubles(dy!)), dz, gradients.wants(0), gradients.wants(1));
    gradients.add(0, dy!);
    gradients.add(1, dy!);
    const { tensor, accumulate } = gradients.target(0);
    seen.push(accumulate, Array.from(doubles(tensor)));
  });
  expect([y.requiresGrad, z.requiresGrad]).toEqual([true, true]);
  using seed = device.tensor([5, 6]);
  tape.backwardFrom([y], [seed]);
  expect(seen).toEqual([[5, 6], null, true, false, 1, [5, 6]]);
  expect(b.grad).toBeNull();
});

it("a gradient of another size than its input is refused", () => {
  const device = createReferenceDevice();
  const a = device.tensor([1, 2]);
  a.requiresGrad = true;
  using tape = new Tape(device);
  const y = device.tensor([0]);
  record([y], [a], ([dy], gradients) => gradients.add(0, dy!));
  expect(() => tape.backward(y)).toThrow(ShapeError);
});

it("an op whose outputs got no gradient is not asked", () => {
  const device = createReferenceDevice();
  const a = device.tensor([1]);
  a.requiresGrad = true;
  using tape = new Tape(device);
  const [y, unused] = [device.tensor([0]), device.tensor([0])];
  record([y], [a], ([dy], gradients) => gradients.add(0, dy!));
  record([unused], [a], () => {
    throw new Error("asked");
  });
  tape.backward(y);
  expect(Array.from(doubles(a.grad!))).toEqual([1]);
});
