import { expect, it } from "vitest";
import type { AuditAnswer, LeanMessage } from "../prove/lean/session.ts";
import { faultsOutside } from "./verify-faults.ts";

const at = (line: number) => ({ line, column: 2, index: 100 * line });
const message = (line: number, severity: LeanMessage["severity"], kind: string): LeanMessage => ({
  ...{ severity, kind, start: at(line), end: at(line), text: `${kind} of ${line}` },
});
const theorem = (name: string, from: number, to: number) => ({
  ...{ name, verdict: "sorry" as const, axioms: [], detail: "", start: at(from), end: at(to) },
});
const answer = (part: Partial<AuditAnswer>): AuditAnswer => ({
  ...{ complete: false, messages: [], sorries: [], refused: null, failure: null, steps: [] },
  ...{ milliseconds: 0, theorems: [theorem("t", 3, 5)], ...part },
});

it("counts errors and sorries outside of theorems for the file, and no other words of Lean", () => {
  const messages = [
    message(1, "warning", "hasSorry"),
    message(2, "warning", "unusedVariables"),
    message(4, "warning", "hasSorry"),
    message(4, "error", "unsolved"),
    message(7, "error", "mismatch"),
    message(8, "information", "hasSorry?"),
  ];
  expect(faultsOutside(answer({ messages }))).toEqual([
    { verdict: "sorry", detail: "1:2: hasSorry of 1", at: at(1) },
    { verdict: "error", detail: "7:2: mismatch of 7", at: at(7) },
  ]);
});

it("tells refusals and limits with what can be done", () => {
  const refused = { reason: "command not allowed: macro", at: at(9) };
  expect(faultsOutside(answer({ refused, failure: "timeout" }))).toEqual([
    {
      verdict: "refused",
      detail: "9:2: command not allowed: macro. --trust lets the file run code of its own",
      at: at(9),
    },
    { verdict: "timeout", detail: "the rest of the file was not checked", at: null },
  ]);
});
