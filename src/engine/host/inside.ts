/**
 * The inside of an answer on its way between threads: what the pass of each token shows, in typed arrays. A token of
 * DeepSeek-V2-Lite takes 6 experts in each of 26 layers: 156 bytes of ids and 312 of weights.
 */
import { f32ToF16 } from "../../tensor/float-formats.ts";
import type { WeightedExperts } from "../expert-report.ts";
import type { GenerationStats } from "../generate.ts";
import type { EngineStats } from "../generation.ts";
import type { TokenInside } from "../token-sampler.ts";

/** Alternatives that each token is told with. */
export const INSIDE_ALTERNATIVES = 5;

/** The experts of a token; arrays as in `WeightedExperts`. */
export interface PackedExperts extends Pick<WeightedExperts, "topK" | "ids"> {
  /** Bits of 16-bit floats, to which the weights are rounded. */
  readonly weights: Uint16Array;
}

/** A token with its text. */
export interface NamedToken {
  readonly id: number;
  readonly text: string;
}

/** One that was possible. */
export interface ScoredToken extends NamedToken {
  /** Natural logarithm of the model's own probability. */
  readonly logprob: number;
}

/** What the engine did for one token. */
export interface InsideEntry extends ScoredToken {
  /** The likeliest, best first. */
  readonly alternatives: readonly ScoredToken[];
  /** Whether the prediction module had drafted it. */
  readonly drafted: boolean;
  /** The draft that was refused in its place; null for none. */
  readonly refused: NamedToken | null;
  /** Of the position before it, whose logits chose it; null for models without. */
  readonly experts: PackedExperts | null;
}

/** How a picture of the prompt was cut. */
export interface InsidePicture {
  /** Pixels. */
  readonly width: number;
  readonly height: number;
  /** Tokens of the prompt that stand for it. */
  readonly tokens: number;
  /** Side of what the tower sees at once, in pixels of its own. */
  readonly view: number;
  /** Tiles across and down beside the view of the whole picture; `[0, 0]` where that is all there is. */
  readonly tiles: readonly [across: number, down: number];
  /** What each tile shows, row by row: corners in pixels of the picture, without what lies around it. */
  readonly areas: readonly (readonly [x1: number, y1: number, x2: number, y2: number])[];
}

/** What an answer took. */
export interface InsideFigures {
  /** From the request's arrival to its first token; null without one. */
  readonly firstTokenMs: number | null;
  /** Of that, in the engine's queue. */
  readonly queueMs: number;
  /** Tokens a second, the first one not counted; null for fewer than two. */
  readonly tokensPerSecond: number | null;
  readonly promptTokens: number;
  /** Of those, tokens that were found in a cache. */
  readonly cachedTokens: number;
  /** Of the answer, with the one that ended it. */
  readonly tokens: number;
  /** Bytes of caches that prompt and answer fill. */
  readonly cacheBytes: number;
  /** Drafts, and those that were accepted; null where nothing drafts. */
  readonly drafts: { readonly drafted: number; readonly accepted: number } | null;
}

export function packedInside(
  token: ScoredToken,
  alternatives: readonly ScoredToken[],
  { drafted, refused, experts }: TokenInside,
  textOf: (id: number) => string,
): InsideEntry {
  return {
    ...token,
    alternatives,
    drafted,
    refused: refused === null ? null : { id: refused, text: textOf(refused) },
    experts: experts && { topK: experts.topK, ids: experts.ids, weights: f32ToF16(experts.weights) },
  };
}

/** @param firstTokenMs from the request's arrival to its first token */
export function figuresOf(stats: EngineStats, firstTokenMs: number | null): InsideFigures {
  const { queueMs, promptTokens, cachedTokens, generatedTokens, cacheBytes, speculative } = stats;
  return {
    firstTokenMs,
    queueMs,
    tokensPerSecond: tokensPerSecond(stats),
    promptTokens,
    cachedTokens,
    tokens: generatedTokens,
    cacheBytes,
    drafts: speculative ? { drafted: speculative.drafted, accepted: speculative.accepted } : null,
  };
}

function tokensPerSecond({ generatedTokens, decodeMs }: GenerationStats): number | null {
  return generatedTokens < 2 || decodeMs === 0 ? null : ((generatedTokens - 1) / decodeMs) * 1000;
}

/** Bytes of what tokens show, as they are kept. */
export function insideBytes(entries: readonly InsideEntry[]): number {
  let bytes = 0;
  for (const { experts, ...rest } of entries) {
    bytes +=
      JSON.stringify(rest).length + (experts ? experts.ids.byteLength + experts.weights.byteLength : 0);
  }
  return bytes;
}
