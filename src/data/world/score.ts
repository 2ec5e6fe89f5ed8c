/**
 * Scores of answers: the same tokens, but boxes by their overlap. `find` needs half of it, a description is compared object by
 * object.
 */
import { COLORS, SHAPES, SIZES } from "./names.ts";
import type { Box } from "./raster.ts";
import type { WorldSample } from "./sample.ts";
import { worldPieces } from "./vocabulary.ts";

/** Boxes that overlap by this much show the same thing. */
const LEAST_OVERLAP = 0.5;

/** Intersection over union of two boxes; 0 for boxes without area. */
export function boxOverlap(a: Box, b: Box): number {
  const area = ([x1, y1, x2, y2]: Box) => Math.max(0, x2 - x1) * Math.max(0, y2 - y1);
  const shared = area([
    Math.max(a[0], b[0]),
    Math.max(a[1], b[1]),
    Math.min(a[2], b[2]),
    Math.min(a[3], b[3]),
  ]);
  const union = area(a) + area(b) - shared;
  return union > 0 ? shared / union : 0;
}

/** A phrase with its box, both as in the answer. */
interface Grounded {
  readonly words: string;
  readonly box: Box;
}

/** `<|ref|>words<|/ref|><|det|>[[x1, y1, x2, y2]]<|/det|>`, as pieces with a space between them. */
const GROUNDED =
  /<\|ref\|> ([a-z ]+) <\|\/ref\|> <\|det\|> \[ \[ ((?:\d )+), ((?:\d )+), ((?:\d )+), ((?:\d )+)\] \] <\|\/det\|>/g;

function groundedIn(text: string): Grounded[] {
  // Tokens decide, not spaces: digits belong together however they are printed.
  return Array.from(worldPieces(text).join(" ").matchAll(GROUNDED), ([, words, ...numbers]) => {
    const [x1, y1, x2, y2] = numbers.map((digits) => Number(digits.replaceAll(" ", "")));
    return { words, box: [x1, y1, x2, y2] };
  });
}

export interface ExactScore {
  readonly kind: "exact";
  readonly correct: boolean;
}

export interface FindScore {
  readonly kind: "find";
  /** Whether the boxes overlap by at least half. */
  readonly correct: boolean;
  /** Intersection over union; 0 if the answer has no box. */
  readonly overlap: number;
}

export interface DescribeScore {
  readonly kind: "describe";
  /** Whether all objects were found and no other named. */
  readonly correct: boolean;
  /** Objects named with size, color and shape, whose boxes overlap by at least half. */
  readonly matched: number;
  /** Objects that the answer names, well formed or not. */
  readonly named: number;
  /** Objects of the scene. */
  readonly present: number;
  readonly precision: number;
  readonly recall: number;
  readonly f1: number;
}

export type AnswerScore = ExactScore | FindScore | DescribeScore;

/** Sums the counts of descriptions: precision, recall and F1 over all their objects. */
export function describeTotals(
  scores: readonly Pick<DescribeScore, "matched" | "named" | "present">[],
): Pick<DescribeScore, "matched" | "named" | "present" | "precision" | "recall" | "f1"> {
  let [matched, named, present] = [0, 0, 0];
  for (const score of scores) {
    matched += score.matched;
    named += score.named;
    present += score.present;
  }
  const precision = named > 0 ? matched / named : 0;
  const recall = present > 0 ? matched / present : 0;
  const f1 = named + present > 0 ? (2 * matched) / (named + present) : 0;
  return { matched, named, present, precision, recall, f1 };
}

const TRIPLE = new RegExp(`^a (${SIZES.join("|")}) (${COLORS.join("|")}) (${SHAPES.join("|")})$`);

function scoreDescription(expected: string, given: string): DescribeScore {
  const present = groundedIn(expected);
  // Objects do not overlap: no box can match two of them. One that is named twice is found once.
  const found = new Set<Grounded>();
  for (const { words, box } of groundedIn(given)) {
    if (!TRIPLE.test(words)) continue;
    const match = present.find(
      (object) => object.words === words && boxOverlap(object.box, box) >= LEAST_OVERLAP,
    );
    if (match !== undefined) found.add(match);
  }
  const named = worldPieces(given).filter((piece) => piece === "<|ref|>").length;
  const totals = describeTotals([{ matched: found.size, named, present: present.length }]);
  return { kind: "describe", correct: totals.f1 === 1, ...totals };
}

function scoreFinding(expected: string, given: string): FindScore {
  const [wanted] = groundedIn(expected);
  const [found] = groundedIn(given);
  const overlap = found === undefined ? 0 : boxOverlap(wanted.box, found.box);
  return { kind: "find", correct: overlap >= LEAST_OVERLAP, overlap };
}

/** Scores an answer to a sample's question. `given` is text, or its pieces joined in any way: only tokens count. */
export function scoreAnswer(
  { task, answer }: Pick<WorldSample, "task" | "answer">,
  given: string,
): AnswerScore {
  if (task === "find") return scoreFinding(answer, given);
  if (task === "describe") return scoreDescription(answer, given);
  const [expected, pieces] = [worldPieces(answer), worldPieces(given)];
  const correct = expected.length === pieces.length && expected.every((piece, i) => piece === pieces[i]);
  return { kind: "exact", correct };
}
