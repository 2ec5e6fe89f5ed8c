/**
 * Cuts a checked proof into segments, each with the tactic state behind it: the nodes of a search, and the cut points of
 * training examples. Rule `line` is that of DeepSeek-Prover-V1.5 (`prover/lean/proof.py`): after lines that end some tactic.
 * Rule `tactic` cuts only where the proof can go on, and counts the goals that wait outside a bullet or a case, so that
 * "no goals" means finished (`tactic-ends.ts`).
 */
import { NO_GOALS, stateComment, stateText } from "./states.ts";
import { type TacticEnd, tacticEnds } from "./tactic-ends.ts";
import { type CheckedProof, keptEnd } from "./truncate.ts";

export type SegmentRule = "line" | "tactic";

export interface Segment {
  /** Everything since the segment before, comments above its tactic included, and a line end. */
  readonly code: string;
  /** The state behind it. */
  readonly state: string;
  /** The state as a comment that follows the code in prompts. */
  readonly comment: string;
  /** Blanks before the line where its first tactic starts. */
  readonly indent: number;
  /** Column, in code points, where the next tactic of the same block has to start. */
  readonly column: number;
}

export interface SegmentOptions {
  /** Default `tactic`. */
  readonly rule?: SegmentRule;
  /** Where the proof ends in the text (default: the end of the text). */
  readonly end?: number;
}

/**
 * The segments of the part of a proof that may stay (`keptEnd`). Their codes add up to the text from `proofStart` to the end of
 * the last one's line. None if the check came to no end of its own.
 * @param text what was checked: statement and proof
 * @param proofStart index where the proof begins
 */
export function segment(
  text: string,
  proofStart: number,
  answer: CheckedProof,
  { rule = "tactic", end = text.length }: SegmentOptions = {},
): Segment[] {
  const kept = keptEnd(answer, proofStart, end);
  if (kept <= proofStart) return [];
  const whole = text.slice(0, kept);
  const ends = rule === "line" ? anyTacticEnds(answer, kept) : tacticEnds(text, proofStart, kept, answer);
  ends.sort((a, b) => a.end - b.end || a.start - b.start);
  const segments: Segment[] = [];
  let from = proofStart;
  let next = 0;
  let first = Number.POSITIVE_INFINITY;
  for (let lineStart = firstLine(whole, proofStart); lineStart < kept; ) {
    const newline = whole.indexOf("\n", lineStart);
    const lineEnd = newline < 0 ? kept : newline;
    const last = lineStart + lastCode(whole.slice(lineStart, lineEnd));
    let closes: TacticEnd | null = null;
    for (; next < ends.length && ends[next].end <= lineEnd; next++) {
      const tactic = ends[next];
      first = Math.min(first, tactic.start);
      if (tactic.end > last && (closes === null || tactic.start < closes.start)) closes = tactic;
    }
    if (closes !== null) {
      const indent = indentAt(whole, first);
      segments.push(
        made(whole.slice(from, lineEnd), stateText(closes.goals), indent, columnOf(whole, closes.start)),
      );
      from = lineEnd + 1;
      first = Number.POSITIVE_INFINITY;
    }
    lineStart = lineEnd + 1;
  }
  if (answer.complete) finish(segments, whole.slice(from), rule);
  return segments.filter(({ code }) => code.trim() !== "");
}

function made(code: string, state: string, indent: number, column: number): Segment {
  return { code: `${code}\n`, state, comment: stateComment(state, indent), indent, column };
}

/** A complete proof ends without goals: what follows the last cut, such as a term, is a segment of its own. */
function finish(segments: Segment[], rest: string, rule: SegmentRule): void {
  const last = segments.at(-1);
  const indent = segments[0]?.indent ?? 2;
  if (last?.state === NO_GOALS && last.indent === indent) return;
  const code = rest.trimEnd();
  if (code !== "") segments.push(made(code, NO_GOALS, indent, indent));
  else if (rule === "tactic" && last !== undefined && last.state !== NO_GOALS) {
    segments[segments.length - 1] = {
      ...last,
      state: NO_GOALS,
      comment: stateComment(NO_GOALS, last.indent),
    };
  }
}

/** All tactics that ran and end in the kept text, with their own states. */
function anyTacticEnds({ steps }: CheckedProof, kept: number): TacticEnd[] {
  return steps.flatMap(({ start, end, goalsAfter }) =>
    goalsAfter !== null && end.index <= kept
      ? [{ start: start.index, end: end.index, goals: goalsAfter }]
      : [],
  );
}

/** Start of the first line that lies in the proof as a whole. */
function firstLine(text: string, proofStart: number): number {
  if (proofStart === 0 || text[proofStart - 1] === "\n") return proofStart;
  const newline = text.indexOf("\n", proofStart);
  return newline < 0 ? text.length : newline + 1;
}

/** Column of a line's last character that is neither blank nor comment; beyond the line if it may end no segment. */
function lastCode(line: string): number {
  let last = line.length + 1;
  for (let i = 0; i < line.length; i++) {
    if (line.startsWith("--", i)) return last;
    if (line.startsWith("/-", i)) {
      const close = line.indexOf("-/", i + 2);
      if (close < 0) return line.length + 1;
      i = close + 1;
    } else if (line[i] !== " ") last = i;
  }
  return last;
}

const lineStartOf = (text: string, at: number) => text.lastIndexOf("\n", at - 1) + 1;

function indentAt(text: string, at: number): number {
  const start = lineStartOf(text, at);
  let i = start;
  while (text[i] === " ") i++;
  return i - start;
}

/** Code points before a place on its line. */
const columnOf = (text: string, at: number) => [...text.slice(lineStartOf(text, at), at)].length;
