/** UTF-8 read strictly: an invalid byte is reported with its position, never replaced. */
import { FormatError } from "../tensor/errors.ts";

/** Where the first bytes that are no UTF-8 begin, and what they are; null if all is. */
export function firstInvalid(bytes: Uint8Array): { at: number; cut: boolean } | null {
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    if (first < 0x80) {
      i++;
      continue;
    }
    const more =
      first >= 0xc2 && first < 0xe0
        ? 1
        : first >= 0xe0 && first < 0xf0
          ? 2
          : first >= 0xf0 && first < 0xf5
            ? 3
            : 0;
    if (more === 0) return { at: i, cut: false };
    for (let k = 1; k <= more; k++) {
      if (i + k >= bytes.length) return { at: i, cut: true };
      const byte = bytes[i + k];
      // No second spelling of a short character, no halves of pairs, nothing above U+10FFFF.
      const low = k > 1 ? 0x80 : first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
      const high = k > 1 ? 0xbf : first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
      if (byte < low || byte > high) return { at: i, cut: false };
    }
    i += more + 1;
  }
  return null;
}

const hex = (byte: number) => `0x${byte.toString(16).toUpperCase().padStart(2, "0")}`;

/** How to convert what is probably another encoding. */
function adviceFor(bytes: Uint8Array): string {
  const [a, b] = bytes;
  if ((a === 0xff && b === 0xfe) || (a === 0xfe && b === 0xff)) {
    return "It looks like UTF-16. Convert it: iconv -f UTF-16 -t UTF-8";
  }
  return "Convert it to UTF-8, such as with iconv -f LATIN1 -t UTF-8.";
}

/**
 * The text of UTF-8 bytes, a byte-order mark included.
 * @throws FormatError naming byte, line and column of the first invalid byte
 */
export function strictText(where: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const wrong = firstInvalid(bytes);
    if (wrong === null) throw cause;
    const before = bytes.subarray(0, wrong.at);
    const start = before.lastIndexOf(0x0a) + 1;
    let line = 1;
    for (const byte of before) if (byte === 0x0a) line++;
    const column = new TextDecoder().decode(before.subarray(start)).length + 1;
    throw new FormatError(wrong.cut ? "the text ends inside a character" : "not UTF-8 text", {
      where,
      found: `${hex(bytes[wrong.at])} at byte ${wrong.at} (line ${line}, column ${column})`,
      hint: wrong.cut ? "Cut it after a whole character." : adviceFor(bytes),
      cause,
    });
  }
}

/** The text without a byte-order mark at its beginning. */
export function withoutMark(text: string): string {
  return text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
}
