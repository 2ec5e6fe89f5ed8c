/** The objective of a policy against the losses and gradients of `test/fixtures/align/grpo` and of the prover. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { createReferenceDevice } from "../../tensor/reference/backend.ts";
import { differentiate } from "../../tensor/tape.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { batchAdvantages, groupAdvantages } from "../advantages.ts";
import { disposePasses, figuresOf, type Pass, shareOf } from "../passes.ts";
import { scoreCompletions } from "./completions.ts";
import {
  type PolicyBatch,
  type PolicyOptions,
  type PolicyRow,
  policyBatches,
  policyObjective,
} from "./policy.ts";
import { gradientError, recordedTensors } from "./testing.ts";

const CASE = "align/grpo";
const folder = join(import.meta.dirname, "../../../test/fixtures", CASE);
const inputs = JSON.parse(readFileSync(join(folder, "inputs.json"), "utf8"));
const { tolerance } = JSON.parse(readFileSync(join(folder, "meta.json"), "utf8"));
const { group_size: G, completions, prompts, rewards, epsilon, beta } = inputs;
const groups: number[][] = prompts.map((_: unknown, g: number) => rewards.slice(g * G, (g + 1) * G));
const LONGEST = inputs.max_completion_length;

async function recorded(name: string): Promise<ArrayLike<number>> {
  return (await recordedTensors(CASE, "expected.safetensors", [name]))[0].values;
}

/** A row of a recorded table for each completion. */
async function table(name: string): Promise<number[][]> {
  const values = Array.from(await recorded(name));
  return completions.map(({ length }: number[], i: number) =>
    values.slice(i * LONGEST, i * LONGEST + length),
  );
}

async function rowsOf(advantages: readonly number[]): Promise<PolicyRow[]> {
  const [old, reference] = [await table("old_token_logps"), await table("ref_token_logps")];
  return completions.map((completion: number[], i: number) => ({
    ...{ prompt: prompts[Math.floor(i / G)], completion, advantage: advantages[i] },
    ...{ old: old[i], reference: reference[i] },
  }));
}

