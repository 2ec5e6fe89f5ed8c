/** Runs that learn from rewards, as folders: prepared, stopped, resumed to the bit, evaluated. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chatTemplate } from "../../chat/template.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { folderTokenizer } from "../../pretrained/load.ts";
import { load } from "../../pretrained/node-load.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { answerReward } from "../../train/policy/checked-rewards.ts";
import { keyOf } from "../../train/policy/key.ts";
import type { PolicyMetrics } from "../../train/policy/policy-trainer.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { type DescribedBase, describeBase } from "../tuned/base-model.ts";
import { type PolicyDraft, preparePolicy } from "./preparation.ts";
import { encodePrompt, type PromptSource } from "./prompts.ts";
import { PolicyRun, type PolicyRunResult } from "./run.ts";
import { sums, writeAdder } from "./testing-adder.ts";

let root: string;
let device: Device;
let described: DescribedBase;
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "policy-run-"));
  await writeAdder(join(root, "adder"));
  described = await describeBase({ name: "adder", folder: join(root, "adder"), gguf: null });
  device = await cpuDevice(1, true);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const draft = (over: Partial<PolicyDraft["policy"]> = {}, more: Partial<PolicyDraft> = {}): PolicyDraft => ({
  ...{
    kind: "policy",
    model: described.base,
    data: ["sums"],
    reference: "f32",
    saveEvery: 2,
    keep: 2,
  },
  policy: {
    ...{ steps: 5, seed: 3, groups: 6, samples: 6, maxTokens: 4, objective: { beta: 0.02 } },
    learningRate: { peak: 3e-3, warmupSteps: 2, shape: "constant" },
    ...over,
  },
  reward: { parts: [{ name: "answer", weight: 1 }], answerIn: "whole" },
  sampling: { dtype: "f32", together: 64 },
  evaluation: { every: 2, samples: 4, ks: [1, 4] },
  ...more,
});

async function* sources(): AsyncGenerator<PromptSource> {
  for (const [i, { prompt, answer }] of sums.entries()) {
    yield { prompt, key: String(answer), row: { sum: i }, where: `row ${i}`, hash: i / sums.length };
  }
}

const prepare = async (name: string, settings: PolicyDraft) =>
  preparePolicy(settings, described, sources(), join(root, name), {
    heldOut: { share: 0.2 },
  });

const reward = answerReward("whole");

interface Trained extends PolicyRunResult {
  readonly metrics: PolicyMetrics[];
}

async function train(name: string, options: { stopAfter?: number; reward?: Reward } = {}): Promise<Trained> {
  const controller = new AbortController();
  const metrics: PolicyMetrics[] = [];
  await using run = await PolicyRun.open(join(root, name), device, { reward: options.reward ?? reward });
  const result = await run.train(
    {
      onStep: (step) => {
        metrics.push(step);
        if (step.step === options.stopAfter) controller.abort(new Error("stopped"));
      },
    },
    controller.signal,
  );
  return { ...result, metrics };
}

/** Lines of the log without times. */
const logged = (name: string) =>
  readFileSync(join(root, name, "metrics.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => {
      const { seconds: _, ...rest } = JSON.parse(line);
      return rest;
    });

const weights = (name: string) => readFileSync(join(root, name, "model", "model.safetensors"));

