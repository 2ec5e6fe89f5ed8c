/** Theorems of the corpus: binders and a goal in order, their Lean text, and the text of proofs with and without thoughts. */
import { lean, rename, type Term } from "./term.ts";

/** `(x y : Int)`, `(h : x ≤ y)`. */
export type Binder =
  | { readonly kind: "variables"; readonly names: readonly string[]; readonly type: string }
  | { readonly kind: "hypothesis"; readonly name: string; readonly says: Term };

export interface Theorem {
  readonly binders: readonly Binder[];
  readonly goal: Term;
}

export const variables = (names: readonly string[], type: string): Binder => ({
  kind: "variables",
  names,
  type,
});
export const hypothesis = (name: string, says: Term): Binder => ({ kind: "hypothesis", name, says });

export function binderText(binder: Binder): string {
  return binder.kind === "variables"
    ? `(${binder.names.join(" ")} : ${binder.type})`
    : `(${binder.name} : ${lean(binder.says)})`;
}

/** The statement as files of problems have it: `theorem t (x : Nat) : x = x := by` and a newline. */
export function statementText({ binders, goal }: Theorem, called = "t"): string {
  return `${["theorem", called, ...binders.map(binderText), ":", lean(goal)].join(" ")} := by\n`;
}

export function renameTheorem({ binders, goal }: Theorem, names: ReadonlyMap<string, string>): Theorem {
  const of = (text: string) => names.get(text) ?? text;
  return {
    binders: binders.map((binder) =>
      binder.kind === "variables"
        ? variables(binder.names.map(of), renameType(binder.type, names))
        : hypothesis(of(binder.name), rename(binder.says, names)),
    ),
    goal: rename(goal, names),
  };
}

/** Types are texts; names of variables in them are whole words. */
function renameType(type: string, names: ReadonlyMap<string, string>): string {
  return type.replace(/[\p{L}_][\p{L}\p{N}_']*/gu, (word) => names.get(word) ?? word);
}

/** Free variables of a type such as `Nat`, in the order of the text. */
export function variablesOf({ binders }: Theorem, type: (type: string) => boolean): string[] {
  return binders.flatMap((binder) =>
    binder.kind === "variables" && type(binder.type) ? [...binder.names] : [],
  );
}

/** One line of a proof. A line with a note begins a step that the note explains. */
export interface ProofLine {
  /** Blanks before it, beyond the two that every proof has. */
  readonly indent: number;
  readonly code: string;
  readonly note?: string;
}

export interface Script {
  /** What the whole proof does, in one line. */
  readonly plan: string;
  readonly lines: readonly ProofLine[];
}

export const line = (code: string, note?: string, indent = 0): ProofLine => ({ indent, code, note });
export const script = (plan: string, ...lines: ProofLine[]): Script => ({ plan, lines });

/** Moves lines to the right, for a proof that becomes a part of another. */
export const indented = (lines: readonly ProofLine[], by: number): ProofLine[] =>
  lines.map((each) => ({ ...each, indent: each.indent + by }));

/** The lines as a bullet `· ..` of a proof. */
export function bullet(lines: readonly ProofLine[]): ProofLine[] {
  const [first, ...rest] = lines;
  return [{ ...first, code: `· ${first.code}` }, ...indented(rest, 2)];
}

/** The proof that follows a statement, every line ended. */
export function proofText({ lines }: Script): string {
  return lines.map(({ indent, code }) => `${" ".repeat(indent + 2)}${code}\n`).join("");
}

/** The same proof opened by its plan, with a comment before each step (form 2 of Prover-V1.5). */
export function thoughtText({ plan, lines }: Script): string {
  const steps = lines.map(({ indent, code, note }) => {
    const blanks = " ".repeat(indent + 2);
    return `${note === undefined ? "" : `${blanks}-- ${note}\n`}${blanks}${code}\n`;
  });
  return `  /-\n  ${plan}\n  -/\n${steps.join("")}`;
}