describe.each([
  ["reference", async () => createReferenceDevice()],
  ["relaxed kernels", () => cpuDevice(1, true)],
])("on the %s device", (_, make) => {
  let device: Device;
  let model: CausalLM;
  beforeAll(async () => {
    device = await make();
    model = await loadModel(nodeFolder(folder), device);
  });
  afterAll(() => model[Symbol.dispose]());

  /** Loss and terms of the parts of an update, with their gradients left in the model. */
  async function update(batches: readonly PolicyBatch[], options: PolicyOptions) {
    const objective = policyObjective(options);
    const total = batches.reduce((sum, { weight, batch }) => sum + (weight ?? batch), 0);
    const passes: Pass[] = batches.map((batch) => {
      const share = (batch.weight ?? batch.batch) / total;
      const losses = device.tidy(() =>
        differentiate(device, () => shareOf(objective(model, batch, {}), share)),
      );
      return { share, losses };
    });
    const figures = await figuresOf(passes);
    disposePasses(passes);
    return figures;
  }

  const whole = (rows: readonly PolicyRow[]): PolicyBatch[] => [{ batch: rows.length, length: 1, rows }];
  const sample = groups.flatMap((each) => groupAdvantages(each));

  const rows: PolicyRow[] = completions.map((completion: number[], i: number) => ({
    ...{ prompt: prompts[Math.floor(i / G)], completion, advantage: 0, old: null, reference: null },
  }));

  it("scores completions as the reference does", async () => {
    const { logp, entropy, starts } = device.inference(() => scoreCompletions(model, rows));
    const found = await logp.data();
    for (const [i, wanted] of (await table("token_logps")).entries()) {
      expect(starts[i + 1] - starts[i]).toBe(wanted.length);
      wanted.forEach((value, t) => {
        expect(Math.abs(found[starts[i] + t] - value)).toBeLessThan(tolerance.logps_max_abs);
      });
    }
    // Vocabulary of 96 tokens.
    for (const value of await entropy.data()) expect(value).toBeLessThan(Math.log(96));
    logp.dispose();
    entropy.dispose();
  });

  const clip = { clipLow: epsilon, clipHigh: epsilon };
  const meanOnly = groups.flatMap((each) => groupAdvantages(each, "mean-only"));
  const cases: [string, PolicyOptions, number[], `${string}.safetensors` | null][] = [
    ["grpo", { ...clip, beta }, sample, "grads.safetensors"],
    ["grpo_without_kl", clip, sample, null],
    ["token_mean", { ...clip, average: "token", beta }, sample, null],
    ["dr_grpo", { ...clip, average: "constant", maxTokens: LONGEST }, meanOnly, "grads_dr_grpo.safetensors"],
    [
      "dapo",
      { clipLow: epsilon, clipHigh: inputs.epsilon_high_of_dapo, average: "token" },
      sample,
      "grads_dapo.safetensors",
    ],
    ["sequence_ratio", { ...clip, ratio: "sequence" }, sample, null],
    ["sequence_ratio_length_normalised", { ...clip, ratio: "sequence-mean" }, sample, null],
  ];
  for (const [name, options, advantages, gradients] of cases) {
    it(`has the loss ${name}${gradients ? " and its gradient" : ""}, whole and in parts`, async () => {
      const rows = await rowsOf(advantages);
      const [expected] = Array.from(await recorded(`loss.${name}`));
      const parts = policyBatches(rows, 60);
      expect(parts.length).toBeGreaterThan(2);
      const found = [];
      for (const batches of [whole(rows), parts]) {
        const { loss, terms } = await update(batches, options);
        expect(Math.abs(loss - expected)).toBeLessThan(tolerance.loss_max_abs);
        if (gradients) {
          const error = await gradientError(CASE, gradients, model.parameters);
          expect(error).toBeLessThan(tolerance.grads_max_abs_over_tensor_max_abs);
        }
        model.parameters.clearGradients();
        found.push(terms);
      }
      for (const term of ["kl", "entropy", "clipped"]) expect(found[1][term]).toBeCloseTo(found[0][term], 5);
    });
  }

  it("names the clipped tokens and the distance to the reference", async () => {
    const { terms } = await update(whole(await rowsOf(sample)), { ...clip, beta });
    model.parameters.clearGradients();
    const tokens = completions.flat().length;
    const kl = (await table("kl_k3")).flat().reduce((a, b) => a + b, 0) / tokens;
    expect(tokens).toBe(87);
    expect(terms.clipped * tokens).toBeCloseTo(12, 4);
    expect(Math.abs(terms.kl - kl)).toBeLessThan(1e-4);
  });

  it("at the first update has the mean advantage as its value, and a gradient", async () => {
    const rows = (await rowsOf(sample)).map((row) => ({ ...row, old: null, reference: null }));
    const { loss } = await update(whole(rows), {});
    expect(Math.abs(loss)).toBeLessThan(1e-6);
    const moved = [...model.parameters.groups()].some(({ tensor }) => tensor.grad !== null);
    expect(moved).toBe(true);
    model.parameters.clearGradients();
  });

  it("divides logits by the temperature", async () => {
    const { logp, entropy } = device.inference(() => scoreCompletions(model, rows, { temperature: 1e6 }));
    for (const value of await logp.data()) expect(value).toBeCloseTo(-Math.log(96), 3);
    logp.dispose();
    entropy.dispose();
  });
});

