/**
 * Scores of drawn pictures after GenEval: the world's checker reads each picture and compares it with its caption, loosely and
 * strictly, by category. Each caption counts once, by the share of its pictures that show it, so that intervals are over captions:
 * two pictures of one caption are not independent.
 */
import { CATEGORIES, parseCaption } from "../../src/data/world/captions.ts";
import { type FoundObject, readScene } from "../../src/data/world/checker.ts";
import { WorldRandom, worldIndex } from "../../src/data/world/generator.ts";
import { type WorldSample, worldSample } from "../../src/data/world/sample.ts";
import { judge, type Verdict } from "../../src/data/world/verdict.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import type { SheetPicture } from "./contact-sheet.ts";
import type { Scores } from "./score.ts";

/** The first test captions of each category, so many of each, in the order of categories. */
export function testCaptions(each: number, categories: readonly string[] = CATEGORIES): WorldSample[] {
  const found = new Map<string, WorldSample[]>(categories.map((category) => [category, []]));
  for (let i = 0; [...found.values()].some(({ length }) => length < each); i++) {
    const sample = worldSample("captions", 1, worldIndex("test", i));
    const own = found.get(sample.task);
    if (own !== undefined && own.length < each) own.push(sample);
  }
  return [...found.values()].flat();
}

/** A picture that was drawn for a caption, and what is in it. */
export interface DrawnPicture {
  readonly sample: WorldSample;
  readonly image: RgbImage;
  readonly objects: readonly FoundObject[];
}

/** Reads pictures, several for each sample: those of the first sample first. */
export function readPictures(samples: readonly WorldSample[], images: readonly RgbImage[]): DrawnPicture[] {
  const each = images.length / samples.length;
  return images.map((image, i) => ({
    sample: samples[Math.floor(i / each)],
    image,
    objects: readScene(image),
  }));
}

const verdictOf = ({ objects }: DrawnPicture, caption: string): Verdict =>
  judge(objects, parseCaption(caption));

/** Loose and strict scores by category and over all of them, with `mark` after their names. */
export function pictureScores(
  pictures: readonly DrawnPicture[],
  mark = "",
  captionOf: (picture: DrawnPicture, index: number) => string = ({ sample }) => sample.question,
): Scores {
  const captions = new Set(pictures.map(({ sample }) => sample)).size;
  const each = pictures.length / captions;
  const sums: Record<string, { right: number; of: number }> = {};
  pictures.forEach((picture, i) => {
    const verdict = verdictOf(picture, captionOf(picture, i));
    for (const way of ["loose", "strict"] as const) {
      for (const name of [`${picture.sample.task} ${way}${mark}`, `${way}${mark}`]) {
        const sum = (sums[name] ??= { right: 0, of: 0 });
        sum.right += (verdict[way] ? 1 : 0) / each;
        sum.of += 1 / each;
      }
    }
  });
  return Object.fromEntries(
    Object.entries(sums).map(([name, { right, of }]) => [name, { right, of: Math.round(of) }]),
  );
}

/** Stream of the numbers that captions are exchanged by. */
const SHUFFLE_STREAM = 74;

/** What pictures score for the captions of others: the level of a model that ignores what it is told. */
export function chanceScores(pictures: readonly DrawnPicture[]): Scores {
  const order = new WorldRandom(1, SHUFFLE_STREAM, 0).distinct(pictures.length, pictures.length);
  const { loose, strict } = pictureScores(pictures, "", (_, i) => pictures[order[i]].sample.question);
  return { "loose chance": loose, "strict chance": strict };
}

const FRAMES = { strict: [40, 150, 60], loose: [236, 200, 30], neither: [214, 40, 40] } as const;

/** Pictures for a sheet, framed by their verdicts: green strict, yellow loose, red neither. */
export function framedPictures(pictures: readonly DrawnPicture[]): SheetPicture[] {
  return pictures.map((picture) => {
    const { strict, loose } = verdictOf(picture, picture.sample.question);
    const frame = FRAMES[strict ? "strict" : loose ? "loose" : "neither"];
    return { image: picture.image, caption: picture.sample.question, frame };
  });
}
