/**
 * What a Lean verifier answers, whatever Lean stands behind it: the embedded one, a native one, a Kimina server. Of these
 * questions only `verify` gives a verdict; `check` shows messages and states of text that may be unfinished.
 */
import { checkNumber } from "../../tensor/check-value.ts";

/** A problem: one theorem, whose proof in `statement` does not matter (`:= sorry`), after the commands it builds on. */
export interface LeanProblem {
  /** Exactly one `theorem`, with any proof. */
  readonly statement: string;
  /** Commands before it: definitions, notation, `open`, `namespace`, `variable`. */
  readonly preamble?: string;
  /** Whether the preamble may hold macros and other code that runs while it is read; answers never may. */
  readonly trustedPreamble?: boolean;
  /** Modules that are imported (`Init` if none is named). */
  readonly imports?: readonly string[];
}

/**
 * `proved`: one whole declaration of exactly the theorem that was asked, compared as elaborated terms, without errors and
 * `sorry`, accepted by the kernel, resting on propext, Classical.choice and Quot.sound alone. All others say why not:
 * `refused` by the rules of text, `heartbeats` by Lean's own limit, `changed statement`, `missing` theorem of that name,
 * `forbidden axiom`, `kernel` rejection; `bad statement` and `bad preamble` are faults of the problem. `timeout` (wall clock),
 * `memory` and `crash` depend on the machine, so they say nothing of the proof.
 */
export type Verdict =
  | "proved"
  | "error"
  | "sorry"
  | "refused"
  | "heartbeats"
  | "missing"
  | "changed statement"
  | "forbidden axiom"
  | "kernel"
  | "bad statement"
  | "bad preamble"
  | "timeout"
  | "memory"
  | "crash";

/** Verdicts that another run with the same limits gives again, so that they may be stored. */
export const DETERMINISTIC: ReadonlySet<Verdict> = new Set<Verdict>([
  ...(["proved", "error", "sorry", "refused", "heartbeats", "missing", "changed statement"] as const),
  ...(["forbidden axiom", "kernel", "bad statement", "bad preamble"] as const),
]);

/** A place in a text: line from 1, column from 0 in code points, as Lean counts, and the index in the JavaScript string. */
export interface LeanPosition {
  readonly line: number;
  readonly column: number;
  readonly index: number;
}

export interface LeanMessage {
  readonly severity: "error" | "warning" | "information";
  /** Lean's name for what is said, such as `Tactic.unsolvedGoals` or `hasSorry`; empty if it has none. */
  readonly kind: string;
  readonly start: LeanPosition;
  readonly end: LeanPosition;
  readonly text: string;
}

/** One item of a sequence of tactics, in the order of the text; nested ones follow the one around them. */
export interface TacticStep {
  readonly start: LeanPosition;
  readonly end: LeanPosition;
  /** Name of its syntax, such as `Lean.Parser.Tactic.intro`. */
  readonly kind: string;
  /** Number of steps around it. */
  readonly depth: number;
  /** Goals as Lean prints them; null if it did not run (it stands after an error). */
  readonly goalsBefore: readonly string[] | null;
  readonly goalsAfter: readonly string[] | null;
}

export interface CheckAnswer {
  /** No error, no `sorry`, neither refused nor cut off. This is no verdict. */
  readonly complete: boolean;
  readonly messages: readonly LeanMessage[];
  /** Where `sorry`, `admit` and `stop` stand. */
  readonly sorries: readonly { readonly start: LeanPosition; readonly end: LeanPosition }[];
  /** Why the text was refused before it ran, and where. */
  readonly refused: { readonly reason: string; readonly at: LeanPosition } | null;
  /** Set if the check had no end of its own. */
  readonly failure: "timeout" | "memory" | "crash" | null;
  /** With `steps`. */
  readonly steps: readonly TacticStep[];
  /** Milliseconds of wall time in the verifier. */
  readonly milliseconds: number;
}

export interface VerifyAnswer extends CheckAnswer {
  readonly verdict: Verdict;
  /** What stands behind the verdict where its name does not say it: the axiom, Lean's first error, the kernel's words. */
  readonly detail: string;
  /** Full name of the theorem. */
  readonly name: string;
  /** All axioms below the theorem, as far as it was proved. */
  readonly axioms: readonly string[];
}

export interface CheckOptions {
  /** Wall-clock limit in milliseconds (10,000). */
  readonly timeout?: number;
  /** Lean's own, deterministic limit (200,000). */
  readonly heartbeats?: number;
  /** Whether `steps` are wanted. */
  readonly steps?: boolean;
  readonly signal?: AbortSignal;
}

/** What is checked: a preamble whose state is kept between checks, and the text itself. */
export type CheckInput = Pick<LeanProblem, "preamble" | "trustedPreamble" | "imports"> & {
  readonly code: string;
};

/** A theorem of a file. */
export interface TheoremAudit {
  /** Full name. */
  readonly name: string;
  readonly start: LeanPosition;
  readonly end: LeanPosition;
  /** `proved`: no error in its text, and it rests on propext, Classical.choice and Quot.sound alone. */
  readonly verdict: Verdict;
  readonly detail: string;
  readonly axioms: readonly string[];
}

export interface AuditAnswer extends CheckAnswer {
  /** All `theorem` commands, in the order of the text, as far as it was read. */
  readonly theorems: readonly TheoremAudit[];
}

export interface AuditOptions extends CheckOptions {
  /** Whether the file may hold macros and other code that runs while it is read. */
  readonly trusted?: boolean;
}

/** A Lean that looks through whole files, whose theorems state themselves what they prove. */
export interface LeanAuditor {
  /** @throws the signal's reason; whatever the file does is an answer */
  audit(input: Pick<CheckInput, "imports" | "code">, options?: AuditOptions): Promise<AuditAnswer>;
}

export interface LeanSession extends AsyncDisposable {
  readonly kind: "wasm" | "native" | "kimina";
  /** Version of Lean and of the library, which name cached verdicts. */
  readonly version: string;
  /** Checks that run at the same time. */
  readonly slots: number;
  /** @throws the signal's reason; whatever the text does is an answer */
  check(input: CheckInput, options?: CheckOptions): Promise<CheckAnswer>;
  /**
   * Whether `code` (the whole declaration, after declarations of its own if it needs some) proves the problem.
   * @throws the signal's reason; whatever the text does is an answer
   */
  verify(problem: LeanProblem, code: string, options?: CheckOptions): Promise<VerifyAnswer>;
  /** Resolves when the first check would not wait for Lean to start. @throws if Lean cannot run */
  ready(): Promise<void>;
}

/** Milliseconds that a check may be given: timers wait for 24 days at most, and beyond that end at once. */
const MOST_MILLISECONDS = 1e9;

/** The wall-clock limit of a check. @throws ConfigError for one that cannot be kept */
export function timeLimit(timeout: number): number {
  checkNumber({ where: "check" }, "timeout", timeout, { above: 0, max: MOST_MILLISECONDS });
  return timeout;
}

/** Why Lean does not accept a text, apart from its `sorry`s: its failure, its refusal or its first error; empty if it does. */
export const faultOf = ({ failure, refused, messages }: CheckAnswer): string =>
  failure ?? refused?.reason ?? messages.find(({ severity }) => severity === "error")?.text ?? "";
