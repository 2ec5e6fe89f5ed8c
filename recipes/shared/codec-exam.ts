/**
 * The gate of image tokenizers and autoencoders: whether the world's checker reads from recreated test pictures what is in
 * them. What it cannot read there, nothing that is drawn on top can show.
 */
import { type FoundObject, readScene } from "../../src/data/world/checker.ts";
import { worldIndex } from "../../src/data/world/generator.ts";
import { worldSample } from "../../src/data/world/sample.ts";
import { scale } from "../../src/tensor/ops/elementwise.ts";
import { split } from "../../src/tensor/ops/reshape.ts";
import { type Device, disposeAll, type Tensor } from "../../src/tensor/tensor.ts";
import type { RgbImage } from "../../src/vision/image/image.ts";
import { pixelBytes, pixelValues } from "../../src/vision/pixels.ts";
import type { VaeModel } from "../../src/vision/vae.ts";
import type { VqTokenizer } from "../../src/vision/vq.ts";
import { pictureScores, readPictures, testCaptions } from "./captions-exam.ts";
import { SCENE_SIDE } from "./codec-data.ts";
import { contactSheet, type SheetPicture } from "./contact-sheet.ts";
import type { Scores } from "./score.ts";
import { NORMALIZATION } from "./tower-data.ts";

/** Pictures to what becomes of them. */
export interface Codec {
  readonly device: Device;
  /** `[B, side, side, 3]` in [-1, 1] to the same, and ids i32 `[B, rows, columns]` where pictures become ids. */
  recreate(pixels: Tensor): { readonly pixels: Tensor; readonly ids: Tensor | null };
}

export const tokenizerCodec = (tokenizer: VqTokenizer): Codec => ({
  device: tokenizer.device,
  recreate(pixels) {
    const ids = tokenizer.encode(pixels);
    return { pixels: tokenizer.decode(ids), ids };
  },
});

/** From means, without noise. */
export const autoencoderCodec = (vae: VaeModel): Codec => ({
  device: vae.device,
  recreate(pixels) {
    const { latentChannels: n, scalingFactor } = vae.config;
    const [mean] = split(vae.moments(pixels), [n, n]);
    return { pixels: vae.decode(scale(mean, scalingFactor)), ids: null };
  },
});

const BATCH = 16;

/** Pictures recreated, with the ids of all of them and the mean squared error of their bytes. */
export async function recreateAll(codec: Codec, images: readonly RgbImage[]) {
  const recreated: RgbImage[] = [];
  const ids: number[] = [];
  let squares = 0;
  for (let at = 0; at < images.length; at += BATCH) {
    const part = images.slice(at, at + BATCH);
    const values = pixelValues(part, NORMALIZATION);
    const { device } = codec;
    const made = device.inference(() =>
      codec.recreate(device.tensor(values, [part.length, SCENE_SIDE, SCENE_SIDE, 3])),
    );
    const bytes = pixelBytes(await made.pixels.data());
    if (made.ids !== null) ids.push(...(await made.ids.data()));
    disposeAll(made);
    part.forEach(({ width, height, rgb }, i) => {
      const own = bytes.slice(i * rgb.length, (i + 1) * rgb.length);
      for (const [j, byte] of own.entries()) squares += (byte - rgb[j]) ** 2;
      recreated.push({ width, height, rgb: own });
    });
  }
  return { images: recreated, ids, error: squares / (images.length * images[0].rgb.length) };
}

/** Units of a scene of 64 x 64 that an object's center may move. */
const MOST_SHIFT = 2;

/** Whether two readings name the same objects in the same places, well formed. */
export function sameObjects(found: readonly FoundObject[], expected: readonly FoundObject[]): boolean {
  if (found.length !== expected.length) return false;
  // Objects are further apart than they may move: none can stand for two.
  return expected.every(({ shape, color, size, x, y }) =>
    found.some(
      (each) =>
        !each.malformed &&
        each.shape === shape &&
        each.color === color &&
        each.size === size &&
        Math.hypot(each.x - x, each.y - y) <= MOST_SHIFT,
    ),
  );
}

export interface CodecReport {
  readonly scores: Scores;
  /** Decibels (`PSNR`), and of ids how many were used and exp of their entropy (`perplexity`). */
  readonly figures: Readonly<Record<string, number>>;
  readonly sheet: RgbImage;
}

function idFigures(ids: readonly number[]): Record<string, number> {
  if (ids.length === 0) return {};
  const counts = new Map<number, number>();
  for (const id of ids) counts.set(id, (counts.get(id) ?? 0) + 1);
  let entropy = 0;
  for (const count of counts.values()) entropy -= (count / ids.length) * Math.log(count / ids.length);
  return { "used codes": counts.size, perplexity: Math.exp(entropy) };
}

/** Test scenes and test captions' pictures, recreated. @param count scenes, and captions of each category */
export async function examineCodec(codec: Codec, { scenes, captions }: { scenes: number; captions: number }) {
  const originals = Array.from(
    { length: scenes },
    (_, i) => worldSample("questions", 1, worldIndex("test", i)).image!,
  );
  const { images, ids, error } = await recreateAll(codec, originals);
  const readings = originals.map((image, i) => ({ before: readScene(image), after: readScene(images[i]) }));
  const exact = readings.map(({ before, after }) => sameObjects(after, before));
  const samples = testCaptions(captions);
  const drawn = await recreateAll(
    codec,
    samples.map(({ image }) => image!),
  );
  const sheet: SheetPicture[] = originals.slice(0, 24).flatMap((image, i) => [
    { image, caption: "scene" },
    {
      image: images[i],
      caption: exact[i] ? "recreated" : "recreated, not read",
      frame: exact[i] ? [40, 150, 60] : [214, 40, 40],
    },
  ]);
  const report: CodecReport = {
    scores: {
      "scenes read exactly": { right: exact.filter(Boolean).length, of: scenes },
      ...pictureScores(readPictures(samples, drawn.images), " ceiling"),
    },
    figures: { PSNR: 10 * Math.log10(255 ** 2 / error), ...idFigures([...ids, ...drawn.ids]) },
    sheet: contactSheet(sheet, { columns: 8 }),
  };
  return report;
}
