/** What the server of lean/ReplServer.lean answers, in the terms of a LeanSession. */

import { TextPositions } from "../../text/positions.ts";
import type {
  AuditAnswer,
  CheckAnswer,
  LeanMessage,
  LeanPosition,
  TacticStep,
  TheoremAudit,
  Verdict,
  VerifyAnswer,
} from "../session.ts";
import type { Outcome } from "./pool.ts";
import type { ServerAnswer } from "./server.ts";

interface Point {
  readonly line: number;
  readonly column: number;
}
interface RawMessage {
  readonly severity: "error" | "warning" | "info";
  readonly kind: string;
  readonly pos: Point;
  readonly endPos: Point | null;
  readonly data: string;
}
interface RawSpan {
  readonly pos: Point;
  readonly endPos: Point;
}
interface RawStep extends RawSpan {
  readonly kind: string;
  readonly depth: number;
  readonly goalsBefore: readonly string[] | null;
  readonly goalsAfter: readonly string[] | null;
}
/** The fields of answers to `check` and `verify`; `messages` is missing where the request itself was refused. */
interface RawAnswer {
  readonly messages?: readonly RawMessage[];
  readonly statementMessages?: readonly RawMessage[];
  readonly statementRefused?: string | null;
  readonly sorries?: readonly RawSpan[];
  readonly steps?: readonly RawStep[];
  readonly refused?: string;
  readonly refusedOffset?: number | null;
  readonly canceled?: boolean;
  readonly complete?: boolean;
  readonly ms?: number;
  readonly verdict?: string;
  readonly name?: string;
  readonly axioms?: readonly string[];
  readonly badAxioms?: readonly string[];
  readonly error?: string;
  readonly theorems?: readonly RawTheorem[];
}
interface RawTheorem extends RawSpan {
  readonly name: string;
  /** Whether Lean took it. */
  readonly found: boolean;
  readonly axioms: readonly string[];
  readonly badAxioms: readonly string[];
}

const SEVERITIES = { error: "error", warning: "warning", info: "information" } as const;
/** Lean's name of `sorry`. */
const SORRY = "sorryAx";
/** How Lean says that its own limit was reached. */
const HEARTBEATS = "maximum number of heartbeats";

const placeOf = ({ line, column }: Point, places: TextPositions): LeanPosition => ({
  ...{ line, column, index: places.of(line, column) },
});

function messagesOf(raw: readonly RawMessage[], places: TextPositions): LeanMessage[] {
  return raw.map(({ severity, kind, pos, endPos, data }) => {
    const start = placeOf(pos, places);
    return {
      ...{ severity: SEVERITIES[severity], kind: kind === "[anonymous]" ? "" : kind, start },
      ...{ end: endPos === null ? start : placeOf(endPos, places), text: data },
    };
  });
}

export const START: LeanPosition = { line: 1, column: 0, index: 0 };

/** An answer without anything of Lean's in it. */
export function emptyCheck(part: Partial<CheckAnswer>): CheckAnswer {
  return {
    ...{
      complete: false,
      messages: [],
      sorries: [],
      refused: null,
      failure: null,
      steps: [],
      milliseconds: 0,
    },
    ...part,
  };
}

function checkOf(raw: RawAnswer, code: string): CheckAnswer {
  const places = new TextPositions(code);
  const span = ({ pos, endPos }: RawSpan) => ({
    start: placeOf(pos, places),
    end: placeOf(endPos, places),
  });
  const step = (one: RawStep): TacticStep => {
    const { kind, depth, goalsBefore, goalsAfter } = one;
    return { ...span(one), kind, depth, goalsBefore, goalsAfter };
  };
  return {
    complete: raw.complete === true,
    messages: messagesOf(raw.messages ?? [], places),
    sorries: (raw.sorries ?? []).map(span),
    refused:
      raw.refused === undefined
        ? null
        : { reason: raw.refused, at: places.at(places.indexOfByte(raw.refusedOffset ?? 0)) },
    failure: raw.canceled === true ? "timeout" : null,
    steps: (raw.steps ?? []).map(step),
    milliseconds: raw.ms ?? 0,
  };
}

/** "3:4: text" of the first error. */
function firstError(messages: readonly LeanMessage[]): string {
  const error = messages.find(({ severity }) => severity === "error");
  return error === undefined ? "" : `${error.start.line}:${error.start.column}: ${error.text}`;
}

