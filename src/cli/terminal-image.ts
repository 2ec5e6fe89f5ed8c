/**
 * Pictures in terminals, by the three protocols in use: kitty's graphics, iTerm2's inline images, sixels (DEC VT340). Which
 * one a terminal has is told by the environment alone: asking it would mean reading its answer among what is typed.
 */
import type { RgbImage } from "../vision/image/image.ts";
import { encodePng } from "../vision/image/png-writer.ts";
import { resizeImage } from "../vision/image/resize.ts";

export type ImageProtocol = "kitty" | "iterm2" | "sixel";

export const imageProtocols: readonly ImageProtocol[] = ["kitty", "iterm2", "sixel"];

type Environment = Readonly<Record<string, string | undefined>>;

/** Terminals by what they call themselves in `TERM_PROGRAM`. */
const PROGRAMS: Readonly<Record<string, ImageProtocol>> = {
  ...{ "iTerm.app": "iterm2", WezTerm: "iterm2", mintty: "iterm2", rio: "iterm2", WarpTerminal: "iterm2" },
  ...{ ghostty: "kitty", kitty: "kitty" },
};

/** The protocol of the terminal that the environment describes; null if it has none, or lies inside another one. */
export function imageProtocol(environment: Environment): ImageProtocol | null {
  const { TERM = "", TERM_PROGRAM = "", LC_TERMINAL, KITTY_WINDOW_ID, KONSOLE_VERSION } = environment;
  // Multiplexers keep cells, not pictures.
  if (environment.TMUX || environment.STY || /^(tmux|screen|dumb)/.test(TERM)) return null;
  if (PROGRAMS[TERM_PROGRAM]) return PROGRAMS[TERM_PROGRAM];
  if (KITTY_WINDOW_ID || TERM === "xterm-kitty" || TERM === "xterm-ghostty") return "kitty";
  if (LC_TERMINAL === "iTerm2") return "iterm2";
  // As year, month and release: 22.04 was the first.
  if (Number(KONSOLE_VERSION) >= 220_400) return "iterm2";
  if (/^(foot|mlterm|yaft|contour)/.test(TERM) || /sixel/.test(TERM)) return "sixel";
  return null;
}

const base64 = (bytes: Uint8Array) =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("base64");

/** Bytes of one message of kitty's protocol. */
const KITTY_CHUNK = 4096;

function kittyText(png: Uint8Array, rows: number, id: number): string {
  const data = base64(png);
  const parts: string[] = [];
  for (let at = 0; at < data.length; at += KITTY_CHUNK) {
    const more = at + KITTY_CHUNK < data.length ? 1 : 0;
    // PNG, shown at once, without an answer, the cursor stays.
    const keys = at === 0 ? `f=100,a=T,i=${id},p=1,q=2,C=1,r=${rows},m=${more}` : `m=${more}`;
    parts.push(`\x1b_G${keys};${data.slice(at, at + KITTY_CHUNK)}\x1b\\`);
  }
  return parts.join("");
}

function iterm2Text(png: Uint8Array, rows: number): string {
  const keys = `inline=1;size=${png.length};height=${rows};preserveAspectRatio=1`;
  return `\x1b]1337;File=${keys}:${base64(png)}\x07`;
}

/** Levels of each color of a sixel palette: 6 x 7 x 6 are 252 of the 256 that terminals have. */
const LEVELS = [6, 7, 6] as const;

/** Thresholds of an ordered dither (Bayer), 4 x 4, in sixteenths. */
const BAYER = [0, 8, 2, 10, 12, 4, 14, 6, 3, 11, 1, 9, 15, 7, 13, 5];

/** The number of a pixel's color in the palette. */
function paletteIndex({ rgb, width }: RgbImage, x: number, y: number): number {
  const threshold = (BAYER[(y % 4) * 4 + (x % 4)] + 0.5) / 16;
  let index = 0;
  for (let c = 0; c < 3; c++) {
    const top = LEVELS[c] - 1;
    const level = Math.floor((rgb[(y * width + x) * 3 + c] / 255) * top + threshold);
    index = index * LEVELS[c] + Math.min(top, level);
  }
  return index;
}

/** The palette: color i as percentages. */
function paletteText(): string {
  const [reds, greens, blues] = LEVELS;
  const percent = (level: number, levels: number) => Math.round((100 * level) / (levels - 1));
  let text = "";
  for (let i = 0; i < reds * greens * blues; i++) {
    const color = [
      percent(Math.floor(i / (greens * blues)), reds),
      percent(Math.floor(i / blues) % greens, greens),
      percent(i % blues, blues),
    ];
    text += `#${i};2;${color.join(";")}`;
  }
  return text;
}

/** Columns of six pixels as characters, runs of the same one shortened. */
function runsText(sixels: Uint8Array): string {
  let text = "";
  for (let x = 0; x < sixels.length; ) {
    let end = x + 1;
    while (end < sixels.length && sixels[end] === sixels[x]) end++;
    const letter = String.fromCharCode(63 + sixels[x]);
    text += end - x > 3 ? `!${end - x}${letter}` : letter.repeat(end - x);
    x = end;
  }
  return text;
}

/** An image as sixels, a pixel for a pixel. */
export function sixelText(image: RgbImage): string {
  const { width, height } = image;
  let text = `\x1bPq"1;1;${width};${height}${paletteText()}`;
  for (let top = 0; top < height; top += 6) {
    const bands = new Map<number, Uint8Array>();
    for (let y = top; y < Math.min(top + 6, height); y++) {
      for (let x = 0; x < width; x++) {
        const color = paletteIndex(image, x, y);
        let band = bands.get(color);
        if (band === undefined) {
          band = new Uint8Array(width);
          bands.set(color, band);
        }
        band[x] |= 1 << (y - top);
      }
    }
    text += [...bands].map(([color, band]) => `#${color}${runsText(band)}`).join("$");
    text += "-";
  }
  return `${text}\x1b\\`;
}

/** Pixels that a row of text is taken to have, where a protocol cannot be told a height in rows. */
const ROW_PIXELS = 16;

/** The image made small enough for `rows` rows. */
function reduced(image: RgbImage, rows: number): RgbImage {
  const { width, height } = image;
  const most = rows * ROW_PIXELS;
  if (height <= most) return image;
  return resizeImage(image, Math.max(1, Math.round((width * most) / height)), most);
}

/**
 * What shows an image at the cursor, at most `rows` rows of text high. Where the cursor is afterwards differs.
 * @param id kitty's number of the image: a new one of the same number takes the place of the one before
 */
export async function imageText(
  image: RgbImage,
  protocol: ImageProtocol,
  rows: number,
  id = 1,
): Promise<string> {
  if (protocol === "sixel") return sixelText(reduced(image, rows));
  const png = await encodePng(image);
  return protocol === "kitty" ? kittyText(png, rows, id) : iterm2Text(png, rows);
}
