/** The stages of DeepSeek-VL and DeepSeek-VL2 on the picture world, and the exams at their end. */
import { join } from "node:path";
import { worldIndex } from "../../src/data/world/generator.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { imageObjective } from "../../src/train/objectives/images.ts";
import { ImageBatches, type See, type Share } from "./image-batches.ts";
import { NamingBatches, namingObjective } from "./naming.ts";
import { VIEW } from "./pages.ts";
import type { ArmContext } from "./program.ts";
import { newestStep, once } from "./ready.ts";
import { type SampleOptions, shortSample } from "./samples.ts";
import {
  type Exam,
  examine,
  LANGUAGE_TASKS,
  QUESTION_TASKS,
  type Scores,
  scoresOf,
  together,
} from "./score.ts";
import { runStage, type StageContext } from "./stage.ts";
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

/** Whole lines from the beginning, when letters are known. */
const LONG_LINES: Growth = [{ from: 0, lines: 1, glyphs: 6, faint: 3 }];

/**
 * Single views, from which reading is learned before whole pages, which cost ten times as much to see. Lines begin with one
 * glyph: where whole lines were asked from the first step on, no glyph was read after 40,000 of them.
 */
const views = (batch: number, faint: number, growth: Growth): Share[] => [
  { kind: "lines", weight: 4, batch, faint, growth: grown(growth) },
  { kind: "questions", weight: 1, batch },
];

/** Pages in a step. */
const PAGES = 8;

/**
 * Kinds of samples with a picture, by weight. Short strings on pages come most: whole pages, of which there are as many texts,
 * charts and tables as 1 : 0.5 : 0.5, are not read in these minutes, while where to look on a page is learned.
 */
