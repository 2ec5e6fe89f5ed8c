/** Janus as recipes train it: where its parts begin, what its stages teach, and what it is asked at the end. */
import type { CodeGeneration } from "../../src/models/janus/generation.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { Random } from "../../src/tensor/random.ts";
import { codeObjective } from "../../src/train/objectives/codes.ts";
import { imageObjective } from "../../src/train/objectives/images.ts";
import type { Objective } from "../../src/train/objectives/objective.ts";
import type { UnifiedBatch } from "../../src/train/unified-model.ts";
import { SHORT_CODEC, startTokenizer } from "./codecs.ts";
import { codeDraw } from "./draw.ts";
import { CodeCache, codeBatchesOf, DrawingBatches } from "./drawing-data.ts";
import { initializeByInputs } from "./initial.ts";
import { visionModel } from "./models.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import { makingIn } from "./ready.ts";
import { JANUS_AROUND } from "./rows.ts";
import { SharedEncoderModel, tokenizerOf } from "./shared-encoder.ts";
import { StageStopped } from "./stage.ts";
import { startLanguage, startTower } from "./start.ts";
import type { Mixture } from "./unified-batches.ts";
import { type DrawingExam, examineDrawing, examineUnderstanding } from "./unified-exam.ts";
import { climbUnified, type UnifiedStage } from "./unified-ladder.ts";
import { loadPart } from "./weights.ts";

export interface JanusOptions {
  /** Tasks that are not learned. */
  readonly without?: readonly (keyof Mixture)[];
  /** Of a hundred captions that are learned, how many are dropped (10). */
  readonly dropped?: number;
  /** Whether ids are read as rows of the tokenizer's codebook, which stays as it is. */
  readonly codebook?: boolean;
  /** Whether pictures are understood by the tokenizer's encoder instead of the tower. */
  readonly shared?: boolean;
  readonly stages?: readonly UnifiedStage[];
  readonly exam?: DrawingExam;
  /** Whether there is no time to make what the repository does not have to begin with. */
  readonly short?: boolean;
}

const GENERATION = ["gen_aligner", "gen_embed", "gen_head"];

const always = (understanding: number, language: number, drawing: number) => () => ({
  ...{ understanding, language, drawing },
});

/** Understanding, language and drawing 1:0:1, 2:3:5 and 7:3:10; the second stage begins with captions of one thing. */
export const JANUS_STAGES: readonly UnifiedStage[] = [
  { trained: ["aligner", ...GENERATION], mixture: always(1, 0, 1), share: 10, peak: 1e-3 },
  {
    trained: ["aligner", ...GENERATION, "language"],
    mixture: always(2, 3, 5),
    share: 35,
    peak: 1e-3,
    easy: 1 / 3,
  },
  {
    trained: ["aligner", ...GENERATION, "language", "vision"],
    mixture: always(7, 3, 10),
    share: 15,
    peak: 3e-4,
  },
];

const GUIDANCE = 5;

export const JANUS_EXAM: DrawingExam = {
  captions: 100,
  options: { count: 2, guidance: GUIDANCE },
  sweep: Object.fromEntries([1, 2, 3, 5, 8].map((guidance) => [`s=${guidance}`, { guidance }])),
};

/** Standard deviations of what begins at random between codes and language model. */
const GAIN = 0.5;

/** The model with its tower, language model and tokenizer, and with fresh layers between them. */
async function beginJanus(context: ArmContext, short: boolean): Promise<VisionLanguageModel> {
  const { device, seed, minutes } = context;
  const tower = await startTower(makingIn(context, "tower", short));
  const language = await startLanguage(makingIn(context, "language-vl", short), "world-janus");
  const tokenizer = await startTokenizer(context, short ? SHORT_CODEC * minutes : undefined);
  const model = visionModel("world-janus", device, seed);
  const generation = model.generation as CodeGeneration;
  initializeByInputs(generation.parameters, new Random(seed, 3), GAIN, (key) =>
    key.startsWith("gen_embed.") ? 1 : null,
  );
  await loadPart(tower, "tower.", model.tower.parameters, "vision_model.vision_tower.");
  await loadPart(language, "", model.language.parameters, "language_model.");
  await loadPart(tokenizer, "", generation.tokenizer.parameters, "gen_vision_model.");
  return model;
}

const sharedObjective: Objective<SharedEncoderModel, UnifiedBatch> = (model, batch, options) => {
  if ("codes" in batch) return codeObjective(model.vision, batch, options);
  if ("latents" in batch) throw new Error("Janus draws by codes");
  return imageObjective(model, batch, options);
};

const janusObjective: Objective<VisionLanguageModel, UnifiedBatch> = (model, batch, options) => {
  if ("latents" in batch) throw new Error("Janus draws by codes");
  return "codes" in batch ? codeObjective(model, batch, options) : imageObjective(model, batch, options);
};

/** Names that stages train, where understanding has another encoder or ids another embedding. */
function changed(stages: readonly UnifiedStage[], { shared, codebook }: JanusOptions): UnifiedStage[] {
  return stages.map((stage) => ({
    ...stage,
    trained: stage.trained.flatMap((part) => {
      if (shared && part === "aligner") return ["shared"];
      if ((shared && part === "vision") || (codebook && part === "gen_embed")) return [];
      return [part];
    }),
  }));
}

/** Trains the stages and takes the exams. */
export async function runJanus(context: ArmContext, options: JanusOptions = {}): Promise<ArmOutcome> {
  const { seed, stages: folder, shared: common } = context;
  const { without = [], dropped = 10, stages = JANUS_STAGES, exam = JANUS_EXAM } = options;
  using model = await beginJanus(context, options.short ?? false);
  const generation = model.generation as CodeGeneration;
  if (options.codebook) {
    using codes = generation.tokenizer.device.inference(() => generation.tokenizer.codes());
    model.parameters.get("gen_embed.weight").set((await codes.data()) as Float32Array);
  }
  const cache = await CodeCache.open(tokenizerOf(model), seed, common.folder);
  const setup = {
    ...{ stages: changed(stages, options), without, around: JANUS_AROUND, imageTokens: 64 },
    drawing: new DrawingBatches({ seed, dropped, make: codeBatchesOf(cache) }),
  };
  using sharing = options.shared ? new SharedEncoderModel(model, seed) : null;
  const done =
    sharing === null
      ? await climbUnified(context, { ...setup, model, objective: janusObjective })
      : await climbUnified(context, { ...setup, model: sharing, objective: sharedObjective });
  const checkStopped = () => {
    if (folder.stopped()) throw new StageStopped("stopped in the exam: the stages are saved");
  };
  const understood = without.includes("understanding")
    ? {}
    : await examineUnderstanding(context, sharing ?? model, JANUS_AROUND);
  if (without.includes("drawing")) return { stages: done, scores: understood };
  const drawn = await examineDrawing(context, codeDraw(model, checkStopped), exam);
  return {
    stages: done,
    scores: { ...understood, ...drawn.scores },
    figures: drawn.figures,
    pictures: { drawn: drawn.sheet },
  };
}
