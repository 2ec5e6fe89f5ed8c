import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import type { Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { PREFERENCE_LOSSES, type PreferenceTermsOptions, preferenceTerms } from "./preference-terms.ts";

const starts = [0, 4, 11, 12, 20, 31, 33];
const logp = { shape: [33], values: Array.from({ length: 33 }, (_, i) => -0.1 * ((7 * i) % 23) - 0.05) };
const sums = [0, 1, 2, 3, 4, 5].map((s) =>
  logp.values.slice(starts[s], starts[s + 1]).reduce((a, b) => a + b, 0),
);
const reference = {
  shape: [6],
  values: sums.map((sum, s) => sum + [0.7, -1.2, -3, 2.5, 0.4, 0.9][s]),
  gradient: false,
};
const op =
  (options: PreferenceTermsOptions, all = false) =>
  ([p, r]: Tensor[]) => {
    const { loss, ...others } = preferenceTerms(p, r, starts, options);
    return all ? [loss, ...Object.values(others)] : loss;
  };

describe("preferenceTerms", () => {
  for (const loss of PREFERENCE_LOSSES) {
    for (const normalize of [false, true]) {
      it(`has right gradients on every backend: ${loss}${normalize ? ", by length" : ""}`, async () => {
        const options = { loss, normalize, beta: 0.3, labelSmoothing: 0.15, denominator: 2 };
        await checkGradients(op(options), [logp, reference]);
        await checkBackends(op(options, true), [logp, reference]);
      });
    }
  }

  it("stays finite where the difference is large, and shows what is not a number", async () => {
    for (const device of [createReferenceDevice(), await cpuDevice(1, false), await cpuDevice(1, true)]) {
      for (const [difference, expected] of [
        [1e4, 0],
        [-1e4, 1e3],
        [Number.NaN, Number.NaN],
      ]) {
        using p = device.tensor([difference, 0], [2]);
        using r = device.zeros([2]);
        for (const loss of ["sigmoid", "hinge"] as const) {
          const terms = preferenceTerms(p, r, [0, 1, 2], { loss });
          const found = await terms.loss.item();
          if (Number.isNaN(expected)) expect(found).toBeNaN();
          else expect(found).toBeCloseTo(expected + (loss === "hinge" && expected > 0 ? 1 : 0), 2);
          for (const tensor of Object.values(terms)) tensor.dispose();
        }
      }
    }
  });

  it("refuses sequences that are no pairs", () => {
    const device = createReferenceDevice();
    const of = (n: number) => device.zeros([n]);
    expect(() => preferenceTerms(of(3), of(1), [0, 3])).toThrow(/even number/);
    expect(() => preferenceTerms(of(3), of(1), [0, 1, 3])).toThrow(/2 references/);
    expect(() => preferenceTerms(of(3), of(2), [0, 3, 3])).toThrow(/empty/);
    expect(() => preferenceTerms(of(3), of(2), [0, 1, 2])).toThrow(/cover/);
    expect(() => preferenceTerms(of(3), of(2), [0, 1, 3], { loss: "kto" as "ipo" })).toThrow(/kto/);
  });
});
