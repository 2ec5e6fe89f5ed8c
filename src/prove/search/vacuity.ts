/**
 * Whether the hypotheses of a statement contradict each other, so that it says nothing: `False` is tried from them with fixed
 * scripts (hypothesis rejection of DeepSeek-Prover V1, section 3.2). A contradiction that no script finds stays unseen, and so
 * does one inside the conclusion.
 */
import type { CheckOptions, LeanProblem, LeanSession } from "../lean/session.ts";
import { withSorry } from "../text/problem.ts";
import { falseGoal, parseStatement } from "../text/statements.ts";

/** Tried one by one: a tactic that this Lean does not know spoils none of the others. */
const SCRIPTS = ["contradiction", "omega", "simp_all", "grind"] as const;

export interface VacuityOptions extends Pick<CheckOptions, "timeout" | "heartbeats" | "signal"> {
  /** Proofs of `False`, each a line of tactics. */
  readonly scripts?: readonly string[];
}

export type VacuityFinding =
  /** No script proves `False`; `unfinished` ended at the clock, in memory or by a crash. */
  | { readonly finding: "none"; readonly unfinished: readonly string[] }
  /** `code` proves `False` from the hypotheses. */
  | { readonly finding: "vacuous"; readonly script: string; readonly code: string }
  /** Lean does not accept the statement, or what stands before it. */
  | { readonly finding: "broken"; readonly detail: string };

/** Looks for a contradiction among the hypotheses of a problem. @throws the signal's reason */
export async function findContradiction(
  lean: LeanSession,
  problem: LeanProblem,
  { scripts = SCRIPTS, ...options }: VacuityOptions = {},
): Promise<VacuityFinding> {
  const { preamble, trustedPreamble, imports } = problem;
  const context = { preamble, trustedPreamble, imports };
  const answer = await lean.check({ ...context, code: withSorry(problem.statement) }, options);
  const error = answer.messages.find(({ severity }) => severity === "error")?.text;
  const fault = answer.refused?.reason ?? error ?? answer.failure;
  if (fault !== null) return { finding: "broken", detail: fault };
  const goal = goalOf(problem.statement);
  if ("broken" in goal) return { finding: "broken", detail: goal.broken };
  if (goal.code === null) return { finding: "none", unfinished: [] };
  const question = { ...context, statement: withSorry(goal.code) };
  const unfinished: string[] = [];
  for (const script of scripts) {
    const code = `${goal.code}  ${script}`;
    const { verdict } = await lean.verify(question, code, options);
    if (verdict === "proved") return { finding: "vacuous", script, code };
    if (verdict === "timeout" || verdict === "memory" || verdict === "crash") unfinished.push(script);
  }
  return { finding: "none", unfinished };
}

/** `False` from the hypotheses; null where there are none. */
function goalOf(statement: string): { readonly code: string | null } | { readonly broken: string } {
  try {
    return { code: parseStatement(statement).binders === "" ? null : falseGoal(statement) };
  } catch (error) {
    return { broken: (error as Error).message };
  }
}

/**
 * Looks at many problems, as many at the same time as the verifier checks. Findings come in the order of the problems.
 * @throws the signal's reason
 */
export async function* findContradictions(
  lean: LeanSession,
  problems: Iterable<LeanProblem>,
  options: VacuityOptions = {},
): AsyncGenerator<VacuityFinding & { readonly index: number }> {
  const stop = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stop.signal]) : stop.signal;
  const running: Promise<VacuityFinding>[] = [];
  const source = problems[Symbol.iterator]();
  let index = 0;
  try {
    for (;;) {
      while (running.length < lean.slots) {
        const next = source.next();
        if (next.done) break;
        const found = findContradiction(lean, next.value, { ...options, signal });
        found.catch(() => {});
        running.push(found);
      }
      const first = running.shift();
      if (first === undefined) return;
      yield { index: index++, ...(await first) };
    }
  } finally {
    stop.abort(new Error("nobody waits for more findings"));
    source.return?.();
    await Promise.allSettled(running);
  }
}
