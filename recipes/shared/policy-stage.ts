/** GRPO as a stage on disk: a stopped one goes on where its newest step stands, to the same bits. */
import { mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import type { PolicyMetrics, PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import { loadTraining, savedSteps, saveTraining, stepFolder } from "../../src/train/state.ts";
import { type StageContext, StageStopped } from "../shared/stage.ts";

const [SAVE_EVERY, PRINT_EVERY, CORES] = [20, 10, 2] as const;

/** @returns steps, and seconds of two cores without what a kill lost @throws StageStopped */
export async function runPolicyStage<Row>(
  name: string,
  policy: PolicyTrainer<Row>,
  { folder, stopped, print }: StageContext,
): Promise<{ readonly steps: number; readonly seconds: number; readonly last: PolicyMetrics | null }> {
  const own = join(folder, name);
  await mkdir(own, { recursive: true });
  let before = 0;
  const newest = savedSteps(await readdir(own)).at(-1);
  if (newest !== undefined) {
    const path = join(own, stepFolder(newest));
    await loadTraining(policy.trainer, nodeFolder(path));
    before = JSON.parse(await readFile(join(path, "stage.json"), "utf8")).seconds;
    if (!policy.done) print(`${name}: goes on at step ${newest}`);
  }
  const began = process.cpuUsage();
  const seconds = () => {
    const { user, system } = process.cpuUsage(began);
    return before + (user + system) / 1e6 / CORES;
  };
  let saved = newest;
  const save = async () => {
    const { step } = policy.trainer;
    if (step === saved) return;
    saved = step;
    const files = { "stage.json": `${JSON.stringify({ seconds: seconds() })}\n` };
    await saveTraining(policy.trainer, await nodeFolderSink(join(own, stepFolder(step))), {
      config: { stage: name },
      files,
    });
    for (const each of savedSteps(await readdir(own))) {
      if (each < step) await rm(join(own, stepFolder(each)), { recursive: true });
    }
  };
  let last: PolicyMetrics | null = null;
  while (!policy.done) {
    last = await policy.step();
    const { step, reward, update } = last;
    if (step % PRINT_EVERY === 1 || policy.done) {
      print(`${name}: step ${step}, reward ${reward.toFixed(3)}, KL ${update?.kl?.toFixed(3) ?? "-"}`);
    }
    if (step % SAVE_EVERY === 0) await save();
    if (stopped() && !policy.done) {
      await save();
      throw new StageStopped(`${name}: stopped and saved at step ${step}`);
    }
  }
  await save();
  return { steps: policy.trainer.step, seconds: seconds(), last };
}
