/** DeepSeek-VL's, Janus' and JanusFlow's canvas against their own processors; their settings read strictly. */
import { createHash } from "node:crypto";
import { afterAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { canvasImage, canvasPlacement } from "../../vision/canvas.ts";
import { decodeImage } from "../../vision/image/decode.ts";
import { fixtureBytes, fixtureJson, fixtureTensors } from "../../vision/image/testing.ts";
import { canvasPixels, parseCanvasProcessor, parseImagePrompt } from "./processor.ts";

interface Expected {
  readonly resized: readonly [number, number];
  readonly canvas: readonly [number, number];
  readonly paste: readonly [number, number];
  readonly sha256_uint8_hwc: string;
  readonly rows?: readonly number[];
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const device = await createCpuDevice({ threads: 2 });
afterAll(() => device[Symbol.asyncDispose]());

/** Rows of `[size, size, 3]` values as `[3, rows, size]`. */
function channelsFirst(pixels: Float32Array, size: number, rows: readonly number[]): Float32Array {
  const out: number[] = [];
  for (let c = 0; c < 3; c++) {
    for (const y of rows) for (let x = 0; x < size; x++) out.push(pixels[(y * size + x) * 3 + c]);
  }
  return Float32Array.from(out);
}

describe.each(["vl-1.3b", "vl-7b", "janus", "vl-small-48", "janusflow-small-40"])("%s", (folder) => {
  const processor = parseCanvasProcessor(fixtureJson(`${folder}/config.json`));
  const cases = fixtureJson<Record<string, Expected>>(`${folder}/expected.json`);
  const tensors = fixtureTensors(`${folder}/expected.safetensors`);

  it("has all images", () => expect(Object.keys(cases)).toHaveLength(7));

  it.each(Object.entries(cases))("%s to the pixel", async (name, wanted) => {
    const image = await decodeImage(fixtureBytes(`images/${name}.png`), { name });
    const { width, height, x, y } = canvasPlacement(processor.canvas, image.width, image.height);
    expect([width, height, x, y]).toEqual([...wanted.resized, ...wanted.paste]);
    const canvas = await canvasImage(image, processor.canvas);
    const size = processor.canvas.imageSize;
    expect([canvas.width, canvas.height]).toEqual(wanted.canvas);
    expect(sha256(canvas.rgb)).toBe(wanted.sha256_uint8_hwc);
    const pixels = await canvasPixels([image, image], processor, device);
    expect(pixels).toHaveLength(2 * size * size * 3);
    const one = pixels.subarray(size * size * 3);
    const bytes = Buffer.from(pixels.buffer);
    expect(bytes.subarray(bytes.length / 2).equals(bytes.subarray(0, bytes.length / 2))).toBe(true);
    const rows = wanted.rows?.slice(2, 4) ?? Array.from({ length: size }, (_, i) => i);
    const expected = tensors(`${name}.normalised_${wanted.rows ? "rows" : "chw"}`);
    expect(expected.shape).toEqual([3, rows.length, size]);
    expect(channelsFirst(one, size, rows)).toEqual(expected.floats);
  });
});

describe("canvasPlacement", () => {
  it("cuts sizes to integers", () => {
    const at = (imageSize: number, w: number, h: number) => {
      const { width, height, x, y } = canvasPlacement({ imageSize, minSize: 14 }, w, h);
      return [width, height, x, y];
    };
    expect(at(384, 640, 480)).toEqual([384, 288, 0, 48]);
    expect(at(384, 1000, 333)).toEqual([384, 127, 0, 128]);
    expect(at(384, 777, 333)).toEqual([384, 164, 0, 110]);
    expect(at(384, 333, 777)).toEqual([164, 384, 110, 0]);
    expect(at(384, 100, 99)).toEqual([384, 380, 0, 2]);
    expect(at(384, 1023, 767)).toEqual([384, 287, 0, 48]);
    expect(at(384, 3000, 50)).toEqual([384, 14, 0, 185]);
    expect(at(1024, 1000, 333)).toEqual([1024, 340, 0, 342]);
    expect(at(1024, 777, 333)).toEqual([1024, 438, 0, 293]);
    expect(at(1024, 100, 99)).toEqual([1024, 1013, 0, 5]);
  });
});

describe("parseCanvasProcessor", () => {
  const official = fixtureJson<Record<string, unknown>>("vl-7b/config.json");
  const refuses = (change: Record<string, unknown>) => {
    try {
      parseCanvasProcessor({ ...official, ...change }, "p.json");
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
    throw new Error(`not refused: ${JSON.stringify(change)}`);
  };

  it("reads the 7B's file: the mean is for the color around the image only", () => {
    expect(parseCanvasProcessor(official)).toEqual({
      canvas: { imageSize: 1024, minSize: 14, background: [122, 116, 104] },
      normalization: { rescale: 0.00392156862745098, meanAndStd: null },
    });
  });

  it("computes the color itself, has the class's defaults, and tolerates unknown keys", () => {
    const ignored = parseCanvasProcessor({ ...official, background_color: [1, 2, 3], later: true });
    expect(ignored.canvas.background).toEqual([122, 116, 104]);
    const { canvas, normalization } = parseCanvasProcessor({ image_size: 384 });
    expect(canvas).toEqual({ imageSize: 384, minSize: 14, background: [122, 116, 104] });
    expect(normalization.meanAndStd?.std[2]).toBe(0.27577711);
    const nothing = parseCanvasProcessor({ ...official, image_mean: null, do_normalize: false });
    expect(nothing.canvas.background).toEqual([127, 127, 127]);
  });

  it("refuses values that it does not know, by name", () => {
    expect(refuses({ image_processor_type: "DeepseekVLImageProcessor" })).toMatch(
      /^p\.json: .*image_processor_type; .*ports of transformers/,
    );
    expect(refuses({ image_size: 100_000 })).toMatch(/image_size; expected: at most 8192/);
    expect(refuses({ min_size: 1025 })).toMatch(/min_size/);
    expect(refuses({ image_mean: [0.5, 0.5] })).toMatch(/image_mean; expected: three numbers/);
    expect(refuses({ image_std: [0.5, 0, 0.5] })).toMatch(/image_std; expected: three numbers above 0/);
    expect(refuses({ image_mean: null, do_normalize: true })).toMatch(/since do_normalize is true/);
    expect(refuses({ rescale_factor: 0 })).toMatch(/rescale_factor/);
    expect(refuses({ do_normalize: "yes" })).toMatch(/do_normalize; expected: true or false/);
  });
});

describe("parseImagePrompt", () => {
  const official = {
    add_special_token: false,
    ignore_id: -100,
    image_tag: "<image_placeholder>",
    mask_prompt: true,
    num_image_tokens: 576,
    processor_class: "VLChatProcessor",
    sft_format: "deepseek",
  };

  it("reads the released file, and tolerates unknown keys", () => {
    const released = { imageToken: "<image_placeholder>", tokens: 576 };
    expect(parseImagePrompt(official)).toEqual(released);
    expect(parseImagePrompt({ later: 1 })).toEqual(released);
    const other = { ...official, image_tag: "<pic>", num_image_tokens: 9 };
    expect(parseImagePrompt(other)).toEqual({ imageToken: "<pic>", tokens: 9 });
  });

  it("refuses values that it does not know, by name", () => {
    for (const [key, value] of [
      ["add_special_token", true],
      ["ignore_id", -1],
      ["image_tag", ""],
      ["num_image_tokens", 0],
      ["num_image_tokens", 1e9],
      ["processor_class", "DeepseekVLProcessor"],
      ["sft_format", "llava"],
    ]) {
      expect(() => parseImagePrompt({ ...official, [key as string]: value }, "p.json")).toThrow(
        new RegExp(`^p\\.json: .*${key}; expected`),
      );
    }
  });
});
