/** Policies that learn from rewards: that they do, and that a step is the same however it was reached. */
import { describe, expect, it } from "vitest";
import { memoryFolder, memoryFolderSink } from "../../checkpoint/byte-source.ts";
import { Engine } from "../../engine/engine.ts";
import { type CausalLM, createModel } from "../../models/causal-lm.ts";
import { tinyConfigs } from "../../models/testing.ts";
import { weightsOf as officialWeights } from "../../nn/model-weights.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { scoreCompletions } from "../objectives/completions.ts";
import { loadTraining, saveTraining } from "../state.ts";
import { passAt, passRates } from "./evaluation.ts";
import { type PolicyMetrics, type PolicyParts, PolicyTrainer } from "./policy-trainer.ts";
import type { PolicyPrompt } from "./prompts.ts";
import type { Reward } from "./rewards.ts";
import type { PolicySettings } from "./settings.ts";

const BEGIN = 10;
const END = 11;
const config = {
  model_type: "llama",
  vocab_size: 12,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  bos_token_id: BEGIN,
  eos_token_id: END,
  tie_word_embeddings: false,
};

/** Sums of a number of 0 to 2 and another, which has tokens of its own. */
const sums: PolicyPrompt[] = Array.from({ length: 9 }, (_, i) => {
  const [a, b] = [i % 3, Math.floor(i / 3)];
  return { ids: [BEGIN, a, 5 + b], key: String(a + b) };
});

/** Half for the sum as the first token, and half for ending after it. */
const addition: Reward = (samples) =>
  samples.map(({ completionIds: [first, second], key }) =>
    first === Number(key) ? (second === END ? 1 : 0.5) : 0,
  );

const settings: PolicySettings = {
  ...{ steps: 45, groups: 9, samples: 8, maxTokens: 3, seed: 3 },
  learningRate: { peak: 5e-3, warmupSteps: 3, shape: "constant" },
};

/** A trainer of a small model from random weights, freed at the end of `body`. */
async function withTrainer<T>(
  body: (trainer: PolicyTrainer, model: CausalLM, engine: Engine, device: Device) => Promise<T>,
  given: Partial<PolicySettings> = {},
  parts: Partial<PolicyParts> & { readonly json?: object } = {},
): Promise<T> {
  const device = await cpuDevice(1, true);
  const before = device.backend.memory().buffers;
  let result: T;
  {
    const { json = config, ...others } = parts;
    using model = createModel(json, device, { seed: 1, std: 0.1 });
    using reference = createModel(json, device, { seed: 1, std: 0.1 });
    await using engine = new Engine(model, { maxBatch: 64 });
    const all = { model, engine, reference, prompts: sums, reward: addition, ...others };
    using trainer = new PolicyTrainer(all, { ...settings, ...given });
    result = await body(trainer, model, engine, device);
  }
  expect(device.backend.memory().buffers).toBe(before);
  return result;
}

const weightsOf = async (model: CausalLM) =>
  Promise.all(Array.from(model.parameters.groups(), async ({ tensor }) => Array.from(await tensor.data())));

/** What a step did, without times. */
const figures = ({ seconds, ...metrics }: PolicyMetrics) => metrics;