it("has every kind of advantage of the case", async () => {
  const kinds: [string, number[]][] = [
    ["population", groups.flatMap((each) => groupAdvantages(each, "population"))],
    ["sample", groups.flatMap((each) => groupAdvantages(each))],
    ["sample_plus_1e-4", groups.flatMap((each) => groupAdvantages(each, "sample", 1e-4))],
    ["sample_plus_1e-6", groups.flatMap((each) => groupAdvantages(each, "sample", 1e-6))],
    ["mean_only", groups.flatMap((each) => groupAdvantages(each, "mean-only"))],
    ["leave_one_out", groups.flatMap((each) => groupAdvantages(each, "leave-one-out"))],
    ["batch_sample_plus_1e-4", batchAdvantages(groups, 1e-4).flat()],
  ];
  for (const [name, found] of kinds) {
    const wanted = await recorded(`advantages.${name}`);
    found.forEach((value, i) => {
      expect(Math.abs(value - wanted[i]), name).toBeLessThan(tolerance.advantages_max_abs);
    });
  }
});

it("refuses what does not fit together, by name", async () => {
  const model = await loadModel(nodeFolder(folder), createReferenceDevice());
  const row = { prompt: [1], completion: [2, 3], advantage: 1, old: null, reference: null };
  const run = (rows: PolicyRow[], options: PolicyOptions = {}) =>
    policyObjective(options)(model, { batch: rows.length, length: 1, rows }, {});
  expect(() => run([row], { beta: 0.1 })).toThrow(/beta/);
  expect(() => run([{ ...row, old: [1] }])).toThrow(/old of row 0.*expected: 2/);
  expect(() => run([row, { ...row, reference: [-1, -1] }])).toThrow(/reference/);
  expect(() => run([{ ...row, completion: [] }])).toThrow(/row 0/);
  expect(() => run([{ ...row, completion: [2, 96] }])).toThrow(/96/);
  expect(() => run([{ ...row, advantage: [1, 2] }], { ratio: "sequence" })).toThrow(/advantage of row 0/);
  expect(() => policyObjective({ average: "constant" })).toThrow(/maxTokens/);
  expect(() => policyObjective({ cliplow: 1 } as object)).toThrow(/clipLow/);
  expect(() => policyObjective({ clipLow: 1.5 })).toThrow(/clipLow/);
  model[Symbol.dispose]();
});

it("has the prover's objective for given log-probabilities", async () => {
  const { objective } = JSON.parse(readFileSync(join(folder, "../../prover/grpo.json"), "utf8"));
  const { logp, logpOld, logpRef, rewards, beta, epsilon } = objective;
  const advantages = groupAdvantages(rewards, "population");
  for (const [average, name] of [
    ["completion", "sequenceMean"],
    ["token", "tokenMean"],
  ] as const) {
    const device = createReferenceDevice();
    // A model that says what is wanted: each row's logits are the log-probability of token 0 and the rest on token 1.
    const flat: number[] = logp.flat();
    const states = flat.flatMap((value) => [value, Math.log(-Math.expm1(value))]);
    const fake = {
      device,
      config: { vocabSize: 2, hiddenSize: 2 },
      hidden: (ids: { shape: readonly number[] }) =>
        device.tensor(padded(ids.shape[1]), [3, ids.shape[1], 2]),
      logits: (hidden: unknown) => hidden,
    };
    const padded = (T: number) => {
      let at = 0;
      return logp.flatMap((row: number[]) => {
        const own = states.slice(2 * at, 2 * (at + row.length));
        at += row.length;
        return [...own, ...Array(2 * (T - row.length)).fill(0)];
      });
    };
    const rows = logp.map((row: number[], i: number) => ({
      ...{ prompt: [0], completion: row.map(() => 0), advantage: advantages[i] },
      ...{ old: logpOld[i], reference: logpRef[i] },
    }));
    const options = { average, beta, clipLow: epsilon, clipHigh: epsilon };
    const { loss, terms } = policyObjective(options)(fake as never, { batch: 3, length: 1, rows }, {});
    expect(-(await loss.item())).toBeCloseTo(objective[name].objective, 6);
    expect(await terms!.kl.item()).toBeCloseTo(objective[name].meanKl, 6);
  }
});
