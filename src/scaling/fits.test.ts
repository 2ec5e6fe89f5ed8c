import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseConfig } from "../models/config.ts";
import { presets } from "../models/presets.ts";
import { studentQuantile, studentTwoSided } from "../statistics/student.ts";
import { Random } from "../tensor/random.ts";
import { bootstrapIsoflop } from "./bootstrap.ts";
import { denseFlopsPerToken, measureModel } from "./flops.ts";
import { fitHyperparameters } from "./hyperparameters.ts";
import { fitAllocation, fitProfile, type IsoflopProfile, optimaOf } from "./isoflop.ts";
import { denseModel, denseShapeFlops, ladder } from "./ladder.ts";
import { fitLine, fitParabola, fitPowerLaw } from "./least-squares.ts";
import { fitLossLaw, lossAt } from "./loss-law.ts";
import { fitSurface, surfaceOptimum } from "./surface.ts";

const truth = { E: 1.4, A: 90, alpha: 0.33, B: 500, beta: 0.31 };
const lossOf = (size: number, tokens: number) =>
  truth.E + truth.A * size ** -truth.alpha + truth.B * tokens ** -truth.beta;

/** Runs of the surface above at seven sizes a budget, with noise. */
function profiles(noise: number, seeds: number, random = new Random(3)): IsoflopProfile[] {
  return [1e12, 4e12, 1.6e13, 6.4e13, 2.56e14].map((compute) => {
    const center = surfaceOptimum(truth, compute);
    return {
      compute,
      runs: [-3, -2, -1, 0, 1, 2, 3].map((step) => {
        const flopsPerToken = center * 1.5 ** step;
        const tokens = compute / flopsPerToken;
        const losses = Array.from(
          { length: seeds },
          () => lossOf(flopsPerToken, tokens) * (1 + noise * random.normal()),
        );
        return { flopsPerToken, tokens, losses };
      }),
    };
  });
}

describe("Student's t", () => {
  it("gives the quantiles of tables", () => {
    expect(studentQuantile(0.95, 1)).toBeCloseTo(12.7062047364, 9);
    expect(studentQuantile(0.95, 4)).toBeCloseTo(2.7764451052, 9);
    expect(studentQuantile(0.99, 30)).toBeCloseTo(2.7499956536, 9);
    expect(studentTwoSided(1.959963984540054, 5_000_000)).toBeCloseTo(0.05, 6);
    // Far out, where 1 - p would have no digits left.
    expect(studentTwoSided(50, 10) / 2.47431032930268e-13).toBeCloseTo(1, 10);
  });

  it("refuses no degrees of freedom", () => {
    expect(() => studentQuantile(0.95, 0)).toThrow(/degrees of freedom/);
  });
});

describe("lines and parabolas", () => {
  it("fits a power law", () => {
    const x = [1, 10, 100, 1000];
    const { coefficient, exponent } = fitPowerLaw(
      x,
      x.map((each) => 3 * each ** 0.52),
    );
    expect(coefficient).toBeCloseTo(3, 12);
    expect(exponent).toBeCloseTo(0.52, 12);
  });

  it("refuses what determines nothing", () => {
    expect(() => fitLine([1, 1], [2, 3])).toThrow(/found: 1 with different x/);
    expect(() => fitLine([1, 2], [2, Number.NaN])).toThrow(/not finite/);
    expect(() => fitParabola([1, 1, 2, 2], [2, 3, 4, 5])).toThrow(/found: 2 with different x/);
  });

  it("finds no minimum in a flat or straight profile", () => {
    expect(fitParabola([1, 2, 3, 4], [5, 5, 5, 5]).verdict).toBe("not convex");
    expect(fitParabola([10, 11, 12, 13], [4, 3, 2, 1]).verdict).toBe("not convex");
  });
});

