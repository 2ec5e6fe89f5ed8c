/** Boxes on images, and PNG files written: read back by two decoders. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../tensor/random.ts";
import { drawBoxes, enlargedForLabels } from "./draw-boxes.ts";
import { decodeImage } from "./image/decode.ts";
import { drawable, glyphPixel } from "./image/font.ts";
import { filledImage, type RgbImage } from "./image/image.ts";
import { checkPngData } from "./image/png-file.ts";
import { encodePng } from "./image/png-writer.ts";
import { fixtureBytes } from "./image/testing.ts";

const pixel = ({ width, rgb }: RgbImage, x: number, y: number) => [
  ...rgb.subarray((y * width + x) * 3, (y * width + x) * 3 + 3),
];
const red = [214, 39, 40];
const blue = [31, 119, 180];
const gray = [9, 9, 9];

describe("encodePng", () => {
  it("writes what both decoders read back, whatever the size (property)", async () => {
    const side = fc.integer({ min: 1, max: 40 });
    await fc.assert(
      fc.asyncProperty(side, side, fc.nat(3), async (width, height, kind) => {
        const random = new Random(width * 41 + height);
        const rgb = Uint8Array.from(
          { length: width * height * 3 },
          (_, i) => [random.int(256), i & 255, (i * 7) & 240, 200][kind],
        );
        const png = await encodePng({ width, height, rgb });
        await checkPngData(png, "written.png");
        for (const decoder of ["sharp", "wasm"] as const) {
          expect(await decodeImage(png, { decoder })).toEqual({ width, height, rgb });
        }
      }),
      { numRuns: 60 },
    );
  });

  it("picks filters: a drawn picture stays about as small as its file", async () => {
    const image = await decodeImage(fixtureBytes("images/square-384x384.png"));
    const png = await encodePng(image);
    expect(png.length).toBeLessThan(1.2 * fixtureBytes("images/square-384x384.png").length);
    expect((await decodeImage(png)).rgb).toEqual(image.rgb);
  });
});

describe("drawBoxes", () => {
  const image = filledImage(60, 50, [9, 9, 9]);

  it("outlines a box of two pixels' width and leaves the rest", () => {
    const drawn = drawBoxes(image, [{ label: "", box: [10, 20, 30, 40] }]);
    for (const [x, y, color] of [
      [10, 20, red],
      [29, 39, red],
      [11, 30, red],
      [28, 30, red],
      [20, 21, red],
      [20, 38, red],
      [12, 22, gray],
      [27, 37, gray],
      [30, 40, gray],
      [9, 20, gray],
    ] as const) {
      expect(pixel(drawn, x, y), `${x}, ${y}`).toEqual(color);
    }
    expect(image.rgb).toEqual(filledImage(60, 50, [9, 9, 9]).rgb);
  });

  it("leaves the image as it is, that of one of Node's buffers too", () => {
    const buffer = { width: 4, height: 4, rgb: Buffer.alloc(48, 9) };
    drawBoxes(buffer, [{ label: "", box: [0, 0, 4, 4] }]);
    expect(buffer.rgb.every((byte) => byte === 9)).toBe(true);
  });

  it("orders corners and cuts off what lies outside", () => {
    const whole = drawBoxes(image, [{ label: "", box: [0, 0, 60, 50] }]);
    expect(drawBoxes(image, [{ label: "", box: [900, 800, -5, -7] }])).toEqual(whole);
    expect(pixel(whole, 0, 0)).toEqual(red);
    expect(pixel(whole, 59, 49)).toEqual(red);
  });

  it("gives each label one color, and writes it above its box", () => {
    const boxes = [
      { label: "I", box: [10, 20, 30, 40] },
      { label: "T", box: [35, 4, 55, 16] },
      { label: "I", box: [40, 20, 55, 40] },
    ] as const;
    const drawn = drawBoxes(image, boxes);
    expect(pixel(drawn, 10, 39)).toEqual(red);
    expect(pixel(drawn, 54, 15)).toEqual(blue);
    expect(pixel(drawn, 54, 39)).toEqual(red);
    const white = (left: number, top: number) =>
      Array.from({ length: 7 }, (_, y) =>
        Array.from({ length: 5 }, (_, x) =>
          pixel(drawn, left + x, top + y).every((n) => n === 255) ? "#" : ".",
        ).join(""),
      );
    // Ten rows above the first box; inside the second one, which has no room above.
    expect(white(11, 11)).toEqual([".###.", "..#..", "..#..", "..#..", "..#..", "..#..", ".###."]);
    expect(white(36, 5)).toEqual(["#####", "#.#.#", "..#..", "..#..", "..#..", "..#..", "..#.."]);
  });

  it("draws any label and box within the image (property)", () => {
    const n = fc.integer({ min: -2000, max: 2000 });
    fc.assert(
      fc.property(
        fc.string({ unit: "grapheme" }),
        n,
        n,
        n,
        n,
        fc.integer({ min: 1, max: 30 }),
        (label, a, b, c, d, side) => {
          const drawn = drawBoxes(filledImage(side, 40, [1, 2, 3]), [{ label, box: [a, b, c, d] }]);
          expect(drawn.rgb).toHaveLength(side * 40 * 3);
        },
      ),
    );
  });
});

describe("font", () => {
  it("has every printable ASCII character, all different; others are frames", () => {
    const shown = (char: string) =>
      Array.from({ length: 40 }, (_, i) => (glyphPixel(char, i % 5, Math.floor(i / 5)) ? 1 : 0)).join("");
    const glyphs = Array.from({ length: 95 }, (_, i) => shown(String.fromCharCode(32 + i)));
    expect(new Set(glyphs).size).toBe(95);
    expect(new Set([shown("猫"), shown("🐈"), shown("\u007f"), shown("")]).size).toBe(1);
    expect(drawable("é\tñ猫")).toEqual(["e", " ", "n", "猫"]);
  });
});

describe("enlargedForLabels", () => {
  it("repeats pixels of small pictures, and leaves others as they are", () => {
    const rgb = Uint8Array.from({ length: 150 * 2 * 3 }, (_, i) => (i * 7) % 256);
    const small = { width: 150, height: 2, rgb };
    const image = enlargedForLabels(small);
    expect([image.width, image.height]).toEqual([450, 6]);
    for (const [x, y] of [
      [0, 0],
      [2, 5],
      [449, 3],
      [300, 2],
    ])
      expect(pixel(image, x, y)).toEqual(pixel(small, Math.floor(x / 3), Math.floor(y / 3)));
    for (const sides of [
      [400, 3],
      [3, 500],
    ]) {
      const large = filledImage(sides[0], sides[1], [1, 2, 3]);
      expect(enlargedForLabels(large)).toBe(large);
    }
  });
});
