/** Shapes, sizes, colors and relations of the picture world, in the order in which numbers stand for them. */

export const SHAPES = ["circle", "square", "triangle", "diamond", "cross", "ring"] as const;
export const PLURALS = ["circles", "squares", "triangles", "diamonds", "crosses", "rings"] as const;
export const SIZES = ["small", "large"] as const;
export const COLORS = ["red", "green", "blue", "yellow", "purple", "orange", "cyan", "black"] as const;
/** The first two compare x, the others y; of each pair the first asks for the smaller value. */
export const RELATIONS = ["left of", "right of", "above", "below"] as const;

export type WorldShape = (typeof SHAPES)[number];
export type WorldSize = (typeof SIZES)[number];
export type WorldColor = (typeof COLORS)[number];
export type WorldRelation = (typeof RELATIONS)[number];

export type Rgb = readonly [number, number, number];

export const COLOR_VALUES: Readonly<Record<WorldColor, Rgb>> = {
  red: [214, 40, 40],
  green: [40, 150, 60],
  blue: [40, 80, 210],
  yellow: [236, 200, 30],
  purple: [140, 50, 170],
  orange: [240, 126, 20],
  cyan: [30, 180, 200],
  black: [24, 24, 24],
};

/** Radius of a size in pixels of a scene of 64 x 64. */
export const RADIUS: Readonly<Record<WorldSize, number>> = { small: 5, large: 8 };

/** `noun` after "a" or "an", of which "orange" alone takes the second. */
export function withArticle(noun: string): string {
  return `${noun.startsWith("orange") ? "an" : "a"} ${noun}`;
}

export function pluralOf(shape: WorldShape): string {
  return PLURALS[SHAPES.indexOf(shape)];
}

/** How far `a` lies from `b` in the direction of a relation; negative on the other side. */
export function distanceAlong(
  relation: WorldRelation,
  a: { readonly x: number; readonly y: number },
  b: { readonly x: number; readonly y: number },
): number {
  const number = RELATIONS.indexOf(relation);
  const difference = number < 2 ? a.x - b.x : a.y - b.y;
  return number % 2 === 0 ? -difference : difference;
}

/** Centers that differ by less, in units of a scene of 64 x 64, are in no relation. */
export const LEAST_DISTANCE = 4;
