/** What is wrong in a Lean file outside its theorems: it counts for the file. */
import type { AuditAnswer, LeanPosition, Verdict } from "../prove/lean/session.ts";

export interface FileFault {
  readonly verdict: Verdict;
  readonly detail: string;
  /** Where; null where it belongs to no place. */
  readonly at: LeanPosition | null;
}

const placed = ({ line, column }: LeanPosition, text: string) => `${line}:${column}: ${text}`;

/** Refusals and limits first, then Lean's errors and what it says of `sorry`s in examples and definitions. */
export function faultsOutside({ refused, failure, messages, theorems }: AuditAnswer): FileFault[] {
  const faults: FileFault[] = [];
  if (refused !== null) {
    const { at, reason } = refused;
    const hint = /not allowed/.test(reason) ? ". --trust lets the file run code of its own" : "";
    faults.push({ verdict: "refused", detail: placed(at, reason) + hint, at });
  }
  if (failure !== null) {
    faults.push({ verdict: failure, detail: "the rest of the file was not checked", at: null });
  }
  for (const { severity, kind, start, text } of messages) {
    if (theorems.some((t) => t.start.index <= start.index && start.index <= t.end.index)) continue;
    if (severity === "error") faults.push({ verdict: "error", detail: placed(start, text), at: start });
    else if (kind === "hasSorry") faults.push({ verdict: "sorry", detail: placed(start, text), at: start });
  }
  return faults;
}
