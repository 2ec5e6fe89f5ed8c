/** The batches of a stage: drawn from its mixture, read and put together ahead of the step that learns them. */
import { Mixture, type MixtureCounts, type MixtureOptions } from "../../data/mixture.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import type { BatchSource } from "../../train/batches.ts";
import { imageBatches, type Lesson, type RowOptions } from "../../train/image-rows.ts";
import type { ImageBatch } from "../../train/objectives/images.ts";
import type { LearnedText } from "./config.ts";
import type { DrawingBatch, DrawingLesson, DrawingMaker, DrawingSettings } from "./drawing.ts";
import type { LessonSource } from "./sources.ts";

/** Separates dropped captions, times and noise from other choices of a seed. */
const DRAWING_STREAM = 0x2545f491;

/** The batches of a step. */
export type StagedBatch = ImageBatch | DrawingBatch;

export interface StagedBatchesOptions extends MixtureOptions {
  /** Makes batches of pictures that are drawn; null where there are none. */
  readonly drawing: { readonly maker: DrawingMaker; readonly settings: DrawingSettings } | null;
  readonly sources: readonly LessonSource[];
  readonly loss: LearnedText;
  readonly rows: Omit<RowOptions, "kind">;
  /** Steps of the stage; null while they are not known. */
  readonly steps: number | null;
}

interface Position {
  readonly step: number;
  readonly counts: MixtureCounts;
}

/** A step that is being read. */
interface Ahead {
  readonly batch: number;
  readonly after: Position;
  readonly batches: Promise<StagedBatch[]>;
}

export class StagedBatches implements BatchSource<StagedBatch> {
  readonly #options: StagedBatchesOptions;
  #steps: number | null;
  /** After the last batch that was given out. */
  #position: Position;
  #ahead: Ahead | null = null;

  /** @param counts samples that earlier stages took @throws ConfigError */
  constructor(options: StagedBatchesOptions, counts: MixtureCounts = {}) {
    this.#options = options;
    this.#steps = options.steps;
    this.#position = { step: 0, counts };
    this.#mixture(this.#position);
  }

  #mixture({ counts, step }: Position): Mixture {
    return new Mixture(this.#options.sources, this.#options, counts, step);
  }

  /** Says how long the stage is, on which the share of text depends. */
  setSteps(steps: number): void {
    this.#steps = steps;
    // What was drawn ahead did not know it.
    this.#ahead = null;
  }

  /** The batch after a position. At most one step is held beside the one that runs. */
  #read(batch: number, from: Position): Ahead {
    const { sources, loss, rows, drawing, seed, stage = 0 } = this.#options;
    const mixture = this.#mixture(from);
    const drawn = mixture.next(batch, this.#steps);
    const make = async () => {
      const lessons: Lesson[] = [];
      const pictures: DrawingLesson[] = [];
      const kinds = new Set<string>();
      for (const { source, index } of drawn) {
        const sample = await sources[source].read(index, loss);
        if ("picture" in sample) pictures.push(sample);
        else lessons.push(sample);
        kinds.add(sources[source].modality);
      }
      const made: StagedBatch[] = [];
      if (pictures.length > 0) {
        const random = new Random(seed ^ Math.imul(stage + 1, DRAWING_STREAM), from.step);
        made.push(...(await drawing!.maker.batches(pictures, random, drawing!.settings)));
      }
      if (lessons.length > 0) {
        made.push(...imageBatches(lessons, { ...rows, kind: [...kinds].sort().join("+") }));
      }
      return made;
    };
    const batches = make();
    // Its failure is told when it is asked for.
    batches.catch(() => {});
    return { batch, after: mixture.state, batches };
  }

  async next(batch: number): Promise<readonly StagedBatch[]> {
    const ahead = this.#ahead?.batch === batch ? this.#ahead : this.#read(batch, this.#position);
    const batches = await ahead.batches;
    this.#position = ahead.after;
    this.#ahead = this.#read(batch, ahead.after);
    return batches;
  }

  /** Steps of the stage, and samples of each source in the run. */
  state(): Position {
    return this.#position;
  }

  restore(state: unknown): void {
    const { step, counts } = (state ?? {}) as Partial<Position>;
    const whole = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
    if (
      !whole(step) ||
      typeof counts !== "object" ||
      counts === null ||
      !Object.values(counts).every(whole)
    ) {
      throw new ConfigError("not a position in a mixture", {
        where: "trainer.json",
        name: "data",
        found: state,
      });
    }
    this.#ahead = null;
    this.#position = { step: step!, counts };
  }
}