/** What axioms that must not be there make of a proof. */
function axiomVerdict(badAxioms: readonly string[]): { verdict: Verdict; detail: string } {
  const bad = [...new Set(badAxioms)].join(", ");
  return { verdict: bad === SORRY ? "sorry" : "forbidden axiom", detail: bad };
}

/** What errors make of a proof. */
function errorVerdict(messages: readonly LeanMessage[]): { verdict: Verdict; detail: string } {
  const spent = messages.some((m) => m.severity === "error" && m.text.includes(HEARTBEATS));
  return { verdict: spent ? "heartbeats" : "error", detail: firstError(messages) };
}

function verdictOf(raw: RawAnswer, check: CheckAnswer): { verdict: Verdict; detail: string } {
  const said = raw.verdict ?? "";
  switch (said) {
    case "ok":
      return { verdict: "proved", detail: "" };
    case "error":
      return errorVerdict(check.messages);
    case "refused":
      return { verdict: "refused", detail: check.refused?.reason ?? "" };
    case "forbidden axiom":
      return axiomVerdict(raw.badAxioms ?? []);
    case "bad preamble":
      return { verdict: "bad preamble", detail: raw.refused ?? firstError(check.messages) };
    case "bad statement": {
      const messages = messagesOf(raw.statementMessages ?? [], new TextPositions(""));
      const other = "the name is taken, or it is more than one theorem";
      return { verdict: "bad statement", detail: raw.statementRefused ?? (firstError(messages) || other) };
    }
    case "heartbeats":
    case "timeout":
    case "missing":
    case "changed statement":
      return { verdict: said, detail: "" };
  }
  if (said.startsWith("kernel: ")) return { verdict: "kernel", detail: said.slice("kernel: ".length) };
  throw new Error(`the proof server gave an unknown verdict: ${JSON.stringify(raw).slice(0, 500)}`);
}

/** Answer to a check. A preamble that does not hold answers with its own messages, placed in the preamble. */
export function checkAnswer(outcome: Outcome, code: string): CheckAnswer {
  if ("failure" in outcome) return emptyCheck({ failure: outcome.failure });
  if ("refused" in outcome) return emptyCheck({ refused: { reason: outcome.refused, at: START } });
  return checkOf(known(outcome.answer), code);
}

export function verifyAnswer(outcome: Outcome, code: string, preamble: string): VerifyAnswer {
  const empty = { name: "", axioms: [] };
  if ("failure" in outcome) {
    const { failure, words } = outcome;
    return { ...emptyCheck({ failure }), ...empty, verdict: failure, detail: words };
  }
  if ("refused" in outcome) {
    return { ...emptyCheck({}), ...empty, verdict: "bad preamble", detail: outcome.refused };
  }
  const raw = known(outcome.answer);
  const check = checkOf(raw, raw.verdict === "bad preamble" ? preamble : code);
  return {
    ...{ ...check, failure: raw.verdict === "timeout" ? "timeout" : check.failure, ...verdictOf(raw, check) },
    ...{ name: raw.name ?? "", axioms: raw.axioms ?? [] },
  };
}

export function auditAnswer(outcome: Outcome, code: string): AuditAnswer {
  const check = checkAnswer(outcome, code);
  if (!("answer" in outcome)) return { ...check, theorems: [] };
  const places = new TextPositions(code);
  const judged = ({ name, pos, endPos, found, axioms, badAxioms }: RawTheorem): TheoremAudit => {
    const [start, end] = [placeOf(pos, places), placeOf(endPos, places)];
    const errors = check.messages.filter(
      (m) => m.severity === "error" && m.start.index >= start.index && m.start.index <= end.index,
    );
    const at = { name, start, end, axioms };
    if (errors.length > 0) return { ...at, ...errorVerdict(errors) };
    if (!found) return { ...at, verdict: "missing", detail: "Lean did not take it" };
    if (badAxioms.length > 0) return { ...at, ...axiomVerdict(badAxioms) };
    return { ...at, verdict: "proved", detail: "" };
  };
  return { ...check, theorems: (known(outcome.answer).theorems ?? []).map(judged) };
}

/** The answer, unless it says that the request was wrong, which would be our fault. */
function known(answer: ServerAnswer): RawAnswer {
  if (typeof answer.error === "string")
    throw new Error(`the proof server refused a request: ${answer.error}`);
  return answer as RawAnswer;
}
