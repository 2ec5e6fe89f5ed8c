/** Many small pictures on one, each with lines of text below it. */
import { drawable, GLYPH_HEIGHT, GLYPH_WIDTH, glyphPixel } from "../../src/vision/image/font.ts";
import { filledImage, type RgbImage } from "../../src/vision/image/image.ts";

export interface SheetPicture {
  /** All of one size. */
  readonly image: RgbImage;
  readonly caption: string;
  /** Color of a frame around it, to mark what it is worth. */
  readonly frame?: readonly [number, number, number];
}

export interface SheetOptions {
  readonly columns: number;
  /** Pixels of the sheet for one of a picture along each side (2). */
  readonly zoom?: number;
}

const GAP = 6;
const FRAME = 2;
const PAPER = [255, 255, 255] as const;
const INK = [30, 30, 30] as const;
const ADVANCE = GLYPH_WIDTH + 1;
const LINE = GLYPH_HEIGHT + 2;

/** Lines of at most `most` characters, broken at spaces where that is possible. */
export function wrapText(text: string, most: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= most)
      lines[lines.length - 1] = `${last} ${word}`;
    else for (let at = 0; at < Math.max(1, word.length); at += most) lines.push(word.slice(at, at + most));
  }
  return lines;
}

function put({ rgb, width }: RgbImage, x: number, y: number, color: ArrayLike<number>): void {
  for (let c = 0; c < 3; c++) rgb[3 * (y * width + x) + c] = color[c];
}

function writeLine(sheet: RgbImage, text: string, left: number, top: number): void {
  for (const [i, char] of drawable(text).entries()) {
    for (let y = 0; y < GLYPH_HEIGHT; y++) {
      for (let x = 0; x < GLYPH_WIDTH; x++) {
        if (glyphPixel(char, x, y)) put(sheet, left + i * ADVANCE + x, top + y, INK);
      }
    }
  }
}

function paste(
  sheet: RgbImage,
  { image, frame }: SheetPicture,
  left: number,
  top: number,
  zoom: number,
): void {
  const [width, height] = [image.width * zoom, image.height * zoom];
  for (let y = -FRAME; y < height + FRAME; y++) {
    for (let x = -FRAME; x < width + FRAME; x++) {
      const inside = x >= 0 && y >= 0 && x < width && y < height;
      const from = 3 * (Math.floor(y / zoom) * image.width + Math.floor(x / zoom));
      const color = inside ? image.rgb.subarray(from, from + 3) : frame;
      if (color !== undefined) put(sheet, left + x, top + y, color);
    }
  }
}

/** Rows of pictures with their captions below; captions are as long as they are. */
export function contactSheet(
  pictures: readonly SheetPicture[],
  { columns, zoom = 2 }: SheetOptions,
): RgbImage {
  const [{ image }] = pictures;
  const [cellWidth, cellHeight] = [image.width * zoom, image.height * zoom];
  const captions = pictures.map(({ caption }) => wrapText(caption, Math.floor(cellWidth / ADVANCE)));
  const rows = Array.from({ length: Math.ceil(pictures.length / columns) }, (_, row) => {
    const lines = captions.slice(row * columns, (row + 1) * columns).map(({ length }) => length);
    return cellHeight + FRAME + Math.max(...lines) * LINE + GAP;
  });
  const height = GAP + rows.reduce((sum, each) => sum + each, 0);
  const sheet = filledImage(GAP + Math.min(columns, pictures.length) * (cellWidth + GAP), height, PAPER);
  let top = GAP;
  for (const [row, extent] of rows.entries()) {
    for (let i = row * columns; i < Math.min(pictures.length, (row + 1) * columns); i++) {
      const left = GAP + (i % columns) * (cellWidth + GAP);
      paste(sheet, pictures[i], left, top, zoom);
      for (const [line, text] of captions[i].entries()) {
        writeLine(sheet, text, left, top + cellHeight + FRAME + 2 + line * LINE);
      }
    }
    top += extent;
  }
  return sheet;
}
