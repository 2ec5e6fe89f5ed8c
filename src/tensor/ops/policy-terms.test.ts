import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../reference/backend.ts";
import { differentiate } from "../tape.ts";
import type { Device, Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice, doubles } from "../testing.ts";
import { type PolicyTermsOptions, policyTerms } from "./policy-terms.ts";

const folder = join(import.meta.dirname, "../../../test/fixtures/align/kl-and-clip");
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const inputs = read("inputs.json");
const expected = read("expected.json");

/** Numbers in double precision, on the reference device. */
function exact(device: Device, values: readonly number[]): Tensor {
  const tensor = device.tensor(values, [values.length]);
  doubles(tensor).set(values);
  return tensor;
}

interface Case extends PolicyTermsOptions {
  readonly logp: readonly number[];
  readonly old?: readonly number[];
  readonly reference?: readonly number[];
  readonly advantage: number;
}

/** Terms of tokens that are a sequence each, and the gradient by `logp`. */
function termsOf({ logp: values, old, reference, advantage, ...options }: Case) {
  const device = createReferenceDevice();
  const logp = exact(device, values);
  logp.requiresGrad = true;
  const same = (value: number) => exact(device, Array(values.length).fill(value));
  const tokens = {
    old: old ? exact(device, old) : null,
    reference: reference ? exact(device, reference) : null,
    advantages: same(advantage),
    weights: same(1),
    starts: Array.from({ length: values.length + 1 }, (_, i) => i),
  };
  const { loss, kl, clipped } = differentiate(device, () => policyTerms(logp, tokens, options));
  const read = (tensor: Tensor) => Array.from(doubles(tensor));
  return { loss: doubles(loss)[0], kl: read(kl), clipped: read(clipped), gradient: read(logp.grad!) };
}

function expectClose(found: readonly number[], wanted: readonly number[], relative = 1e-9): void {
  expect(found.length).toBe(wanted.length);
  found.forEach((value, i) => {
    expect(Math.abs(value - wanted[i])).toBeLessThanOrEqual(relative * Math.max(1, Math.abs(wanted[i])));
  });
}

