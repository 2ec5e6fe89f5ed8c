/**
 * Reinforcement learning from Lean's verdicts (DeepSeek-Prover-V1.5, section 2.3): GRPO on statements of the training split that
 * the model proves sometimes, a reward of 1 for a proof and 0 for anything else, a penalty for leaving the model it began with.
 */
import { join } from "node:path";
import { corpusItem } from "../../src/prove/corpus/sample.ts";
import { proofPrompt } from "../../src/prove/text/prompts.ts";
import { proofReward } from "../../src/prove/train/proof-reward.ts";
import { passRates } from "../../src/train/policy/evaluation.ts";
import { PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import type { PolicyPrompt } from "../../src/train/policy/prompts.ts";
import { runPolicyStage } from "../shared/policy-stage.ts";
import type { ArmContext } from "../shared/program.ts";
import { keptIn, ofSettings } from "./kept-lines.ts";
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
  const name = `policy-${minutes}`;
  const folder = join(stages.folder, name);
  const sampling = { samples: size.samples, maxTokens: MAX_TOKENS, temperature: 1, seed };
  await ofSettings(folder, { ...sampling, candidates: size.candidates, levels: LEVELS });
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
    return await passRates(engine, prompts, judge, sampling, stop.signal);
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
  const stage = { name, saveEvery: SAVE_STEPS, printEvery: 1, config: PROVER_CONFIG, signal: stop.signal };
  const { steps, seconds, folder: step } = await runPolicyStage(trainer, stage, stages);
  return {
    step,
    stages: { policy: { steps, minutes: seconds / 60 } },
    chosen: sometimes.length,
  };
}
