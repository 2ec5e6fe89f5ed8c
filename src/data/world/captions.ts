/**
 * Captions of pictures to draw, in seven categories after GenEval, and the reading of a caption: what it names, which the
 * checker looks for in a drawn picture.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { WorldRandom } from "./generator.ts";
import {
  COLORS,
  PLURALS,
  pluralOf,
  RELATIONS,
  SHAPES,
  SIZES,
  type WorldRelation,
  withArticle,
} from "./names.ts";
import { drawScene, type ObjectSpec, type Scene } from "./scene.ts";

export const CATEGORIES = ["single", "two", "counting", "color", "position", "attribution", "full"] as const;
export type CaptionCategory = (typeof CATEGORIES)[number];

/** The numbers of things that are counted in captions. */
const NUMBERS: ReadonlyMap<number, string> = new Map([
  [2, "two"],
  [3, "three"],
  [4, "four"],
]);

/** What a caption asks for. */
export interface CaptionContent {
  readonly category: CaptionCategory;
  readonly things: readonly ObjectSpec[];
  /** How the first thing lies to the second. */
  readonly relation: WorldRelation | null;
}

function nounOf({ size, color, shape }: ObjectSpec): string {
  return [size, color, shape].filter((word) => word !== undefined).join(" ");
}

function captionOf({ category, things, relation }: CaptionContent): string {
  if (category === "counting") return `${NUMBERS.get(things.length)} ${pluralOf(things[0].shape!)}`;
  return things.map((thing) => withArticle(nounOf(thing))).join(` ${relation ?? "and"} `);
}

/** Number `step` after `first` in a circle: never the same. */
const another = <T>(list: readonly T[], first: T, step: number) =>
  list[(list.indexOf(first) + 1 + step) % list.length];

/** Two different shapes. */
function twoShapes(random: WorldRandom): [ObjectSpec, ObjectSpec] {
  const shape = random.pick(SHAPES);
  return [{ shape }, { shape: another(SHAPES, shape, random.int(SHAPES.length - 1)) }];
}

/** Two things of different shapes and colors. */
function twoNamed(random: WorldRandom): [ObjectSpec, ObjectSpec] {
  const color = random.pick(COLORS);
  const shape = random.pick(SHAPES);
  const second = another(COLORS, color, random.int(COLORS.length - 1));
  return [
    { color, shape },
    { color: second, shape: another(SHAPES, shape, random.int(SHAPES.length - 1)) },
  ];
}

function drawContent(random: WorldRandom): CaptionContent {
  const category = CATEGORIES[random.int(CATEGORIES.length)];
  const plain = (...things: ObjectSpec[]): CaptionContent => ({ category, things, relation: null });
  switch (category) {
    case "single":
      return plain({ shape: random.pick(SHAPES) });
    case "two":
      return plain(...twoShapes(random));
    case "counting": {
      const number = 2 + random.int(3);
      const shape = random.pick(SHAPES);
      return plain(...Array.from({ length: number }, () => ({ shape })));
    }
    case "color": {
      const color = random.pick(COLORS);
      return plain({ color, shape: random.pick(SHAPES) });
    }
    case "position":
      return { category, things: twoShapes(random), relation: random.pick(RELATIONS) };
    case "attribution":
      return plain(...twoNamed(random));
    case "full": {
      const [first, second] = twoNamed(random);
      const sizes = [random.pick(SIZES), random.pick(SIZES)];
      const things = [
        { ...first, size: sizes[0] },
        { ...second, size: sizes[1] },
      ];
      return { category, things, relation: random.pick(RELATIONS) };
    }
  }
}

/** Two cells whose objects lie in a relation, first to second. */
function relatedCells(random: WorldRandom, relation: WorldRelation): [number, number] {
  const [low, high] = random.pick([
    [0, 1],
    [0, 2],
    [1, 2],
  ]);
  const p = random.int(3);
  const q = high - low === 1 ? p : Math.max(0, Math.min(2, p + random.int(3) - 1));
  switch (relation) {
    case "left of":
      return [3 * p + low, 3 * q + high];
    case "right of":
      return [3 * p + high, 3 * q + low];
    case "above":
      return [3 * low + p, 3 * high + q];
    case "below":
      return [3 * high + p, 3 * low + q];
  }
}

/** Draws a caption and a picture that shows it; what the caption leaves open is random. */
export function drawCaption(random: WorldRandom, size: number): CaptionContent & Scene & { caption: string } {
  const content = drawContent(random);
  const { things, relation } = content;
  const cells = relation === null ? undefined : relatedCells(random, relation);
  return { ...content, caption: captionOf(content), ...drawScene(random, size, things, cells) };
}

function refuse(caption: string, found: string): never {
  throw new ConfigError("not a caption of the picture world", {
    where: "parseCaption",
    name: caption,
    expected: "such as: three rings, an orange ring, a small red ring above a large blue cross",
    found,
  });
}

/** The thing that a noun phrase with its article names. */
function parseThing(phrase: string, caption: string): ObjectSpec {
  const [article, ...words] = phrase.split(" ");
  const size = SIZES.find((name) => name === words[0]);
  if (size !== undefined) words.shift();
  const color = COLORS.find((name) => name === words[0]);
  if (color !== undefined) words.shift();
  const shape = SHAPES.find((name) => name === words[0]);
  if (shape === undefined || words.length > 1) refuse(caption, phrase);
  const thing = { shape, ...(color && { color }), ...(size && { size }) };
  if (withArticle(nounOf(thing)) !== `${article} ${nounOf(thing)}`) refuse(caption, phrase);
  return thing;
}

function categoryOf(things: readonly ObjectSpec[], relation: WorldRelation | null): CaptionCategory | null {
  const named = (key: keyof ObjectSpec) => things.filter((thing) => thing[key] !== undefined).length;
  const [colors, sizes] = [named("color"), named("size")];
  if (things.length === 1) return sizes > 0 ? null : colors > 0 ? "color" : "single";
  if (relation === null) return sizes > 0 ? null : colors === 0 ? "two" : colors === 2 ? "attribution" : null;
  if (colors === 0 && sizes === 0) return "position";
  return colors === 2 && sizes === 2 ? "full" : null;
}

/** What a caption of the world asks for. @throws ConfigError for any other text */
export function parseCaption(caption: string): CaptionContent {
  for (const [number, word] of NUMBERS) {
    if (!caption.startsWith(`${word} `)) continue;
    const plural = PLURALS.findIndex((name) => caption === `${word} ${name}`);
    if (plural < 0) refuse(caption, caption.slice(word.length + 1));
    const things = Array.from({ length: number }, () => ({ shape: SHAPES[plural] }));
    return { category: "counting", things, relation: null };
  }
  const relation = RELATIONS.find((name) => caption.includes(` ${name} `)) ?? null;
  const phrases = caption.split(` ${relation ?? "and"} `);
  if (phrases.length > 2) refuse(caption, caption);
  const things = phrases.map((phrase) => parseThing(phrase, caption));
  const category = categoryOf(things, relation);
  if (category === null) refuse(caption, caption);
  return { category, things, relation };
}
