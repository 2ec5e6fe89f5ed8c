/** Draws boxes with their labels on an image, as `ground --out` shows them. */
import type { PixelBox } from "./grounding.ts";
import { drawable, GLYPH_HEIGHT, GLYPH_WIDTH, glyphPixel } from "./image/font.ts";
import type { RgbImage } from "./image/image.ts";
import type { PerChannel } from "./pixels.ts";

export interface LabeledBox {
  readonly label: string;
  /** Corners in pixels, in any order; what lies outside the image is cut off. */
  readonly box: PixelBox;
}

/** Colors of the labels in their order, each far from its neighbors; dark enough for white text, or bright for black. */
const COLORS: readonly PerChannel[] = [
  [214, 39, 40],
  [31, 119, 180],
  [255, 193, 7],
  [44, 160, 44],
  [148, 103, 189],
  [255, 127, 14],
  [23, 190, 207],
  [227, 119, 194],
  [140, 86, 75],
  [188, 189, 34],
];

/** Most characters of a label that are shown. */
const MOST_SHOWN = 64;

/** Fills a rectangle, right and lower edges excluded, as far as it lies within the image. */
function fill({ width, height, rgb }: RgbImage, [x1, y1, x2, y2]: PixelBox, color: PerChannel): void {
  for (let y = Math.max(0, y1); y < Math.min(height, y2); y++) {
    for (let x = Math.max(0, x1); x < Math.min(width, x2); x++) rgb.set(color, (y * width + x) * 3);
  }
}

function outline(image: RgbImage, [x1, y1, x2, y2]: PixelBox, line: number, color: PerChannel): void {
  fill(image, [x1, y1, x2, Math.min(y1 + line, y2)], color);
  fill(image, [x1, Math.max(y2 - line, y1), x2, y2], color);
  fill(image, [x1, y1, Math.min(x1 + line, x2), y2], color);
  fill(image, [Math.max(x2 - line, x1), y1, x2, y2], color);
}

/** Writes a label on a ground of the box's color: above the box, or inside if there is no room. */
function write(image: RgbImage, text: string, box: PixelBox, scale: number, color: PerChannel): void {
  const all = drawable(text);
  const chars = all.length > MOST_SHOWN ? [...all.slice(0, MOST_SHOWN - 3), ".", ".", "."] : all;
  if (chars.length === 0) return;
  const width = (chars.length * (GLYPH_WIDTH + 1) + 1) * scale;
  const height = (GLYPH_HEIGHT + 2) * scale;
  const x = Math.max(0, Math.min(box[0], image.width - width));
  const y = box[1] >= height ? box[1] - height : box[1];
  fill(image, [x, y, x + width, y + height], color);
  const bright = color[0] * 299 + color[1] * 587 + color[2] * 114 > 150_000;
  const ink: PerChannel = bright ? [0, 0, 0] : [255, 255, 255];
  for (const [i, char] of chars.entries()) {
    const left = x + (i * (GLYPH_WIDTH + 1) + 1) * scale;
    for (let gy = 0; gy < GLYPH_HEIGHT; gy++) {
      for (let gx = 0; gx < GLYPH_WIDTH; gx++) {
        if (!glyphPixel(char, gx, gy)) continue;
        const [px, py] = [left + gx * scale, y + (gy + 1) * scale];
        fill(image, [px, py, px + scale, py + scale], ink);
      }
    }
  }
}

/** Least length of the longer side on which labels can be read. */
const LEAST_SIDE = 400;

/**
 * A small image enlarged in whole pixels until labels can be read on it: its longer side has at least 400 pixels, and less
 * than 800. Larger images come back as they are. Boxes are best read anew for its size: pixels of the small one are coarse.
 */
export function enlargedForLabels(image: RgbImage): RgbImage {
  const times = Math.ceil(LEAST_SIDE / Math.max(image.width, image.height));
  if (times <= 1) return image;
  const [width, height] = [image.width * times, image.height * times];
  const rgb = new Uint8Array(width * height * 3);
  for (let y = 0, to = 0; y < height; y++) {
    const row = Math.floor(y / times) * image.width;
    for (let x = 0; x < width; x++, to += 3) {
      const from = (row + Math.floor(x / times)) * 3;
      rgb.set(image.rgb.subarray(from, from + 3), to);
    }
  }
  return { width, height, rgb };
}

/** A copy of the image with the boxes drawn; boxes of one label have one color. Lines and text grow with the image. */
export function drawBoxes(image: RgbImage, boxes: readonly LabeledBox[]): RgbImage {
  const drawn = { ...image, rgb: new Uint8Array(image.rgb) };
  const scale = Math.max(1, Math.round(Math.max(image.width, image.height) / 500));
  const labels = [...new Set(boxes.map(({ label }) => label))];
  const placed = boxes.map(({ label, box: [x1, y1, x2, y2] }) => {
    const at = (n: number, side: number) => Math.max(0, Math.min(side, Math.trunc(n)));
    const [left, right] = [at(Math.min(x1, x2), image.width), at(Math.max(x1, x2), image.width)];
    const [top, bottom] = [at(Math.min(y1, y2), image.height), at(Math.max(y1, y2), image.height)];
    const box: PixelBox = [left, top, right, bottom];
    return { label, box, color: COLORS[labels.indexOf(label) % COLORS.length] };
  });
  for (const { box, color } of placed) outline(drawn, box, 2 * scale, color);
  // Labels last: a line must not cross the name of another box.
  for (const { label, box, color } of placed) write(drawn, label, box, scale, color);
  return drawn;
}