describe("IsoFLOP", () => {
  it("leaves a budget without a minimum out and says where its vertex lies", () => {
    const all = profiles(0, 1);
    const falling = { ...all[0], runs: all[0].runs.slice(0, 3) };
    const rising = { ...all[1], runs: all[1].runs.slice(4) };
    const fits = [falling, rising, ...all.slice(2)].map(fitProfile);
    expect(fits.map(({ missing }) => missing)).toEqual(["larger models", "smaller models", null, null, null]);
    expect(fits[0].modelOptimum).toBeNull();
    const optima = optimaOf(fits);
    expect(optima.map(({ compute }) => compute)).toEqual([1.6e13, 6.4e13, 2.56e14]);
    const { model, data } = fitAllocation(optima);
    expect(model.exponent).toBeCloseTo(truth.beta / (truth.alpha + truth.beta), 2);
    expect(model.exponent + data.exponent).toBeCloseTo(1, 12);
  });

  it("refuses too few sizes and too few budgets", () => {
    const [first] = profiles(0, 1);
    expect(() => fitProfile({ ...first, runs: first.runs.slice(0, 2) })).toThrow(/three sizes.*found: 2/);
    expect(() => fitAllocation(optimaOf([fitProfile(first)]))).toThrow(/too few budgets.*found: 1/);
  });

  it("refuses losses that do not fall with compute", () => {
    expect(() => fitLossLaw([1, 10, 100, 1000], [2, 2.1, 2.2, 2.3])).toThrow(/do not fall/);
    expect(() => fitLossLaw([1, 10], [2, 1])).toThrow(/too few budgets/);
  });

  it("keeps what no compute removes from becoming negative", () => {
    const compute = [1, 10, 100, 1000];
    // A curve that falls faster than any power law with a floor of zero or more.
    const law = fitLossLaw(compute, [4, 3, 2, 1]);
    expect(law.e).toBeGreaterThanOrEqual(0);
    expect(lossAt(law, 1e9)).toBeGreaterThanOrEqual(0);
  });
});

describe("bootstrap", () => {
  it("covers the truth about as often as it says", () => {
    const exact = fitAllocation(optimaOf(profiles(0, 1).map(fitProfile))).model.exponent;
    const random = new Random(11);
    let covered = 0;
    for (let i = 0; i < 25; i++) {
      const {
        modelExponent: [low, high],
      } = bootstrapIsoflop(profiles(0.003, 3, random), { draws: 60, seed: i });
      if (low <= exact && exact <= high) covered++;
    }
    expect(covered).toBeGreaterThanOrEqual(20);
  });

  it("takes the deviation from seeds, or from parabolas where there is one seed", () => {
    const three = bootstrapIsoflop(profiles(0.01, 3), { draws: 100, at: [1e15] });
    expect(three.deviationFrom).toBe("seeds");
    expect(three.deviation).toBeGreaterThan(0.007);
    expect(three.deviation).toBeLessThan(0.013);
    const [{ loss }] = three.predictions;
    expect(loss[0]).toBeLessThan(loss[1]);
    expect(bootstrapIsoflop(profiles(0.002, 1), { draws: 100 }).deviationFrom).toBe("parabolas");
  });

  it("refuses runs without a law in most draws", () => {
    const falling = profiles(0.001, 2).map(({ compute, runs }) => ({ compute, runs: runs.slice(0, 3) }));
    expect(() => bootstrapIsoflop(falling, { draws: 40 })).toThrow(/too noisy/);
  });
});

describe("hyper-parameters", () => {
  it("passes runs that diverged over", () => {
    const grid = (compute: number, losses: readonly number[]) => ({
      compute,
      runs: losses.map((loss, i) => ({
        learningRate: compute ** -0.1 * 2 ** i,
        batchTokens: 8 * 2 ** i,
        loss,
      })),
    });
    const infinite = Number.POSITIVE_INFINITY;
    const fit = fitHyperparameters([grid(10, [3, 2, infinite]), grid(1000, [infinite, 1.9, 3])]);
    expect(fit.grids.map(({ nearOptimal }) => nearOptimal)).toEqual([[1], [1]]);
    expect(fit.learningRate.exponent).toBeCloseTo(-0.1, 12);
    expect(() => fitHyperparameters([grid(10, [infinite, infinite])])).toThrow(/without a run that ended/);
  });
});

