/**
 * Texts in PNG files (W3C PNG, third edition, section 11.3.3): Latin letters in `tEXt` chunks, all others as UTF-8 in `iTXt`.
 * Compressed ones are not written, and not read: what they unfold to has no bound.
 */
import { ConfigError } from "../../tensor/errors.ts";

export interface PngText {
  readonly type: "tEXt" | "iTXt";
  readonly data: Uint8Array;
}

const KEYWORD = /^[\x21-\x7e\xa1-\xff](?:[\x20-\x7e\xa1-\xff]{0,77}[\x21-\x7e\xa1-\xff])?$/;
const LATIN = /^[\n\x20-\x7e\xa0-\xff]*$/;

const latin = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** The chunk of a text. @throws ConfigError for a keyword or a text that the format cannot hold */
export function pngTextData(keyword: string, text: string): PngText {
  if (!KEYWORD.test(keyword) || keyword.includes("  ")) {
    throw new ConfigError("not a keyword of a PNG text", {
      where: "encodePng",
      expected: "1 to 79 Latin letters without spaces at the ends or two in a row",
      found: JSON.stringify(keyword),
    });
  }
  if (text.includes("\0")) {
    throw new ConfigError("a PNG text holds no zero character", { where: "encodePng", name: keyword });
  }
  const key = latin(`${keyword}\0`);
  if (LATIN.test(text)) return { type: "tEXt", data: joined(key, latin(text)) };
  // Not compressed, language and translated keyword unknown.
  return { type: "iTXt", data: joined(key, new Uint8Array(4), new TextEncoder().encode(text)) };
}

/** A text chunk's keyword and text; null for one that is damaged or compressed. */
function readText(type: string, data: Uint8Array): readonly [keyword: string, text: string] | null {
  const end = data.indexOf(0);
  if (end < 1) return null;
  const keyword = new TextDecoder("latin1").decode(data.subarray(0, end));
  // The decoder of that name is Windows-1252, which differs from 0x80 to 0x9f: no text of ours has those.
  if (type === "tEXt") return [keyword, new TextDecoder("latin1").decode(data.subarray(end + 1))];
  if (data[end + 1] !== 0) return null;
  const language = data.indexOf(0, end + 3);
  const translated = data.indexOf(0, language + 1);
  if (language < 0 || translated < 0) return null;
  return [keyword, new TextDecoder().decode(data.subarray(translated + 1))];
}

/**
 * Texts by keyword that a PNG file has in front of its pixels. `bytes` may be its beginning only; what is cut off is left
 * out, and an empty map is the answer to anything that is no PNG file.
 */
export function pngTexts(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 8 || view.getUint32(0) !== 0x89504e47 || view.getUint32(4) !== 0x0d0a1a0a) return found;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    if (type === "IDAT" || at + 12 + length > bytes.length) break;
    if (type === "tEXt" || type === "iTXt") {
      const text = readText(type, bytes.subarray(at + 8, at + 8 + length));
      if (text !== null) found.set(...text);
    }
    at += 12 + length;
  }
  return found;
}
