/**
 * DeepSeek-VL on the picture world: what the high tower does for small text, what text in the mixture does for language, and the
 * two recipes of its authors, modality warm-up and modality grouping.
 */
import { parseCanvasProcessor } from "../../src/models/deepseek_vl/processor.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { canvasSettings } from "../shared/files.ts";
import { seeCanvas } from "../shared/image-batches.ts";
import {
  climb,
  type LadderOptions,
  type LadderParts,
  learnToRead,
  startReading,
  takeExams,
  VL_PARTS,
} from "../shared/ladder.ts";
import { visionModel } from "../shared/models.ts";
import { type Arm, type ArmContext, runProgram } from "../shared/program.ts";
import { startHighTower, startLanguage, startTower } from "../shared/start.ts";
import { loadPart } from "../shared/weights.ts";

/** The share of language that DeepSeek-VL settles on. */
const LANGUAGE = 0.7;
const FAINT = 5;
/** Part of language for arms about towers, as of DeepSeek-VL2's here: what they see takes the minutes. */
const TOWER_LANGUAGE = 0.3;
/**
 * Of arms about towers, which share nothing. Most of it goes to pages: a single view of 64 pixels is enlarged for SAM, which
 * learns nothing about small glyphs there.
 */
const TOWER_MINUTES = { reading: 5, own: 11 };
/** Of arms about the mixture, which need not read lines: of what they share, and of their own. */
const MIXTURE_MINUTES = { reading: 5, own: 3 };
const LOW = "vision_model.vision_tower_low.vision_tower.";
const HIGH = "vision_model.vision_tower_high.vision_tower.";
const UP = ["high_up_proj", "low_up_proj"].map((name) => `aligner.${name}`);

/** Makes a layer give zeros. */
function silence({ parameters }: VisionLanguageModel, name: string): void {
  for (const part of ["weight", "bias"]) {
    const tensor = parameters.get(`${name}.${part}`);
    tensor.set(new Float32Array(tensor.size));
  }
}

/** SAM begins with what whole pages taught it, and stays as it is. */
const HYBRID_PARTS: LadderParts = {
  trained: [["aligner"], ["aligner", "language"], ["aligner", "language", "vision.low"]],
  rates: { "vision.low": 0.1 },
};

/** The hybrid tower with SAM alone: SigLIP's projection gives zeros and stays so. */
const HIGH_PARTS: LadderParts = {
  trained: HYBRID_PARTS.trained.map((parts) => parts.filter((part) => part !== "vision.low")),
  rates: { [UP[1]]: 0 },
};

type Tower = "low" | "high" | "hybrid";

/** A tower and a language model that know nothing of each other. */
async function begin(context: ArmContext, tower: Tower) {
  const { device, seed } = context;
  const [towerPath, language] = [await startTower(context), await startLanguage(context, "world-vl")];
  const model = visionModel(tower === "low" ? "world-vl" : "world-vl-hybrid", device, seed);
  const low = "low" in model.tower ? model.tower.low : model.tower;
  await loadPart(towerPath, "tower.", low.parameters, tower === "low" ? "vision_model.vision_tower." : LOW);
  await loadPart(language, "", model.language.parameters, "language_model.");
  if ("high" in model.tower) {
    await loadPart(await startHighTower(context), "tower.", model.tower.high.parameters, HIGH);
  }
  if (tower === "high") silence(model, UP[1]);
  return model;
}

async function trained(context: ArmContext, tower: Tower) {
  const see = seeCanvas(
    parseCanvasProcessor(canvasSettings(tower === "low" ? "world-vl" : "world-vl-hybrid")),
  );
  using model = await begin(context, tower);
  const parts = tower === "low" ? VL_PARTS : tower === "high" ? HIGH_PARTS : HYBRID_PARTS;
  const { reading, own } = TOWER_MINUTES;
  const rest = (context.minutes * own) / (reading + own);
  const minutes = context.minutes - rest;
  const folder = context.stages;
  const read = await learnToRead(context, model, see, {
    ...{ language: TOWER_LANGUAGE, faint: FAINT, parts, prefix: "reading-", folder, minutes },
  });
  const stages = await climb(context, model, see, parts, { language: TOWER_LANGUAGE, faint: FAINT }, rest);
  return { stages: { ...read, ...stages }, scores: await takeExams(context, model, see) };
}