describe("surface", () => {
  it("finds the law from clean runs", () => {
    const runs = profiles(0, 1).flatMap(({ runs }) =>
      runs.map(({ flopsPerToken, tokens, losses }) => ({ size: flopsPerToken, tokens, loss: losses[0] })),
    );
    const found = fitSurface(runs);
    expect(found.objective).toBeLessThan(1e-12);
    expect(found.alpha).toBeCloseTo(truth.alpha, 3);
    expect(found.beta).toBeCloseTo(truth.beta, 3);
    expect(() => fitSurface(runs.slice(0, 5))).toThrow(/found: 5 runs/);
    // Large models that learn nothing in their few steps.
    const worse = [1e4, 3e4, 1e5, 3e5].flatMap((size) =>
      [1e6, 1e7, 1e8].map((tokens) => ({
        size,
        tokens,
        loss: 2 + (size / 1e5) ** 0.3 + (1e8 / tokens) ** 0.3,
      })),
    );
    expect(() => fitSurface(worse)).toThrow(/on no such surface.*found: a fall of \S+ of the loss with size/);
  });
});

describe("FLOPs a token", () => {
  it("agrees with the paper's formula where 8/3 of the width is whole", () => {
    const model = { ...denseModel({ width: 192, layers: 6 }), vocab_size: 512, max_position_embeddings: 512 };
    const config = parseConfig({ ...model, rms_norm_eps: 1e-6, rope_theta: 10000, hidden_act: "silu" });
    const { flopsPerToken, sixN1, sixN2 } = measureModel(config, 512);
    expect(flopsPerToken).toBe(denseFlopsPerToken(6, 192, 512));
    expect(sixN1).toBe(denseFlopsPerToken(6, 192, 0));
    expect(sixN2 - sixN1).toBe(6 * 512 * 192);
    expect(denseShapeFlops({ width: 192, layers: 6 }, 512)).toBe(flopsPerToken);
  });

  it("counts activated experts and both widths of latent attention", () => {
    const shape = parseConfig(presets["deepseek-v2-lite"]);
    const { flopsPerToken, sixN1 } = measureModel(shape, 4096);
    // Nope 128 + rope 64 + values 128, 16 heads, 27 layers.
    expect(flopsPerToken - sixN1).toBe(6 * 27 * 16 * (128 + 64 + 128) * 4096);
    // 2.66B activated, of which 0.42B are embedding and head.
    expect(sixN1 / 6 / 1e9).toBeCloseTo(2.24, 1);
  });
});

describe("ladder", () => {
  it("has the wanted range, at most a factor of two apart, each shape a model", () => {
    const shapes = ladder({ from: 2.5e5, to: 3.2e7, length: 128 });
    const flops = shapes.map((shape) => denseShapeFlops(shape, 128));
    expect(flops[0] / 2.5e5).toBeGreaterThan(0.6);
    expect(flops.at(-1)! / 3.2e7).toBeLessThan(1.2);
    for (let i = 1; i < flops.length; i++) expect(flops[i] / flops[i - 1]).toBeLessThan(2);
    for (const shape of shapes) {
      const { num_attention_heads, hidden_size } = denseModel(shape);
      expect(Number(hidden_size) % Number(num_attention_heads)).toBe(0);
    }
  });

  it.each([
    [{ from: 1e6, to: 1e5, length: 128 }, /no such range/],
    [{ from: 1, to: 1e30, length: 128, spacing: 1.06 }, /too many models/],
    [{ from: 1, to: 2, length: 128, spacing: 1 }, /spacing/],
  ])("refuses %j", (options, text) => {
    expect(() => ladder(options)).toThrow(text);
  });
});

describe("recorded case with noise", () => {
  it("has an interval that holds the true exponent", () => {
    const path = new URL("../../test/fixtures/scaling/isoflop-noise/", import.meta.url);
    const inputs = JSON.parse(readFileSync(new URL("inputs.json", path), "utf8"));
    const recorded: IsoflopProfile[] = inputs.profiles.map(
      (profile: {
        compute: number;
        runs: { flops_per_token: number; tokens: number; losses: number[] }[];
      }) => ({
        compute: profile.compute,
        runs: profile.runs.map((run) => ({ ...run, flopsPerToken: run.flops_per_token })),
      }),
    );
    const { modelExponent, failed } = bootstrapIsoflop(recorded, { draws: 400 });
    expect(failed).toBe(0);
    expect(modelExponent[0]).toBeLessThan(0.523);
    expect(modelExponent[1]).toBeGreaterThan(0.5231);
    expect(modelExponent[1] - modelExponent[0]).toBeLessThan(0.03);
  });
});