describe("PolicyRun", () => {
  it("trains, evaluates what is kept apart, and leaves a model that loads", async () => {
    expect(await prepare("whole", draft())).toEqual({ prompts: 20, heldOut: 5, longest: 4 });
    const result = await train("whole");
    expect(result).toMatchObject({ finished: true, step: 5, modelFolder: join(root, "whole", "model") });
    const lines = logged("whole");
    expect(lines.map(({ kind, step }) => `${kind} ${step}`)).toEqual([
      ...[
        "evaluation 0",
        "step 1",
        "step 2",
        "evaluation 2",
        "step 3",
        "step 4",
        "evaluation 4",
        "step 5",
        "evaluation 5",
      ],
    ]);
    expect(lines[0]).toMatchObject({ prompts: 5, samples: 4 });
    expect(lines[0].passAt[4]).toBeGreaterThan(lines[0].passAt[1]);
    expect(lines[2]).toMatchObject({ groups: 6, completions: 36, groupsUsed: 6 });
    expect(lines[2].update.kl).toBeGreaterThan(0);
    expect(readdirSync(join(root, "whole", "checkpoints"))).toEqual(["step-00000004", "step-00000005"]);
    await using loaded = await load(join(root, "whole", "model"), { device });
    expect(loaded.tokenizer!.decode(loaded.tokenizer!.encode("1+2=", { addSpecialTokens: false }))).toBe(
      "1+2=",
    );
    await using saved = await load(join(root, "whole", "checkpoints", "step-00000004"), { device });
    expect(saved.model.config.layers).toBe(2);
  });

  it.each([1, 2, 3])("goes on after step %i with the same bits", async (stopAfter) => {
    const name = `stopped-${stopAfter}`;
    await prepare(name, draft());
    expect(await train(name, { stopAfter })).toMatchObject({
      finished: false,
      step: stopAfter,
      modelFolder: null,
    });
    expect(await train(name)).toMatchObject({ finished: true, step: 5 });
    expect(logged(name)).toEqual(logged("whole"));
    expect(weights(name).equals(weights("whole"))).toBe(true);
    // Finished already: nothing is made again.
    expect(await train(name)).toMatchObject({ finished: true, step: 5, metrics: [], evaluation: null });
  });

  it("goes on from the last state that was saved as if it had been killed", async () => {
    await prepare("killed", draft());
    await train("killed", { stopAfter: 3 });
    // What a process writes before it is killed: steps beyond the state, half a line.
    rmSync(join(root, "killed", "checkpoints", "step-00000003"), { recursive: true });
    writeFileSync(join(root, "killed", "metrics.jsonl"), '{"kind":"step","st', { flag: "a" });
    await train("killed");
    expect(logged("killed")).toEqual(logged("whole"));
    expect(weights("killed").equals(weights("whole"))).toBe(true);
  });

  it("saves what it has when a reward fails, and goes on when it does not", async () => {
    await prepare("failing", draft());
    let groups = 0;
    const failing: Reward = (samples, options) => {
      // Five groups of the first evaluation, six of each step.
      if (++groups > 5 + 2 * 6) throw new RangeError("no judge");
      return reward(samples, options);
    };
    await expect(train("failing", { reward: failing })).rejects.toThrow(/no judge/);
    await train("failing");
    expect(weights("failing").equals(weights("whole"))).toBe(true);
  });

  it("samples in 8 bits, and takes the same run's weights over when it is resumed", async () => {
    const settings = draft({ objective: {} }, { sampling: { dtype: "q8", together: 7 } });
    await prepare("eight", settings);
    const whole = await train("eight");
    await prepare("eight-resumed", settings);
    await train("eight-resumed", { stopAfter: 2 });
    await train("eight-resumed");
    expect(logged("eight-resumed")).toEqual(logged("eight"));
    expect(weights("eight-resumed").equals(weights("eight"))).toBe(true);
    expect(whole.metrics[0].update!.kl).toBe(null);
  });

  it("learns adapters over 8 bits, samples with them, and goes on with the same bits", async () => {
    const lora = { rank: 4, alpha: 16, targets: ["all-linear"], base: "q8", recompute: true } as const;
    const settings = draft({ learningRate: { peak: 2e-2, warmupSteps: 2, shape: "constant" } }, { lora });
    const adapter = (name: string) => readFileSync(join(root, name, "adapter", "adapter_model.safetensors"));
    await prepare("adapted", settings);
    const whole = await train("adapted");
    expect(whole).toMatchObject({ finished: true, modelFolder: join(root, "adapted", "adapter") });
    expect(readdirSync(join(root, "adapted"))).not.toContain("model");
    // Ratios are to what the same weights sampled: without a step between there is nothing to clip.
    expect(whole.metrics.map(({ update }) => update!.clipped)).toEqual([0, 0, 0, 0, 0]);
    expect(whole.metrics[0].update!.kl).toBeLessThan(0.01);
    expect(whole.metrics[4].update!.kl).toBeGreaterThan(whole.metrics[0].update!.kl!);
    for (const stopAfter of [1, 3]) {
      const name = `adapted-${stopAfter}`;
      await prepare(name, settings);
      await train(name, { stopAfter });
      await train(name);
      expect(logged(name)).toEqual(logged("adapted"));
      expect(adapter(name).equals(adapter("adapted"))).toBe(true);
    }
    // What the run sampled with is what anybody gets who puts the adapter over the model.
    await using run = await PolicyRun.open(join(root, "adapted"), device, { reward });
    await using served = await load(join(root, "adder"), {
      ...{ device, dtype: "q8", adapter: join(root, "adapted") },
    });
    const ids = served.tokenizer!.encode("1+2=");
    const logitsOf = async (model: typeof served.model) => {
      using logits = device.inference(() => model.logits(model.hidden(model.ids([ids]))));
      return await logits.data();
    };
    expect(await logitsOf(served.model)).toEqual(await logitsOf(run.model));
  });

  it("refuses what does not fit before it makes a folder", async () => {
    await expect(prepare("long", draft({ maxTokens: 64 }))).rejects.toThrow(/policy.maxTokens.*1 to 63/);
    await expect(prepare("long", draft({ maxTokens: 62 }))).rejects.toThrow(
      /row 0.*at most 2 tokens.*found: 4/,
    );
    const rewards = { parts: [{ name: "countdown", weight: 1 }] };
    await expect(prepare("rows", draft({}, { reward: rewards }))).rejects.toThrow(/row 0.*numbers/);
    await expect(prepare("bad", draft({ samples: 1 }))).rejects.toThrow(/policy.samples/);
    await expect(prepare("bad", draft({}, { saveEvery: 0 }))).rejects.toThrow(/saveEvery/);
    const lora = { rank: 4, alpha: 8, targets: ["all-linear"], base: "q8", recompute: true } as const;
    await expect(prepare("bad", draft({}, { lora: { ...lora, rank: 0 } }))).rejects.toThrow(/lora.rank/);
    await expect(prepare("bad", draft({}, { lora, sampling: { dtype: "q8", together: 4 } }))).rejects.toThrow(
      /sampling.dtype.*f32 with lora/,
    );
    const evaluation = { every: 1, samples: 2, ks: [3] };
    await expect(prepare("bad", draft({}, { evaluation }))).rejects.toThrow(/evaluation.ks\[0\]/);
    expect(readdirSync(root).filter((name) => ["long", "rows", "bad"].includes(name))).toEqual([]);
    cpSync(join(root, "whole"), join(root, "damaged"), { recursive: true });
    writeFileSync(join(root, "damaged", "prompts.jsonl"), '{"ids": []}\n');
    await expect(train("damaged")).rejects.toThrow(/prompts.jsonl line 1.*ids/);
  });
});

