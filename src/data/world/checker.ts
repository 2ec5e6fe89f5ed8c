/**
 * Reads a scene back from its pixels, so that drawn pictures can be scored: colors by direction from the background,
 * shapes and sizes by comparing coverage with templates at quarter pixels. Blur, noise and compression that leave a shape
 * recognizable are not punished; parts that stick out of a template count against it, and so do those that lie outside.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { type Component, type Foreground, findComponents } from "./components.ts";
import { type Coverage, coverageOf } from "./coverage.ts";
import { RADIUS, SHAPES, SIZES, type WorldColor, type WorldShape, type WorldSize } from "./names.ts";
import { sceneScale } from "./scene.ts";

export interface FoundObject {
  readonly shape: WorldShape;
  readonly color: WorldColor;
  readonly size: WorldSize;
  /** Center of its box, in units of a scene of 64 x 64. */
  readonly x: number;
  readonly y: number;
  /** Summed difference from the best template, as a share of that template's area. */
  readonly cost: number;
  /** Whether the cost says that this is none of the shapes; `shape` is the most similar one. */
  readonly malformed: boolean;
}

/** Above this cost an object is malformed. */
const MOST_COST = 0.4;
/** An object has at least this many pixels of a scene of 64 x 64. */
const LEAST_PIXELS = 20;
/** Around an object's box opacity is looked at within this many pixels of a scene of 64 x 64. */
const MARGIN = 2;
/** Shifts of a template's center from the corner of a pixel, in eighths. */
const SHIFTS = [-4, -2, 0, 2, 4];

interface Template extends Coverage {
  readonly shape: WorldShape;
  readonly size: WorldSize;
  /** Shares of each pixel, `counts` / 16. */
  readonly shares: Float64Array;
  readonly area: number;
  /** Mean position, in pixels from the corner that the coverage is relative to. */
  readonly centerX: number;
  readonly centerY: number;
}

function makeTemplate(shape: WorldShape, size: WorldSize, scale: number, dx: number, dy: number): Template {
  const coverage = coverageOf(shape, 8 * scale * RADIUS[size], dx, dy);
  const shares = Float64Array.from(coverage.counts, (count) => count / 16);
  let [area, sumX, sumY] = [0, 0, 0];
  for (let i = 0; i < shares.length; i++) {
    const column = i % coverage.width;
    area += shares[i];
    sumX += shares[i] * (coverage.left + column);
    sumY += shares[i] * (coverage.top + (i - column) / coverage.width);
  }
  return { ...coverage, shape, size, shares, area, centerX: sumX / area, centerY: sumY / area };
}

/** The templates of the scale that was asked for last: those of a large scene take tens of megabytes. */
let cached: { readonly scale: number; readonly templates: readonly Template[] } | null = null;

function templatesOf(scale: number): readonly Template[] {
  if (cached?.scale !== scale) {
    const templates = SHAPES.flatMap((shape) =>
      SIZES.flatMap((size) =>
        SHIFTS.flatMap((dy) => SHIFTS.map((dx) => makeTemplate(shape, size, scale, dx, dy))),
      ),
    );
    cached = { scale, templates };
  }
  return cached.templates;
}

/** How much of its color each pixel of an object has, in a window with an empty margin that templates may reach into. */
interface Opacity {
  /** Where the window begins in the picture. */
  readonly left: number;
  readonly top: number;
  readonly width: number;
  readonly height: number;
  readonly values: Float64Array;
  readonly sum: number;
  /** Mean position, in pixels of the picture. */
  readonly centerX: number;
  readonly centerY: number;
}

function opacityOf(
  { width, height }: RgbImage,
  { labels, amount }: Foreground,
  { label, box, color }: Component,
  scale: number,
): Opacity {
  const margin = MARGIN * scale;
  const [x1, y1] = [Math.max(0, box[0] - margin), Math.max(0, box[1] - margin)];
  const [x2, y2] = [Math.min(width, box[2] + margin), Math.min(height, box[3] + margin)];
  // Whatever lies beyond is 0; a template whose center is inside reaches no further than this.
  const reach = 2 * RADIUS.large * scale + 4;
  const [left, top] = [x1 - reach, y1 - reach];
  const [windowWidth, windowHeight] = [x2 - x1 + 2 * reach, y2 - y1 + 2 * reach];
  const values = new Float64Array(windowWidth * windowHeight);
  let [sum, sumX, sumY] = [0, 0, 0];
  for (let y = y1; y < y2; y++) {
    for (let x = x1; x < x2; x++) {
      const i = y * width + x;
      if (labels[i] !== 0 && labels[i] !== label) continue;
      const value = Math.max(0, Math.min(1, amount(color, i)));
      values[(y - top) * windowWidth + x - left] = value;
      sum += value;
      sumX += value * x;
      sumY += value * y;
    }
  }
  const [centerX, centerY] = [sumX / sum, sumY / sum];
  return { left, top, width: windowWidth, height: windowHeight, values, sum, centerX, centerY };
}

/** Sum over the template of |o - k| - o, which added to the sum of all o is that of |o - k| over the whole plane. */
function differenceAt({ values, width }: Opacity, template: Template, from: number): number {
  let difference = 0;
  for (let row = 0, k = 0; row < template.height; row++) {
    for (let i = from + row * width, end = i + template.width; i < end; i++, k++) {
      difference += Math.abs(values[i] - template.shares[k]) - values[i];
    }
  }
  return difference;
}

/** Room for what sums of doubles round away. */
const ROUNDING = 1e-9;

function bestTemplate(
  opacity: Opacity,
  templates: readonly Template[],
): { template: Template; cost: number } {
  let best = { template: templates[0], cost: Number.POSITIVE_INFINITY };
  for (const template of templates) {
    // Areas alone differ by this much, wherever the template lies.
    if (Math.abs(opacity.sum - template.area) / template.area > best.cost + ROUNDING) continue;
    const left = Math.round(opacity.centerX - template.centerX) + template.left - opacity.left;
    const top = Math.round(opacity.centerY - template.centerY) + template.top - opacity.top;
    for (let dy = -1; dy <= 1; dy++) {
      for (let dx = -1; dx <= 1; dx++) {
        const from = (top + dy) * opacity.width + left + dx;
        const cost = (opacity.sum + differenceAt(opacity, template, from)) / template.area;
        if (cost < best.cost) best = { template, cost };
      }
    }
  }
  return best;
}

/**
 * The objects of a scene, in the order of their first pixel. White and pale marks are not seen.
 * @throws ConfigError for a picture that is not square, or of a size that scenes do not have
 */
export function readScene(image: RgbImage): FoundObject[] {
  const { width, height, rgb } = image;
  if (width !== height || rgb.length !== 3 * width * height) {
    throw new ConfigError("not a scene", {
      where: "readScene",
      expected: "a square picture of 3 bytes a pixel",
      found: `${width} x ${height}, ${rgb.length} bytes`,
    });
  }
  const scale = sceneScale(width, "readScene");
  const foreground = findComponents(image, LEAST_PIXELS * scale ** 2);
  return foreground.components.map((component) => {
    const opacity = opacityOf(image, foreground, component, scale);
    const { template, cost } = bestTemplate(opacity, templatesOf(scale));
    const [x1, y1, x2, y2] = component.box;
    return {
      shape: template.shape,
      color: component.color,
      size: template.size,
      x: (x1 + x2) / 2 / scale,
      y: (y1 + y2) / 2 / scale,
      cost,
      malformed: cost > MOST_COST,
    };
  });
}
