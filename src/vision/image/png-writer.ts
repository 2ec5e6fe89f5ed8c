/** Writes PNG files (W3C PNG, third edition) of RGB images, compressed by the platform's own deflate. */
import { crc32 } from "./crc32.ts";
import type { RgbImage } from "./image.ts";
import { type PngText, pngTextData } from "./png-text.ts";

/** The predictor of filter 4: of left, above and above left the one nearest to left + above - above left. */
function paeth(left: number, above: number, corner: number): number {
  const [a, b, c] = [Math.abs(above - corner), Math.abs(left - corner), Math.abs(left + above - 2 * corner)];
  if (a <= b && a <= c) return left;
  return b <= c ? above : corner;
}

/** Filters 0 to 4: what is subtracted from a byte, given its left, upper and upper left neighbors. */
const predictors: readonly ((left: number, above: number, corner: number) => number)[] = [
  () => 0,
  (left) => left,
  (_, above) => above,
  (left, above) => (left + above) >> 1,
  paeth,
];

/** Each row behind its filter byte, with the filter whose differences are smallest, as the specification advises. */
function filteredRows({ width, height, rgb }: RgbImage): Uint8Array<ArrayBuffer> {
  const length = width * 3;
  const out = new Uint8Array(height * (length + 1));
  const trial = new Uint8Array(length);
  for (let y = 0; y < height; y++) {
    const row = y * length;
    const to = y * (length + 1);
    let least = Number.POSITIVE_INFINITY;
    for (const [filter, predict] of predictors.entries()) {
      let sum = 0;
      for (let i = 0; i < length && sum < least; i++) {
        const left = i < 3 ? 0 : rgb[row + i - 3];
        const above = y === 0 ? 0 : rgb[row + i - length];
        const corner = i < 3 || y === 0 ? 0 : rgb[row + i - length - 3];
        const difference = (rgb[row + i] - predict(left, above, corner)) & 255;
        trial[i] = difference;
        sum += difference < 128 ? difference : 256 - difference;
      }
      if (sum >= least) continue;
      least = sum;
      out[to] = filter;
      out.set(trial, to + 1);
    }
  }
  return out;
}

async function deflate(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const stream = new Blob([bytes]).stream().pipeThrough(new CompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function chunk(type: string, data: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(12 + data.length);
  const view = new DataView(out.buffer);
  view.setUint32(0, data.length);
  for (let i = 0; i < 4; i++) out[4 + i] = type.charCodeAt(i);
  out.set(data, 8);
  view.setUint32(8 + data.length, crc32(out.subarray(4, 8 + data.length)));
  return out;
}

const textChunk = ({ type, data }: PngText) => chunk(type, data);

export interface PngOptions {
  /** Name of the program, in Latin letters, kept in the file. */
  readonly software?: string;
  /** Further texts that the file keeps in front of its pixels, by keyword. */
  readonly texts?: Readonly<Record<string, string>>;
}

/** The bytes of a PNG file: 8 bits, RGB. @throws ConfigError for a text that the format has no place for */
export async function encodePng(
  image: RgbImage,
  { software, texts = {} }: PngOptions = {},
): Promise<Uint8Array> {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, image.width);
  view.setUint32(4, image.height);
  header.set([8, 2, 0, 0, 0], 8);
  const kept = Object.entries({ ...(software !== undefined && { Software: software }), ...texts });
  const parts = [
    Uint8Array.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a]),
    chunk("IHDR", header),
    ...kept.map(([keyword, text]) => textChunk(pngTextData(keyword, text))),
    chunk("IDAT", await deflate(filteredRows(image))),
    chunk("IEND", new Uint8Array(0)),
  ];
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
