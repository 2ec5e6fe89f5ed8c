/**
 * The gates of a tower. A linear layer on the token of the patch in which an object has its center must name its color and its
 * shape; the tower stays as it is. And how many glyphs of views the tower's own names find.
 */

import { ALPHABET } from "../../src/data/world/font.ts";
import { worldIndex } from "../../src/data/world/generator.ts";
import { COLORS, SHAPES } from "../../src/data/world/names.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import type { ImageTextModel } from "../../src/models/image-text.ts";
import { Linear } from "../../src/nn/linear.ts";
import type { Parameters } from "../../src/nn/parameters.ts";
import { allocateModule, type ParameterScope } from "../../src/nn/scope.ts";
import { crossEntropy } from "../../src/tensor/ops/cross-entropy.ts";
import { Random } from "../../src/tensor/random.ts";
import { differentiate } from "../../src/tensor/tape.ts";
import { AdamW } from "../../src/train/optimizer.ts";
import { pixelValues } from "../../src/vision/pixels.ts";
import type { SiglipTower } from "../../src/vision/siglip.ts";
import { pageView, VIEW, type ViewKind } from "./pages.ts";
import type { Count } from "./score.ts";
import { firstName, NAMES, NORMALIZATION } from "./tower-data.ts";

/** Tokens of objects' centers, `[n, width]`, and what is there: a color and a shape as one of 48. */
interface Seen {
  readonly tokens: Float32Array;
  readonly classes: Int32Array;
}

const PATCH = 8;
const BATCH = 32;
const CLASSES = COLORS.length * SHAPES.length;

async function seen(tower: SiglipTower, first: number, scenes: number): Promise<Seen> {
  const { width } = tower.config;
  const { device } = tower.parameters;
  const rows: Float32Array[] = [];
  const classes: number[] = [];
  for (let at = 0; at < scenes; at += BATCH) {
    const samples = Array.from({ length: Math.min(BATCH, scenes - at) }, (_, i) =>
      worldSample("questions", 1, first + at + i),
    );
    const pixels = pixelValues(
      samples.map(({ image }) => image!),
      NORMALIZATION,
    );
    using tokens = device.inference(() =>
      tower.forward(device.tensor(pixels, [samples.length, VIEW, VIEW, 3])),
    ); // [n, 64, width]
    const values = (await tokens.data()) as Float32Array;
    const side = VIEW / PATCH;
    samples.forEach(({ objects }, i) => {
      for (const { x, y, color, shape } of objects!) {
        const token = i * side * side + Math.floor(y / PATCH) * side + Math.floor(x / PATCH);
        rows.push(values.slice(token * width, (token + 1) * width));
        classes.push(COLORS.indexOf(color) * SHAPES.length + SHAPES.indexOf(shape));
      }
    });
  }
  const tokens = new Float32Array(rows.length * width);
  for (const [i, row] of rows.entries()) tokens.set(row, i * width);
  return { tokens, classes: Int32Array.from(classes) };
}

class Probe {
  readonly linear: Linear;
  readonly parameters: Parameters;

  constructor(scope: ParameterScope, width: number) {
    const own = scope.part();
    this.linear = new Linear(own.child("probe"), width, CLASSES, { bias: true });
    this.parameters = own.parameters;
  }
}

export interface ProbeOptions {
  /** Scenes that the layer learns from, and test scenes. */
  readonly training: number;
  readonly test: number;
  readonly steps: number;
}

/** Objects of test scenes whose color and shape the probe names, color alone, and shape alone. */
export async function probeTower(
  tower: SiglipTower,
  { training, test, steps }: ProbeOptions,
): Promise<Readonly<Record<"both" | "color" | "shape", Count>>> {
  const { width } = tower.config;
  const { device } = tower.parameters;
  const [known, asked] = [
    await seen(tower, worldIndex("validation", 0), training),
    await seen(tower, worldIndex("test", 0), test),
  ];
  const probe = allocateModule(device, "f32", (scope) => new Probe(scope, width));
  probe.parameters.initialize(new Random(1), 0.01);
  const rows = known.classes.length;
  const logitsOf = (tokens: Float32Array) =>
    probe.linear.forward(device.tensor(tokens, [tokens.length / width, width]));
  {
    using optimizer = new AdamW(probe.parameters, { weightDecay: 0, clipNorm: 0 });
    for (let step = 0; step < steps; step++) {
      using loss = differentiate(device, () =>
        crossEntropy(logitsOf(known.tokens), device.tensor(known.classes, [rows], "i32")),
      );
      using squared = optimizer.squaredNorm();
      optimizer.step(0.03 * (1 - step / steps), squared);
      // One step at a time is enough under way.
      await loss.item();
    }
  }
  using logits = device.inference(() => logitsOf(asked.tokens));
  const values = await logits.data();
  const right = { both: 0, color: 0, shape: 0 };
  asked.classes.forEach((expected, i) => {
    const row = values.subarray(i * CLASSES, (i + 1) * CLASSES);
    const found = row.indexOf(Math.max(...row));
    const color = Math.floor(found / SHAPES.length) === Math.floor(expected / SHAPES.length);
    const shape = found % SHAPES.length === expected % SHAPES.length;
    if (color) right.color++;
    if (shape) right.shape++;
    if (color && shape) right.both++;
  });
  probe.parameters[Symbol.dispose]();
  const of = asked.classes.length;
  return {
    both: { right: right.both, of },
    color: { right: right.color, of },
    shape: { right: right.shape, of },
  };
}

/** Glyphs of validation views that are named best among all glyphs where they lie. */
export async function namedGlyphs(model: ImageTextModel, kind: ViewKind, views: number): Promise<Count> {
  const { device, tower } = model;
  const count = { right: 0, of: 0 };
  for (let at = 0; at < views; at += BATCH) {
    const seen = Array.from({ length: Math.min(BATCH, views - at) }, (_, i) =>
      pageView(1, worldIndex("validation", at + i), kind),
    );
    const pixels = pixelValues(
      seen.map(({ image }) => image),
      NORMALIZATION,
    );
    using logits = device.inference(() =>
      model.named(tower.forward(device.tensor(pixels, [seen.length, VIEW, VIEW, 3]))),
    ); // [n, 64, names]
    const values = (await logits.data()) as Float32Array;
    const tokens = logits.shape[1];
    seen.forEach(({ glyphs }, i) => {
      for (const glyph of glyphs) {
        const first = i * tokens * NAMES + firstName(glyph);
        const row = values.subarray(first, first + ALPHABET.length);
        count.of++;
        if (row.indexOf(Math.max(...row)) === glyph.glyph) count.right++;
      }
    });
  }
  return count;
}