describe("prompts", () => {
  it("are read as a text is completed, or as a prover is asked", async () => {
    const tokenizer = (await folderTokenizer(nodeFolder(join(root, "adder"))))!;
    const text = { tokenizer, template: null };
    const bos = tokenizer.tokenOf(tokenizer.specialIds.bos!)!;
    const limits = { maxPositions: 64, maxTokens: 4 };
    const source = { prompt: `1${bos}`, key: null, row: null, where: "", hash: 0 };
    const ids = (plain: boolean) => encodePrompt({ ...source, plain }, text, limits, []).ids;
    expect(ids(false)).toEqual([...tokenizer.prefixIds, ...tokenizer.encode("1"), tokenizer.specialIds.bos]);
    expect(ids(true)[0]).toBe(tokenizer.specialIds.bos);
    expect(ids(true).length).toBe(2 + Buffer.byteLength(bos));
  });

  it("are put into the chat template, and refused without one", async () => {
    const tokenizer = (await folderTokenizer(nodeFolder(join(root, "adder"))))!;
    const limits = { maxPositions: 64, maxTokens: 4 };
    const source = {
      prompt: [{ role: "user", content: "1+2" }] as const,
      key: null,
      row: null,
      where: "row 7",
      hash: 0,
    };
    expect(() => encodePrompt(source, { tokenizer, template: null }, limits, [])).toThrow(
      /row 7.*no chat template/,
    );
    const template = chatTemplate(tokenizer, null, { modelType: "deepseek_v3", name: "adder" });
    const { ids, prompt } = encodePrompt(source, { tokenizer, template }, limits, []);
    expect(ids).toEqual(template.encode(source.prompt));
    expect(prompt).toMatch(/<\uff5cUser\uff5c>1\+2<\uff5cAssistant\uff5c>/);
  });

  it("refuses to begin with another model than it was prepared for", async () => {
    cpSync(join(root, "adder"), join(root, "other-adder"), { recursive: true });
    const other = await describeBase({ name: "other", folder: join(root, "other-adder"), gguf: null });
    const settings = draft({}, { model: other.base });
    await preparePolicy(settings, other, sources(), join(root, "changed"));
    rmSync(join(root, "other-adder"), { recursive: true });
    await writeAdder(join(root, "other-adder"), { seed: 2 });
    await expect(train("changed")).rejects.toThrow(/model changed since the run was prepared/);
  });

  it("take their key from what data sets have", () => {
    expect(keyOf("7 + 5 = 12\n#### 12")).toBe("12");
    expect(keyOf(" a ")).toBe("a");
    expect(keyOf(3.5)).toBe("3.5");
    expect(keyOf(undefined)).toBe(null);
  });
});
