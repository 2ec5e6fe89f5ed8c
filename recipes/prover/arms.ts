/** The arms of the prover's recipe, one for each thing that the papers claim, in the order in which they run. */
import { join } from "node:path";
import type { Arm, ArmContext, ArmOutcome } from "../shared/program.ts";
import { type ExamOptions, examine, examScores, examTable } from "./exam.ts";
import { ALL_FORMS, FIRST_FORMS, WHOLE_FORMS } from "./examples.ts";
import { WORLD_PROVER } from "./model.ts";
import type { Parts, Trained } from "./parts.ts";
import { trainPolicy } from "./policy.ts";
import { SEARCHES, type SearchName, searchExam, searchScores } from "./searches.ts";

/** Minutes of two cores for what is trained from the first prover's weights. */
export const MINUTES = 4;
const FIRST_MINUTES = 9;
/** Peaks of the learning rate, from nothing and from trained weights. */
const [FROM_NOTHING, FROM_WEIGHTS] = [1.5e-3, 6e-4];

/** Statements of each family that searches are tried on, and that provers are examined on. */
const SEARCHED = 8;
const EXAMINED = 8;

const SEARCH_TEXTS: Readonly<Record<SearchName, string>> = {
  sample: "whole proofs",
  resume: "greedy resuming behind the last verified tactic",
  rmaxts: "RMaxTS",
  "no-reward": "RMaxTS without intrinsic reward",
  ucb1: "RMaxTS with UCB1 in place of its discounted bound",
  "no-state": "RMaxTS without the tactic state in the prompt",
};

/** The first prover, taught all forms: what most arms begin with. */
const taught = async (parts: Parts, context: ArmContext): Promise<Trained> =>
  parts.train(context, context.shared, {
    ...{ name: "taught", from: WORLD_PROVER, peak: FROM_WEIGHTS },
    source: { seed: context.seed, mixture: ALL_FORMS, cuts: await parts.cuts(context) },
  });

type ExamSize = Pick<ExamOptions, "samples" | "perFamily" | "mode">;
type Examined = Pick<ArmOutcome, "scores" | "items" | "figures">;

async function examined(parts: Parts, context: ArmContext, step: string, size: ExamSize): Promise<Examined> {
  const { stages, seed, small, print } = context;
  await using writer = await parts.writer(context, step);
  const tools = { generator: writer.generator, lean: await parts.lean(context) };
  const few = small ? { samples: 2, perFamily: 1 } : {};
  const results = await examine(tools, stages, { ...size, ...few, seed });
  print(`\n${examTable(results)}`);
  return examScores(results);
}

/** A model from nothing, kept for use, and its exam. */
async function first(
  parts: Parts,
  context: ArmContext,
  exam: ExamSize,
): Promise<ArmOutcome & { readonly step: string }> {
  const { stages, seed } = context;
  const source = { seed, mixture: FIRST_FORMS, cuts: [] };
  const trained = await parts.train(context, stages, { name: "first", source, peak: FROM_NOTHING });
  await parts.keep(context, trained.step, join(stages.folder, "model"));
  return { ...trained, ...(await examined(parts, context, trained.step, exam)) };
}

async function searched(
  parts: Parts,
  context: ArmContext,
  step: string,
  name: SearchName,
  size: { readonly budget: number; readonly perFamily: number },
): Promise<Examined> {
  await using writer = await parts.writer(context, step);
  const tools = { generator: writer.generator, lean: await parts.lean(context) };
  const { seed, stages } = context;
  return searchScores(await searchExam(tools, stages, name, { ...size, seed }), size.budget);
}

/** A search with the taught prover. */
const searching = (parts: Parts, name: SearchName, budget: number): Arm => ({
  name: `${name}-${budget}`,
  text: `${SEARCH_TEXTS[name]}, ${budget} generations of the taught prover for each statement`,
  async run(context) {
    const { step, stages } = await taught(parts, context);
    const size = context.small ? { budget: 4, perFamily: 1 } : { budget, perFamily: SEARCHED };
    return { stages, ...(await searched(parts, context, step, name, size)) };
  },
});

const searches = (parts: Parts, budget: number): Arm[] =>
  (Object.keys(SEARCHES) as SearchName[]).map((name) => searching(parts, name, budget));

/** The taught prover's own exam. */
const examining = (parts: Parts, name: string, text: string, size: ExamSize): Arm => ({
  ...{ name, text },
  async run(context) {
    const { step, stages } = await taught(parts, context);
    return { stages, ...(await examined(parts, context, step, { perFamily: EXAMINED, ...size })) };
  },
});

const reinforced = (parts: Parts): Arm => ({
  name: "rl",
  text: "the taught prover after GRPO with Lean's verdicts as rewards, 40 steps of 8 statements, 16 samples of each",
  async run(context) {
    const { step, stages } = await taught(parts, context);
    const policy = await trainPolicy(parts, context, step);
    const size = { samples: 32, perFamily: EXAMINED };
    const { figures, ...exam } = await examined(parts, context, policy.step, size);
    return {
      ...{ ...exam, stages: { ...stages, ...policy.stages } },
      figures: { ...figures, "statements proved sometimes before": policy.chosen },
    };
  },
});

const wholeOnly = (parts: Parts): Arm => ({
  name: "whole-only",
  text: "the first prover, taught for as long without states",
  async run(context) {
    const { step, stages } = await parts.train(context, context.stages, {
      ...{ name: "whole-only", from: WORLD_PROVER, peak: FROM_WEIGHTS },
      source: { seed: context.seed, mixture: WHOLE_FORMS, cuts: [] },
    });
    return { stages, ...(await examined(parts, context, step, { samples: 16, perFamily: EXAMINED })) };
  },
});

/** In the order in which they run. */
export const proverArms = (parts: Parts): Arm[] => [
  ...searches(parts, 16),
  examining(parts, "taught", "the taught prover: what most arms begin with", { samples: 32 }),
  reinforced(parts),
  examining(parts, "cot", "the taught prover, asked for thoughts", { samples: 16, mode: "cot" }),
  examining(parts, "mix", "the taught prover, asked for thoughts every other time", {
    ...{ samples: 16, mode: "mix" },
  }),
  wholeOnly(parts),
  {
    name: "first",
    text: "the first prover from nothing: scripted proofs, with and without thoughts, and translations",
    minutes: FIRST_MINUTES,
    run: (context) => first(parts, context, { samples: 8 }),
  },
  ...searches(parts, 64),
];

/** A prover to use, and a little of each search with it. */
export const smallArm = (parts: Parts): Arm => ({
  name: "small",
  text: "a prover of five minutes that `deepseek-ts prove` opens, its exam on three statements of each family, searches on one (under 10 minutes)",
  minutes: 5,
  async run(context) {
    const { step, scores, ...rest } = await first(
      parts,
      { ...context, small: false },
      {
        ...{ samples: 8, perFamily: 3 },
      },
    );
    const solved: Record<string, ArmOutcome["scores"][string]> = {};
    for (const name of ["sample", "resume", "rmaxts"] as const) {
      const found = await searched(parts, context, step, name, { budget: 8, perFamily: 1 });
      solved[`${name} solved@8`] = found.scores["solved@8"];
    }
    return { ...rest, scores: { ...scores, ...solved } };
  },
});
