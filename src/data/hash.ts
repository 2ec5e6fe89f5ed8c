/**
 * Non-cryptographic hashing of text: MurmurHash3 x86_128 (Appleby) over UTF-16 code units, and its 32-bit
 * finalizer as an integer mixer. Used for content identity, held-out splits and permutation rounds.
 */

/** A well-mixed 32-bit value from a 32-bit value (a bijection; murmur3's fmix32). */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

const C1 = 0x239b961b;
const C2 = 0xab0e9789 | 0;
const C3 = 0x38b34ae5;
const C4 = 0xa1e38b93 | 0;

/** Four 32-bit words (murmur3 x86_128) of the text's UTF-16 code units. */
export function hash128(text: string, seed = 0): [number, number, number, number] {
  let h1 = seed | 0;
  let h2 = seed | 0;
  let h3 = seed | 0;
  let h4 = seed | 0;
  const n = text.length;
  const word = (i: number) =>
    i < n ? text.charCodeAt(i) | (i + 1 < n ? text.charCodeAt(i + 1) << 16 : 0) : 0;
  for (let i = 0; i < n; i += 8) {
    h1 ^= Math.imul(rotl(Math.imul(word(i), C1), 15), C2);
    h1 = (Math.imul((rotl(h1, 19) + h2) | 0, 5) + 0x561ccd1b) | 0;
    h2 ^= Math.imul(rotl(Math.imul(word(i + 2), C2), 16), C3);
    h2 = (Math.imul((rotl(h2, 17) + h3) | 0, 5) + 0x0bcaa747) | 0;
    h3 ^= Math.imul(rotl(Math.imul(word(i + 4), C3), 17), C4);
    h3 = (Math.imul((rotl(h3, 15) + h4) | 0, 5) + 0x96cd1c35) | 0;
    h4 ^= Math.imul(rotl(Math.imul(word(i + 6), C4), 18), C1);
    h4 = (Math.imul((rotl(h4, 13) + h1) | 0, 5) + 0x32ac3b17) | 0;
  }
  // The tail block is zero-padded above; the length tells "a" from "a\0".
  h1 ^= n;
  h2 ^= n;
  h3 ^= n;
  h4 ^= n;
  h1 = (h1 + h2 + h3 + h4) | 0;
  h2 = mix32((h2 + h1) | 0);
  h3 = mix32((h3 + h1) | 0);
  h4 = mix32((h4 + h1) | 0);
  h1 = (mix32(h1) + h2 + h3 + h4) | 0;
  return [h1 >>> 0, (h2 + h1) >>> 0, (h3 + h1) >>> 0, (h4 + h1) >>> 0];
}

/** A 128-bit hash as 32 hexadecimal digits. */
export function hashHex(text: string, seed = 0): string {
  return hash128(text, seed)
    .map((w) => w.toString(16).padStart(8, "0"))
    .join("");
}

/** A number in [0, 1) that depends on the text and the seed only. */
export function hashUnit(text: string, seed = 0): number {
  const [a, b] = hash128(text, seed);
  return ((a >>> 5) * 67108864 + (b >>> 6)) / 9007199254740992;
}

function rotl(x: number, k: number): number {
  return (x << k) | (x >>> (32 - k));
}
