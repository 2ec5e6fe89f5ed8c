/** The arms of the prover's recipe, one for each thing that the papers claim, in the order in which they run. */
import { join } from "node:path";
import type { Arm, ArmContext, ArmOutcome } from "../shared/program.ts";
import { cutProofs } from "./cuts.ts";
import { type ExamOptions, examine, examScores, examTable } from "./exam.ts";
import { ALL_FORMS, FIRST_FORMS, WHOLE_FORMS } from "./examples.ts";
import { keptIn, ofSettings } from "./kept-lines.ts";
import { WORLD_PROVER } from "./model.ts";
import { type Parts, stoppable, type Trained } from "./parts.ts";
import { trainPolicy } from "./policy.ts";
import {
  FEW,
  foundProofs,
  type ProveOptions,
  proveRound,
  ROUND,
  roundScores,
  roundSettings,
} from "./rounds.ts";
import { SEARCHES, type SearchName, searchExam, searchScores } from "./searches.ts";

/** Minutes of two cores for what is trained from the first prover's weights. */
export const MINUTES = 4;
const FIRST_MINUTES = 9;
/** Peaks of the learning rate, from nothing and from trained weights. */
const [FROM_NOTHING, FROM_WEIGHTS] = [1.5e-3, 6e-4];

/** Statements of each family that searches are tried on: six arms of a seed take half an hour of one busy core. */
const SEARCHED = 4;
/** And that provers are examined on. */
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
    ...{ name: "taught", from: WORLD_PROVER, peak: FROM_WEIGHTS, mixture: ALL_FORMS },
    proofs: async () => ({ cuts: await parts.cuts(context) }),
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
  const { stages } = context;
  const trained = await parts.train(context, stages, {
    ...{ name: "first", peak: FROM_NOTHING, mixture: FIRST_FORMS },
    proofs: async () => ({ cuts: [] }),
  });
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
      ...{ name: "whole-only", from: WORLD_PROVER, peak: FROM_WEIGHTS, mixture: WHOLE_FORMS },
      proofs: async () => ({ cuts: [] }),
    });
    return { stages, ...(await examined(parts, context, step, { samples: 16, perFamily: EXAMINED })) };
  },
});

const roundOf = (
  { seed, small }: ArmContext,
  round: number,
  negation: ProveOptions["negation"] = "universal",
): ProveOptions => ({ round, seed, negation, size: small ? FEW : ROUND });

/** The model after so many rounds, each begun with the model of the round before and ended with a new one, and how the last went. */
async function afterRounds(parts: Parts, context: ArmContext, count: number): Promise<Trained & Examined> {
  if (count === 0) return { ...(await taught(parts, context)), scores: {} };
  const before = await afterRounds(parts, context, count - 1);
  const { shared, minutes } = context;
  const place = { ...shared, folder: join(shared.folder, `rounds-${minutes}`) };
  const lean = await parts.lean(context);
  const options = roundOf(context, count - 1);
  await ofSettings(place.folder, roundSettings(options));
  // A round that is over is not run again: the store may hold problems of the next one by now.
  const { found, scored } = await keptIn(join(place.folder, `round-${count}.json`), async () => {
    await using writer = await parts.writer(context, before.step);
    using store = await proveRound({ generator: writer.generator, lean }, place, options);
    return {
      found: foundProofs(store.pipeline.proofs(), options.round),
      scored: roundScores(store, options),
    };
  });
  const trained = await parts.train(context, place, {
    ...{ name: `after-${count}`, from: WORLD_PROVER, peak: FROM_WEIGHTS, mixture: ALL_FORMS },
    async proofs() {
      using stop = stoppable(shared, "states");
      const own = (await cutProofs(lean, found, stop.signal)).filter((each) => each !== null);
      return { cuts: [...(await parts.cuts(context)), ...own], found };
    },
  });
  return { ...trained, ...scored };
}

const rounds = (parts: Parts, count: number): Arm => ({
  name: `rounds-${count}`,
  text: `${count} ${count === 1 ? "round" : "rounds"} of expert iteration: statements or their negations proved, then the first prover retrained with what was found`,
  async run(context) {
    const { step, stages, scores, items, figures } = await afterRounds(parts, context, count);
    const exam = await examined(parts, context, step, { samples: 16, perFamily: EXAMINED });
    return {
      stages,
      scores: { ...exam.scores, ...scores },
      items: { ...exam.items, ...items },
      figures: { ...exam.figures, ...figures },
    };
  },
});

const noNegation = (parts: Parts): Arm => ({
  name: "no-negation",
  text: "the first round without negations: as many samples, all of them of the statement",
  async run(context) {
    const { step, stages } = await taught(parts, context);
    await using writer = await parts.writer(context, step);
    const tools = { generator: writer.generator, lean: await parts.lean(context) };
    const options = roundOf(context, 0, "off");
    using store = await proveRound(tools, context.stages, options);
    return { stages, ...roundScores(store, options) };
  },
});

/** In the order in which they run. */
export const proverArms = (parts: Parts): Arm[] => [
  ...searches(parts, 16),
  examining(parts, "taught", "the taught prover: what most arms begin with", { samples: 32 }),
  rounds(parts, 1),
  noNegation(parts),
  rounds(parts, 2),
  rounds(parts, 3),
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
