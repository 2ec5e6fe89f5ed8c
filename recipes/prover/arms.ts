/** The arms of the prover's recipe, one for each thing that the papers claim, in the order in which they run. */
import { join } from "node:path";
import type { Arm, ArmContext, ArmOutcome } from "../shared/program.ts";
import { examine, examScores, examTable } from "./exam.ts";
import { ALL_FORMS, FIRST_FORMS } from "./examples.ts";
import { WORLD_PROVER } from "./model.ts";
import type { Parts, Trained } from "./parts.ts";
import { SEARCHES, type SearchName, searchExam, searchScores } from "./searches.ts";

/** Minutes of two cores for what is trained from the first prover's weights. */
export const MINUTES = 4;
const FIRST_MINUTES = 9;
/** Peaks of the learning rate, from nothing and from trained weights. */
const [FROM_NOTHING, FROM_WEIGHTS] = [1.5e-3, 6e-4];

/** Statements of each family that searches are tried on. */
const SEARCHED = 8;

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

/** A model from nothing, kept for use, and its exam. */
async function first(
  parts: Parts,
  context: ArmContext,
  exam: { readonly samples: number; readonly perFamily?: number },
): Promise<ArmOutcome & { readonly step: string }> {
  const { stages, seed, print } = context;
  const source = { seed, mixture: FIRST_FORMS, cuts: [] };
  const trained = await parts.train(context, stages, { name: "first", source, peak: FROM_NOTHING });
  await parts.keep(context, trained.step, join(stages.folder, "model"));
  await using writer = await parts.writer(context, trained.step);
  const tools = { generator: writer.generator, lean: await parts.lean(context) };
  const results = await examine(tools, stages, { ...exam, seed });
  print(`\n${examTable(results)}`);
  return { ...trained, ...examScores(results) };
}

async function searched(
  parts: Parts,
  context: ArmContext,
  step: string,
  name: SearchName,
  size: { readonly budget: number; readonly perFamily: number },
): Promise<Pick<ArmOutcome, "scores" | "items" | "figures">> {
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

/** In the order in which they run. */
export const proverArms = (parts: Parts): Arm[] => [
  ...searches(parts, 16),
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
