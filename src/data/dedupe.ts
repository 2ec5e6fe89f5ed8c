/**
 * Removal of exact and near duplicates: a hash of the normalized text, then MinHash signatures over word or
 * character shingles with LSH banding (Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3).
 * Streaming: signatures of the kept texts stay in memory (4 bytes per hash), texts do not.
 */

import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Corpus, TextFile } from "./corpus.ts";
import { hashHex, mix32 } from "./hash.ts";

export interface DedupeOptions {
  /** Jaccard similarity of shingle sets from which a text counts as a near duplicate (default 0.85). */
  readonly threshold?: number;
  /** Look for near duplicates as well as exact ones (default true). */
  readonly near?: boolean;
  readonly unit?: "word" | "char";
  /** Units per shingle (default 5 words or 12 characters). */
  readonly shingle?: number;
  /** Hash functions per signature (default 128; the estimate's standard deviation is at most 0.5 / sqrt(n)). */
  readonly hashes?: number;
  readonly seed?: number;
}

export type DedupeVerdict =
  | { readonly kind: "unique" }
  | { readonly kind: "exact"; readonly of: string }
  | { readonly kind: "near"; readonly of: string; readonly similarity: number };

export interface DedupeReport {
  seen: number;
  kept: number;
  exact: number;
  near: number;
}

/** Text with unified line ends and without trailing spaces, what exact comparison looks at. */
export function normalizeText(text: string): string {
  return text.replace(/[ \t\r]+$/gm, "").trim();
}

/** Bands and rows per band for a signature: most rows with at least 99% recall at the threshold. */
export function chooseBands(hashes: number, threshold: number): { bands: number; rows: number } {
  for (let rows = hashes; rows > 1; rows--) {
    const bands = Math.floor(hashes / rows);
    if (1 - (1 - threshold ** rows) ** bands >= 0.99) return { bands, rows };
  }
  return { bands: hashes, rows: 1 };
}

/** Sorted distinct 32-bit hashes of a text's shingles; a text shorter than one shingle has a single one. */
export function shingleHashes(text: string, unit: "word" | "char", size: number): Uint32Array {
  const words = unit === "word" ? wordHashes(text) : null;
  // Texts without a single word (tables of signs) would all look alike.
  const units = words && words.length > 0 ? words : charHashes(text);
  const count = Math.max(1, units.length - size + 1);
  const hashes = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    let h = 0x9747b28c;
    for (let j = i; j < Math.min(i + size, units.length); j++)
      h = (Math.imul(h ^ units[j], 0x5bd1e995) + 0x6b43a9b5) | 0;
    hashes[i] = mix32(h);
  }
  hashes.sort();
  let distinct = 0;
  for (let i = 0; i < count; i++) if (i === 0 || hashes[i] !== hashes[i - 1]) hashes[distinct++] = hashes[i];
  return hashes.subarray(0, distinct);
}

/** Jaccard similarity of two sorted sets. */
export function jaccard(a: Uint32Array, b: Uint32Array): number {
  let common = 0;
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    if (a[i] === b[j]) {
      common++;
      i++;
      j++;
    } else if (a[i] < b[j]) i++;
    else j++;
  }
  const union = a.length + b.length - common;
  return union === 0 ? 1 : common / union;
}

/** Decides text by text whether it was seen before; kept texts are represented by their signatures. */
export class Deduplicator {
  readonly report: DedupeReport = { seen: 0, kept: 0, exact: 0, near: 0 };
  readonly #near: boolean;
  readonly #unit: "word" | "char";
  readonly #size: number;
  readonly #threshold: number;
  readonly #hashes: number;
  readonly #rows: number;
  readonly #multipliers: Int32Array;
  readonly #offsets: Int32Array;
  readonly #exact = new Map<string, number>();
  readonly #paths: string[] = [];
  readonly #signatures: Uint32Array[] = [];
  /** One map per band: a single map of all bands would meet the engine's limit of 2^24 keys sooner. */
  readonly #bands: Map<number, number[]>[];

  constructor(options: DedupeOptions = {}) {
    const { threshold = 0.85, near = true, unit = "word", hashes = 128, seed = 0 } = options;
    const size = options.shingle ?? (unit === "word" ? 5 : 12);
    if (!(threshold > 0 && threshold <= 1)) {
      throw new ConfigError("must lie in (0, 1]", { where: "dedupe.threshold", found: threshold });
    }
    if (!Number.isInteger(hashes) || hashes < 1 || !Number.isInteger(size) || size < 1) {
      throw new ConfigError("must be positive integers", {
        where: "dedupe.hashes, dedupe.shingle",
        found: [hashes, size],
      });
    }
    const { bands, rows } = chooseBands(hashes, threshold);
    this.#near = near;
    this.#unit = unit;
    this.#size = size;
    this.#threshold = threshold;
    this.#hashes = hashes;
    this.#rows = rows;
    const random = new Random(seed);
    this.#multipliers = Int32Array.from({ length: hashes }, () => random.u32() | 1);
    this.#offsets = Int32Array.from({ length: hashes }, () => random.u32() | 0);
    this.#bands = Array.from({ length: bands }, () => new Map());
  }

