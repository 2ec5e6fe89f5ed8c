/** What models that see and draw are asked: to draw test captions, with a checker as judge, and questions about test pictures. */
import { CATEGORIES } from "../../src/data/world/captions.ts";
import { readScene } from "../../src/data/world/checker.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { chanceScores, framedPictures, pictureScores, readPictures, testCaptions } from "./captions-exam.ts";
import { contactSheet } from "./contact-sheet.ts";
import type { Draw, DrawOptions } from "./draw.ts";
import type { ArmContext } from "./program.ts";
import type { Around } from "./rows.ts";
import { examine, LANGUAGE_TASKS, QUESTION_TASKS, type Scores, together } from "./score.ts";
import { type AskedModel, scoredSystem } from "./systems.ts";
import { seeScenes } from "./unified-ladder.ts";

/** How the whole exam is drawn, and further ways that part of it is drawn in. */
export interface DrawingExam {
  /** Captions of each category, and pictures of each caption. */
  readonly captions: number;
  readonly options: DrawOptions;
  /** By what stands after the scores' names; on fewer captions. */
  readonly sweep?: Readonly<Record<string, Omit<DrawOptions, "count">>>;
  readonly categories?: readonly string[];
}

const SWEEP_CAPTIONS = 15;
/** Of the pictures of one caption, how many are different scenes. */
const DRAWS = 8;
const SHEET = 6;

/** What is in a picture, without exact places. */
const sceneKey = (image: RgbImage): string =>
  readScene(image)
    .map(({ shape, color, size, x, y }) =>
      [shape, color, size, Math.floor(x / 21.4), Math.floor(y / 21.4)].join(),
    )
    .sort()
    .join(";");

/** Scores of drawn pictures, beside those of a model that ignores its captions, and a sheet with some of each category. */
export async function examineDrawing(
  { small, print }: Pick<ArmContext, "small" | "print">,
  draw: Draw,
  { captions, options, sweep = {}, categories = CATEGORIES }: DrawingExam,
) {
  const each = small ? 1 : captions;
  const samples = testCaptions(each, categories);
  const began = performance.now();
  const images = await draw(samples, options);
  const seconds = (performance.now() - began) / 1000 / images.length;
  const pictures = readPictures(samples, images);
  let scores: Scores = { ...pictureScores(pictures), ...chanceScores(pictures) };
  const shown = pictures.filter(
    (_, i) => Math.floor(i / options.count) % each < SHEET && i % options.count === 0,
  );
  const figures: Record<string, number> = { "seconds a picture": seconds };
  print(
    `drew ${images.length} pictures, ${seconds.toFixed(2)} s each: ${scores.strict.right.toFixed(1)} of ${scores.strict.of} ` +
      `captions strictly, ${scores.loose.right.toFixed(1)} loosely, by chance ${scores["strict chance"].right.toFixed(1)}`,
  );
  const fewer = testCaptions(small ? 1 : SWEEP_CAPTIONS, categories);
  for (const [name, way] of Object.entries(sweep)) {
    const drawn = readPictures(fewer, await draw(fewer, { ...way, count: 1 }));
    const { loose, strict } = pictureScores(drawn);
    scores = { ...scores, [`loose ${name}`]: loose, [`strict ${name}`]: strict };
    const repeated = testCaptions(1, categories);
    const count = small ? 2 : DRAWS;
    const again = await draw(repeated, { ...way, count });
    const distinct = repeated.map(
      (_, i) => new Set(again.slice(i * count, (i + 1) * count).map(sceneKey)).size,
    );
    figures[`distinct scenes of ${count}, ${name}`] = distinct.reduce((a, b) => a + b, 0) / distinct.length;
    print(`${name}: ${strict.right} of ${strict.of} strictly`);
  }
  const sheet = contactSheet(framedPictures(shown), { columns: Math.min(SHEET, each) * 2 });
  return { scores, figures, sheet };
}

/** Questions about scenes, and language alone. */
export async function examineUnderstanding(
  { small, print }: Pick<ArmContext, "small" | "print">,
  model: AskedModel,
  around: Around,
): Promise<Scores> {
  const system = scoredSystem(model, seeScenes, around);
  const questions = await examine(system, { stream: "questions", count: small ? 8 : 400 });
  const language = await examine(system, { stream: "language", count: small ? 8 : 300 });
  print("examined questions and language");
  return {
    ...questions,
    questions: together(questions, QUESTION_TASKS),
    language: together(language, LANGUAGE_TASKS),
  };
}
