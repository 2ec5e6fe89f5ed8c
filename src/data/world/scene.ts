/** Scenes: up to nine objects on a grid of 3 x 3 cells, which never touch. Positions count as in a scene of 64 x 64. */
import { ConfigError } from "../../tensor/errors.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import type { WorldRandom } from "./generator.ts";
import {
  COLOR_VALUES,
  COLORS,
  RADIUS,
  SHAPES,
  SIZES,
  type WorldColor,
  type WorldShape,
  type WorldSize,
} from "./names.ts";
import { type Box, Canvas } from "./raster.ts";

/** What is fixed of an object before a scene is drawn; the rest is random. */
export interface ObjectSpec {
  readonly shape?: WorldShape;
  readonly color?: WorldColor;
  readonly size?: WorldSize;
}

export interface WorldObject extends Required<ObjectSpec> {
  /** 0 to 8, row by row. */
  readonly cell: number;
  /** Center, in units of a scene of 64 x 64. */
  readonly x: number;
  readonly y: number;
  /** Its pixels. */
  readonly box: Box;
}

export interface Scene {
  readonly image: RgbImage;
  /** In the order of drawing. */
  readonly objects: readonly WorldObject[];
}

const UNIT_SIZE = 64;
const LARGEST = 1024;

/** Pixels for one unit of a scene of 64 x 64. @throws ConfigError for a size that scenes do not have */
export function sceneScale(size: number, where: string): number {
  const scale = size / UNIT_SIZE;
  if (Number.isInteger(scale) && scale >= 1 && size <= LARGEST) return scale;
  throw new ConfigError("no size of a scene", {
    where,
    expected: `a multiple of ${UNIT_SIZE} up to ${LARGEST}`,
    found: size,
  });
}

/** The gray of a background. */
export function drawBackground(random: WorldRandom): number {
  return 248 - 16 * random.int(4);
}

const coverages = new Map<string, Coverage>();

/** The coverage of a shape around the corner of a pixel; computed once for each size of scenes. */
function shapeCoverage(shape: WorldShape, radius: number): Coverage {
  const key = `${shape} ${radius}`;
  let known = coverages.get(key);
  if (known === undefined) {
    known = coverageOf(shape, radius);
    coverages.set(key, known);
  }
  return known;
}

/** Draws a scene with an object for each of `specs`, in `cells` or, without, in free ones. */
export function drawScene(
  random: WorldRandom,
  size: number,
  specs: readonly ObjectSpec[],
  cells?: readonly number[],
): Scene {
  const scale = sceneScale(size, "world scene");
  const canvas = new Canvas(size, drawBackground(random));
  const places = cells ?? random.distinct(9, specs.length);
  const objects = specs.map((spec, i): WorldObject => {
    const shape = spec.shape ?? random.pick(SHAPES);
    const color = spec.color ?? random.pick(COLORS);
    const extent = spec.size ?? random.pick(SIZES);
    const cell = places[i];
    const x = 11 + 21 * (cell % 3) + random.int(3) - 1;
    const y = 11 + 21 * Math.floor(cell / 3) + random.int(3) - 1;
    const coverage = shapeCoverage(shape, 8 * scale * RADIUS[extent]);
    const box = canvas.shape(coverage, scale * x, scale * y, COLOR_VALUES[color]);
    return { shape, color, size: extent, cell, x, y, box };
  });
  const { width, height, rgb } = canvas;
  return { image: { width, height, rgb }, objects };
}
