/** The golden values of the picture world for tests: `test/fixtures/world`. */
import { readFileSync } from "node:fs";
import { inflateSync } from "node:zlib";
import type { RgbImage } from "../../vision/image/image.ts";
import type { FoundObject } from "./checker.ts";
import type { WorldStream } from "./generator.ts";
import { WORLD_STREAMS } from "./generator.ts";
import type { ObjectSpec, WorldObject, WorldRelation } from "./index.ts";

export type Triple = readonly [task: string, question: string, answer: string];

interface Pixels {
  readonly size: number;
  readonly pixels: string;
}

export interface Golden {
  readonly generator: readonly {
    readonly seed: number;
    readonly stream: number;
    readonly index: number;
    readonly state: number;
    readonly next: readonly number[];
    readonly ints: readonly (readonly [n: number, drawn: number])[];
  }[];
  readonly mix: readonly (readonly [x: number, mixed: number])[];
  readonly hashes: readonly {
    readonly name: string;
    readonly stream: number;
    readonly size: number;
    readonly faint: boolean;
    readonly seed: number;
    readonly from: number;
    readonly n: number;
    readonly sha256: string;
  }[];
  readonly texts: Readonly<Record<string, readonly Triple[]>>;
  readonly scenes: readonly (Pixels & {
    readonly seed: number;
    readonly stream: number;
    readonly index: number;
    readonly text: Triple;
    readonly objects: readonly WorldObject[];
  })[];
  readonly tokens: readonly { readonly text: string; readonly ids: readonly number[] }[];
  readonly checker: readonly (Pixels & {
    readonly name: string;
    readonly category: string;
    readonly caption: string;
    readonly want: readonly ObjectSpec[];
    readonly relation: WorldRelation | null;
    readonly found: readonly FoundObject[];
    readonly loose: boolean;
    readonly strict: boolean;
  })[];
}

export const golden: Golden = JSON.parse(
  readFileSync(new URL("../../../test/fixtures/world/golden.json", import.meta.url), "utf8"),
);

export function imageOf({ size, pixels }: Pixels): RgbImage {
  return { width: size, height: size, rgb: new Uint8Array(inflateSync(Buffer.from(pixels, "base64"))) };
}

/** The stream of a number. */
export function streamOf(number: number): WorldStream {
  return (Object.keys(WORLD_STREAMS) as WorldStream[]).find((name) => WORLD_STREAMS[name] === number)!;
}
