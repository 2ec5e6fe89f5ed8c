/**
 * Answers of the verifier of DeepSeek-Prover-V1.5 (`prover/lean/verifier.py`), read and written: its scripts read our logs, and
 * segments can be cut from theirs.
 */
import type { CheckAnswer, LeanMessage, LeanPosition, TacticStep } from "../lean/session.ts";
import { TextPositions } from "../text/positions.ts";
import { NO_GOALS, stateText } from "../text/states.ts";
import { Fields, isWhole, type LineColumn } from "./fields.ts";

export interface VerifierMessage {
  readonly severity: "error" | "warning" | "info";
  readonly pos: LineColumn;
  readonly endPos: LineColumn | null;
  readonly data: string;
}

export interface VerifierAnswer {
  readonly sorries: readonly {
    readonly pos: LineColumn;
    readonly endPos: LineColumn;
    readonly goal: string;
  }[];
  readonly errors: readonly VerifierMessage[];
  readonly warnings: readonly VerifierMessage[];
  readonly infos: readonly VerifierMessage[];
  /** Places are offsets in code points. */
  readonly ast: {
    readonly tactics: readonly {
      readonly pos: number;
      readonly endPos: number;
      readonly stateBefore: string;
      readonly stateAfter: string;
    }[];
  };
  readonly tactics: readonly never[];
  readonly system_messages: string;
  /** Why there is no answer; then `errors` and `ast` are missing. */
  readonly system_errors: string | null;
  readonly verified_code: string;
  /** No errors. */
  readonly pass: boolean;
  /** No errors, no `sorry`, no warning that says "failed". */
  readonly complete: boolean;
  /** Seconds. */
  readonly verify_time: number;
}

/** What is left of it where the verifier came to no end. */
export type BrokenAnswer = Pick<
  VerifierAnswer,
  "system_messages" | "system_errors" | "verified_code" | "pass" | "complete" | "verify_time"
>;

/** Our answer about `text` as that verifier writes it. */
export function verifierAnswer(text: string, answer: CheckAnswer): VerifierAnswer | BrokenAnswer {
  const common = {
    system_messages: "",
    system_errors: answer.failure ?? (answer.refused === null ? null : `refused: ${answer.refused.reason}`),
    verified_code: text,
    verify_time: answer.milliseconds / 1000,
  };
  if (answer.failure !== null) return { ...common, pass: false, complete: false };
  const positions = new TextPositions(text);
  const messages = (
    severity: LeanMessage["severity"],
    name: VerifierMessage["severity"],
  ): VerifierMessage[] =>
    answer.messages
      .filter((message) => message.severity === severity)
      .map(({ start, end, text: data }) => ({ severity: name, pos: place(start), endPos: place(end), data }));
  const goalAt = ({ index }: LeanPosition) =>
    answer.steps.find(({ start }) => start.index === index)?.goalsBefore?.[0] ?? "";
  const errors = messages("error", "error");
  return {
    ...common,
    sorries: answer.sorries.map(({ start, end }) => ({
      pos: place(start),
      endPos: place(end),
      goal: goalAt(start),
    })),
    errors,
    warnings: messages("warning", "warning"),
    infos: messages("information", "info"),
    ast: {
      tactics: answer.steps.flatMap(({ start, end, goalsBefore, goalsAfter }) =>
        goalsAfter === null
          ? []
          : [
              {
                pos: positions.offsetOf(start.index),
                endPos: positions.offsetOf(end.index),
                stateBefore: stateText(goalsBefore ?? []),
                stateAfter: stateText(goalsAfter),
              },
            ],
      ),
    },
    tactics: [],
    pass: errors.length === 0 && answer.refused === null,
    complete: answer.complete,
  };
}

const place = ({ line, column }: LeanPosition): LineColumn => ({ line, column });

/**
 * Such an answer as ours. Goals after a tactic are told apart by the empty lines between them.
 * @param where names the file in errors
 * @throws FormatError with place and field
 */
export function readVerifierAnswer(value: unknown, where: string): { text: string; answer: CheckAnswer } {
  const fields = new Fields(value, where);
  const text = fields.optionalText("verified_code") ?? "";
  const positions = new TextPositions(text);
  const at = (of: Fields, name: string): LeanPosition => {
    const place = of.object(name);
    return positions.at(positions.of(place.whole("line"), place.whole("column")));
  };
  const seconds = fields.raw("verify_time");
  const base = {
    milliseconds: typeof seconds === "number" && seconds >= 0 ? seconds * 1000 : 0,
    refused: null,
    complete: fields.flag("complete"),
  };
  if (fields.raw("errors") === undefined) {
    return { text, answer: { ...base, failure: "timeout", messages: [], sorries: [], steps: [] } };
  }
  const messages = (name: string, severity: LeanMessage["severity"]): LeanMessage[] =>
    fields.list(name, (message) => {
      const start = at(message, "pos");
      const end = message.raw("endPos") ? at(message, "endPos") : start;
      return { severity, kind: "", start, end, text: message.optionalText("data") ?? "" };
    });
  const sorries = fields.list("sorries", (sorry) => {
    const start = at(sorry, "pos");
    return { start, end: sorry.raw("endPos") ? at(sorry, "endPos") : start };
  });
  const tactics = fields.raw("ast")
    ? fields.object("ast").list("tactics", (tactic) => stepOf(tactic, positions))
    : [];
  return {
    text,
    answer: {
      ...base,
      failure: null,
      messages: [
        ...messages("errors", "error"),
        ...messages("warnings", "warning"),
        ...messages("infos", "information"),
      ],
      sorries,
      steps: nested(tactics),
    },
  };
}

function stepOf(tactic: Fields, positions: TextPositions): TacticStep {
  const at = (name: string) => {
    const offset = tactic.raw(name);
    return positions.at(
      positions.indexOf(isWhole(offset) ? offset : tactic.refuse(name, "an offset", offset)),
    );
  };
  const goals = (name: string) => {
    const state = tactic.optionalText(name);
    if (state === undefined) return null;
    return state === NO_GOALS ? [] : state.split("\n\n");
  };
  const span = { start: at("pos"), end: at("endPos") };
  return { ...span, kind: "", depth: 0, goalsBefore: goals("stateBefore"), goalsAfter: goals("stateAfter") };
}

/** In the order of the text, outer ones first, with the number of those around each. */
function nested(steps: readonly TacticStep[]): TacticStep[] {
  const sorted = steps.toSorted((a, b) => a.start.index - b.start.index || b.end.index - a.end.index);
  const around: number[] = [];
  return sorted.map((step) => {
    while (around.length > 0 && around[around.length - 1] <= step.start.index) around.pop();
    const depth = around.length;
    around.push(step.end.index);
    return { ...step, depth };
  });
}