  /** Tells whether the text is new; a new text is remembered under its path. `normal` is its normalized form. */
  add(file: TextFile, normal = normalizeText(file.text)): DedupeVerdict {
    this.report.seen++;
    const key = hashHex(normal);
    const same = this.#exact.get(key);
    if (same !== undefined) {
      this.report.exact++;
      return { kind: "exact", of: this.#paths[same] };
    }
    if (!this.#near) {
      this.#remember(key, file.path);
      return { kind: "unique" };
    }
    const signature = this.signature(normal);
    const keys = this.#bands.map((_, band) => bandKey(signature, band * this.#rows, this.#rows));
    const checked = new Set<number>();
    let best = -1;
    let similarity = 0;
    for (let band = 0; band < keys.length; band++) {
      for (const other of this.#bands[band].get(keys[band]) ?? []) {
        if (checked.has(other)) continue;
        checked.add(other);
        const estimate = agreement(signature, this.#signatures[other]);
        if (estimate > similarity) {
          best = other;
          similarity = estimate;
        }
      }
    }
    if (best >= 0 && similarity >= this.#threshold) {
      this.report.near++;
      // An exact copy of this near duplicate is then found without a signature.
      this.#exact.set(key, best);
      return { kind: "near", of: this.#paths[best], similarity };
    }
    const index = this.#remember(key, file.path);
    this.#signatures.push(signature);
    for (let band = 0; band < keys.length; band++) {
      const list = this.#bands[band].get(keys[band]);
      if (list) list.push(index);
      else this.#bands[band].set(keys[band], [index]);
    }
    return { kind: "unique" };
  }

  /** MinHash signature of an already normalized text: `hashes` minima of 32-bit permuted shingle hashes. */
  signature(normalText: string): Uint32Array {
    const shingles = shingleHashes(normalText, this.#unit, this.#size);
    const signature = new Uint32Array(this.#hashes);
    for (let k = 0; k < this.#hashes; k++) {
      const a = this.#multipliers[k];
      const b = this.#offsets[k];
      let min = 0xffffffff;
      for (let i = 0; i < shingles.length; i++) {
        const h = (Math.imul(shingles[i], a) + b) >>> 0;
        if (h < min) min = h;
      }
      signature[k] = min;
    }
    return signature;
  }

  #remember(key: string, path: string): number {
    const index = this.#paths.push(path) - 1;
    this.#exact.set(key, index);
    this.report.kept++;
    return index;
  }
}

/** Fraction of equal positions of two signatures: an unbiased estimate of the Jaccard similarity. */
export function agreement(a: Uint32Array, b: Uint32Array): number {
  let equal = 0;
  for (let i = 0; i < a.length; i++) if (a[i] === b[i]) equal++;
  return equal / a.length;
}

/** Passes on the texts that are neither exact nor near duplicates of an earlier one. */
export async function* dedupe(
  corpus: Corpus,
  deduplicator: Deduplicator = new Deduplicator(),
): AsyncGenerator<TextFile> {
  for await (const file of corpus) if (deduplicator.add(file).kind === "unique") yield file;
}

function bandKey(signature: Uint32Array, start: number, rows: number): number {
  let low = 0x811c9dc5;
  let high = 0x1b873593;
  for (let i = start; i < start + rows; i++) {
    low = mix32(low ^ signature[i]);
    high = mix32((high + signature[i]) | 0);
  }
  return (high >>> 12) * 0x100000000 + low;
}

function wordHashes(text: string): Int32Array {
  const hashes = new Int32Array(text.length);
  let count = 0;
  let h = 0;
  let inWord = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    // Scripts without spaces (CJK and beyond) count each unit as a word.
    const alone = c >= 0x2e80;
    const part =
      (c >= 48 && c <= 57) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95 || c >= 0xaa;
    if (inWord && (alone || !part)) {
      hashes[count++] = h;
      inWord = false;
    }
    if (alone) hashes[count++] = Math.imul(c, 0x9e3779b1);
    else if (part) {
      h = Math.imul((inWord ? h : 0x811c9dc5) ^ c, 0x01000193);
      inWord = true;
    }
  }
  if (inWord) hashes[count++] = h;
  return hashes.subarray(0, count);
}

function charHashes(text: string): Int32Array {
  const hashes = new Int32Array(text.length);
  for (let i = 0; i < text.length; i++) hashes[i] = Math.imul(text.charCodeAt(i) + 1, 0x9e3779b1);
  return hashes;
}
