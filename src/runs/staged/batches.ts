/** The batches of a stage: drawn from its mixture, read and put together ahead of the step that learns them. */
import { Mixture, type MixtureCounts, type MixtureOptions } from "../../data/mixture.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { BatchSource } from "../../train/batches.ts";
import { imageBatches, type Lesson, type RowOptions } from "../../train/image-rows.ts";
import type { ImageBatch } from "../../train/objectives/images.ts";
import type { LearnedText } from "./config.ts";
import type { LessonSource } from "./sources.ts";

export interface StagedBatchesOptions extends MixtureOptions {
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
  readonly batches: Promise<ImageBatch[]>;
}

export class StagedBatches implements BatchSource<ImageBatch> {
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
    const { sources, loss, rows } = this.#options;
    const mixture = this.#mixture(from);
    const drawn = mixture.next(batch, this.#steps);
    const make = async () => {
      const lessons: Lesson[] = [];
      const kinds = new Set<string>();
      for (const { source, index } of drawn) {
        lessons.push(await sources[source].read(index, loss));
        kinds.add(sources[source].modality);
      }
      return imageBatches(lessons, { ...rows, kind: [...kinds].sort().join("+") });
    };
    const batches = make();
    // Its failure is told when it is asked for.
    batches.catch(() => {});
    return { batch, after: mixture.state, batches };
  }

  async next(batch: number): Promise<readonly ImageBatch[]> {
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
