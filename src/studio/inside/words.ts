/** How tokens, probabilities and weights are written. */
import { formatPercent } from "../../text/units.ts";

const SIGNS: Readonly<Record<string, string>> = { "\n": "↵", "\r": "␍", "\t": "⇥" };

/** Text of a token with what would not be seen: spaces at its ends, breaks, bytes that are no character. */
export function shownToken(text: string): string {
  if (text === "") return "(no text)";
  return text
    .replaceAll(/^ +| +$/g, (spaces) => "␣".repeat(spaces.length))
    .replaceAll(/[\n\r\t]/g, (sign) => SIGNS[sign]);
}

/** A probability by its logarithm. */
export function shownProbability(logprob: number): string {
  const probability = Math.exp(logprob);
  return probability > 0 && probability < 0.0005 ? "under 0.1%" : formatPercent(probability);
}

export const shownWeight = (weight: number) => weight.toFixed(3);

/** Least probability of each shade, the likeliest first. */
export const SHADES = [0.9, 0.5, 0.2, 0.05, 0] as const;

export const shadeOf = (logprob: number) => SHADES.findIndex((least) => Math.exp(logprob) >= least);
