/**
 * What the browser test asks of the picture world on both sides, Node and Chromium: hashes of samples and what the checker
 * reads. The package comes as an argument, so that this file loads in either.
 */
export type DataPackage = typeof import("../../src/data/index.ts");
type WorldStream = import("../../src/data/index.ts").WorldStream;
type FoundObject = import("../../src/data/index.ts").FoundObject;

/** The part of a golden hash that says what was hashed. */
export interface WorldCase {
  readonly stream: number;
  /** 0 for text alone. */
  readonly size: number;
  readonly faint: boolean;
  readonly seed: number;
  readonly from: number;
  readonly n: number;
}

export interface WorldReport {
  /** For each case the first 32 digits of SHA-256 over pixels and compact JSON of its samples. */
  readonly hashes: readonly string[];
  /** What the checker reads in some scenes. */
  readonly found: readonly (readonly FoundObject[])[];
}

async function hashOf(
  { worldSample }: DataPackage,
  stream: WorldStream,
  { size, faint, seed, from, n }: WorldCase,
): Promise<string> {
  const parts: Uint8Array[] = [];
  const utf8 = new TextEncoder();
  for (let i = 0; i < n; i++) {
    const options = size > 0 ? { size, faint } : {};
    const { image, task, question, answer } = worldSample(stream, seed, from + i, options);
    if (image !== null) parts.push(image.rgb);
    parts.push(utf8.encode(JSON.stringify([task, question, answer])));
  }
  const bytes = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

export async function worldReport(data: DataPackage, cases: readonly WorldCase[]): Promise<WorldReport> {
  const streams = new Map(Object.entries(data.WORLD_STREAMS).map(([name, number]) => [number, name]));
  const hashes: string[] = [];
  for (const each of cases) {
    hashes.push(await hashOf(data, streams.get(each.stream as 1) as WorldStream, each));
  }
  const found = Array.from({ length: 10 }, (_, i) =>
    data.readScene(data.worldSample("captions", 1, i, { size: 64 * (1 + (i % 2)) }).image!),
  );
  return { hashes, found };
}
