import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import type { Tensor } from "../tensor.ts";
import { checkBackends, checkGradients } from "../testing.ts";
import { attention } from "./attention.ts";
import { attentionIsolated } from "./attention-isolated.ts";

const options = { scale: 0.4 };
const [B, T, H, G, D, V] = [2, 7, 4, 2, 3, 5];
const specs = [
  [B, T, H, D],
  [B, T, G, D],
  [B, T, G, V],
];
const documents = [3, 1, 3, 2, 5];
const op = ([q, k, v]: Tensor[]) => attentionIsolated(q, k, v, documents, options);

describe("attentionIsolated", () => {
  it("has right gradients, on every backend", async () => {
    await checkGradients(op, specs);
    await checkBackends(op, specs);
  });

  it("gives each document what it has alone", async () => {
    const device = createReferenceDevice();
    const values = (n: number, step: number) =>
      Float32Array.from({ length: n }, (_, i) => Math.sin(step * i));
    const [q, k, v] = [values(B * T * H * D, 1.3), values(B * T * G * D, 0.7), values(B * T * G * V, 0.9)];
    const tensors = [q, k, v].map((x, i) => device.tensor(x, specs[i]));
    const found = await op(tensors).data();
    let at = 0;
    for (const n of documents) {
      const own = [q, k, v].map((x, i) => {
        const width = specs[i][2] * specs[i][3];
        return device.tensor(x.slice(at * width, (at + n) * width), [1, n, ...specs[i].slice(2)]);
      });
      const alone = await attention(own[0], own[1], own[2], options).data();
      expect(Array.from(found.slice(at * H * V, (at + n) * H * V))).toEqual(Array.from(alone));
      at += n;
    }
  });

  it("refuses documents that do not cover the tokens", () => {
    const device = createReferenceDevice();
    const tensors = specs.map((shape) => device.zeros(shape));
    for (const wrong of [[14, 1], [13], [0, 14], [7.5, 6.5], []]) {
      expect(() => attentionIsolated(tensors[0], tensors[1], tensors[2], wrong, options)).toThrow(
        /documents/,
      );
    }
  });
});
