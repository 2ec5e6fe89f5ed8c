import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { scale } from "./elementwise.ts";
import { tokenLogProbabilities } from "./token-log-probabilities.ts";

function targets(rows: number, n: number) {
  const random = new Random(5);
  const values = Array.from({ length: rows }, () => (random.uniform() < 0.2 ? -1 : random.int(n)));
  return { shape: [rows], dtype: "i32" as const, values };
}

describe("tokenLogProbabilities", () => {
  for (const [rows, n] of [
    [0, 3],
    [1, 1],
    [3, 5],
    [7, 33],
    [33, 130],
    [2, 20_001],
  ]) {
    it(`agrees with the reference at ${rows} x ${n}`, async () => {
      const specs = [[rows, n], targets(rows, n)];
      await checkBackends(([x, t]) => {
        const { logp, entropy } = tokenLogProbabilities(scale(x, 5), t, { temperature: 0.7 });
        return [logp, entropy];
      }, specs);
      await checkBackends(
        ([x, t]) => tokenLogProbabilities(scale(x, 20), t, { consumeLogits: true }).logp,
        specs,
      );
    });
  }

  it("has right gradients, a temperature among them", async () => {
    await checkGradients(([x, t]) => tokenLogProbabilities(x, t).logp, [[6, 7], targets(6, 7)]);
    await checkGradients(
      ([x, t]) => tokenLogProbabilities(scale(x, 2), t, { temperature: 1.7, consumeLogits: true }).logp,
      [[2, 3, 5], targets(6, 5)],
    );
  });

  it("gives the entropy in nats, of logits that forbid tokens too", async () => {
    const inf = Number.POSITIVE_INFINITY;
    for (const device of [createReferenceDevice(), await cpuDevice(1, false), await cpuDevice(1, true)]) {
      using logits = device.tensor([3, 3, 3, 3, 3, -inf, 3, -inf, Math.LN2, 0, -inf, -inf], [3, 4]);
      using ids = device.tensor([1, 0, 0], [3], "i32");
      const { logp, entropy } = tokenLogProbabilities(logits, ids);
      const p = [2 / 3, 1 / 3];
      const third = -p.reduce((sum, each) => sum + each * Math.log(each), 0);
      const expected = [Math.log(4), Math.LN2, third];
      (await entropy.data()).forEach((value, i) => {
        expect(value).toBeCloseTo(expected[i], 5);
      });
      const chosen = [-Math.log(4), -Math.LN2, Math.log(p[0])];
      (await logp.data()).forEach((value, i) => {
        expect(value).toBeCloseTo(chosen[i], 5);
      });
      logp.dispose();
      entropy.dispose();
    }
  });

  it("keeps NaN visible, and refuses what does not match", async () => {
    const device = await cpuDevice(2, true);
    using logits = device.tensor([1, Number.NaN, 2, 1, 2, 3], [2, 3]);
    using ids = device.tensor([0, 3], [2], "i32");
    const { logp, entropy } = tokenLogProbabilities(logits, ids);
    expect(Array.from(await logp.data())).toEqual([Number.NaN, Number.NaN]);
    logp.dispose();
    entropy.dispose();
    using one = device.tensor([0], [1], "i32");
    expect(() => tokenLogProbabilities(logits, one)).toThrow(/2 targets/);
    expect(() => tokenLogProbabilities(logits, ids, { temperature: 0 })).toThrow(/temperature/);
  });
});
