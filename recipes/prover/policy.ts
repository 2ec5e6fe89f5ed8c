/**
 * Reinforcement learning from Lean's verdicts (DeepSeek-Prover-V1.5, section 2.3): GRPO on statements of the training split that
 * the model proves sometimes, a reward of 1 for a proof and 0 for anything else, a penalty for leaving the model it began with.
 */
import { appendFile, mkdir, readdir, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { corpusItem } from "../../src/prove/corpus/sample.ts";
import { proofPrompt } from "../../src/prove/text/prompts.ts";
import { proofReward } from "../../src/prove/train/proof-reward.ts";
import { passRates } from "../../src/train/policy/evaluation.ts";
import { PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import type { PolicyPrompt } from "../../src/train/policy/prompts.ts";
import { loadTraining, savedSteps, saveTraining, stepFolder } from "../../src/train/state.ts";
import type { ArmContext } from "../shared/program.ts";
import { StageStopped } from "../shared/stage.ts";
import { keptIn } from "./kept-lines.ts";
import { loadProver, PROVER_CONFIG, proverModel } from "./model.ts";
import { MAX_TOKENS, type Parts, SHORT, stoppable, type Trained } from "./parts.ts";

interface PolicySize {
  /** Statements whose pass rate is looked at. */
  readonly candidates: number;
  /** Samples of each, and of each prompt of a step. */
  readonly samples: number;
  /** Prompts of a step. */
  readonly groups: number;
  readonly steps: number;
}
const FULL: PolicySize = { candidates: 120, samples: 16, groups: 8, steps: 40 };
const FEW: PolicySize = { candidates: 4, samples: 4, groups: 2, steps: 2 };

/** Pass rates of statements that teach something. */
const [LEAST, MOST] = [1 / 16, 12 / 16];
const LEVELS = [15, 35, 50] as const;
/** Items of the corpus from here on: apart from those that examples are made of. */
const FIRST_ITEM = 2 ** 23;
const PEAK = 2e-5;
const PENALTY = 0.02;
const SAVE_STEPS = 5;
const BOS = 0;

interface Row {
  readonly preamble: string;
  readonly statement: string;
}

/** Trains the policy to its end from the weights of a folder, or finds it trained. @throws StageStopped */
export async function trainPolicy(
  parts: Parts,
  context: ArmContext,
  from: string,
): Promise<Trained & { readonly chosen: number }> {
  const { device, seed, stages, small, minutes, print } = context;
  const size = small ? FEW : FULL;
  const folder = join(stages.folder, `policy-${minutes}`);
  await mkdir(folder, { recursive: true });
  await using writer = await parts.writer(context, from);
  const { model, engine, tokenizer } = writer;
  using reference = proverModel(device, seed);
  await loadProver(reference, from);
  const judge = {
    reward: proofReward(await parts.lean(context)),
    decode: (ids: readonly number[]) => tokenizer.decode(ids),
  };
  using stop = stoppable(stages, "policy");

  const plain = { addSpecialTokens: false, parseSpecial: false };
  const prompts = Array.from({ length: size.candidates }, (_, i): PolicyPrompt<Row> => {
    const { preamble, statement } = corpusItem({ seed, levels: [...LEVELS] }, FIRST_ITEM + i);
    const header = preamble === "" ? "" : `${preamble.trimEnd()}\n\n`;
    const prompt = proofPrompt({ header, statement }, SHORT);
    return { ids: [BOS, ...tokenizer.encode(prompt, plain)], prompt, row: { preamble, statement } };
  });
  const rates = await keptIn(join(folder, "rates.json"), async () => {
    print(`policy: pass rates of ${prompts.length} statements`);
    const settings = { samples: size.samples, maxTokens: MAX_TOKENS, seed };
    return await passRates(engine, prompts, judge, settings, stop.signal);
  });
  const sometimes = prompts.filter((_, i) => rates[i] !== null && rates[i] >= LEAST && rates[i] <= MOST);
  print(`policy: ${sometimes.length} of ${prompts.length} statements are proved sometimes`);
  // A few steps of a model that proves nothing still have to run.
  const chosen = small && sometimes.length === 0 ? prompts : sometimes;
  if (chosen.length === 0) {
    throw new Error("the model proves none of the statements sometimes: train it longer (--minutes)");
  }

  using trainer = new PolicyTrainer(
    { ...judge, model, engine, reference, prompts: chosen },
    {
      ...{ steps: size.steps, groups: size.groups, samples: size.samples, maxTokens: MAX_TOKENS, seed },
      learningRate: { peak: PEAK, warmupSteps: 4, shape: "constant" },
      objective: { beta: PENALTY },
      ...{ advantage: "population", equalGroups: "skip" },
    },
  );
  let seconds = 0;
  const newest = savedSteps(await readdir(folder)).at(-1);
  if (newest !== undefined) {
    const step = join(folder, stepFolder(newest));
    await loadTraining(trainer.trainer, nodeFolder(step));
    ({ seconds } = JSON.parse(await readFile(join(step, "policy.json"), "utf8")) as { seconds: number });
    if (!trainer.done) print(`policy: goes on at step ${trainer.steps}`);
  }
  const save = async () => {
    const at = stepFolder(trainer.steps);
    const sink = await nodeFolderSink(join(folder, at), { force: true });
    const files = { "policy.json": `${JSON.stringify({ seconds })}\n` };
    await saveTraining(trainer.trainer, sink, { config: PROVER_CONFIG, files });
    for (const step of savedSteps(await readdir(folder))) {
      if (stepFolder(step) !== at) await rm(join(folder, stepFolder(step)), { recursive: true });
    }
  };
  while (!trainer.done) {
    const began = process.cpuUsage();
    const metrics = await trainer.step(stop.signal);
    const { user, system } = process.cpuUsage(began);
    seconds += (user + system) / 2e6;
    await appendFile(join(folder, "log.jsonl"), `${JSON.stringify(metrics)}\n`);
    const { step, reward, groupsUsed, update } = metrics;
    print(
      `policy: step ${step} of ${size.steps}, reward ${reward.toFixed(3)}, ${groupsUsed} groups, KL ${update?.kl?.toFixed(4) ?? "–"}`,
    );
    const stopped = stages.stopped() && !trainer.done;
    if (stopped || trainer.done || trainer.steps % SAVE_STEPS === 0) await save();
    if (stopped) throw new StageStopped(`policy: stopped and saved at step ${trainer.steps}`);
  }
  return {
    step: join(folder, stepFolder(trainer.steps)),
    stages: { policy: { steps: trainer.steps, minutes: seconds / 60 } },
    chosen: sometimes.length,
  };
}
