/** The stages of DeepSeek-VL and DeepSeek-VL2 on the picture world, and the exams at their end. */
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import type { Batch } from "../../src/train/batches.ts";
import { imageObjective } from "../../src/train/objectives/images.ts";
import { ImageBatches, type See, type Share } from "./image-batches.ts";
import { NamingBatches, namingObjective } from "./naming.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import type { SampleOptions } from "./samples.ts";
import { type Exam, examine, type Scores } from "./score.ts";
import { runStage, type StageSpec } from "./stage.ts";
import { lengthOf, schedule } from "./start.ts";
import { scoredSystem } from "./systems.ts";

/** What an arm changes of the ladder. */
export interface LadderOptions {
  /** Part of samples that are language alone, in stages 2 and 3. */
  readonly language: number;
  /** Whether stage 2 begins with language alone and comes to its share over its first third. */
  readonly warmUp?: boolean;
  /** Samples of all kinds in each batch; default: each step has one kind. */
  readonly mixed?: boolean;
  /** Pages in ten that are faint. */
  readonly faint: number;
}

/** What is trained in each stage and how fast. */
export interface LadderParts {
  readonly trained: readonly (readonly string[])[];
  readonly rates: Readonly<Record<string, number>>;
}

/** VL: aligner; aligner and language model; the low tower too. */
export const VL_PARTS: LadderParts = {
  trained: [["aligner"], ["aligner", "language"], ["aligner", "language", "vision"]],
  rates: { vision: 0.1 },
};

/** VL2: tower and projector; everything; everything. The tower learns at a tenth of the rate. */
export const VL2_PARTS: LadderParts = {
  trained: [
    ["vision", "projector"],
    ["vision", "projector", "language"],
    ["vision", "projector", "language"],
  ],
  rates: { vision: 0.1 },
};

type Growth = readonly (SampleOptions & { readonly from: number })[];

const grown =
  (growth: Growth) =>
  (progress: number): SampleOptions =>
    growth.findLast(({ from }) => progress >= from)!;

/** Most lines and glyphs of a line, by the part of a stage from which on they come; at first without noise. */
const LINES: Growth = [
  { from: 0, lines: 1, glyphs: 1, faint: 0 },
  { from: 0.06, lines: 1, glyphs: 2, faint: 1 },
  { from: 0.33, lines: 1, glyphs: 4, faint: 1 },
  { from: 0.85, lines: 1, glyphs: 6, faint: 2 },
];

/**
 * Single views, from which reading is learned before whole pages, which cost ten times as much to see. Lines begin with one
 * glyph: where whole lines were asked from the first step on, no glyph was read after 40,000 of them.
 */
const views = (batch: number, faint: number): Share[] => [
  { kind: "lines", weight: 4, batch, faint, growth: grown(LINES) },
  { kind: "questions", weight: 1, batch },
];

/** Kinds of samples with a picture, by weight: questions, text, charts and tables as 2 : 1 : 0.5 : 0.5, lines by themselves beside. */
function pictures(batch: number, faint: number): Share[] {
  const half = Math.max(2, batch >> 1);
  return [
    { kind: "questions", weight: 2, batch },
    { kind: "lines", weight: 1, batch, faint },
    { kind: "text", weight: 1, batch: half, faint },
    { kind: "charts", weight: 0.5, batch: half, faint },
    { kind: "tables", weight: 0.5, batch: half, faint },
  ];
}

function withLanguage(shares: readonly Share[], language: number, batch: number): Share[] {
  const total = shares.reduce((sum, { weight }) => sum + weight, 0);
  const scaled = shares.map((share) => ({ ...share, weight: (share.weight / total) * (1 - language) }));
  return language > 0 ? [...scaled, { kind: "language", weight: language, batch }] : scaled;
}

interface Part {
  readonly name: string;
  readonly trained: readonly string[];
  /** Minutes, of `MINUTES`. */
  readonly part: number;
  readonly shares: readonly Share[];
  /** Of the learning rate. */
  readonly peak: number;
}

/** Of an arm. */
export const MINUTES = 38;
/** Of these, the first stage's. */
const ALIGNING = 2;

