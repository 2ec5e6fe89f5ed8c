/** The stages of DeepSeek-VL and DeepSeek-VL2 on the picture world, and the exams at their end. */
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { imageObjective } from "../../src/train/objectives/images.ts";
import { ImageBatches, type See, type Share } from "./image-batches.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import { type Exam, examine, type Scores } from "./score.ts";
import { runStage } from "./stage.ts";
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

/** Parts of an arm's minutes. */
const MINUTES = [5 / 43, 28 / 43, 10 / 43];

/** Kinds of samples with a picture, by weight: questions, text, charts and tables as 2 : 1 : 0.5 : 0.5, lines by themselves beside. */
function pictures(batch: number, faint: number): Share[] {
  const half = Math.max(2, batch >> 1);
  return [
    { kind: "questions", weight: 2, batch },
    { kind: "line", weight: 1, batch, faint },
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

/** Trains the three stages. */
export async function climb(
  context: ArmContext,
  model: VisionLanguageModel,
  see: See,
  { trained, rates }: LadderParts,
  { language, faint, mixed, warmUp }: LadderOptions,
): Promise<ArmOutcome["stages"]> {
  const { seed, small, minutes, stages } = context;
  const batch = small ? 4 : 24;
  const images = pictures(batch, faint);
  const mixtures: readonly Share[][] = [
    [
      { kind: "describe", weight: 1, batch },
      { kind: "line", weight: 1, batch, faint },
    ],
    withLanguage(images, language, 2 * batch),
    withLanguage(images, language * (48 / 70), 2 * batch),
  ];
  const done: Record<string, { steps: number; minutes: number }> = {};
  for (const [i, shares] of mixtures.entries()) {
    const balance = model.language.config.moe !== null;
    const used = Object.keys(rates).some((part) => trained[i].includes(part));
    const { steps, seconds } = await runStage(
      {
        name: `stage-${i + 1}`,
        model,
        batches: new ImageBatches({
          ...{ seed, shares, see, imageTokens: (tiles) => model.imageTokens(tiles) },
          learned: i === 1 ? "text" : "answers",
          mixed,
          ...(warmUp && i === 1 && { warmUp: "language" as const }),
        }),
        objective: imageObjective,
        options: {
          ...{ batch, trained: trained[i], ...schedule(i === 2 ? 3e-4 : 1e-3) },
          ...(used && { rates }),
          ...(balance && { balanceAlpha: 1e-3 }),
        },
        length: lengthOf(context, 4, minutes * MINUTES[i]),
        config: { stage: i + 1, seed, small },
      },
      stages,
    );
    done[`stage-${i + 1}`] = { steps, minutes: seconds / 60 };
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
