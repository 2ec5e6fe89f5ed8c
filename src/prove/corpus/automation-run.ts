/** Runs the fixed scripts of `automation.ts` on statements: all scripts of one statement in one check, told apart by position. */
import type { LeanMessage, LeanSession } from "../lean/session.ts";
import { type BaselineName, type BaselineProblem, baselineProofs } from "./automation.ts";

export type BaselineResult = Readonly<Record<BaselineName, boolean>>;

export interface BaselineOptions {
  /** Milliseconds for all scripts of a statement together (default 600,000: heartbeats are what ends them). */
  readonly timeout?: number;
  readonly heartbeats?: number;
  readonly signal?: AbortSignal;
}

interface Attempt {
  readonly baseline: BaselineName;
  readonly from: number;
  readonly to: number;
}

/**
 * Which baselines prove a statement. A script whose check ends in no answer (time, memory) has not proved it.
 * @throws the signal's reason
 */
export async function runBaselines(
  lean: LeanSession,
  problem: BaselineProblem,
  options: BaselineOptions = {},
): Promise<BaselineResult> {
  const { result } = await examine(lean, problem, null, options);
  return result;
}

export interface Examined {
  readonly result: BaselineResult;
  /** What Lean says against the given proof; null if nothing. */
  readonly fault: string | null;
  /** The goal as Lean prints it; null if it printed none. */
  readonly goal: string | null;
}

/** The same, and in the same check whether a given proof is one and how Lean prints the goal. @throws the signal's reason */
export async function examine(
  lean: LeanSession,
  problem: BaselineProblem,
  reference: string | null,
  options: BaselineOptions = {},
): Promise<Examined> {
  const { timeout = 600_000, heartbeats = 200_000, signal } = options;
  const attempts: Attempt[] = [];
  let code = "";
  const write = (called: string, proof: string) => {
    const from = code.length;
    code += `${renamed(problem.statement, called)}${proof}\n`;
    return { from, to: code.length };
  };
  const shown = write("shown", "  trace_state\n  sorry\n");
  const given = reference === null ? null : write("given", reference);
  const { proofs: all, secondIncludesFirst } = baselineProofs(problem);
  for (const [baseline, proofs] of Object.entries(all) as [BaselineName, string[]][])
    for (const proof of proofs) {
      attempts.push({ baseline, ...write(`attempt${attempts.length}`, proof) });
    }
  const answer = await lean.check(
    { preamble: problem.preamble || undefined, code },
    { timeout, heartbeats, signal },
  );
  const result: Record<BaselineName, boolean> = { B1: false, B2: false, B3: false, B4: false };
  if (answer.failure !== null || answer.refused) {
    await oneByOne(lean, problem, attempts, code, options, result);
  } else {
    for (const { baseline, from, to } of attempts)
      if (!answer.messages.some((message) => spoils(message, from, to))) result[baseline] = true;
  }
  if (secondIncludesFirst && result.B1) result.B2 = true;
  const within = ({ start }: LeanMessage, { from, to }: { from: number; to: number }) =>
    start.index >= from && start.index < to;
  const goal = answer.messages.find((each) => within(each, shown) && each.text.includes("⊢ "))?.text ?? null;
  const fault = given && answer.messages.find((each) => spoils(each, given.from, given.to))?.text;
  const unknown = answer.failure ?? answer.refused?.reason;
  return { result, fault: given === null ? null : (unknown ?? fault ?? null), goal };
}

/** After a check without an end: what the scripts do alone. */
async function oneByOne(
  lean: LeanSession,
  problem: BaselineProblem,
  attempts: readonly Attempt[],
  all: string,
  { timeout = 600_000, heartbeats = 200_000, signal }: BaselineOptions,
  result: Record<BaselineName, boolean>,
): Promise<void> {
  for (const { baseline, from, to } of attempts) {
    if (result[baseline]) continue;
    const code = all.slice(from, to);
    const answer = await lean.check(
      { preamble: problem.preamble || undefined, code },
      { timeout, heartbeats, signal },
    );
    if (answer.complete) result[baseline] = true;
  }
}

const spoils = ({ severity, kind, start }: LeanMessage, from: number, to: number): boolean =>
  (severity === "error" || kind === "hasSorry") && start.index >= from && start.index < to;

/** The statement under another name, so that several proofs of it stand in one file. */
export const renamed = (statement: string, called: string): string =>
  statement.replace(/^theorem \S+/, `theorem ${called}`);

/** Whether any fixed script proves it. */
export const automated = (result: BaselineResult): boolean => Object.values(result).some(Boolean);
