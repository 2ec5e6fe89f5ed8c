import { describe, expect, it } from "vitest";
import type { RgbImage } from "../../vision/image/image.ts";
import { parseCaption } from "./captions.ts";
import { type FoundObject, readScene } from "./checker.ts";
import { WorldRandom } from "./generator.ts";
import { worldSample } from "./sample.ts";
import { golden, imageOf } from "./testing.ts";
import { judge, judgeDrawing } from "./verdict.ts";

const scene = (index: number, size: number) => worldSample("questions", 1, index, { size });

/** Names and sizes of objects, regardless of their order. */
const names = (objects: readonly Pick<FoundObject, "shape" | "color" | "size">[]) =>
  objects.map(({ size, color, shape }) => `${size} ${color} ${shape}`).sort();

function noisy({ rgb, ...rest }: RgbImage, amplitude: number, random: WorldRandom): RgbImage {
  const clamp = (value: number) => Math.max(0, Math.min(255, value));
  return { ...rest, rgb: rgb.map((value) => clamp(value + random.int(2 * amplitude + 1) - amplitude)) };
}

describe("the golden cases", () => {
  it.each(golden.checker.map((value) => [value.name, value] as const))("%s", (_, value) => {
    const { caption, category, want, relation, found, loose, strict } = value;
    expect(parseCaption(caption)).toEqual({ category, things: want, relation });
    const verdict = judgeDrawing(imageOf(value), caption);
    expect(verdict.objects).toHaveLength(found.length);
    found.forEach(({ cost, ...expected }, i) => {
      const { cost: computed, ...object } = verdict.objects[i];
      expect(object).toEqual(expected);
      expect(Math.abs(computed - cost)).toBeLessThan(0.0002);
    });
    expect({ loose: verdict.loose, strict: verdict.strict }).toEqual({ loose, strict });
  });
});

describe("readScene", () => {
  it.each([64, 128])("reads every clean scene of %d pixels exactly", (size) => {
    for (let i = 0; i < 60; i++) {
      const { image, objects } = scene(i, size);
      const found = readScene(image!);
      expect(names(found)).toEqual(names(objects!));
      for (const { cost, malformed } of found) {
        expect(cost).toBeLessThan(0.0025);
        expect(malformed).toBe(false);
      }
    }
  });

  it("reads scenes under noise", () => {
    const random = new WorldRandom(5, 99, 0);
    for (let i = 0; i < 40; i++) {
      const { image, objects } = scene(i, 64);
      const found = readScene(noisy(image!, 24, random));
      expect(names(found)).toEqual(names(objects!));
      for (const { cost } of found) expect(cost).toBeLessThan(0.2);
    }
  });

  it("sees nothing in a picture of one gray, or of one of its colors", () => {
    for (const color of [
      [200, 200, 200],
      [214, 40, 40],
    ]) {
      const rgb = Uint8Array.from({ length: 3 * 64 * 64 }, (_, i) => color[i % 3]);
      expect(readScene({ width: 64, height: 64, rgb })).toEqual([]);
    }
  });

  it("takes twenty connected pixels for an object, at every scale of the scene", () => {
    const bar = (scale: number, pixels: number) => {
      const rgb = new Uint8Array(3 * (64 * scale) ** 2).fill(240);
      for (let i = 0; i < pixels; i++) rgb.set([24, 24, 24], 3 * (64 * scale * 20 + 10 + i));
      return readScene({ width: 64 * scale, height: 64 * scale, rgb }).length;
    };
    expect([bar(1, 19), bar(1, 20), bar(2, 79), bar(2, 80)]).toEqual([0, 1, 0, 1]);
  });

  it("follows an object along every edge of the picture", () => {
    // A bracket of twenty pixels, whose two ends lie at one edge.
    const bracket: [number, number][] = [];
    for (let i = 0; i < 8; i++) bracket.push([0, i], [5, i]);
    for (let i = 1; i < 5; i++) bracket.push([i, 7]);
    let turned = bracket;
    for (let turn = 0; turn < 4; turn++) {
      for (const mirrored of [false, true]) {
        const rgb = new Uint8Array(3 * 64 * 64).fill(240);
        for (const [x, y] of turned) rgb.set([24, 24, 24], 3 * (64 * y + (mirrored ? 63 - x : x)));
        expect(readScene({ width: 64, height: 64, rgb })).toHaveLength(1);
      }
      turned = turned.map(([x, y]) => [63 - y, x]);
    }
  });

  it("finds objects at the edges of a picture", () => {
    const { image, objects } = scene(3, 64);
    // Shifted by eight pixels the left objects are cut off.
    const rgb = new Uint8Array(image!.rgb.length);
    for (let y = 0; y < 64; y++) {
      const row = image!.rgb.subarray(3 * 64 * y, 3 * 64 * (y + 1));
      rgb.set([...row.subarray(24), ...row.subarray(0, 24)], 3 * 64 * y);
    }
    expect(readScene({ width: 64, height: 64, rgb }).length).toBeGreaterThanOrEqual(objects!.length);
  });

  it("refuses what is no scene", () => {
    const rgb = new Uint8Array(3 * 64 * 64);
    expect(() => readScene({ width: 64, height: 32, rgb })).toThrow(/square.*64 x 32/);
    expect(() => readScene({ width: 64, height: 64, rgb: rgb.subarray(3) })).toThrow("12285 bytes");
    expect(() => readScene({ width: 70, height: 70, rgb: new Uint8Array(3 * 70 * 70) })).toThrow(/70/);
  });
});

describe("judge", () => {
  const object = (shape: FoundObject["shape"], rest: Partial<FoundObject> = {}): FoundObject => ({
    shape,
    color: "red",
    size: "small",
    x: 10,
    y: 10,
    cost: 0,
    malformed: false,
    ...rest,
  });

  it("needs an object for each thing", () => {
    const two = parseCaption("a ring and a cross");
    expect(judge([object("ring"), object("cross")], two)).toEqual({ loose: true, strict: true });
    expect(judge([object("ring")], two)).toEqual({ loose: false, strict: false });
    const twice = { ...two, things: [{ shape: "ring" }, { shape: "ring" }] } as const;
    expect(judge([object("ring")], twice).loose).toBe(false);
    expect(judge([object("ring"), object("ring")], twice).loose).toBe(true);
  });

  it("lets nothing malformed pass strictly, also where it is none of the things", () => {
    const one = parseCaption("a red ring");
    const broken = object("ring", { malformed: true, cost: 0.5 });
    expect(judge([broken], one)).toEqual({ loose: true, strict: false });
    expect(judge([object("ring"), broken], one)).toEqual({ loose: true, strict: false });
  });

  it("counts y downwards", () => {
    const above = parseCaption("a ring above a cross");
    const at = (y: number) => [object("ring"), object("cross", { y })];
    expect(judge(at(13.5), above).loose).toBe(false);
    expect(judge(at(14), above).loose).toBe(true);
    expect(judge(at(14), parseCaption("a ring below a cross")).loose).toBe(false);
    expect(judge(at(6), parseCaption("a ring below a cross")).loose).toBe(true);
    expect(judge(at(14), parseCaption("a ring left of a cross")).loose).toBe(false);
  });
});
