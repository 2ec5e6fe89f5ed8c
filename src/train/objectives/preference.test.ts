/** Preferences against the losses, gradients and updates of `test/fixtures/align/dpo` and `dpo-steps`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { memoryFolder } from "../../checkpoint/byte-source.ts";
import { loadModel } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { differentiate } from "../../tensor/tape.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { AdamW } from "../optimizer.ts";
import { disposePasses, figuresOf, type Pass, shareOf } from "../passes.ts";
import {
  type PreferenceOptions,
  type PreferencePair,
  preferenceBatches,
  preferenceObjective,
  type ScoredPair,
  scorePairs,
} from "./preference.ts";
import { gradientError, recordedTensors } from "./testing.ts";

const fixtures = join(import.meta.dirname, "../../../test/fixtures");
const json = (path: string) => JSON.parse(readFileSync(join(fixtures, path), "utf8"));

const pairsOf = ({ prompts, chosen, rejected }: Record<string, number[][]>): PreferencePair[] =>
  prompts.map((prompt, i) => ({ prompt, chosen: chosen[i], rejected: rejected[i] }));

async function recorded(folder: string, name: string): Promise<number[]> {
  return Array.from((await recordedTensors(folder, "expected.safetensors", [name]))[0].values);
}

/** Loss and terms of an update in parts, its gradient left in the model. */
async function update(
  model: Awaited<ReturnType<typeof loadModel>>,
  pairs: readonly ScoredPair[],
  options: PreferenceOptions,
  mostTokens: number,
) {
  const { device } = model;
  const objective = preferenceObjective(options);
  const passes: Pass[] = preferenceBatches(pairs, mostTokens).map((batch) => {
    const share = batch.batch / pairs.length;
    const losses = device.tidy(() =>
      differentiate(device, () => shareOf(objective(model, batch, {}), share)),
    );
    return { share, losses };
  });
  const figures = await figuresOf(passes);
  disposePasses(passes);
  return { ...figures, passes: passes.length };
}

/** The model of `weights` in a case. */
async function modelOf(folder: string, weights: string, device: Device) {
  const read = (name: string) => new Uint8Array(readFileSync(join(fixtures, folder, name)));
  const files = new Map([
    ["config.json", read("config.json")],
    ["model.safetensors", read(weights)],
  ]);
  return loadModel(memoryFolder(files, folder), device);
}

