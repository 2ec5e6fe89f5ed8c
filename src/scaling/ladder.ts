/**
 * A ladder of dense models by M: widths in steps of 8 with about a layer for every 27 of width, SwiGLU of 8/3 width, heads of 32 where the
 * width allows. Depth and width grow together, as in DeepSeek LLM's table of models.
 */
import { ConfigError } from "../tensor/errors.ts";

export interface DenseShape {
  readonly width: number;
  readonly layers: number;
}

const WIDTH_OF_LAYER = 27;
const SMALLEST_WIDTH = 16;
const LARGEST_WIDTH = 8192;
/** How much a shape further from the usual depth counts against one further from the wanted M. */
const SHAPE_COUNTS = 0.15;
const MOST_RUNGS = 100;

/** Inner width of the feed-forward layers: 8/3 of the width, in steps of 8. */
function innerWidth(width: number): number {
  return Math.max(8, 8 * Math.round(width / 3));
}

/** Width of a head: 32 where it divides the width, else the nearest of a few that does. */
function headWidth(width: number): number {
  return [32, 24, 40, 16, 48, 8].find((each) => width % each === 0) ?? width;
}

/** Keys of an official `config.json` of `model_type` llama for a shape. @throws ConfigError if the width is no multiple of 8 */
export function denseModel({ width, layers }: DenseShape): Record<string, unknown> {
  if (width % 8 !== 0 || width < 8) {
    throw new ConfigError("no such width", {
      ...{ where: "denseModel", expected: "a multiple of 8", found: width },
    });
  }
  const heads = width / headWidth(width);
  return {
    model_type: "llama",
    hidden_size: width,
    num_hidden_layers: layers,
    intermediate_size: innerWidth(width),
    num_attention_heads: heads,
    num_key_value_heads: heads,
  };
}

/** M of a shape as `measureModel` counts it, which differs from the paper's formula by the rounded inner width. */
export function denseShapeFlops({ width, layers }: DenseShape, length: number): number {
  return layers * (6 * (4 * width ** 2 + 3 * width * innerWidth(width)) + 12 * width * length);
}

export interface LadderOptions {
  /** M of the smallest and the largest model. */
  readonly from: number;
  readonly to: number;
  /** Factor from a model to the next one (default 1.6). */
  readonly spacing?: number;
  /** Sequence length, which M depends on. */
  readonly length: number;
}

/** Shapes whose M lie near `from`, `from * spacing`, .. up to `to`; each once, the smallest first. @throws ConfigError */
export function ladder({ from, to, spacing = 1.6, length }: LadderOptions): DenseShape[] {
  const where = "ladder";
  if (!(spacing >= 1.05 && spacing <= 10)) {
    throw new ConfigError("spacing out of range", { ...{ where, expected: "1.05 to 10", found: spacing } });
  }
  if (!(from > 0 && to >= from && Number.isFinite(to))) {
    const expected = "positive M, the smaller one first";
    throw new ConfigError("no such range", { ...{ where, expected, found: `${from} to ${to}` } });
  }
  const count = Math.round(Math.log(to / from) / Math.log(spacing)) + 1;
  if (count > MOST_RUNGS) {
    const expected = `at most ${MOST_RUNGS} models`;
    throw new ConfigError("too many models", {
      ...{ where, expected, found: count },
      hint: "Use a larger spacing.",
    });
  }
  const rungs = new Map<string, DenseShape>();
  for (let i = 0; i < count; i++) {
    const wanted = count === 1 ? from : from * (to / from) ** (i / (count - 1));
    const shape = nearest(wanted, length);
    rungs.set(`${shape.width},${shape.layers}`, shape);
  }
  return [...rungs.values()].sort((a, b) => denseShapeFlops(a, length) - denseShapeFlops(b, length));
}

function nearest(wanted: number, length: number): DenseShape {
  let best: { shape: DenseShape; distance: number } | null = null;
  for (let width = SMALLEST_WIDTH; width <= LARGEST_WIDTH; width += 8) {
    const usual = width / WIDTH_OF_LAYER;
    for (const layers of new Set([Math.max(1, Math.floor(usual)), Math.max(1, Math.ceil(usual))])) {
      const shape = { width, layers };
      const distance =
        Math.abs(Math.log(denseShapeFlops(shape, length) / wanted)) +
        SHAPE_COUNTS * Math.abs(Math.log(layers / usual));
      if (best === null || distance < best.distance) best = { shape, distance };
    }
  }
  return best!.shape;
}
