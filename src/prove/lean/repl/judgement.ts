/**
 * The verdict of a Lean whose server judges nothing. The statement is elaborated under a random name before the answer, so that
 * nothing in the answer changes it; after the answer Lean compares both types and lists the axioms.
 *
 * The types must be the same term: `example : type_of% @reference := @answer` would let Lean insert a coercion that the answer
 * declares, `True` to `1 = 2` by `sorry`, and would accept whatever unfolds to the statement. What Lean says of the axioms names
 * a theorem that the answer could not know of.
 */
import { randomBytes } from "node:crypto";
import type { LeanMessage, Verdict } from "../session.ts";
import type { ReplMessage } from "./answer.ts";
import type { NamedStatement } from "./rules.ts";

/** Lean's search for lemmas leaves out names that begin with a line: `exact?` must not find the reference. */
export const unguessable = (purpose: string) => `_${purpose}_${randomBytes(16).toString("hex")}`;

/** The question what Lean calls the statement that was declared under a random name. */
export const nameQuestion = (statement: NamedStatement, shortName: string): string => {
  const written = statement.renamed(shortName).slice("theorem ".length);
  const name = written.slice(0, written.indexOf(shortName) + shortName.length);
  return `set_option pp.fullNames true in set_option pp.universes true in #check @${name}`;
};

export interface Reference {
  /** Full names of the reference and of the theorem that is asked for. */
  readonly reference: string;
  readonly theorem: string;
  /** Number of universe parameters. */
  readonly levels: number;
}

/** What the answer to `nameQuestion` tells; null if it is no such answer. */
export function readReference(text: string, statement: NamedStatement, shortName: string): Reference | null {
  const head = /^@?([^:{]*?)(?:\.\{([^}]*)\})?\s*:/.exec(text);
  if (head === null || !head[1].endsWith(shortName)) return null;
  const namespace = head[1].slice(0, -shortName.length);
  return {
    reference: head[1],
    theorem: namespace + statement.shortName,
    levels: head[2] === undefined ? 0 : head[2].split(",").length,
  };
}

/** Questions about an answer; each begins at a known line. */
export interface Questions {
  readonly text: string;
  readonly proofLines: number;
  /** Name of the theorem whose axioms are listed. */
  readonly judged: string;
}

export function questions({ reference, theorem, levels }: Reference): Questions {
  const judged = unguessable("judged");
  const universes = Array.from({ length: levels }, (_, i) => `${judged}_u${i}`).join(", ");
  const at = levels === 0 ? "" : `.{${universes}}`;
  const proof = [
    `theorem _root_.${judged}${at} : type_of% @_root_.${reference}${at} := by`,
    `  guard_target =ₐ type_of% @_root_.${theorem}${at}`,
    `  exact @_root_.${theorem}${at}`,
  ];
  const rest = [`#print _root_.${theorem}`, `set_option pp.fullNames true in #print axioms ${judged}`];
  return { text: [...proof, ...rest].join("\n"), proofLines: proof.length, judged };
}

export interface Judgement {
  readonly verdict: Verdict;
  readonly detail: string;
  readonly axioms: readonly string[];
}

export const ALLOWED_AXIOMS: ReadonlySet<string> = new Set(["propext", "Classical.choice", "Quot.sound"]);
/** A private theorem has another name in truth. */
const THEOREM = /^(?:@\[[^\]]*\]\s*)?(?:(?:protected|public|nonrec|noncomputable)\s+)*theorem\s/;

/** Reads Lean's answers to the questions, which stand behind `linesBefore` other lines. */
export function judge(asked: Questions, messages: readonly ReplMessage[], linesBefore: number): Judgement {
  const verdict = (verdict: Verdict, detail: string, axioms: readonly string[] = []) => ({
    ...{ verdict, detail, axioms },
  });
  const line = (message: ReplMessage) => message.start.line - linesBefore;
  const kindAt = messages.filter((message) => line(message) === asked.proofLines + 1);
  const unknown = kindAt.find(({ severity }) => severity === "error");
  if (unknown !== undefined) return verdict("missing", unknown.text);
  const unequal = messages.find((m) => m.severity === "error" && line(m) <= asked.proofLines);
  if (unequal !== undefined) return verdict("changed statement", unequal.text);
  if (!kindAt.some(({ text }) => THEOREM.test(text))) {
    return verdict("changed statement", `it is no theorem: ${kindAt[0]?.text.slice(0, 200) ?? ""}`);
  }
  const said = messages.filter((message) => line(message) === asked.proofLines + 2);
  const axioms = said.length === 1 ? readAxioms(said[0].text, asked.judged) : null;
  if (axioms === null)
    return verdict("error", `Lean did not list the axioms: ${said.map((m) => m.text).join("; ")}`);
  const others = axioms.filter((name) => !ALLOWED_AXIOMS.has(name));
  if (others.length === 0) return verdict("proved", "", axioms);
  return verdict(
    others.every((name) => name === "sorryAx") ? "sorry" : "forbidden axiom",
    others.join(", "),
    axioms,
  );
}

/** The axioms that a `#print axioms` lists; null if the text is none of a theorem of this name. */
export function readAxioms(text: string, theorem: string): string[] | null {
  const [, name, listed] =
    /^'([^']*)' (?:does not depend on any axioms|depends on axioms: \[([^\]]*)\])$/.exec(text.trim()) ?? [];
  if (name !== theorem) return null;
  return listed === undefined ? [] : listed.split(",").map((axiom) => axiom.trim());
}

/** How Lean says that its own limit was reached. */
const HEARTBEATS = /maximum number of heartbeats|\(deterministic\) timeout/;

/** The verdict of errors in the answer itself; null if there are none. */
export function errorVerdict(messages: readonly LeanMessage[]): { verdict: Verdict; detail: string } | null {
  const errors = messages.filter(({ severity }) => severity === "error");
  if (errors.length === 0) return null;
  const [{ start, text }] = errors;
  return {
    verdict: errors.some((error) => HEARTBEATS.test(error.text)) ? "heartbeats" : "error",
    detail: `${start.line}:${start.column}: ${text}`,
  };
}