function pictures(batch: number, faint: number): Share[] {
  const pages = Math.min(batch, PAGES);
  return [
    { kind: "short", weight: 4, batch: pages, faint },
    { kind: "questions", weight: 1.5, batch: Math.max(2, batch >> 1) },
    { kind: "lines", weight: 0.5, batch: Math.max(2, batch >> 1), faint },
    { kind: "text", weight: 0.5, batch: pages, faint },
    { kind: "charts", weight: 0.25, batch: pages, faint },
    { kind: "tables", weight: 0.25, batch: pages, faint },
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
  readonly minutes: number;
  readonly shares: readonly Share[];
  /** Of the learning rate. */
  readonly peak: number;
}

/** Of stages 2 and 3, on everything. */
export const MINUTES = 12;
/** Of the first stage, and of single views with short and with whole lines. */
const READING = { names: 2, views: 24, lines: 14 };
const READING_MINUTES = READING.names + READING.views + READING.lines;

type Done = Record<string, { steps: number; minutes: number }>;

const sizes = (small: boolean) => {
  const batch = small ? 4 : 32;
  // Half batches take half the time: where to look is found by the number of steps.
  return { batch, half: Math.max(2, batch >> 1) };
};

/** Trains parts one after another, on answers alone: the random numbers of questions cost more of the loss than what is to be read. */
async function runParts(
  context: ArmContext,
  folder: StageContext,
  model: VisionLanguageModel,
  see: See,
  parts: readonly Part[],
  rates: LadderParts["rates"],
  extra: { readonly mixed?: boolean; readonly warmUp?: boolean } = {},
): Promise<Done> {
  const { seed, small } = context;
  const { batch } = sizes(small);
  const done: Done = {};
  for (const { name, trained, minutes, shares, peak } of parts) {
    const used = Object.keys(rates).some((each) => trained.includes(each));
    const { steps, seconds } = await runStage(
      {
        ...{ name, model, objective: imageObjective, config: { stage: name, seed, small } },
        length: lengthOf(context, 4, minutes),
        batches: new ImageBatches({
          ...{ seed, shares, see, mixed: extra.mixed, learned: "answers" },
          imageTokens: (tiles) => model.imageTokens(tiles),
          ...(extra.warmUp && name === "stage-2" && { warmUp: "language" as const }),
        }),
        options: {
          ...{ batch, trained, ...schedule(peak) },
          ...(used && { rates }),
          ...(model.language.config.moe !== null && { balanceAlpha: 1e-3 }),
        },
      },
      folder,
    );
    done[name] = { steps, minutes: seconds / 60 };
  }
  return done;
}

/** What learns to read, and where its stages are. */
export interface Reader {
  /** Before the names of its stages. */
  readonly prefix: string;
  readonly folder: StageContext;
  readonly parts: LadderParts;
  /** Part of samples that are language alone. */
  readonly language: number;
  readonly faint: number;
  /** Minutes of all its stages; default: `READING_MINUTES`. */
  readonly minutes?: number;
}

/**
 * The first stage, which aligns the projector with the language model's words, and single views of the second.
 * @returns its stages; the last of them is `PREFIXlines`
 */
export async function learnToRead(
  context: ArmContext,
  model: VisionLanguageModel,
  see: See,
  { prefix, folder, parts, language, faint, minutes = READING_MINUTES }: Reader,
): Promise<Done> {
  const { seed, small } = context;
  const { trained, rates } = parts;
  const { batch, half } = sizes(small);
  const part = (share: number) => (minutes * share) / READING_MINUTES;
  const name = `${prefix}names`;
  const { steps, seconds } = await runStage(
    {
      ...{ name, model, config: { stage: name, seed, small } },
      length: lengthOf(context, 4, part(READING.names)),
      objective: await namingObjective(model),
      batches: new NamingBatches({ seed, views: "all", scenes: 0.3 }, model.imageSize === VIEW ? null : see),
      options: {
        ...{ batch: 2 * batch, trained: trained[0].filter((each) => each !== "vision") },
        ...schedule(2e-3),
      },
    },
    folder,
  );
  const stages: readonly Part[] = [
    {
      ...{ name: `${prefix}views`, trained: trained[1], minutes: part(READING.views), peak: 7e-4 },
      shares: withLanguage(views(half, faint, LINES), language / 2, batch),
    },
    {
      ...{ name: `${prefix}lines`, trained: trained[1], minutes: part(READING.lines), peak: 5e-4 },
      shares: withLanguage(views(half, faint, LONG_LINES), language / 2, batch),
    },
  ];
  return {
    [name]: { steps, minutes: seconds / 60 },
    ...(await runParts(context, folder, model, see, stages, rates)),
  };
}

/** What arms begin with that see single views alike: trained once for each seed. @returns folder of its weights */
export const startReading = (
  context: ArmContext,
  name: string,
  make: () => Promise<VisionLanguageModel>,
  see: See,
  reader: Omit<Reader, "prefix" | "folder">,
): Promise<string> =>
  once(context, name, async () => {
    using model = await make();
    const prefix = `${name}-`;
    await learnToRead(context, model, see, { ...reader, prefix, folder: context.shared });
    return await newestStep(join(context.shared.folder, `${prefix}lines`));
  });

/** Trains stages 2 and 3 on everything, with a model that reads single views. */
export async function climb(
  context: ArmContext,
  model: VisionLanguageModel,
  see: See,
  { trained, rates }: LadderParts,
  { language, faint, mixed, warmUp }: LadderOptions,
  minutes = context.minutes,
): Promise<Done> {
  const { batch } = sizes(context.small);
  const images = pictures(batch, faint);
  const stages: readonly Part[] = [
    {
      ...{ name: "stage-2", trained: trained[1], minutes: (minutes * 2) / 3, peak: 7e-4 },
      shares: withLanguage(images, language, 2 * batch),
    },
    {
      ...{ name: "stage-3", trained: trained[2], minutes: minutes / 3, peak: 3e-4 },
      shares: withLanguage(images, language * (48 / 70), 2 * batch),
    },
  ];
  return await runParts(context, context.stages, model, see, stages, rates, { mixed, warmUp });
}

/** Single views and pages alike: after `climb`, which is about pages, long lines in single views are read worse than before. */
function settled(batch: number, faint: number): Share[] {
  const half = Math.max(2, batch >> 1);
  return [
    { kind: "lines", weight: 3, batch: half, faint, growth: () => ({ lines: 1, glyphs: 4, faint: 3 }) },
    { kind: "short", weight: 3, batch: Math.min(batch, PAGES), faint },
    { kind: "questions", weight: 3, batch: half },
  ];
}

/** Goes on after `climb` for a model that is to be used: on fewer kinds of samples, those that it can learn. */
export async function settle(
  context: ArmContext,
  model: VisionLanguageModel,
  see: See,
  { trained, rates }: LadderParts,
  { language, faint }: LadderOptions,
  minutes: number,
): Promise<Done> {
  const { batch } = sizes(context.small);
  const shares = withLanguage(settled(batch, faint), language / 3, 2 * batch);
  const part = { name: "settled", trained: trained[2], minutes, peak: 5e-4, shares };
  return await runParts(context, context.stages, model, see, [part], rates);
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
    { stream: "text", count: count(150), mark: " clean" },
    { stream: "text", count: count(150), options: { faint: true }, mark: " faint" },
    { stream: "charts", count: count(100), mark: " clean" },
    { stream: "charts", count: count(100), options: { faint: true }, mark: " faint" },
    { stream: "tables", count: count(100), mark: " clean" },
    { stream: "tables", count: count(100), options: { faint: true }, mark: " faint" },
    { stream: "language", count: count(300), mark: "" },
  ];
  const scores: Record<string, Scores[string]> = {};
  for (const faint of [false, true]) {
    const samples = Array.from({ length: count(400) }, (_, i) =>
      shortSample(1, worldIndex("test", i), faint),
    );
    const mark = faint ? " faint" : " clean";
    Object.assign(scores, await scoresOf(system, samples, () => `short${mark}`));
    print(`examined short${mark}`);
  }
  for (const exam of exams) {
    Object.assign(scores, await examine(system, exam, exam.mark));
    print(`examined ${exam.stream}${exam.mark}`);
  }
  return {
    ...scores,
    questions: together(scores, QUESTION_TASKS),
    language: together(scores, LANGUAGE_TASKS),
  };
}
