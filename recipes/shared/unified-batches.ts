/** Batches for models that see and draw: each step understands pictures, continues language, or draws. */
import { WorldRandom } from "../../src/data/world/generator.ts";
import type { CodeBatch } from "../../src/train/objectives/codes.ts";
import type { FlowBatch } from "../../src/train/objectives/flow.ts";
import type { UnifiedBatch } from "../../src/train/unified-model.ts";
import type { DrawingBatches } from "./drawing-data.ts";
import { ImageBatches, type SourceOptions } from "./image-batches.ts";
import type { StageBatches } from "./stage.ts";

/** Steps of each task, relative to the others. */
export interface Mixture {
  readonly understanding: number;
  readonly language: number;
  readonly drawing: number;
}

export interface UnifiedOptions {
  readonly seed: number;
  /** @param progress part of the stage that is over */
  readonly mixture: (progress: number) => Mixture;
  readonly drawing: DrawingBatches<CodeBatch | FlowBatch>;
  /** Captions in a step that draws, and samples in one that answers. */
  readonly batch: { readonly drawing: number; readonly answers: number };
  /** Part of the stage in which only captions of one thing are drawn. */
  readonly easy?: number;
  readonly seeing: Omit<SourceOptions, "shares" | "learned" | "seed">;
}

/** Stream of the numbers that tasks are drawn from. */
const TASK_STREAM = 77;

export class UnifiedBatches implements StageBatches<UnifiedBatch> {
  readonly #options: UnifiedOptions;
  readonly #answers: Readonly<Record<"understanding" | "language", ImageBatches>>;
  #step = 0;

  constructor(options: UnifiedOptions) {
    this.#options = options;
    const { seed, seeing, batch } = options;
    const of = (kind: "questions" | "language") =>
      new ImageBatches({
        ...{ ...seeing, seed, learned: "answers" },
        shares: [{ kind, weight: 1, batch: batch.answers }],
      });
    this.#answers = { understanding: of("questions"), language: of("language") };
  }

  async next(_: number, progress = 0): Promise<UnifiedBatch> {
    const { seed, mixture, drawing, batch, easy = 0 } = this.#options;
    const weights = Object.entries(mixture(progress)) as [keyof Mixture, number][];
    const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
    const random = new WorldRandom(seed, TASK_STREAM, this.#step++);
    let at = (random.int(1 << 20) / (1 << 20)) * total;
    const [task] = weights.find(([, weight]) => (at -= weight) < 0) ?? weights[weights.length - 1];
    if (task === "drawing") return await drawing.next(batch.drawing, progress < easy);
    return await this.#answers[task].next(batch.answers);
  }

  state(): unknown {
    const { understanding, language } = this.#answers;
    return {
      step: this.#step,
      drawing: this.#options.drawing.state(),
      understanding: understanding.state(),
      language: language.state(),
    };
  }

  restore(state: unknown): void {
    const saved = state as Record<"drawing" | "understanding" | "language", unknown> & { step: number };
    this.#step = saved.step;
    this.#options.drawing.restore(saved.drawing);
    this.#answers.understanding.restore(saved.understanding);
    this.#answers.language.restore(saved.language);
  }
}
