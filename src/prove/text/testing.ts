/** What tests of the prover share: its fixtures, and answers of a verifier from positions as they stand in files. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { CheckAnswer, TacticStep } from "../lean/session.ts";
import { TextPositions } from "./positions.ts";
import { NO_GOALS } from "./states.ts";

/** A file of test/fixtures/prover. */
export const proverFixture = <T>(name: string): T =>
  JSON.parse(
    readFileSync(fileURLToPath(new URL(`../../../test/fixtures/prover/${name}`, import.meta.url)), "utf8"),
  ) as T;

/** An answer of the reference's verifier, with tactics by offsets in code points. */
export interface RecordedAnswer {
  readonly errors?: readonly { pos: { line: number; column: number }; data: string }[];
  readonly sorries?: readonly { pos: { line: number; column: number } }[];
  readonly complete: boolean;
  readonly tactics?: readonly { start: number; end: number; stateAfter: string }[];
}

/** It as our sessions answer about the text. */
export function recordedAnswer(text: string, recorded: RecordedAnswer): CheckAnswer {
  const positions = new TextPositions(text);
  const place = ({ pos }: { pos: { line: number; column: number } }) =>
    positions.at(positions.of(pos.line, pos.column));
  const at = (offset: number) => positions.at(positions.indexOf(offset));
  const spans = (recorded.tactics ?? []).map((tactic) => ({ ...tactic, depth: 0 }));
  for (const span of spans) {
    span.depth = spans.filter(
      ({ start, end }) => start <= span.start && end >= span.end && end - start > span.end - span.start,
    ).length;
  }
  spans.sort((a, b) => a.start - b.start || a.depth - b.depth);
  return {
    complete: recorded.complete,
    messages: (recorded.errors ?? []).map((error) => ({
      severity: "error",
      kind: "",
      start: place(error),
      end: place(error),
      text: error.data,
    })),
    sorries: (recorded.sorries ?? []).map((sorry) => ({ start: place(sorry), end: place(sorry) })),
    refused: null,
    failure: recorded.errors === undefined ? "timeout" : null,
    steps: spans.map(
      ({ start, end, stateAfter, depth }): TacticStep => ({
        start: at(start),
        end: at(end),
        kind: "",
        depth,
        goalsBefore: null,
        goalsAfter: stateAfter === NO_GOALS ? [] : stateAfter.split("\n\n"),
      }),
    ),
    milliseconds: 1,
  };
}

/** A proof with what Lean 4.28 answered about it, in code points (lean-steps.json). */
export interface RecordedProof {
  readonly name: string;
  readonly statement: string;
  readonly proof: string;
  readonly answer: {
    readonly complete: boolean;
    readonly messages: readonly {
      severity: "error" | "warning";
      kind: string;
      start: number;
      text: string;
    }[];
    readonly sorries: readonly { start: number; end: number }[];
    readonly steps: readonly {
      start: number;
      end: number;
      depth: number;
      kind: string;
      before: string[] | null;
      after: string[] | null;
    }[];
  };
}

/** The recorded answer as our sessions give it. */
export function leanAnswer({ statement, proof, answer }: RecordedProof): CheckAnswer {
  const positions = new TextPositions(statement + proof);
  const at = (offset: number) => positions.at(positions.indexOf(offset));
  return {
    complete: answer.complete,
    messages: answer.messages.map(({ severity, kind, start, text }) => ({
      severity,
      kind,
      text,
      start: at(start),
      end: at(start),
    })),
    sorries: answer.sorries.map(({ start, end }) => ({ start: at(start), end: at(end) })),
    refused: null,
    failure: null,
    steps: answer.steps.map(({ start, end, depth, kind, before, after }) => ({
      start: at(start),
      end: at(end),
      kind,
      depth,
      goalsBefore: before,
      goalsAfter: after,
    })),
    milliseconds: 1,
  };
}
