/** Drawing the pictures of a run, as a job: each is written whole when it is done, so that a run can be cut short anywhere. */
import type { DrawEvent, DrawRequest, DrawUsage } from "../engine/draw/events.ts";
import { nodeFileSink } from "../files/file-sink.ts";
import { writeWhole } from "../files/sink.ts";
import type { JobContext } from "../jobs/job.ts";
import { formatClock } from "../text/units.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { DRAW_SOFTWARE, type DrawnWith, fullSettings, pictureTexts, runsOf } from "./draw-files.ts";
import type { Preview } from "./draw-preview.ts";
import { type PlannedPicture, requestOf } from "./draw-tasks.ts";

export interface DrawJob {
  /** In order. */
  readonly pictures: readonly PlannedPicture[];
  readonly made: DrawnWith;
}

export type DrawJobEvent =
  | {
      readonly kind: "progress";
      /** Pictures of this run that are done, and all of them. */
      readonly finished: number;
      readonly total: number;
      /** Of the picture that grew last. */
      readonly done: number;
      readonly of: number;
      readonly unit: "row" | "step";
      /** Seconds until the last picture is done, as far as it is known. */
      readonly left: number | null;
    }
  | ({
      readonly kind: "picture";
      readonly path: string;
      readonly prompt: string;
      readonly seed: number;
      /** From 1. */
      readonly image: number;
      readonly width: number;
      readonly height: number;
    } & DrawUsage);

/** What a run drew. A prompt counts once for the pictures of it that were drawn in one go. */
export interface DrawTotals extends DrawUsage {
  readonly pictures: number;
}

/** Draws a request with the opened model. */
export type Draw = (request: DrawRequest) => AsyncIterable<DrawEvent>;

/** Seconds of drawing before an estimate is told. */
const MEASURED = 1;

/** Tells how long the rest takes, by what was done since the first step. */
class Remaining {
  readonly #total: number;
  readonly #parts = new Map<PlannedPicture, number>();
  #since: { readonly time: number; readonly share: number } | null = null;

  constructor(total: number) {
    this.#total = total;
  }

  /** Seconds left once `picture` is done to `part` of 1. */
  at(picture: PlannedPicture, part: number): number | null {
    this.#parts.set(picture, part);
    const share = [...this.#parts.values()].reduce((sum, each) => sum + each, 0) / this.#total;
    const time = performance.now() / 1000;
    // The first step has to read the prompt, and the machine to get warm.
    this.#since ??= { time, share };
    const [spent, made] = [time - this.#since.time, share - this.#since.share];
    return spent < MEASURED || made <= 0 ? null : (spent * (1 - share)) / made;
  }
}

/**
 * Rows or steps from one preview to the next. An autoencoder's image costs half a step of JanusFlow, an image tokenizer's a
 * fifth of all rows of Janus. @param all rows or steps of a picture
 */
export const previewEvery = (kind: DrawnWith["kind"], all: number): number =>
  Math.max(1, Math.ceil(all / (kind === "flow" ? 6 : 3)));

/** What a queue runs. @param rows of a picture of Janus @throws what drawing or writing throws */
export function drawHandler(draw: Draw, preview: Preview, rows: number) {
  return async (
    { pictures, made }: DrawJob,
    { emit, signal }: JobContext<DrawJobEvent>,
  ): Promise<DrawTotals> => {
    const total = pictures.length;
    const remaining = new Remaining(total);
    let finished = 0;
    let promptTokens = 0;
    let imageTokens = 0;
    try {
      for (const { task, first, pictures: own } of runsOf(pictures)) {
        const all = made.kind === "flow" ? Number(fullSettings(task, made).steps) : rows;
        const previews = preview.grows ? previewEvery(made.kind, all) : 0;
        let prompt = 0;
        for await (const event of draw({ ...requestOf(task), first, count: own.length, previews, signal })) {
          const picture = own[event.image - first];
          if (event.type === "progress") {
            const { done, of, unit } = event;
            const left = remaining.at(picture, (0.98 * done) / of);
            emit({ kind: "progress", finished, total, done, of, unit, left });
            const which = total === 1 ? "preview" : `preview of picture ${finished + 1} of ${total}`;
            const label = `${which}, ${unit} ${done} of ${of}`;
            if (event.preview) await preview.show(event.preview, label, picture.path);
            continue;
          }
          const texts = pictureTexts(picture, made);
          const png = await encodePng(event.picture, { software: DRAW_SOFTWARE, texts });
          await writeWhole(await nodeFileSink(picture.path), png);
          remaining.at(picture, 1);
          finished++;
          await preview.finish(event.picture, picture.path);
          const { width, height } = event.picture;
          prompt = event.usage.promptTokens;
          imageTokens += event.usage.imageTokens;
          emit({
            ...{ kind: "picture", path: picture.path, prompt: task.prompt, seed: task.seed },
            ...{ image: picture.image + 1, width, height, ...event.usage },
          });
        }
        promptTokens += prompt;
      }
    } finally {
      await preview.close();
    }
    return { pictures: finished, promptTokens, imageTokens };
  };
}

/** How far a run is, in one line. */
export function drawProgressText({
  finished,
  total,
  done,
  of,
  unit,
  left,
}: Extract<DrawJobEvent, { kind: "progress" }>): string {
  const which = total === 1 ? "drawing" : `picture ${Math.min(finished + 1, total)} of ${total}`;
  const time = left === null ? "" : `, ${formatClock(left)} left`;
  return `${which}: ${unit} ${done} of ${of}${time}`;
}