describe("policyTerms", () => {
  it("has the reference's k3 and its gradient, with and without a bound", () => {
    const { logp, ref_logp: reference } = inputs;
    const { k3, k3_gradient: slope, k3_log_ratio_clamped_20: bounded } = expected.kl;
    const found = termsOf({ logp, reference, advantage: 0, beta: 1 });
    expectClose(found.kl, k3);
    expectClose(found.gradient, slope);
    const held = termsOf({ logp, reference, advantage: 0, beta: 1, klBound: 20 });
    expectClose(held.kl, bounded);
    // Beyond the bound nothing pulls.
    expectClose(held.gradient, [...slope.slice(0, -1), 0]);
  });

  it("has the reference's clipped objective and gradient on both sides of the edges", () => {
    const { epsilon, epsilon_high: high, dual_clip: dualClip } = inputs;
    const ratio: number[] = inputs.ratio;
    const logp = ratio.map(Math.log);
    const old = ratio.map(() => 0);
    expect(expected.clip.length).toBeGreaterThan(3);
    for (const found of expected.clip) {
      const { advantage } = found;
      const at = (options: PolicyTermsOptions, i: number) =>
        termsOf({ logp: [logp[i]], old: [0], advantage, clipLow: epsilon, clipHigh: epsilon, ...options });
      const each = (options: PolicyTermsOptions) => ratio.map((_, i) => -at(options, i).loss);
      expectClose(each({}), found.objective);
      expectClose(each({ clipHigh: high }), found.objective_clip_higher);
      expectClose(each({ dualClip }), found.objective_dual_clip_3);
      const slope = (options: PolicyTermsOptions) =>
        termsOf({ logp, old, advantage, ...options }).gradient.map((value) => -value);
      expectClose(slope({ clipLow: epsilon, clipHigh: epsilon }), found.gradient_of_log_ratio);
      expectClose(slope({ clipLow: epsilon, clipHigh: high }), found.gradient_clip_higher);
    }
  });

  const many = {
    logp: { shape: [40], values: Array.from({ length: 40 }, (_, i) => -0.1 * ((7 * i) % 23) - 0.05) },
    old: {
      shape: [40],
      values: Array.from({ length: 40 }, (_, i) => -0.11 * ((5 * i) % 19)),
      gradient: false,
    },
    reference: {
      shape: [40],
      values: Array.from({ length: 40 }, (_, i) => -0.1 * ((7 * i + 3) % 23) - 0.05 * (i % 2)),
      gradient: false,
    },
    weights: {
      shape: [40],
      values: Array.from({ length: 40 }, (_, i) => 0.02 + 0.01 * (i % 5)),
      gradient: false,
    },
    advantages: {
      shape: [40],
      values: Array.from({ length: 40 }, (_, i) => (i < 12 ? 1.3 : i < 31 ? -0.7 : 0.2)),
      gradient: false,
    },
  };
  const specs = [many.logp, many.old, many.reference, many.advantages, many.weights];
  const starts = [0, 12, 12, 31, 40];
  const op =
    (options: PolicyTermsOptions, pick: "loss" | "all" = "loss") =>
    ([logp, old, reference, advantages, weights]: Tensor[]) => {
      const terms = policyTerms(logp, { old, reference, advantages, weights, starts }, options);
      return pick === "loss" ? terms.loss : [terms.loss, terms.kl, terms.clipped];
    };

  for (const ratio of ["token", "sequence", "sequence-mean"] as const) {
    it(`has right gradients on every backend with a ratio of the ${ratio}`, async () => {
      // The product over a sequence may be large: small steps stay on one side of a clip.
      const options = { ratio, beta: 0.3, clipLow: 0.31, clipHigh: 0.47, dualClip: 2.5 };
      await checkGradients(op(options), specs);
      await checkBackends(op(options, "all"), specs);
    });
  }

  it("takes a ratio of 1 without old log-probabilities, and no penalty without a reference", async () => {
    const alone = ([logp, advantages, weights]: Tensor[]) =>
      policyTerms(logp, { old: null, reference: null, advantages, weights, starts }, { beta: 5 }).loss;
    await checkBackends(alone, [many.logp, many.advantages, many.weights]);
    const found = termsOf({ logp: [-1, -2], advantage: 0.5 });
    expect(found).toEqual({ loss: -1, kl: [0, 0], clipped: [0, 0], gradient: [-0.5, -0.5] });
  });

  it("keeps the digits of a small k3 and shows what is not a number", async () => {
    const device = await cpuDevice(1, true);
    using logp = device.tensor([-1, -1, Number.NaN], [3]);
    using reference = device.tensor([-0.999, -1.005, -1], [3]);
    using ones = device.tensor([1, 1, 1], [3]);
    const tokens = { old: null, reference, advantages: ones, weights: ones, starts: [0, 3] };
    const { loss, kl, clipped } = policyTerms(logp, tokens, { beta: 1 });
    const found = await kl.data();
    const d = [Math.fround(-0.999) + 1, Math.fround(-1.005) + 1];
    expect(found[0] / (Math.expm1(d[0]) - d[0])).toBeCloseTo(1, 5);
    expect(found[1] / (Math.expm1(d[1]) - d[1])).toBeCloseTo(1, 5);
    expect(await loss.item()).toBeNaN();
    for (const tensor of [loss, kl, clipped]) tensor.dispose();
  });

  it("refuses tokens and sequences that do not match", () => {
    const device = createReferenceDevice();
    const of = (n: number) => device.zeros([n]);
    const tokens = { old: of(3), reference: null, advantages: of(3), weights: of(3) };
    expect(() => policyTerms(of(4), { ...tokens, starts: [0, 4] })).toThrow(/old.*expected: 4/);
    expect(() => policyTerms(of(3), { ...tokens, starts: [0, 2] })).toThrow(/cover the tokens/);
    expect(() => policyTerms(of(3), { ...tokens, starts: [0, 2, 1, 3] })).toThrow(/cover the tokens/);
    expect(() => policyTerms(of(3), { ...tokens, starts: [0, 3] }, { ratio: "word" as "token" })).toThrow(
      /word/,
    );
  });
});
