/**
 * What is to be proved in a Lean file: its `sorry`s, each with what stands around it. One that is a theorem's whole proof becomes a
 * problem for a search; one in the middle of a proof is filled in its place.
 */
import type { LeanProblem } from "../lean/session.ts";
import { leanProblem } from "../text/problem.ts";
import { type Declaration, declarationsOf, findSorries, type Sorry } from "../text/sorries.ts";
import { codeTokens } from "../text/tokens.ts";

/** A `sorry` to fill. */
export interface FillUnit {
  /** Number of the `sorry` in the file, from 0. */
  readonly index: number;
  readonly sorry: Sorry;
  readonly declaration: Declaration;
  /** What people see: `theorem add_zero, line 12`. */
  readonly title: string;
  /** The whole proof of a theorem, or a place inside one. */
  readonly kind: "whole" | "inner";
}

export interface FilePlan {
  readonly source: string;
  readonly sorries: readonly Sorry[];
  readonly units: readonly FillUnit[];
  /** `sorry`s that nothing can be done about, with the reason. */
  readonly left: readonly { readonly index: number; readonly title: string; readonly reason: string }[];
}

const THEOREMS = new Set(["theorem", "lemma", "example"]);

/** Whether it claims something: a verdict is on such a declaration alone. */
export const isTheorem = ({ keyword }: Pick<Declaration, "keyword">): boolean => THEOREMS.has(keyword);

/** @param only names of theorems to work on; all if it is not given */
export function planFile(source: string, only?: readonly string[]): FilePlan {
  const sorries = findSorries(source);
  const perDeclaration = new Map<number, number>();
  for (const { declaration } of sorries) {
    if (declaration === null) continue;
    perDeclaration.set(declaration.start, (perDeclaration.get(declaration.start) ?? 0) + 1);
  }
  const units: FillUnit[] = [];
  const left: { index: number; title: string; reason: string }[] = [];
  for (const [index, sorry] of sorries.entries()) {
    const { declaration } = sorry;
    if (declaration === null) {
      // Who names theorems asks for nothing else.
      if (only !== undefined) continue;
      left.push({ index, title: `line ${sorry.start.line}`, reason: "it stands in no declaration" });
      continue;
    }
    const { keyword, name } = declaration;
    if (only !== undefined && !only.includes(name)) continue;
    const title = `${keyword}${name === "" ? "" : ` ${name}`}, line ${sorry.start.line}`;
    const alone = perDeclaration.get(declaration.start) === 1 && isTheorem(declaration);
    const before = source.slice(declaration.start, sorry.start.index);
    const ends = alone && source.slice(sorry.end.index, declaration.end).trim() === "";
    const kind = ends && /:=\s*(?:by\s*)?$/.test(before) ? "whole" : "inner";
    units.push({ index, sorry, declaration, title, kind });
  }
  return { source, sorries, units, left };
}

/** Names given to `example`s while they are proved: a verdict is on a theorem of a name. */
const EXAMPLE = "deepseek_example";

/** A declaration's text from its keyword on; an `example` as a theorem. Attributes and modifiers do not change what it says. */
export function asTheorem(text: string, { keyword }: Pick<Declaration, "keyword">): string {
  const token = codeTokens(text).find(({ kind, text: word }) => kind === "name" && word === keyword);
  const from = token === undefined ? text : text.slice(token.start);
  return keyword === "example" ? from.replace(/^example/, `theorem ${EXAMPLE}`) : from;
}

/** What a search is asked: the statement up to where the proof begins, on its own line. */
export interface WholeProblem {
  /** `theorem … := by` and a line end. */
  readonly statement: string;
  readonly problem: LeanProblem;
  /** Whether the place of the `sorry` is a term, which needs its own `by`. */
  readonly term: boolean;
}

/** @param before the file up to the declaration, as it stands now */
export function wholeProblem(before: string, source: string, { declaration, sorry }: FillUnit): WholeProblem {
  const head = asTheorem(source.slice(declaration.start, sorry.start.index), declaration).trimEnd();
  const term = !/\bby$/.test(head);
  const statement = `${term ? `${head} by` : head}\n`;
  return { statement, problem: leanProblem(before, statement, { trustedPreamble: true }), term };
}

/**
 * The text above a declaration that fits a prompt of `tokens`: all of it, or the nearest whole declarations;
 * `count` counts tokens.
 */
export function promptHeader(
  before: string,
  declarations: readonly Declaration[],
  tokens: number,
  count: (text: string) => number,
): string {
  const whole = before.trim() === "" ? "" : `${before.trimEnd()}\n\n`;
  if (count(whole) <= tokens) return whole;
  const starts = declarations.filter(({ end }) => end <= before.length).map(({ start }) => start);
  const kept = starts.find((start) => count(`${before.slice(start).trimEnd()}\n\n`) <= tokens);
  return kept === undefined ? "" : `${before.slice(kept).trimEnd()}\n\n`;
}

/** The text without its theorems. */
export function withoutTheorems(text: string): string {
  let rest = "";
  let at = 0;
  for (const { start, end } of declarationsOf(text).filter(isTheorem)) {
    rest += text.slice(at, start).replace(/\n\s*\n$/, "\n");
    at = end;
  }
  return (rest + text.slice(at)).trim();
}
