/** Pictures that models draw for captions of the world, for exams. */
import type { WorldSample } from "../../src/data/world/sample.ts";
import { CodeSampler, codeGrid, codesOf } from "../../src/engine/draw/code-sampler.ts";
import { type DrawEvent, MOST_IMAGES } from "../../src/engine/draw/events.ts";
import { drawFlow } from "../../src/engine/draw/flow-drawing.ts";
import { step } from "../../src/engine/step.ts";
import type { VisionLanguageModel } from "../../src/models/vision-language.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { pixelBytes } from "../../src/vision/pixels.ts";
import type { VaeModel } from "../../src/vision/vae.ts";
import { drawingRow, PAD } from "./rows.ts";

export interface DrawOptions {
  /** Pictures of each caption. */
  readonly count: number;
  readonly guidance: number;
  /** JanusFlow: steps from noise to picture. */
  readonly steps?: number;
}

/** Draws `count` pictures for each sample; those of the first sample first. Sample i has seed i. */
export type Draw = (samples: readonly WorldSample[], options: DrawOptions) => Promise<RgbImage[]>;

async function pictures(events: AsyncIterable<DrawEvent>, count: number): Promise<RgbImage[]> {
  const drawn = new Array<RgbImage>(count);
  for await (const event of events) if (event.type === "image") drawn[event.image] = event.picture;
  return drawn;
}

/** @param stopped asked between captions; true ends with an error */
export const flowDraw =
  (model: VisionLanguageModel, vae: VaeModel, checkStopped: () => void): Draw =>
  async (samples, { count, guidance, steps }) => {
    const drawn: RgbImage[] = [];
    for (const [seed, { question }] of samples.entries()) {
      checkStopped();
      const request = { count: Math.min(count, MOST_IMAGES), seed, guidance, steps };
      drawn.push(...(await pictures(drawFlow(model, vae, drawingRow(question), request), count)));
    }
    return drawn;
  };

/** Captions whose codes are drawn together. */
const TOGETHER = 16;

/** Janus: the rows of several captions share a pass of the language model. */
export const codeDraw =
  (model: VisionLanguageModel, checkStopped: () => void): Draw =>
  async (samples, { count, guidance }) => {
    const drawn: RgbImage[] = [];
    for (let at = 0; at < samples.length; at += TOGETHER) {
      checkStopped();
      const part = samples.slice(at, at + TOGETHER);
      const samplers = part.map(
        ({ question }, i) =>
          new CodeSampler(model, { ids: drawingRow(question), padId: PAD, count, guidance, seed: at + i }),
      );
      try {
        for (let left = samplers; left.length > 0; left = left.filter(({ finished }) => !finished)) {
          await step(model.language, [], { guests: left });
        }
        for (const { failure } of samplers) if (failure !== null) throw failure;
        const codes = samplers.flatMap((sampler) => sampler.codes);
        drawn.push(...(await decodeCodes(model, codes)));
      } finally {
        for (const sampler of samplers) sampler[Symbol.dispose]();
      }
    }
    return drawn;
  };

async function decodeCodes(model: VisionLanguageModel, codes: readonly number[][]): Promise<RgbImage[]> {
  const { device } = model;
  const side = codeGrid(model);
  using ids = device.tensor(codes.flat(), [codes.length, side, side], "i32");
  using pixels = device.inference(() => codesOf(model).tokenizer.decode(ids));
  const [, height, width] = pixels.shape;
  const bytes = pixelBytes(await pixels.data());
  const each = bytes.length / codes.length;
  return codes.map((_, i) => ({ width, height, rgb: bytes.slice(i * each, (i + 1) * each) }));
}
