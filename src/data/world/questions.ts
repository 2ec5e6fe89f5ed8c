/**
 * Questions about scenes: counting, colors, presence, relations, a box for a phrase, and a description with boxes. A
 * question that its scene does not allow becomes one of counting.
 */
import type { WorldRandom } from "./generator.ts";
import {
  COLORS,
  distanceAlong,
  LEAST_DISTANCE,
  pluralOf,
  RELATIONS,
  SHAPES,
  type WorldColor,
  type WorldShape,
  withArticle,
} from "./names.ts";
import type { Box } from "./raster.ts";
import { drawScene, type Scene, type WorldObject } from "./scene.ts";

export type QuestionTask = "count" | "color" | "exists" | "relation" | "find" | "describe";

export interface Question<Task extends string> {
  readonly task: Task;
  readonly question: string;
  readonly answer: string;
}

/** Boxes are printed in thousandths of the picture's side, at most 999. */
export function printedBox(box: Box, size: number): Box {
  const [x1, y1, x2, y2] = box.map((value) => Math.min(999, Math.floor((value * 1000) / size)));
  return [x1, y1, x2, y2];
}

function detection(box: Box, size: number): string {
  return `<|det|>[[${printedBox(box, size).join(", ")}]]<|/det|>`;
}

/**
 * The objects of a scene by cell: `a small red ring , a large blue cross .`, each in reference tags and with its box
 * if `size`, the side of the picture, is given.
 */
export function describeObjects(objects: readonly WorldObject[], size?: number): string {
  const parts = objects
    .toSorted((a, b) => a.cell - b.cell)
    .map(({ size: extent, color, shape, box }) => {
      const noun = `a ${extent} ${color} ${shape}`;
      return size === undefined ? noun : `<|ref|>${noun}<|/ref|>${detection(box, size)}`;
    });
  return `${parts.join(" , ")} .`;
}

const named = ({ color, shape }: { color: WorldColor; shape: WorldShape }) => `${color} ${shape}`;

/** Asks about a scene; null if it does not allow the question, with the numbers drawn so far used up. */
type Ask = (
  random: WorldRandom,
  objects: readonly WorldObject[],
  size: number,
) => Question<QuestionTask> | null;

/** The objects that no other equals in color and shape. */
function uniqueOf(objects: readonly WorldObject[]): WorldObject[] {
  return objects.filter((one) => objects.filter((other) => named(other) === named(one)).length === 1);
}

function count(random: WorldRandom, objects: readonly WorldObject[]): Question<QuestionTask> {
  const shape = random.pick(SHAPES);
  const answer = String(objects.filter((object) => object.shape === shape).length);
  return { task: "count", question: `how many ${pluralOf(shape)} are there ?`, answer };
}

const color: Ask = (random, objects) => {
  const single = objects.filter((one) => objects.filter(({ shape }) => shape === one.shape).length === 1);
  if (single.length === 0) return null;
  const object = random.pick(single);
  return { task: "color", question: `what color is the ${object.shape} ?`, answer: object.color };
};

const exists: Ask = (random, objects) => {
  const present = random.int(2) === 1;
  let asked: { color: WorldColor; shape: WorldShape };
  if (present) asked = random.pick(objects);
  else {
    do asked = { color: random.pick(COLORS), shape: random.pick(SHAPES) };
    while (objects.some((object) => named(object) === named(asked)));
  }
  const question = `is there ${withArticle(named(asked))} ?`;
  return { task: "exists", question, answer: present ? "yes" : "no" };
};

const relation: Ask = (random, objects) => {
  const unique = uniqueOf(objects);
  if (unique.length < 2) return null;
  const i = random.int(unique.length);
  const j = random.int(unique.length - 1);
  const [first, second] = [unique[i], unique[j >= i ? j + 1 : j]];
  const axis = random.int(2);
  if (Math.abs(distanceAlong(RELATIONS[2 * axis], first, second)) < LEAST_DISTANCE) return null;
  const word = RELATIONS[2 * axis + random.int(2)];
  const holds = distanceAlong(word, first, second) > 0;
  const question = `is the ${named(first)} ${word} the ${named(second)} ?`;
  return { task: "relation", question, answer: holds ? "yes" : "no" };
};

const find: Ask = (random, objects, size) => {
  const unique = uniqueOf(objects);
  if (unique.length === 0) return null;
  const object = random.pick(unique);
  const question = `<|ref|>the ${named(object)}<|/ref|>`;
  return { task: "find", question, answer: question + detection(object.box, size) };
};

const describe: Ask = (_, objects, size) => ({
  task: "describe",
  question: "<|grounding|>describe the image .",
  answer: describeObjects(objects, size),
});

/** By the number that is drawn for it. */
const ASKS: readonly Ask[] = [count, color, exists, relation, find, describe];

/** Draws a scene of one to five objects and a question about it. `size` is the side of the picture. */
export function drawQuestion(random: WorldRandom, size: number): Question<QuestionTask> & Scene {
  const specs = Array.from({ length: 1 + random.int(5) }, () => ({}));
  const scene = drawScene(random, size, specs);
  const ask = ASKS[random.int(ASKS.length)];
  return { ...(ask(random, scene.objects, size) ?? count(random, scene.objects)), ...scene };
}
