/** DeepSeek-VL2's views and tile plans against its own processor; its settings read strictly. */
import { createHash } from "node:crypto";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { decodeImage } from "../../vision/image/decode.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { fixtureBytes, fixtureJson, fixtureTensors } from "../../vision/image/testing.ts";
import { imageTokens, tileAreas, tiledViews, tilePlan } from "../../vision/tiles.ts";
import { parseTileProcessor, tiledPixels } from "./processor.ts";

interface Expected {
  readonly tiles_wh: readonly [number, number];
  readonly num_image_tokens: number;
  readonly views: number;
  readonly sha256_uint8_hwc_per_view: readonly string[];
  readonly rows?: readonly number[];
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const device = await createCpuDevice({ threads: 2 });
afterAll(() => device[Symbol.asyncDispose]());

describe.each(["vl2", "vl2-small-32"])("%s", (folder) => {
  const processor = parseTileProcessor(fixtureJson(`${folder}/config.json`));
  const { tiles } = processor;
  const side = tiles.tileSize;
  const cases = fixtureJson<Record<string, Expected>>(`${folder}/expected.json`);
  const tensors = fixtureTensors(`${folder}/expected.safetensors`);

  it("has all images", () => expect(Object.keys(cases).length).toBeGreaterThanOrEqual(7));

  it.each(Object.entries(cases))("%s to the pixel", async (name, wanted) => {
    const [file, untiled] = name.split(".");
    const image = await decodeImage(fixtureBytes(`images/${file}.png`), { name });
    const images: RgbImage[] = new Array(untiled ? 3 : 1).fill(image);
    const { pixels, plans } = await tiledPixels(images, processor, { device });
    const [plan] = plans;
    expect(plan).toEqual(tilePlan(tiles, image.width, image.height, { images: images.length }));
    expect(plan.tiles).toEqual(wanted.tiles_wh);
    expect(plan.tokens).toBe(wanted.num_image_tokens);
    const views = await tiledViews(image, tiles, plan);
    expect(views.map(({ width, height }) => [width, height])).toEqual(
      new Array(wanted.views).fill([side, side]),
    );
    expect(views.map(({ rgb }) => sha256(rgb))).toEqual(wanted.sha256_uint8_hwc_per_view);
    expect(pixels).toHaveLength(images.length * wanted.views * side * side * 3);
    // Values of the first two views, channels first: all of them, or row 191.
    if (untiled) return;
    const expected = tensors(`${name}.${wanted.rows ? "normalised_row_191" : "normalised_chw"}`);
    const rows = wanted.rows ? [191] : Array.from({ length: side }, (_, y) => y);
    const found: number[] = [];
    for (let view = 0; view < 2; view++) {
      for (let c = 0; c < 3; c++) {
        for (const y of rows) {
          for (let x = 0; x < side; x++) found.push(pixels[((view * side + y) * side + x) * 3 + c]);
        }
      }
    }
    expect(Float32Array.from(found)).toEqual(expected.floats);
  });
});

interface Box {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly error?: string;
}
interface Plans {
  readonly config: object;
  readonly single: readonly {
    readonly size: readonly [number, number];
    readonly best: readonly [number, number];
    readonly tiles_wh: readonly [number, number];
    readonly views: number;
    readonly tokens: number;
    readonly global_box: Box;
    readonly local_box: Box;
  }[];
  readonly conversations: readonly {
    readonly sizes: readonly (readonly [number, number])[];
    readonly tiles_wh: readonly (readonly [number, number])[];
    readonly tokens: readonly number[];
  }[];
}

describe("tilePlan", () => {
  const plans = fixtureJson<Plans>("vl2-tile-plans.json");
  const { tiles: settings } = parseTileProcessor(plans.config);

  it("plans 200 sizes as the reference; sides that it rounds to 0 are 1", () => {
    let thin = 0;
    for (const { size, best, tiles_wh, tokens, views, global_box, local_box } of plans.single) {
      const plan = tilePlan(settings, ...size);
      expect(plan.tiles, `${size}`).toEqual(tiles_wh);
      expect(plan.tiles.map((n) => n * 384)).toEqual(best);
      expect([plan.tokens, 1 + plan.tiles[0] * plan.tiles[1]]).toEqual([tokens, views]);
      for (const [found, box] of [
        [plan.global, global_box],
        [plan.local, local_box],
      ] as const) {
        if (box.error) {
          expect(Math.min(found.width, found.height)).toBe(1);
          thin++;
        } else expect(found, `${size}`).toEqual(box);
      }
    }
    expect([plans.single.length, thin > 0]).toEqual([200, true]);
  });

  it("plans 200 conversations as the reference: none is tiled from three images on", () => {
    expect(plans.conversations).toHaveLength(200);
    const counts = new Set<number>();
    for (const { sizes, tiles_wh, tokens } of plans.conversations) {
      const found = sizes.map(([w, h]) => tilePlan(settings, w, h, { images: sizes.length }));
      expect(found.map((plan) => plan.tiles)).toEqual(tiles_wh);
      expect(found.map((plan) => plan.tokens)).toEqual(tokens);
      counts.add(sizes.length);
    }
    expect([...counts].sort()).toEqual([1, 2, 3, 4]);
  });

  it.each([
    [600, 250],
    [250, 900],
    [400, 400],
    [1200, 40],
  ])("says what each tile of %i x %i pixels shows", async (width, height) => {
    // Red tells the column and green the row; blue sets the picture apart from what lies around it.
    const rgb = new Uint8Array(width * height * 3);
    for (let y = 0, at = 0; y < height; y++) {
      for (let x = 0; x < width; x++) {
        rgb[at++] = ((x + 0.5) / width) * 255;
        rgb[at++] = ((y + 0.5) / height) * 255;
        rgb[at++] = 255;
      }
    }
    const plan = tilePlan(settings, width, height);
    const areas = tileAreas(settings, plan, width, height);
    const views = (await tiledViews({ width, height, rgb }, settings, plan)).slice(1);
    expect(areas.length).toBe(views.length);
    for (const [i, view] of views.entries()) {
      const seen = { x1: width, y1: height, x2: 0, y2: 0 };
      for (let at = 0; at < view.rgb.length; at += 3) {
        if (view.rgb[at + 2] < 240) continue;
        const [x, y] = [(view.rgb[at] / 255) * width, (view.rgb[at + 1] / 255) * height];
        seen.x1 = Math.min(seen.x1, x);
        seen.x2 = Math.max(seen.x2, x);
        seen.y1 = Math.min(seen.y1, y);
        seen.y2 = Math.max(seen.y2, y);
      }
      const [x1, y1, x2, y2] = areas[i];
      // Colors have 256 steps, and edges are smooth.
      const near = (found: number, wanted: number, size: number) =>
        expect(Math.abs(found - wanted), `${areas[i]}`).toBeLessThanOrEqual(size * 0.012 + 1.5);
      near(seen.x1, x1, width);
      near(seen.x2, x2, width);
      near(seen.y1, y1, height);
      near(seen.y2, y2, height);
    }
  });

  it("keeps to a number of tiles", () => {
    for (const [maxTiles, wanted] of [
      [9, [3, 3]],
      [8, [2, 2]],
      [3, [1, 1]],
      [1, [1, 1]],
      [0, [1, 1]],
    ] as const) {
      expect(tilePlan(settings, 1000, 1000, { maxTiles }).tiles, `${maxTiles}`).toEqual(wanted);
    }
  });

  it("counts tokens", () => {
    const counts = { "1,1": 421, "1,2": 631, "2,1": 617, "2,3": 1429, "3,3": 2017, "1,9": 2101, "9,1": 1989 };
    for (const [tiles, tokens] of Object.entries(counts)) {
      expect(imageTokens(settings, tiles.split(",").map(Number) as [number, number]), tiles).toBe(tokens);
    }
  });

  it("places every image within its canvases (property)", () => {
    const side = fc.integer({ min: 1, max: 20_000 });
    fc.assert(
      fc.property(side, side, fc.integer({ min: 1, max: 4 }), (width, height, images) => {
        const { tiles, global, local } = tilePlan(settings, width, height, { images });
        for (const [{ x, y, width: w, height: h }, canvasWidth, canvasHeight] of [
          [global, 384, 384],
          [local, tiles[0] * 384, tiles[1] * 384],
        ] as const) {
          expect(w >= 1 && h >= 1 && x >= 0 && y >= 0).toBe(true);
          expect(x + w <= canvasWidth && y + h <= canvasHeight).toBe(true);
          expect(w === canvasWidth || h === canvasHeight).toBe(true);
        }
      }),
    );
  });
});

describe("parseTileProcessor", () => {
  const official = fixtureJson<Record<string, unknown>>("vl2/config.json");
  const refuses = (change: Record<string, unknown>) => {
    try {
      parseTileProcessor({ ...official, ...change }, "p.json");
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
    throw new Error(`not refused: ${JSON.stringify(change)}`);
  };

  it("reads the official file, and tolerates unknown keys", () => {
    const { tiles, imageToken, padToken, normalization } = parseTileProcessor({ ...official, later: 1 });
    expect(tiles).toMatchObject({
      tileSize: 384,
      patchSize: 14,
      downsampleRatio: 2,
      background: [127, 127, 127],
    });
    expect(tiles.resolutions).toHaveLength(23);
    expect([imageToken, padToken]).toEqual(["<image>", "<｜▁pad▁｜>"]);
    expect(normalization.meanAndStd).toEqual({ mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] });
    expect(parseTileProcessor({ ...official, normalize: false }).normalization.meanAndStd).toBeNull();
  });

  it("refuses values that it does not know, by name", () => {
    for (const bad of [
      [],
      [[384]],
      [[384, 400]],
      [
        [384, 384],
        [400, 384],
      ],
      [[384, 0]],
      [[384, -384]],
      [["a", 1]],
      7,
    ]) {
      expect(refuses({ candidate_resolutions: bad })).toMatch(/^p\.json: .*candidate_resolutions; expected/);
    }
    // Memory follows from these: 257 tiles, and 16 of 4096 pixels square.
    expect(
      refuses({
        candidate_resolutions: [
          [8, 8],
          [8, 8 * 257],
        ],
      }),
    ).toMatch(/at most 256 tiles/);
    expect(
      refuses({
        candidate_resolutions: [
          [4096, 4096],
          [16384, 16384],
        ],
      }),
    ).toMatch(/pixels/);
    expect(refuses({ patch_size: 385 })).toMatch(/patch_size/);
    expect(refuses({ downsample_ratio: 0 })).toMatch(/downsample_ratio/);
    expect(refuses({ sft_format: "llava" })).toMatch(/sft_format; expected: deepseek; found: llava/);
    expect(refuses({ add_special_token: true })).toMatch(/add_special_token/);
    expect(refuses({ image_token: "" })).toMatch(/image_token/);
    expect(refuses({ processor_class: "DeepseekOCRProcessor" })).toMatch(/processor_class/);
  });
});
