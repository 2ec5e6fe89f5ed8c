/**
 * LeanDojo's benchmark (arXiv 2306.15626): theorems of repositories with the states before and after each of their tactics. Read for
 * training on states; written from checked proofs, without premises, which need a traced repository.
 */
import type { CheckAnswer } from "../lean/session.ts";
import { stateText } from "../text/states.ts";
import { Fields, isWhole, type ReadLimits, readRows } from "./fields.ts";

/** Line and column, both from 1. */
export type DojoPosition = readonly [line: number, column: number];

export interface DojoPremise {
  readonly full_name: string;
  readonly def_path: string;
  readonly def_pos: DojoPosition;
  readonly def_end_pos: DojoPosition;
}

export interface DojoTactic {
  readonly tactic: string;
  /** The tactic with its premises in `<a>` marks, and the premises. */
  readonly annotated_tactic: readonly [text: string, premises: readonly DojoPremise[]];
  readonly state_before: string;
  readonly state_after: string;
}

export interface DojoTheorem {
  readonly url: string;
  readonly commit: string;
  readonly file_path: string;
  readonly full_name: string;
  /** Null where the file has none. */
  readonly start: DojoPosition | null;
  readonly end: DojoPosition | null;
  readonly traced_tactics: readonly DojoTactic[];
}

/** Reads `train.json` and its like. @throws FormatError with place and field */
export const readDojo = (text: string, where: string, limits?: ReadLimits): DojoTheorem[] =>
  readRows(text, where, limits).map((row) => ({
    url: row.optionalText("url") ?? "",
    commit: row.optionalText("commit") ?? "",
    file_path: row.optionalText("file_path") ?? "",
    full_name: row.text("full_name"),
    start: position(row, "start"),
    end: position(row, "end"),
    traced_tactics: row.list("traced_tactics", (fields) => ({
      tactic: fields.text("tactic"),
      annotated_tactic: annotated(fields),
      state_before: fields.text("state_before"),
      state_after: fields.text("state_after"),
    })),
  }));

function position(fields: Fields, name: string): DojoPosition | null {
  const value = fields.raw(name);
  if (value === undefined || value === null) return null;
  if (Array.isArray(value) && value.length === 2 && value.every(isWhole)) return [value[0], value[1]];
  return fields.refuse(name, "line and column", value);
}

function annotated(fields: Fields): DojoTactic["annotated_tactic"] {
  const value = fields.raw("annotated_tactic");
  if (value === undefined || value === null) return [fields.text("tactic"), []];
  if (!Array.isArray(value) || typeof value[0] !== "string" || !Array.isArray(value[1])) {
    return fields.refuse("annotated_tactic", "a text and a list of premises", value);
  }
  const premises = value[1].map((item, i) => {
    const premise = new Fields(item, `${fields.where}: annotated_tactic: premise ${i + 1}`);
    const place = (name: string) =>
      position(premise, name) ?? premise.refuse(name, "line and column", undefined);
    return {
      full_name: premise.text("full_name"),
      def_path: premise.text("def_path"),
      def_pos: place("def_pos"),
      def_end_pos: place("def_end_pos"),
    };
  });
  return [value[0], premises];
}

/** Theorems as LeanDojo's files hold them. */
export const writeDojo = (theorems: readonly DojoTheorem[]): string => `${JSON.stringify(theorems)}\n`;

/** The tactics of a checked proof that ran, the outer before the inner ones. @param text what was checked */
export const tracedTactics = (text: string, { steps }: Pick<CheckAnswer, "steps">): DojoTactic[] =>
  steps.flatMap(({ start, end, goalsBefore, goalsAfter }) => {
    if (goalsBefore === null || goalsAfter === null) return [];
    const tactic = text.slice(start.index, end.index);
    const states = { state_before: stateText(goalsBefore), state_after: stateText(goalsAfter) };
    return [{ tactic, annotated_tactic: [tactic, []] as const, ...states }];
  });
