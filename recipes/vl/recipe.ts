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
  MINUTES,
  READING_MINUTES,
  startReading,
  takeExams,
  VL_PARTS,
} from "../shared/ladder.ts";
import { visionModel } from "../shared/models.ts";
import { type Arm, type ArmContext, runProgram } from "../shared/program.ts";
import { startLanguage, startTower } from "../shared/start.ts";
import { loadPart } from "../shared/weights.ts";

/** The share of language that DeepSeek-VL settles on. */
const LANGUAGE = 0.7;
const FAINT = 5;
/** Of an arm that shares nothing with others. */
const HYBRID_MINUTES = READING_MINUTES + MINUTES;
const LOW = "vision_model.vision_tower_low.vision_tower.";
const UP = ["high_up_proj", "low_up_proj"].map((name) => `aligner.${name}`);

/** Makes a layer give zeros. */
function silence({ parameters }: VisionLanguageModel, name: string): void {
  for (const part of ["weight", "bias"]) {
    const tensor = parameters.get(`${name}.${part}`);
    tensor.set(new Float32Array(tensor.size));
  }
}

/** SAM has no checkpoint to start from here: it learns in all stages, at the full rate. */
const HYBRID_PARTS: LadderParts = {
  trained: [
    ["aligner", "vision.high"],
    ["aligner", "vision.high", "language"],
    ["aligner", "vision", "language"],
  ],
  rates: { "vision.low": 0.1 },
};

/** The hybrid tower without one of its two: its projection gives zeros and stays so. */
function alone(silent: string): LadderParts {
  const { trained, rates } = HYBRID_PARTS;
  return { trained, rates: { ...rates, [silent]: 0 } };
}

interface Options extends Partial<LadderOptions> {
  readonly tower?: "low" | "high" | "hybrid";
}

/** A tower and a language model that know nothing of each other. */
async function begin(context: ArmContext, tower: "low" | "high" | "hybrid") {
  const { device, seed } = context;
  const [towerPath, language] = [await startTower(context), await startLanguage(context, "world-vl")];
  const model = visionModel(tower === "low" ? "world-vl" : "world-vl-hybrid", device, seed);
  const low = "low" in model.tower ? model.tower.low : model.tower;
  await loadPart(towerPath, "tower.", low.parameters, tower === "low" ? "vision_model.vision_tower." : LOW);
  await loadPart(language, "", model.language.parameters, "language_model.");
  if (tower === "high") silence(model, UP[1]);
  return model;
}

async function trained(context: ArmContext, { tower = "low", ...changed }: Options) {
  const options = { language: LANGUAGE, faint: FAINT, ...changed };
  const see = seeCanvas(
    parseCanvasProcessor(canvasSettings(tower === "low" ? "world-vl" : "world-vl-hybrid")),
  );
  const reader = { language: LANGUAGE, faint: FAINT };
  if (tower === "low") {
    const start = await startReading(context, "reading-vl", () => begin(context, tower), see, {
      ...{ ...reader, parts: VL_PARTS },
    });
    using model = visionModel("world-vl", context.device, context.seed);
    await loadPart(start, "", model.parameters, "");
    const stages = await climb(context, model, see, VL_PARTS, options);
    return { stages, scores: await takeExams(context, model, see) };
  }
  // SAM sees another size of its own, so what these arms read with is theirs alone.
  using model = await begin(context, tower);
  const parts = tower === "high" ? alone(UP[1]) : HYBRID_PARTS;
  const rest = (context.minutes * MINUTES) / HYBRID_MINUTES;
  const minutes = context.minutes - rest;
  const folder = context.stages;
  const read = await learnToRead(context, model, see, {
    ...reader,
    parts,
    prefix: "reading-",
    folder,
    minutes,
  });
  const stages = await climb(context, model, see, parts, options, rest);
  return { stages: { ...read, ...stages }, scores: await takeExams(context, model, see) };
}

const arms: readonly Arm[] = [
  {
    name: "low",
    text: "SigLIP alone, 64 pixels; language share 0.7",
    run: (context) => trained(context, {}),
  },
  {
    name: "hybrid",
    text: "SAM at 192 pixels beside SigLIP at 64",
    minutes: HYBRID_MINUTES,
    run: (context) => trained(context, { tower: "hybrid" }),
  },
  {
    name: "high",
    text: "SAM alone: the hybrid tower with SigLIP's projection at zero",
    minutes: HYBRID_MINUTES,
    run: (context) => trained(context, { tower: "high" }),
  },
  ...[0, 0.1, 0.3].map(
    (language): Arm => ({
      name: `language-${100 * language}`,
      text: `as low, language share ${language}`,
      run: (context) => trained(context, { language }),
    }),
  ),
  {
    name: "warm-up",
    text: "as low, the language share falls from 1 to 0.7 over the first third of stage 2",
    run: (context) => trained(context, { warmUp: true }),
  },
  {
    name: "mixed",
    text: "as low, samples of all kinds in each batch, padded to the longest",
    run: (context) => trained(context, { mixed: true }),
  },
];

const short = (z: number) => `short faint z=${z}`;
const text = (z: number) => `text faint z=${z}`;

process.exitCode = await runProgram(
  {
    name: "vl",
    folder: import.meta.dirname,
    title: "DeepSeek-VL on the picture world",
    minutes: MINUTES,
    arms,
    measures: [
      ...[1, 2, 3].map((z) => `short clean z=${z}`),
      ...[1, 2, 3].map(short),
      ...[1, 2, 3].map((z) => `${short(z)} glyphs`),
      ...[1, 2, 3].map((z) => `text clean z=${z}`),
      ...[1, 2, 3].map(text),
      ...["count", "color", "exists", "relation", "find", "describe F1"],
      ...["add", "reverse", "order", "language"],
    ],
    comparisons: [
      { claim: "the hybrid tower reads small text", better: "hybrid", worse: "low", measure: short(1) },
      { claim: "beside SAM, SigLIP still helps", better: "hybrid", worse: "high", measure: "color" },
      {
        claim: "text in the mixture preserves language",
        better: "low",
        worse: "language-0",
        measure: "language",
      },
      { claim: "modality warm-up helps images", better: "warm-up", worse: "low", measure: "color" },
      { claim: "modality warm-up helps language", better: "warm-up", worse: "low", measure: "language" },
      { claim: "grouping costs no score on images", better: "low", worse: "mixed", measure: "color" },
    ],
    notes:
      "Glyphs are 5z x 7z pixels on pages of 192; `short` pages have one string of one or two of them, `text` is the world's own exam " +
      "with strings of three to six. On faint pages an ideal reader names 94 to 100 % of glyphs of z = 1 at full " +
      "size and 22 to 30 % at 64 pixels, which bounds strings near 1 % for SigLIP alone; a higher score would be a leak. Speeds of " +
      "grouped and mixed batches are the updates of the same minutes under Runs. SAM has no checkpoint of this size to start " +
      "from: it is trained in all stages, where DeepSeek-VL freezes it.",
  },
  process.argv.slice(2),
);
