/** GRPO as a stage on disk: a stopped one goes on where its newest step stands, to the same bits. */
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import type { PolicyMetrics, PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import { loadTraining, savedSteps, saveTraining, stepFolder } from "../../src/train/state.ts";
import { coreSeconds, type StageContext, StageStopped } from "./stage.ts";

export interface PolicyStage {
  readonly name: string;
  readonly saveEvery: number;
  readonly printEvery: number;
  /** `config.json` of its steps. */
  readonly config: Record<string, unknown>;
  /** Ends a step in its middle, which is lost; those before it are saved, and the signal's reason is thrown. */
  readonly signal?: AbortSignal;
}

interface Kept {
  readonly seconds: number;
  readonly last: PolicyMetrics | null;
}

export interface PolicyOutcome extends Kept {
  readonly steps: number;
  /** Of the newest step, with its weights. */
  readonly folder: string;
}

/** @returns steps, seconds of two cores without what a kill lost, and what the last step measured @throws StageStopped */
export async function runPolicyStage<Row>(
  policy: PolicyTrainer<Row>,
  { name, saveEvery, printEvery, config, signal }: PolicyStage,
  { folder, stopped, print }: StageContext,
): Promise<PolicyOutcome> {
  const own = join(folder, name);
  await mkdir(own, { recursive: true });
  let kept: Kept = { seconds: 0, last: null };
  let saved = savedSteps(await readdir(own)).at(-1);
  if (saved !== undefined) {
    const path = join(own, stepFolder(saved));
    await loadTraining(policy.trainer, nodeFolder(path));
    kept = JSON.parse(await readFile(join(path, "stage.json"), "utf8")) as Kept;
    if (!policy.done) print(`${name}: goes on at step ${saved}`);
  }
  const save = async () => {
    const { step } = policy.trainer;
    if (step === (saved ?? 0)) return;
    await policy.trainer.checkWeights();
    saved = step;
    const sink = await nodeFolderSink(join(own, stepFolder(step)), { force: true });
    await saveTraining(policy.trainer, sink, {
      config,
      files: { "stage.json": `${JSON.stringify(kept)}\n` },
    });
    for (const each of savedSteps(await readdir(own))) {
      if (each < step) await rm(join(own, stepFolder(each)), { recursive: true });
    }
  };
  while (!policy.done) {
    const began = process.cpuUsage();
    const last = await policy.step(signal).catch(async (error: unknown) => {
      // The steps before this one are whole.
      if (signal?.aborted) await save();
      throw error;
    });
    kept = { seconds: kept.seconds + coreSeconds(began), last };
    await appendFile(join(own, "log.jsonl"), `${JSON.stringify(last)}\n`);
    const { step, reward, groupsUsed, update } = last;
    if ((step - 1) % printEvery === 0 || policy.done) {
      const measured = `reward ${reward.toFixed(3)}, ${groupsUsed} groups, KL ${update?.kl?.toFixed(4) ?? "-"}`;
      print(`${name}: step ${step}, ${measured}`);
    }
    await setImmediate();
    const stop = stopped() && !policy.done;
    if (stop || step % saveEvery === 0) await save();
    if (stop) throw new StageStopped(`${name}: stopped and saved at step ${step}`);
  }
  await save();
  return { ...kept, steps: policy.trainer.step, folder: join(own, stepFolder(policy.trainer.step)) };
}
