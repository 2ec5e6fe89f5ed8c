/** Settings in the text chunks of PNG files: under the keywords that the command line writes too, so that either reads both. */
import { crc32 } from "../../vision/image/crc32.ts";
import { pngTextData, pngTexts } from "../../vision/image/png-text.ts";

export interface DrawFields {
  readonly prompt: string;
  readonly count: number;
  /** Null: by chance. */
  readonly seed: number | null;
  /** Null: as the model has it. */
  readonly guidance: number | null;
  readonly temperature: number | null;
  readonly steps: number | null;
}

/** Settings by keyword. */
export type PictureTexts = Readonly<Record<string, string>>;

/** Bytes of the signature and the header's chunk, behind which texts may stand. */
const HEAD = 33;

/** The file with texts. @param png a PNG file */
export function withTexts(png: Uint8Array, texts: PictureTexts): Uint8Array<ArrayBuffer> {
  const chunks = Object.entries(texts).map(([keyword, text]) => {
    const { type, data } = pngTextData(keyword, text);
    const chunk = new Uint8Array(12 + data.length);
    const view = new DataView(chunk.buffer);
    view.setUint32(0, data.length);
    chunk.set(
      Uint8Array.from(type, (letter) => letter.charCodeAt(0)),
      4,
    );
    chunk.set(data, 8);
    view.setUint32(8 + data.length, crc32(chunk.subarray(4, 8 + data.length)));
    return chunk;
  });
  const out = new Uint8Array(png.length + chunks.reduce((sum, { length }) => sum + length, 0));
  out.set(png.subarray(0, HEAD));
  let at = HEAD;
  for (const chunk of chunks) {
    out.set(chunk, at);
    at += chunk.length;
  }
  out.set(png.subarray(HEAD), at);
  return out;
}

const numberOf = (text: string | undefined, least: number, most: number): number | null => {
  const value = Number(text);
  return text !== undefined && text.trim() !== "" && value >= least && value <= most ? value : null;
};

/** What a file says that it was drawn from; null for one that says nothing. */
export function textsOf(png: Uint8Array): PictureTexts | null {
  const texts = pngTexts(png);
  return texts.has("prompt") ? Object.fromEntries(texts) : null;
}

/** Fields of the form, of what a file says; what it does not say is left as the model has it. */
export function fieldsOf(texts: PictureTexts): DrawFields {
  return {
    prompt: texts.prompt ?? "",
    count: 1,
    seed: numberOf(texts.seed, 0, 2 ** 53 - 1),
    guidance: numberOf(texts.guidance, -100, 100),
    temperature: numberOf(texts.temperature, 0, 100),
    steps: numberOf(texts.steps, 1, 10_000),
  };
}
