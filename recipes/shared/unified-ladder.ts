/** The stages of models that see and draw, on the picture world. */
import { parseCanvasProcessor } from "../../src/models/deepseek_vl/processor.ts";
import type { CodeBatch } from "../../src/train/objectives/codes.ts";
import type { FlowBatch } from "../../src/train/objectives/flow.ts";
import type { Objective, Trainable } from "../../src/train/objectives/objective.ts";
import type { UnifiedBatch } from "../../src/train/unified-model.ts";
import type { DrawingBatches } from "./drawing-data.ts";
import { canvasSettings } from "./files.ts";
import { type See, seeCanvas } from "./image-batches.ts";
import type { ArmContext, ArmOutcome } from "./program.ts";
import type { Around } from "./rows.ts";
import { runStage } from "./stage.ts";
import { lengthOf, schedule } from "./start.ts";
import { type Mixture, UnifiedBatches } from "./unified-batches.ts";

export interface UnifiedStage {
  /** What is trained: parts of the model. */
  readonly trained: readonly string[];
  readonly mixture: (progress: number) => Mixture;
  /** Its part of an arm's minutes. */
  readonly share: number;
  /** Peak of the learning rate. */
  readonly peak: number;
  /** Part of it in which only captions of one thing are drawn. */
  readonly easy?: number;
}

export interface UnifiedSetup<M extends Trainable> {
  readonly model: M;
  readonly objective: Objective<M, UnifiedBatch>;
  readonly stages: readonly UnifiedStage[];
  readonly drawing: DrawingBatches<CodeBatch | FlowBatch>;
  readonly around: Around;
  /** Tokens of a picture. */
  readonly imageTokens: number;
  /** Tasks that are left out, with their part of the minutes. */
  readonly without?: readonly (keyof Mixture)[];
  /** Keeps a moving average of the weights, which the model has after the last stage. */
  readonly averageDecay?: number;
}

/** Pictures as the models' processor prepares them: one view of 64 x 64 pixels. */
export const seeScenes: See = seeCanvas(parseCanvasProcessor(canvasSettings("world-vl")));

/** Captions are learned by the number of steps: half of these in twice the steps was the better use of the same minutes (LOG.md). */
const BATCH = { drawing: 16, answers: 16 };
const SMALL_BATCH = { drawing: 4, answers: 4 };

const sum = ({ understanding, language, drawing }: Mixture) => understanding + language + drawing;

/** Trains the stages. @returns their steps and minutes */
export async function climbUnified<M extends Trainable>(
  context: ArmContext,
  setup: UnifiedSetup<M>,
): Promise<ArmOutcome["stages"]> {
  const { seed, minutes, stages: folder, small } = context;
  const { model, objective, stages, drawing, around, imageTokens, without = [], averageDecay } = setup;
  const total = stages.reduce((all, { share }) => all + share, 0);
  const done: Record<string, { steps: number; minutes: number }> = {};
  for (const [i, { trained, mixture, share, peak, easy }] of stages.entries()) {
    const kept = (progress: number): Mixture => {
      const whole = mixture(progress);
      return { ...whole, ...Object.fromEntries(without.map((task) => [task, 0])) };
    };
    // As many steps of what is left as there would be among all.
    const left = sum(kept(1)) / sum(mixture(1));
    const { steps, seconds } = await runStage(
      {
        ...{ name: `stage-${i + 1}`, model, objective },
        batches: new UnifiedBatches({
          ...{ seed, mixture: kept, drawing, batch: small ? SMALL_BATCH : BATCH },
          ...(easy !== undefined && { easy }),
          seeing: { see: seeScenes, imageTokens: () => imageTokens, around },
        }),
        options: {
          ...{ batch: BATCH.drawing, trained, ...schedule(peak) },
          ...(averageDecay !== undefined && { averageDecay }),
        },
        length: lengthOf(context, 6, (minutes * share * left) / total),
        config: { stage: i + 1, seed },
        averaged: averageDecay !== undefined && i === stages.length - 1,
      },
      folder,
    );
    done[`stage-${i + 1}`] = { steps, minutes: seconds / 60 };
  }
  return done;
}
