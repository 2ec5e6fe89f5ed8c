/** Images decoded, resized and cut into tiles, as it runs in Node and on a page. */
import type * as models from "../../src/models/index.ts";
import type * as tensor from "../../src/tensor/index.ts";
import type * as vision from "../../src/vision/index.ts";

export type VisionPackage = typeof vision;
export type ModelsPackage = typeof models;
export type TensorPackage = typeof tensor;

export interface ImageCase {
  readonly name: string;
  /** The file as a data URL. */
  readonly url: string;
}

export interface ImageReport {
  /** For each file the hash of its pixels, or how it was refused. */
  readonly files: readonly string[];
  /** Hash of the views that DeepSeek-VL2's tower reads of the last file. */
  readonly views: string;
}

async function sha256(bytes: Uint8Array): Promise<string> {
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes.slice()));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** @param processor `processor_config.json` of DeepSeek-VL2 */
export async function imageReport(
  { decodeImage, ImageError }: VisionPackage,
  { parseTileProcessor, tiledPixels }: ModelsPackage,
  { createCpuDevice }: TensorPackage,
  cases: readonly ImageCase[],
  processor: unknown,
): Promise<ImageReport> {
  const files: string[] = [];
  for (const { name, url } of cases) {
    const image = decodeImage(url, { name, decoder: "wasm" });
    files.push(
      await image.then(
        ({ rgb }) => sha256(rgb),
        (error) => {
          if (!(error instanceof ImageError)) throw error;
          return `${name}: ${error.fault}`;
        },
      ),
    );
  }
  await using device = await createCpuDevice({ threads: 2, relaxed: false });
  const last = await decodeImage(cases[cases.length - 1].url, { decoder: "wasm" });
  const { pixels } = await tiledPixels([last], parseTileProcessor(processor), { device });
  return { files, views: await sha256(new Uint8Array(pixels.buffer)) };
}