/** SigLIP alone, from what all arms about the mixture share. */
async function mixed(context: ArmContext, changed: Partial<LadderOptions>) {
  const see = seeCanvas(parseCanvasProcessor(canvasSettings("world-vl")));
  const start = await startReading(context, "reading-vl", () => begin(context, "low"), see, {
    ...{ language: LANGUAGE, faint: FAINT, parts: VL_PARTS, minutes: MIXTURE_MINUTES.reading },
  });
  using model = visionModel("world-vl", context.device, context.seed);
  await loadPart(start, "", model.parameters, "");
  const stages = await climb(context, model, see, VL_PARTS, { language: LANGUAGE, faint: FAINT, ...changed });
  return { stages, scores: await takeExams(context, model, see) };
}

const towers: Readonly<Record<Tower, string>> = {
  low: "SigLIP alone, 64 pixels",
  hybrid: "SAM at 192 pixels beside SigLIP at 64",
  high: "SAM alone: the hybrid tower with SigLIP's projection at zero",
};

const arm = (name: string, text: string, changed: Partial<LadderOptions>): Arm => ({
  ...{ name, text, minutes: MIXTURE_MINUTES.own },
  run: (context) => mixed(context, changed),
});

const arms: readonly Arm[] = [
  arm("language-70", "SigLIP alone; language share 0.7", {}),
  ...[0, 0.1, 0.3].map((language) =>
    arm(`language-${100 * language}`, `as language-70, language share ${language}`, { language }),
  ),
  arm("warm-up", "as language-70, the language share falls from 1 to 0.7 over the first third of stage 2", {
    warmUp: true,
  }),
  arm("mixed", "as language-70, samples of all kinds in each batch, padded to the longest", { mixed: true }),
  ...(Object.keys(towers) as Tower[]).map(
    (name): Arm => ({ name, text: towers[name], run: (context) => trained(context, name) }),
  ),
];

const short = (z: number) => `short faint z=${z}`;
const text = (z: number) => `text faint z=${z}`;

process.exitCode = await runProgram(
  {
    name: "vl",
    folder: import.meta.dirname,
    title: "DeepSeek-VL on the picture world",
    minutes: TOWER_MINUTES.reading + TOWER_MINUTES.own,
    arms,
    measures: [
      ...[1, 2, 3].map((z) => `short clean z=${z}`),
      ...[1, 2, 3].map(short),
      ...[1, 2, 3].map((z) => `${short(z)} glyphs`),
      ...[1, 2, 3].map((z) => `text clean z=${z}`),
      ...[1, 2, 3].map(text),
      ...["questions", "count", "color", "exists", "relation", "find", "describe F1"],
      ...["add", "reverse", "order", "language"],
    ],
    pictured: ["short clean z=3", ...[1, 2, 3].map(short), "questions", "count", "language"],
    comparisons: [
      { claim: "the hybrid tower reads small text", better: "hybrid", worse: "low", measure: short(1) },
      { claim: "beside SAM, SigLIP still helps", better: "hybrid", worse: "high", measure: "questions" },
      {
        ...{ claim: "text in the mixture preserves language", measure: "language" },
        ...{ better: "language-70", worse: "language-0" },
      },
      {
        claim: "modality warm-up helps images",
        better: "warm-up",
        worse: "language-70",
        measure: "questions",
      },
      {
        claim: "modality warm-up helps language",
        better: "warm-up",
        worse: "language-70",
        measure: "language",
      },
      {
        claim: "grouping costs no score on images",
        better: "language-70",
        worse: "mixed",
        measure: "questions",
      },
    ],
    notes:
      "Glyphs are 5z x 7z pixels on pages of 192; `short` pages have one string of one or two of them, `text` is the world's own exam " +
      "with strings of three to six. On faint pages an ideal reader names 94 to 100 % of glyphs of z = 1 at full " +
      "size and 22 to 30 % at 64 pixels, which bounds short strings near 16 % and those of text near 1 % for " +
      "SigLIP alone; a higher score would be a leak. Speeds of " +
      "grouped and mixed batches are the updates of the same minutes under Runs. SAM begins with 24 minutes of naming what " +
      "lies where on whole pages, which stand for its released weights, and is frozen as in DeepSeek-VL.",
  },
  process.argv.slice(2),
);
