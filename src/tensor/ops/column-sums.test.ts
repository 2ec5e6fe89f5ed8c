import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends } from "../testing.ts";
import { columnSums } from "./column-sums.ts";

describe("columnSums", () => {
  for (const [rows, n] of [
    [0, 3],
    [1, 1],
    [3, 5],
    [130, 67],
    [2050, 130],
    [4096, 1],
    [3, 4099],
  ]) {
    it(`agrees with the reference at ${rows} x ${n}`, async () => {
      await checkBackends(
        ([x, w], device) => {
          const [plain, product, more] = [0, 1, 2].map(() => device.zeros([n]));
          columnSums(x, plain);
          columnSums(x, product, 0, w);
          columnSums(x, more);
          columnSums(w, more, 1);
          return [plain, product, more];
        },
        [
          [rows, n],
          [rows, n],
        ].map((shape) => ({ shape, gradient: false })),
      );
    });
  }

  it("refuses rows of another length", () => {
    const device = createReferenceDevice();
    expect(() => columnSums(device.zeros([2, 3]), device.zeros([4]))).toThrow(
      /expected: \[4\]; found: \[2, 3\]/,
    );
  });
});
