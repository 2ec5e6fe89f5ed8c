/**
 * Pictures on disk: what each says of itself, and which of a run are there already. A picture that holds the same texts is the
 * same picture, so a run that was stopped goes on without a list of what it did.
 */
import { readdir, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { CODE_DEFAULTS } from "../engine/draw/code-sampler.ts";
import { defaultFlowSteps, FLOW_DEFAULTS } from "../engine/draw/flow-sampler.ts";
import { explained, isMissing } from "../files/file-error.ts";
import { checkFilePlace } from "../files/place.ts";
import { discard, isAbandoned, ownedTarget } from "../files/temporary.ts";
import { ConfigError } from "../tensor/errors.ts";
import { isPreview, previewPath } from "./draw-preview.ts";
import type { DrawTask, PlannedPicture } from "./draw-tasks.ts";
import { pngFileTexts } from "./png-software.ts";

/** What the program's own drawings say of themselves. */
export const DRAW_SOFTWARE = "deepseek-ts draw";

/** What all pictures of a run have in common. */
export interface DrawnWith {
  readonly model: string;
  readonly dtype: string;
  readonly kind: "codes" | "flow";
  /** What the model's makers advise; null or absent: the usual one. */
  readonly guidance?: number | null;
  /** Name of the autoencoder, where one was asked for. */
  readonly vae?: string;
}

/** All settings of a task, those that it leaves out as the models have them. */
export function fullSettings(
  task: DrawTask,
  { kind, guidance: advised }: Pick<DrawnWith, "kind" | "guidance">,
): Readonly<Record<string, number | string>> {
  if (kind === "flow") {
    const { guidance = advised ?? FLOW_DEFAULTS.guidance, solver = FLOW_DEFAULTS.solver } = task;
    return { guidance, solver, steps: task.steps ?? defaultFlowSteps(solver) };
  }
  const own = (name: keyof typeof CODE_DEFAULTS) => task[name] ?? CODE_DEFAULTS[name];
  return {
    ...{ guidance: task.guidance ?? advised ?? CODE_DEFAULTS.guidance, temperature: own("temperature") },
    ...{ topK: own("topK"), topP: own("topP") },
  };
}

/** The texts of a picture's file beside the program's name, by keyword. */
export function pictureTexts({ task, image }: PlannedPicture, made: DrawnWith): Record<string, string> {
  const texts: Record<string, string | number> = {
    prompt: task.prompt,
    model: made.model,
    seed: task.seed,
    image: image + 1,
    ...fullSettings(task, made),
    dtype: made.dtype,
    ...(made.vae !== undefined && { vae: made.vae }),
  };
  return Object.fromEntries(Object.entries(texts).map(([name, value]) => [name, `${value}`]));
}

/** What is in a picture's place. */
type Found =
  | { readonly kind: "nothing" }
  | { readonly kind: "foreign" }
  | { readonly kind: "drawn"; readonly texts: ReadonlyMap<string, string> };

async function lookAt(path: string): Promise<Found> {
  const info = await stat(path).catch((error: unknown) => {
    if (isMissing(error)) return null;
    throw error;
  });
  if (info === null) return { kind: "nothing" };
  if (!info.isFile()) return { kind: "foreign" };
  const texts = await pngFileTexts(path);
  return texts.get("Software") === DRAW_SOFTWARE ? { kind: "drawn", texts } : { kind: "foreign" };
}

/** The first text that differs; null if all are the same. */
function difference(
  found: ReadonlyMap<string, string>,
  wanted: Readonly<Record<string, string>>,
): string | null {
  return Object.keys(wanted).find((name) => found.get(name) !== wanted[name]) ?? null;
}

/** Pictures of a run that are there, and those to draw with the places that they get. */
export interface Surveyed {
  readonly there: readonly PlannedPicture[];
  readonly missing: readonly PlannedPicture[];
}

/**
 * Looks for the pictures of a batch, whose places are fixed.
 * @param made null before the model is known: then only what this program did not draw is in the way
 * @throws ConfigError for a place where something else is, FileError
 */
export async function surveyBatch(
  pictures: readonly PlannedPicture[],
  made: DrawnWith | null,
): Promise<Surveyed> {
  const [there, missing]: PlannedPicture[][] = [[], []];
  for (const picture of pictures) {
    const found = await lookAt(picture.path);
    if (found.kind === "nothing") {
      missing.push(picture);
      continue;
    }
    if (found.kind === "foreign") {
      throw new ConfigError("the existing file was not drawn by this program and is not replaced", {
        where: picture.path,
        hint: "Choose another --out, or move it away.",
      });
    }
    const wanted = made && pictureTexts(picture, made);
    const other = wanted && difference(found.texts, wanted);
    if (other !== null) {
      throw new ConfigError("the existing picture was drawn in another way", {
        where: picture.path,
        name: other,
        expected: wanted![other],
        found: found.texts.get(other) ?? "nothing",
        hint: "Choose another --out, or draw as before to go on.",
      });
    }
    there.push(picture);
  }
  return { there, missing };
}

/** Names tried for a picture before the folder is taken for full. */
const MOST_NAMES = 10_000;

/** Looks for the pictures of one prompt: another picture in a place is let alone, and the next free name taken. @throws FileError */
export async function surveyPrompt(pictures: readonly PlannedPicture[], made: DrawnWith): Promise<Surveyed> {
  const [there, missing]: PlannedPicture[][] = [[], []];
  for (const picture of pictures) {
    const wanted = pictureTexts(picture, made);
    for (let n = 1; ; n++) {
      const path = n === 1 ? picture.path : picture.path.replace(/\.png$/, `.${n}.png`);
      const found = await lookAt(path);
      const place = { ...picture, path };
      if (found.kind === "nothing") missing.push(place);
      else if (found.kind === "drawn" && difference(found.texts, wanted) === null) there.push(place);
      else if (n < MOST_NAMES) continue;
      else throw new ConfigError("there are too many pictures of this name", { where: picture.path });
      break;
    }
  }
  return { there, missing };
}

/** Finds out before work begins that a folder takes files. @throws ConfigError, FileError */
export async function checkPictureFolder(folder: string): Promise<void> {
  await checkFilePlace(join(folder, ".deepseek-ts-draw.png"), {});
}

/**
 * Deletes what a killed run left beside the pictures of a batch: half-written files, and pictures that were growing. Those
 * that it had finished are not written again, which would have cleared them.
 */
export async function clearLeftovers(folder: string, pictures: readonly PlannedPicture[]): Promise<void> {
  const ours = new Set(pictures.flatMap(({ path }) => [basename(path), basename(previewPath(path))]));
  for (const name of await explained(folder, "read", () => readdir(folder))) {
    const path = join(folder, name);
    const target = ownedTarget(name);
    const half = target !== null && ours.has(target) && (await isAbandoned(path));
    const growing = ours.has(name) && /\.preview\.png$/.test(name) && (await isPreview(path));
    if (half || growing) await discard(path);
  }
}

/** A part of a task that is drawn at once: images one after another. */
export interface DrawRun {
  readonly task: DrawTask;
  readonly first: number;
  readonly pictures: readonly PlannedPicture[];
}

/** Joins pictures of the same task whose images follow one another. */
export function runsOf(pictures: readonly PlannedPicture[]): DrawRun[] {
  const runs: { task: DrawTask; first: number; pictures: PlannedPicture[] }[] = [];
  for (const picture of pictures) {
    const last = runs.at(-1);
    if (last?.task === picture.task && last.first + last.pictures.length === picture.image) {
      last.pictures.push(picture);
    } else runs.push({ task: picture.task, first: picture.image, pictures: [picture] });
  }
  return runs;
}
