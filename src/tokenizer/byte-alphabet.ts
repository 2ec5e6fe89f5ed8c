/**
 * GPT-2's map between bytes and printable characters, in which byte-level BPE writes its tokens: bytes 0x21-7E,
 * A1-AC and AE-FF stand for themselves, the other 68 for U+0100..U+0143 in byte order.
 */

function buildChars(): string[] {
  const chars: string[] = [];
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) {
    const printable =
      (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
    chars.push(String.fromCharCode(printable ? byte : next++));
  }
  return chars;
}

/** The character of each byte, indexed by byte. */
export const BYTE_TO_CHAR: readonly string[] = buildChars();

/** The 256 bytes in the code-point order of their characters, the order of the base symbols in every vocabulary. */
export const BYTES_BY_CHAR: readonly number[] = Array.from({ length: 256 }, (_, byte) => byte).sort(
  (a, b) => BYTE_TO_CHAR[a].charCodeAt(0) - BYTE_TO_CHAR[b].charCodeAt(0),
);

const charToByte = new Map(BYTE_TO_CHAR.map((char, byte) => [char.charCodeAt(0), byte]));
const utf8 = new TextEncoder();

/** The bytes a byte-level token stands for, or null if a character lies outside the alphabet. */
export function tokenToBytes(token: string): Uint8Array | null {
  const bytes = new Uint8Array(token.length);
  for (let i = 0; i < token.length; i++) {
    const byte = charToByte.get(token.charCodeAt(i));
    if (byte === undefined) return null;
    bytes[i] = byte;
  }
  return bytes;
}

/** `text` in the byte-level alphabet: one character for each byte of its UTF-8 form. */
export function textToByteChars(text: string): string {
  let chars = "";
  for (const byte of utf8.encode(text)) chars += BYTE_TO_CHAR[byte];
  return chars;
}
