/** JanusFlow as recipes train it: where its parts begin, what its stages teach, and what it is asked at the end. */
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { loadVae } from "../../src/checkpoint/vae.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { Random } from "../../src/tensor/random.ts";
import type { LatentChoice, TimeDistribution } from "../../src/train/objectives/flow.ts";
import { UnifiedModel, unifiedObjective } from "../../src/train/unified-model.ts";
import { SHORT_CODEC, startAutoencoder } from "./codecs.ts";
import { flowDraw } from "./draw.ts";
import { DrawingBatches, flowBatchesOf } from "./drawing-data.ts";
import { initializeByInputs } from "./initial.ts";
import { visionModel } from "./models.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import { makingIn } from "./ready.ts";
import { FLOW_AROUND } from "./rows.ts";
import { StageStopped } from "./stage.ts";
import { startLanguage, startTower } from "./start.ts";
import type { Mixture } from "./unified-batches.ts";
import { type DrawingExam, examineDrawing, examineUnderstanding } from "./unified-exam.ts";
import { climbUnified, type UnifiedStage } from "./unified-ladder.ts";
import { loadPart } from "./weights.ts";

export interface FlowOptions {
  /** Tasks that are not learned. */
  readonly without?: readonly (keyof Mixture)[];
  /** Representation alignment: after which block, with which weight; null: none. */
  readonly alignment?: { readonly afterBlock: number; readonly weight: number } | null;
  readonly times?: TimeDistribution;
  readonly latents?: LatentChoice;
  /** Of a hundred captions that are learned, how many are dropped (10). */
  readonly dropped?: number;
  readonly stages?: readonly UnifiedStage[];
  readonly exam?: DrawingExam;
  /** Whether there is no time to make what the repository does not have to begin with. */
  readonly short?: boolean;
}

const mixed = (understanding: number, drawing: number, language: number): Mixture => ({
  ...{ understanding, drawing, language },
});

/** Part of the second stage that understands more. */
const FIRST = 1 / 5;

/** Understanding, drawing and language 50:50:0, 14:80:6 (at first 30:50:20), 21:70:9. */
export const FLOW_STAGES: readonly UnifiedStage[] = [
  { trained: ["aligner", "generation"], mixture: () => mixed(50, 50, 0), share: 10, peak: 1e-3 },
  {
    ...{ trained: ["aligner", "generation", "language"], share: 40, peak: 1e-3 },
    mixture: (progress) => (progress < FIRST ? mixed(30, 50, 20) : mixed(14, 80, 6)),
  },
  {
    ...{ trained: ["aligner", "generation", "language", "vision"], share: 15, peak: 3e-4 },
    mixture: () => mixed(21, 70, 9),
  },
];

const [STEPS, GUIDANCE, DECAY] = [10, 2, 0.99];

/** Ten steps, which the sweep compares with others. */
export const FLOW_EXAM: DrawingExam = {
  captions: 100,
  options: { count: 1, guidance: GUIDANCE, steps: STEPS },
  sweep: {
    ...Object.fromEntries([1, 2, 5, 10, 30].map((steps) => [`N=${steps}`, { steps, guidance: GUIDANCE }])),
    ...Object.fromEntries([1, 3, 5].map((guidance) => [`w=${guidance}`, { steps: STEPS, guidance }])),
  },
};

/** Of first weights between latents and language model, and of the head of alignment. */
const [GAIN, HEAD_STD] = [0.5, 0.06];

/** What ends a velocity: it begins near 0, where the loss is that of guessing nothing. */
const LAST = /\.unpatch_conv\.weight/;

async function beginFlow(context: ArmContext, short: boolean): Promise<VisionLanguageModel> {
  const { device, seed } = context;
  const tower = await startTower(makingIn(context, "tower", short));
  const language = await startLanguage(makingIn(context, "language-vl", short), "world-flow");
  const model = visionModel("world-flow", device, seed);
  initializeByInputs(model.generation!.parameters, new Random(seed, 3), GAIN, (key) =>
    LAST.test(key) ? 0 : null,
  );
  await loadPart(tower, "tower.", model.tower.parameters, "vision_und_enc_model.vision_tower.");
  await loadPart(language, "", model.language.parameters, "language_model.");
  return model;
}

/** Trains the stages and takes the exams, with the moving average of the weights. */
export async function runJanusFlow(context: ArmContext, options: FlowOptions = {}): Promise<ArmOutcome> {
  const { seed, stages: folder, minutes, device } = context;
  const { without = [], times = "logit-normal", latents = "means", dropped = 10 } = options;
  const { alignment = { afterBlock: 2, weight: 1 }, stages = FLOW_STAGES, exam = FLOW_EXAM } = options;
  const vision = await beginFlow(context, options.short ?? false);
  const settings = alignment && { ...alignment, seed, std: HEAD_STD };
  using model = new UnifiedModel(vision, settings);
  const made = await startAutoencoder(context, options.short ? SHORT_CODEC * minutes : undefined);
  using vae = await loadVae(nodeFolder(made), device);
  const head = alignment === null ? [] : ["alignment"];
  const done = await climbUnified(context, {
    ...{ model, objective: unifiedObjective, without, around: FLOW_AROUND, averageDecay: DECAY },
    stages: stages.map((stage) => ({ ...stage, trained: [...stage.trained, ...head] })),
    imageTokens: vision.imageTokens([0, 0]),
    drawing: new DrawingBatches({
      ...{ seed, dropped },
      make: flowBatchesOf({ vae, seed, times, latents, pictures: alignment !== null }),
    }),
  });
  const checkStopped = () => {
    if (folder.stopped()) throw new StageStopped("stopped in the exam: the stages are saved");
  };
  const understood = without.includes("understanding")
    ? {}
    : await examineUnderstanding(context, vision, FLOW_AROUND);
  if (without.includes("drawing")) return { stages: done, scores: understood };
  const drawn = await examineDrawing(context, flowDraw(vision, vae, checkStopped), exam);
  return {
    stages: done,
    scores: { ...understood, ...drawn.scores },
    figures: drawn.figures,
    pictures: { drawn: drawn.sheet },
  };
}
