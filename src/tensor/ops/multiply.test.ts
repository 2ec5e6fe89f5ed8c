import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients } from "../testing.ts";
import { multiply } from "./multiply.ts";

describe("multiply", () => {
  for (const [a, b] of [
    [[0], [0]],
    [[0, 3], [3]],
    [[7], [7]],
    [
      [3, 5],
      [3, 5],
    ],
    [[130, 67], [67]],
    [
      [5, 3, 7],
      [3, 7],
    ],
    [[300, 70], [1]],
    [[1, 1], [1]],
    [[40_002], [40_002]],
  ]) {
    it(`agrees with the reference at [${a}] by [${b}]`, async () => {
      await checkBackends(([p, q]) => multiply(p, q), [a, b]);
    });
  }

  it("has right gradients, also where an input is both factors", async () => {
    for (const b of [[2, 3, 4], [3, 4], [4], [1]]) {
      await checkGradients(([p, q]) => multiply(p, q), [[2, 3, 4], b]);
    }
    await checkGradients(([p]) => multiply(multiply(p, p), p), [[2, 3]]);
    await checkBackends(([p]) => multiply(multiply(p, p), p), [[2, 3]]);
  });

  it("refuses factors that do not fit", () => {
    const device = createReferenceDevice();
    expect(() => multiply(device.zeros([2, 3]), device.zeros([2]))).toThrow(
      /expected: \[2,3\].*found: \[2\]/,
    );
    expect(() => multiply(device.zeros([3]), device.zeros([2, 3]))).toThrow(/found: \[2, 3\]/);
  });
});