describe.each([
  ["reference", async () => createReferenceDevice()],
  ["relaxed kernels", () => cpuDevice(1, true)],
])("preferences on the %s device", (_, make) => {
  it("have the reference's losses, gradients and implicit rewards, whole and in parts", async () => {
    const CASE = "align/dpo";
    const device = await make();
    const inputs = json(`${CASE}/inputs.json`);
    const { tolerance, mistakes } = json(`${CASE}/meta.json`);
    using model = await modelOf(CASE, "model.safetensors", device);
    using reference = await modelOf(CASE, "reference.safetensors", device);
    const pairs = await scorePairs(reference, pairsOf(inputs), { mostTokens: 60 });
    for (const side of ["chosen", "rejected"] as const) {
      const wanted = await recorded(CASE, `ref_${side}_logps`);
      pairs.forEach((pair, i) => {
        expect(pair.chosen).toEqual(inputs.chosen[i]);
        expect(Math.abs(pair.reference[side] - wanted[i])).toBeLessThan(tolerance.logps_max_abs);
      });
    }
    const { beta, sft_weight: sftWeight, label_smoothing: labelSmoothing } = inputs;
    const cases: [string, PreferenceOptions, `${string}.safetensors` | null][] = [
      ["sigmoid", {}, "grads.safetensors"],
      ["conservative", { labelSmoothing }, null],
      ["hinge", { loss: "hinge" }, null],
      ["ipo", { loss: "ipo" }, null],
      ["sigmoid_length_normalised", { normalize: true }, null],
      ["sigmoid_plus_sft", { sftWeight }, "grads_sigmoid_plus_sft.safetensors"],
      ["sigmoid_plus_sft_sequence_mean", { sftWeight, sftAverage: "completion" }, null],
    ];
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    for (const [name, options, gradients] of cases) {
      const [expected] = await recorded(CASE, `loss.${name}`);
      for (const mostTokens of [1000, 60]) {
        const { loss, terms, passes } = await update(model, pairs, { beta, ...options }, mostTokens);
        expect(passes).toBe(mostTokens === 1000 ? 1 : 3);
        expect(Math.abs(loss - expected), name).toBeLessThan(tolerance.loss_max_abs);
        if (gradients) {
          const error = await gradientError(CASE, gradients, model.parameters);
          expect(error).toBeLessThan(tolerance.grads_max_abs_over_tensor_max_abs);
        }
        model.parameters.clearGradients();
        if (options.sftWeight && !options.sftAverage) {
          expect(Math.abs(terms.sft - (await recorded(CASE, "loss.sft"))[0])).toBeLessThan(
            tolerance.loss_max_abs,
          );
        }
        if (name !== "sigmoid") continue;
        for (const wrong of Object.values(mistakes) as number[]) expect(loss).not.toBe(wrong);
        expect(terms.chosen).toBeCloseTo(mean(await recorded(CASE, "reward_chosen")), 4);
        expect(terms.rejected).toBeCloseTo(mean(await recorded(CASE, "reward_rejected")), 4);
        const right = (await recorded(CASE, "logit")).map((logit) => (logit > 0 ? 1 : 0));
        expect(terms.accuracy).toBeCloseTo(mean(right), 6);
      }
    }
  });

  it("take the reference's eight updates", async () => {
    const CASE = "align/dpo-steps";
    const device = await make();
    const inputs = json(`${CASE}/inputs.json`);
    const { tolerance, optimizer: settings } = json(`${CASE}/meta.json`);
    using model = await modelOf(CASE, "model.safetensors", device);
    const pairs = await scorePairs(model, pairsOf(inputs));
    using optimizer = new AdamW(model.parameters, {
      ...{ beta1: settings.betas[0], beta2: settings.betas[1], epsilon: settings.eps },
      ...{ weightDecay: settings.weight_decay, clipNorm: settings.clip_global_norm },
    });
    const [losses, norms, accuracies] = [
      await recorded(CASE, "loss"),
      await recorded(CASE, "grad_norm"),
      await recorded(CASE, "accuracy"),
    ];
    expect(losses[0]).toBeCloseTo(Math.LN2, 6);
    for (const [step, batch] of (inputs.batches as number[][]).entries()) {
      const chosen = batch.map((i) => pairs[i]);
      const { loss, terms } = await update(model, chosen, { beta: inputs.beta }, 1000);
      expect(Math.abs(loss - losses[step])).toBeLessThan(tolerance.loss_max_abs);
      // At the first step both rewards are 0 but for rounding, and neither answer leads.
      if (step > 0) expect(terms.accuracy).toBeCloseTo(accuracies[step], 6);
      using squared = device.unscoped(() => optimizer.squaredNorm());
      const norm = Math.sqrt(await squared.item());
      expect(Math.abs(norm / norms[step] - 1)).toBeLessThan(tolerance.grad_norm_rel);
      device.tidy(() => optimizer.step(inputs.learning_rates[step], squared));
      optimizer.clearGradients();
    }
    const names = Array.from(model.parameters.named(), ({ name }) => name);
    const final = await recordedTensors(CASE, "final.safetensors", names);
    for (const [i, name] of names.entries()) {
      const found = await model.parameters.get(name).data();
      final[i].values.forEach((value, j) => {
        if (!(Math.abs(found[j] - value) <= tolerance.final_param_max_abs)) {
          throw new Error(`${name}[${j}]: found ${found[j]}, expected ${value}`);
        }
      });
    }
  });
});

it("begins at ln 2 for experts too, whose routing is that of the reference", async () => {
  const device = await cpuDevice(1, true);
  using model = createModel(tinyConfigs.v3, device, { seed: 4, std: 0.3 });
  const asked: (string | undefined)[] = [];
  const hidden = model.hidden.bind(model);
  model.hidden = (input, options) => {
    asked.push(options?.routing);
    return hidden(input, options);
  };
  const ids = (seed: number, length: number) => Array.from({ length }, (_, i) => (i * seed + 5) % 61);
  const data = [3, 5, 7].map((n) => ({
    prompt: ids(n, 6),
    chosen: ids(n + 1, n),
    rejected: ids(n + 4, 9 - n),
  }));
  const pairs = await scorePairs(model, data);
  const { loss, terms } = await update(model, pairs, {}, 1000);
  expect(loss).toBeCloseTo(Math.LN2, 5);
  expect(terms.chosen).toBeCloseTo(0, 5);
  expect(asked).toEqual(["batched", "batched"]);
});

it("refuses what does not fit together, by name", async () => {
  expect(() => preferenceObjective({ beta: 0 })).toThrow(/beta/);
  expect(() => preferenceObjective({ loss: "kto" as "ipo" })).toThrow(/loss.*sigmoid/);
  expect(() => preferenceObjective({ loss: "ipo", labelSmoothing: 0.1 })).toThrow(/labelSmoothing/);
  expect(() => preferenceObjective({ labelSmoothing: 0.5 })).toThrow(/labelSmoothing/);
  expect(() => preferenceObjective({ normalize: 1 } as object)).toThrow(/normalize.*true or false/);
  expect(() => preferenceObjective({ normalized: true } as object)).toThrow(/normalized/);
  const model = await loadModel(nodeFolder(join(fixtures, "align/dpo")), createReferenceDevice());
  const pair = { prompt: [1], chosen: [2, 1], rejected: [] };
  await expect(scorePairs(model, [pair])).rejects.toThrow(/empty/);
  const stopped = scorePairs(model, [{ ...pair, rejected: [3] }], {
    signal: AbortSignal.abort(new Error("stop")),
  });
  await expect(stopped).rejects.toThrow("stop");
  model[Symbol.dispose]();
});