describe("PolicyTrainer", () => {
  it("learns sums from a reward, and when to end", async () => {
    await withTrainer(
      async (trainer) => {
        const rewards: number[] = [];
        while (!trainer.done) rewards.push((await trainer.step()).reward);
        const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
        expect(rewards.length).toBe(45);
        expect(mean(rewards.slice(0, 3))).toBeLessThan(0.15);
        expect(mean(rewards.slice(-3))).toBeGreaterThan(0.75);
      },
      { samples: 16 },
    );
  });

  it("learns with a penalty and several updates of a rollout, near its reference", async () => {
    const objective = { beta: 0.04, average: "token", clipHigh: 0.28 } as const;
    await withTrainer(
      async (trainer) => {
        const metrics: PolicyMetrics[] = [];
        for (let i = 0; i < 20; i++) metrics.push(await trainer.step());
        const [first, last] = [metrics[0], metrics[19]];
        expect(first.update!.kl).toBeLessThan(0.02);
        expect(last.update!.kl).toBeGreaterThan(0.1);
        expect(last.reward).toBeGreaterThan(2 * first.reward);
        expect(last.update!.entropy).toBeLessThan(first.update!.entropy);
        expect(metrics.some(({ update }) => update!.clipped > 0)).toBe(true);
      },
      { objective, updates: 2 },
    );
  });

  it("goes on from a saved step with the same bits, whatever rewards take", async () => {
    const given: Partial<PolicySettings> = {
      ...{ groups: 4, updates: 2, equalGroups: "refill", passTokens: 40, objective: { beta: 0.1 } },
    };
    const whole = await withTrainer(async (trainer, model) => {
      const made = [];
      for (let i = 0; i < 6; i++) made.push(figures(await trainer.step()));
      return { made, weights: await weightsOf(model) };
    }, given);
    const slow: Reward = async (samples, options) => {
      await new Promise((resolve) => setTimeout(resolve, samples[0].completionIds[0]));
      return addition(samples, options);
    };
    const files = new Map<string, Uint8Array>();
    await withTrainer(
      async (trainer) => {
        for (let i = 0; i < 3; i++) expect(figures(await trainer.step())).toEqual(whole.made[i]);
        await saveTraining(trainer.trainer, memoryFolderSink(files), { config });
        // Steps that the saved state knows nothing of.
        await trainer.step();
      },
      given,
      { reward: slow },
    );
    await withTrainer(async (trainer, model) => {
      // What is cached here is of other weights.
      await trainer.step();
      await loadTraining(trainer.trainer, memoryFolder(files, "saved"));
      expect(trainer.steps).toBe(3);
      for (let i = 3; i < 6; i++) expect(figures(await trainer.step())).toEqual(whole.made[i]);
      expect(await weightsOf(model)).toEqual(whole.weights);
    }, given);
    await withTrainer(
      async (trainer) => {
        const load = loadTraining(trainer.trainer, memoryFolder(files, "saved"));
        await expect(load).rejects.toThrow(/of another seed.*seed 4.*seed 3/);
      },
      { ...given, seed: 4 },
    );
  });

  it("computes ratios by the pass that is differentiated: the first update clips nothing, however narrow", async () => {
    await withTrainer(
      async (trainer) => {
        const { update } = await trainer.step();
        // Of two updates only the second, whose every ratio has moved.
        expect(update!.clipped).toBeGreaterThan(0);
        expect(update!.clipped).toBeLessThanOrEqual(0.5);
      },
      { updates: 2, objective: { clipLow: 0, clipHigh: 0 }, passTokens: 50 },
    );
  });

  it("stops at once and leaves the step to be made again", async () => {
    const expected = await withTrainer(async (trainer) => figures(await trainer.step()));
    let fail: () => void = () => {};
    const reward: Reward = (samples, options) => {
      fail();
      return addition(samples, options);
    };
    await withTrainer(
      async (trainer) => {
        const state = trainer.trainer.state();
        const stop = new AbortController();
        fail = () => stop.abort(new Error("enough"));
        await expect(trainer.step(stop.signal)).rejects.toThrow("enough");
        await expect(trainer.step(AbortSignal.abort(new Error("before")))).rejects.toThrow("before");
        expect(trainer.trainer.state()).toEqual(state);
        fail = () => {
          throw new RangeError("no such sum");
        };
        const failing = trainer.step();
        await expect(trainer.step()).rejects.toThrow(/running/);
        await expect(failing).rejects.toMatchObject({
          message: expect.stringContaining("the reward function failed; found: no such sum"),
          cause: expect.any(RangeError),
        });
        fail = () => {};
        expect(figures(await trainer.step())).toEqual(expected);
      },
      {},
      { reward },
    );
  });

  it("counts zeros for rewards that do not come in time, and leaves out what cannot be judged", async () => {
    const asked: AbortSignal[] = [];
    const reward: Reward = (samples, { signal }) => {
      asked.push(signal);
      if (samples[0].key === "0") return new Promise(() => {});
      return samples.map((_, i) => (samples[0].key === "4" || i === 0 ? null : i % 2));
    };
    await withTrainer(
      async (trainer) => {
        const metrics = await trainer.step();
        // Sums of 0 and of 4 are one prompt each; seven others leave out one of eight completions.
        expect(metrics.passed).toBeCloseTo((7 * 4) / (8 + 7 * 7), 10);
        expect(metrics).toMatchObject({ timedOut: 1, unjudged: 8 + 7, groups: 9, completions: 72 });
        expect(metrics.reward).toBeCloseTo((7 * 4) / (8 + 7 * 7), 10);
        expect(asked.filter(({ aborted }) => aborted).length).toBe(1);
        expect(metrics.groupsUsed).toBe(8);
      },
      { rewardSeconds: 0.05 },
      { reward },
    );
    for (const [answer, message] of [
      [[1], /8 rewards.*found: 1/],
      [Array(8).fill(Number.NaN), /reward 0.*NaN/],
    ] as const) {
      await withTrainer(
        (trainer) => expect(trainer.step()).rejects.toThrow(message),
        {},
        { reward: () => answer },
      );
    }
  });

  it("judges at most so many groups at a time", async () => {
    for (const [rewardParallel, most] of [
      [2, 2],
      [undefined, 9],
    ]) {
      let [now, seen] = [0, 0];
      const reward: Reward = async (samples) => {
        seen = Math.max(seen, ++now);
        await new Promise((resolve) => setTimeout(resolve, 5));
        now--;
        return samples.map((_, i) => i);
      };
      await withTrainer((trainer) => trainer.step(), { rewardParallel }, { reward });
      expect(seen).toBe(most);
    }
  });

  it.each(["bf16", "q8"] as const)("samples with a copy in %s that takes the weights over", async (dtype) => {
    const device = await cpuDevice(1, true);
    using model = createModel(config, device, { seed: 1, std: 0.1 });
    using copy = createModel(config, device, { seed: 2, std: 0.1, dtype });
    await using engine = new Engine(copy, { maxBatch: 64 });
    const parts = { model, copy, engine, prompts: sums, reward: addition };
    expect(() => new PolicyTrainer({ ...parts, copy: undefined }, settings)).toThrow(/another model/);
    using trainer = new PolicyTrainer(parts, { ...settings, samples: 16 });
    const rewards: number[] = [];
    while (!trainer.done) rewards.push((await trainer.step()).reward);
    expect(rewards.at(-1)).toBeGreaterThan(0.6);
    await trainer.renew();
    const [own, taken] = await Promise.all(
      [model, copy].map(async (each) => {
        const weights: number[] = [];
        for (const { name } of model.parameters.named()) {
          for await (const { values } of officialWeights(each).readF32(name)) weights.push(...values);
        }
        return weights;
      }),
    );
    const largest = Math.max(...own.map(Math.abs));
    expect(Math.max(...own.map((value, i) => Math.abs(value - taken[i])))).toBeLessThan(largest / 100);
  });

  it("goes on with the same bits after steps without an update and evaluations", async () => {
    // Half of the steps teach nothing: their prompts must not be found in a cache later.
    const long: PolicyPrompt[] = [1, 2].map((n) => ({
      ids: [BEGIN, ...Array.from({ length: 30 }, (_, i) => (i * n) % 9)],
    }));
    const reward: Reward = (samples) => samples.map(({ promptIds }, i) => (promptIds[2] === 2 ? i : 1));
    const given = { groups: 1, equalGroups: "skip", objective: {} } as const;
    const files = new Map<string, Uint8Array>();
    const rest = await withTrainer(
      async (trainer, _, engine) => {
        for (let i = 0; i < 3; i++) await trainer.step();
        await trainer.renew();
        await passRates(engine, long, { reward }, { samples: 4, maxTokens: 3 });
        await saveTraining(trainer.trainer, memoryFolderSink(files), { config });
        const made = [];
        for (let i = 0; i < 4; i++) {
          const before = engine.metrics().cachedPromptTokens;
          made.push(figures(await trainer.step()));
          // One of eight samples reads the prompt, from nothing; the others start from it.
          expect(engine.metrics().cachedPromptTokens - before).toBe(7 * 30);
        }
        return made;
      },
      given,
      { prompts: long, reward },
    );
    expect(new Set(rest.map(({ groupsUsed }) => groupsUsed))).toEqual(new Set([0, 1]));
    await withTrainer(
      async (trainer) => {
        await loadTraining(trainer.trainer, memoryFolder(files, "saved"));
        for (const expected of rest) {
          expect(figures(await trainer.step())).toEqual(expected);
        }
      },
      given,
      { prompts: long, reward },
    );
  });

  it("keeps, skips or refills groups of equal rewards", async () => {
    const only: Reward = (samples) => samples.map((_, i) => (samples[0].key === "2" ? i : 1));
    const step = (
      equalGroups: PolicySettings["equalGroups"],
      reward: Reward,
      more: Partial<PolicySettings> = {},
    ) =>
      withTrainer(
        async (trainer, model) => {
          const before = await weightsOf(model);
          const metrics = await trainer.step();
          const changed = JSON.stringify(await weightsOf(model)) !== JSON.stringify(before);
          return { ...metrics, changed };
        },
        { equalGroups, groups: 3, ...more },
        { reward },
      );
    const equal: Reward = (samples) => samples.map(() => 1);
    expect(await step("keep", equal, { trainer: { optimizer: { weightDecay: 0 } } })).toMatchObject({
      ...{ groups: 3, groupsUsed: 3, equalGroups: 1, allOne: 1, allZero: 0, changed: false },
    });
    expect(await step("keep", equal, { objective: { beta: 1 } })).toMatchObject({ groupsUsed: 3 });
    expect(await step("skip", equal)).toMatchObject({ groupsUsed: 0, update: null, changed: false });
    const refilled = await step("refill", equal, { mostRefills: 2 });
    expect(refilled).toMatchObject({ groups: 9, groupsUsed: 0, update: null });
    // Three of nine prompts have the sum 2.
    const found = await step("refill", only, { mostRefills: 20 });
    expect(found.groupsUsed).toBe(3);
    expect(found.groups).toBeGreaterThan(3);
    expect(found.equalGroups).toBeCloseTo(1 - 3 / found.groups, 10);
    expect(found.changed).toBe(true);
  });

  it("leaves out the tokens of completions without an end if asked", async () => {
    const rewards: Reward = (samples) => samples.map(({ truncated }) => (truncated ? 0 : 1));
    const loss = async (truncated: PolicySettings["truncated"]) =>
      withTrainer(async (trainer) => (await trainer.step()).update!.loss, { truncated }, { reward: rewards });
    // Whole groups: advantages cancel. Without their losers they do not.
    expect(Math.abs(await loss("keep"))).toBeLessThan(1e-5);
    expect(await loss("leave-out")).toBeLessThan(-0.5);
  });

  it("reads each prompt once for all its samples", async () => {
    const prompts = [7, 8].map((n) => ({
      ids: [BEGIN, ...Array.from({ length: 20 }, (_, i) => (i * n) % 9)],
    }));
    await withTrainer(
      async (trainer, _, engine) => {
        await trainer.step();
        const { promptTokens, cachedPromptTokens } = engine.metrics();
        // Two prompts of 21 tokens, each read by one of its eight samples: the others have all but the last token from it.
        expect(promptTokens).toBe(2 * 8 * 21);
        expect(cachedPromptTokens).toBe(2 * 7 * 20);
        expect(engine.metrics().cacheTokens).toBe(0);
      },
      { groups: 2 },
      { prompts, reward: (samples) => samples.map((_, i) => i) },
    );
  });

  it("says how often prompts are solved, and goes on with those that are chosen, resumed too", async () => {
    const chosen = await withTrainer(async (_, model, engine) => {
      const settings = { samples: 16, maxTokens: 2, seed: 5 };
      const rates = await passRates(engine, sums, { reward: addition }, settings);
      expect(rates.length).toBe(9);
      expect(await passRates(engine, sums, { reward: addition }, settings)).toEqual(rates);
      const other = { ...settings, seed: 6 };
      expect(await passRates(engine, sums, { reward: addition }, other)).not.toEqual(rates);
      // By place and by prompt: the reward names its prompt.
      const named: Reward = (samples) =>
        samples.map(({ promptIds }, i) => (promptIds[1] === 2 || i > 3 ? null : promptIds[1] + i));
      const found = await passRates(engine, sums, { reward: named }, { ...settings, samples: 8 });
      expect(found).toEqual(sums.map(({ ids }) => (ids[1] === 2 ? null : ids[1] + 1.5)));
      // Of four samples, right from the second on, but for sums with 1, which are never, and with 2, without verdict.
      const from: Reward = (samples) =>
        samples.map(({ promptIds }, i) => (promptIds[1] === 2 ? null : promptIds[1] === 1 ? 0.4 : i / 2));
      const held = await passAt(
        engine,
        sums,
        { reward: from },
        { ...settings, samples: 4, passReward: 0.5, ks: [1, 2, 4] },
      );
      expect(held.passAt[1]).toBeCloseTo((3 * (3 / 4)) / 9, 10);
      expect(held.passAt[2]).toBeCloseTo(3 / 9, 10);
      expect(held.reward).toBeCloseTo((3 * 4 * 0.4 + 3 * 3) / 24, 10);
      expect(held).toMatchObject({ prompts: 9, samples: 4, passAt: { 4: 3 / 9 } });
      await expect(
        passAt(engine, sums, { reward: from }, { ...settings, samples: 4, ks: [5] }),
      ).rejects.toThrow(/ks\[0\]/);
      const none = AbortSignal.abort(new Error("no time"));
      await expect(passRates(engine, sums, { reward: addition }, settings, none)).rejects.toThrow("no time");
      await expect(
        passRates(engine, sums, { reward: addition }, { samples: 0, maxTokens: 1 }),
      ).rejects.toThrow(/samples/);
      expect(model.device.tape).toBe(null);
      return sums.filter((_, i) => rates[i]! > 0);
    });
    expect(chosen.length).toBeGreaterThan(0);
    expect(chosen.length).toBeLessThan(9);
    const files = new Map<string, Uint8Array>();
    const expected = await withTrainer(async (trainer) => {
      await trainer.step();
      trainer.choose(chosen);
      await trainer.step();
      await saveTraining(trainer.trainer, memoryFolderSink(files), { config });
      const next = trainer.step();
      expect(() => trainer.choose(sums)).toThrow(/running/);
      return figures(await next);
    });
    await withTrainer(
      async (trainer) => {
        await loadTraining(trainer.trainer, memoryFolder(files, "saved"));
        expect(figures(await trainer.step())).toEqual(expected);
        expect(() => trainer.choose([])).toThrow(/no prompts/);
      },
      {},
      { prompts: chosen },
    );
  });

  it("waits for places in the queue that others have", async () => {
    await withTrainer(async (_, model) => {
      await using busy = new Engine(model, { maxBatch: 2, maxQueue: 8 });
      const parts = { model, engine: busy, prompts: sums, reward: addition };
      using trainer = new PolicyTrainer(parts, { ...settings, groups: 3 });
      const others = [1, 2, 3, 4].map((seed) =>
        busy.submit({ prompt: [1, 2], maxTokens: 20, seed, stopIds: [] }),
      );
      expect(await trainer.step()).toMatchObject({ groups: 3, completions: 24 });
      for (const { stats } of others)
        expect(stats).toMatchObject({ generatedTokens: 20, stopReason: "length" });
      const large = new PolicyTrainer(parts, { ...settings, samples: 9 });
      await expect(large.step()).rejects.toThrow(/samples.*maxQueue = 8.*9/);
      large[Symbol.dispose]();
    });
  });

  it("gives rewards texts, without the end token, and rows", async () => {
    const seen: string[] = [];
    const reward: Reward = (samples) =>
      samples.map(({ prompt, completion, row, key, completionIds, truncated }) => {
        const ended = completionIds.at(-1) === END;
        expect(truncated).toBe(!ended);
        expect(completion.split(" ").filter(Boolean).length).toBe(completionIds.length - (ended ? 1 : 0));
        seen.push(`${prompt}|${(row as { n: number }).n}|${key}`);
        return 0;
      });
    const prompts = [
      { ids: [BEGIN, 1], prompt: "one", row: { n: 1 }, key: "k" },
      { ids: [BEGIN, 2], row: { n: 2 } },
    ];
    const decode = (ids: readonly number[]) => ids.join(" ");
    await withTrainer((trainer) => trainer.step(), { groups: 2 }, { prompts, reward, decode });
    expect([...new Set(seen)].sort()).toEqual(["10 2|2|null", "one|1|k"]);
  });

  it.each(["v3", "deepseek"] as const)("samples and trains with the same numbers (%s)", async (name) => {
    const json = tinyConfigs[name];
    await withTrainer(
      async (_, model, engine, device) => {
        const prompt = Array.from({ length: 20 }, (_, i) => (i * 7) % 61);
        for await (const _ of engine.submit({ prompt, maxTokens: 1 }));
        const generations = [1, 2, 3].map((seed) =>
          engine.submit({ prompt, maxTokens: 12, temperature: 1, seed, stopIds: [], logprobs: true }),
        );
        const sampled = [];
        for (const generation of generations) {
          const tokens = [];
          for await (const token of generation) tokens.push(token);
          sampled.push(tokens);
        }
        const rows = sampled.map((tokens) => ({ prompt, completion: tokens.map(({ id }) => id) }));
        const { logp, entropy } = device.inference(() => scoreCompletions(model, rows));
        const found = await logp.data();
        sampled.flat().forEach(({ logprob }, i) => {
          expect(Math.abs(found[i] - logprob!)).toBeLessThan(1e-4);
        });
        logp.dispose();
        entropy.dispose();
      },
      {},
      { json, prompts: [{ ids: [1] }] },
    );
  });

  it("refuses settings and parts by name", async () => {
    const make = (given: object, parts: object = {}) =>
      withTrainer(async () => {}, given as Partial<PolicySettings>, parts);
    await expect(make({ samples: 1 })).rejects.toThrow(/samples.*2 to/);
    await expect(make({ group: 3 })).rejects.toThrow(/group/);
    await expect(make({ maxTokens: 0 })).rejects.toThrow(/maxTokens/);
    await expect(make({ equalGroups: "drop" })).rejects.toThrow(/equalGroups.*refill/);
    await expect(make({ objective: { betta: 1 } })).rejects.toThrow(/objective.betta/);
    await expect(make({ objective: { beta: 1 } }, { reference: undefined })).rejects.toThrow(/reference/);
    await expect(make({ trainer: { steps: 3 } })).rejects.toThrow(/trainer.steps/);
    await expect(make({}, { prompts: [] })).rejects.toThrow(/no prompts/);
    await expect(make({}, { prompts: [{ ids: [1] }, { ids: [] }] })).rejects.toThrow(/prompt 1/);
    await withTrainer(async (trainer) => {
      await expect(trainer.trainer.trainStep()).rejects.toThrow(/policy trainer's step/);
    });
  });
});
