/** Both kernels of a router's logits: equal values and gradients, and rows that do not depend on the batch. */
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { checkBackends, checkGradients, cpuDevice } from "../tensor/testing.ts";
import { routerLogits } from "./router-logits.ts";

describe.each(["each", "batched"] as const)("router logits, %s", (routing) => {
  it.each([1, 8, 19])("of %d tokens have the gradients of a product", async (tokens) => {
    const shapes = [
      [tokens, 6],
      [5, 6],
    ];
    await checkGradients(([x, gate]) => routerLogits(x, gate, routing), shapes);
    await checkBackends(([x, gate]) => routerLogits(x, gate, routing), shapes);
  });
});

it("a token's logits have the same bits in any batch when computed one by one", async () => {
  const device = await cpuDevice(2, true);
  const random = new Random(5);
  const [N, d, E] = [37, 96, 24];
  const normals = (n: number) => Float32Array.from({ length: n }, () => random.normal());
  using x = device.tensor(normals(N * d), [N, d]);
  using gate = device.tensor(normals(E * d), [E, d]);
  using all = routerLogits(x, gate, "each");
  const expected = await all.data();
  for (const [begin, end] of [
    [0, 1],
    [5, 12],
    [20, 37],
  ]) {
    using rows = x.slice(begin, end);
    using part = routerLogits(rows, gate, "each");
    expect(await part.data()).toEqual(expected.slice(begin * E, end * E));
  }
});