/**
 * Trains the three stages. The first aligns the projector with the language model's words; the second has two parts, single views
 * and everything. Answers alone are learned: the random numbers of questions cost more of the loss than what is to be read.
 */
export async function climb(
  context: ArmContext,
  model: VisionLanguageModel,
  see: See,
  { trained, rates }: LadderParts,
  { language, faint, mixed, warmUp }: LadderOptions,
): Promise<ArmOutcome["stages"]> {
  const { seed, small, minutes, stages } = context;
  const batch = small ? 4 : 32;
  const images = pictures(batch, faint);
  const half = Math.max(2, batch >> 1);
  const steps: readonly Part[] = [
    {
      // Half batches take half the time: where to look is found by the number of steps.
      ...{ name: "stage-2-views", trained: trained[1], part: 23.8, peak: 7e-4 },
      shares: withLanguage(views(half, faint), language / 2, batch),
    },
    {
      ...{ name: "stage-2", trained: trained[1], part: 8, peak: 7e-4 },
      shares: withLanguage(images, language, 2 * batch),
    },
    {
      ...{ name: "stage-3", trained: trained[2], part: 4, peak: 3e-4 },
      shares: withLanguage(images, language * (48 / 70), 2 * batch),
    },
  ];
  const done: Record<string, { steps: number; minutes: number }> = {};
  const run = async <B extends Batch>(
    part: number,
    spec: Omit<StageSpec<VisionLanguageModel, B>, "model" | "length" | "config">,
  ) => {
    const { name } = spec;
    const length = lengthOf(context, 4, (minutes * part) / MINUTES);
    const { steps, seconds } = await runStage(
      { ...spec, model, length, config: { stage: name, seed, small } },
      stages,
    );
    done[name] = { steps, minutes: seconds / 60 };
  };
  await run(ALIGNING, {
    name: "stage-1",
    objective: await namingObjective(model),
    batches: new NamingBatches({ seed, views: "all", scenes: 0.3 }),
    options: {
      ...{ batch: 2 * batch, trained: trained[0].filter((part) => part !== "vision") },
      ...schedule(2e-3),
    },
  });
  const balance = model.language.config.moe !== null;
  for (const { name, trained: parts, part, shares, peak } of steps) {
    const used = Object.keys(rates).some((each) => parts.includes(each));
    await run(part, {
      ...{ name, objective: imageObjective },
      batches: new ImageBatches({
        ...{ seed, shares, see, mixed, learned: "answers" },
        imageTokens: (tiles) => model.imageTokens(tiles),
        ...(warmUp && name === "stage-2" && { warmUp: "language" as const }),
      }),
      options: {
        ...{ batch, trained: parts, ...schedule(peak) },
        ...(used && { rates }),
        ...(balance && { balanceAlpha: 1e-3 }),
      },
    });
  }
  return done;
}

/** What every arm is asked. */
export async function takeExams(
  { small, print }: ArmContext,
  model: VisionLanguageModel,
  see: See,
): Promise<Scores> {
  const system = scoredSystem(model, see);
  const count = (n: number) => (small ? 8 : n);
  const exams: readonly (Exam & { readonly mark: string })[] = [
    { stream: "questions", count: count(400), mark: "" },
    { stream: "text", count: count(300), mark: " clean" },
    { stream: "text", count: count(300), options: { faint: true }, mark: " faint" },
    { stream: "charts", count: count(150), mark: " clean" },
    { stream: "charts", count: count(150), options: { faint: true }, mark: " faint" },
    { stream: "tables", count: count(150), mark: " clean" },
    { stream: "tables", count: count(150), options: { faint: true }, mark: " faint" },
    { stream: "language", count: count(300), mark: "" },
  ];
  const scores: Record<string, Scores[string]> = {};
  for (const exam of exams) {
    Object.assign(scores, await examine(system, exam, exam.mark));
    print(`examined ${exam.stream}${exam.mark}`);
  }
  const languages = ["add", "reverse", "order"].flatMap((task) => scores[task] ?? []);
  const sum = (key: "right" | "of") => languages.reduce((total, each) => total + each[key], 0);
  return { ...scores, language: { right: sum("right"), of: sum("of") } };
}
