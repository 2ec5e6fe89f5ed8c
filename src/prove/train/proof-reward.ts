/**
 * Lean's verdict as a reward (DeepSeek-Prover-V1.5, arXiv 2408.08152 section 3.2): 1 for a proof that the kernel accepts as one of
 * exactly the statement asked, else 0. Rows are those of benchmarks, with `statement` or the field's `formal_statement`, and
 * `header`, `preamble` and `informal_prefix` where they have them.
 */
import { FormatError } from "../../tensor/errors.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { benchmarkTask } from "../formats/benchmark.ts";
import type { CheckOptions, LeanSession } from "../lean/session.ts";
import type { ProofTask } from "../search/search.ts";
import { answerOf, proofText } from "../text/prompts.ts";
import { parseStatement } from "../text/statements.ts";

/** What a prover is asked by a row. @throws FormatError naming the field; `where` says which row it is */
export function rowTask(row: unknown, where: string): ProofTask {
  const fields = (typeof row === "object" && row !== null ? row : {}) as Readonly<Record<string, unknown>>;
  const text = (...names: string[]): string | undefined => {
    const name = names.find((each) => fields[each] !== undefined && fields[each] !== null);
    if (name === undefined) return undefined;
    const value = fields[name];
    if (typeof value === "string") return value;
    throw new FormatError("a field has the wrong type", {
      where,
      name,
      expected: "a text",
      found: typeof value,
    });
  };
  const statement = text("statement", "formal_statement");
  if (statement === undefined || statement.trim() === "") {
    throw new FormatError("a row without a theorem to prove", {
      ...{
        where,
        name: "statement",
        expected: "theorem NAME .. : .. := by",
        found: Object.keys(fields).slice(0, 8),
      },
    });
  }
  try {
    parseStatement(statement);
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    throw new FormatError(`not a theorem to prove: ${error.message}`, {
      where,
      name: "statement",
      cause: error,
    });
  }
  return benchmarkTask({
    ...{ index: 0, name: where, statement, other: {} },
    ...{ header: text("header"), preamble: text("preamble"), informalPrefix: text("informal_prefix") },
  });
}

/**
 * The reward of proofs; each distinct one of a group is checked once. `timeout` and `memory` depend on the machine: Lean's own limit,
 * `heartbeats`, should end a check before them, or runs are not the same on another one.
 */
export function proofReward(
  lean: Pick<LeanSession, "verify">,
  options: Pick<CheckOptions, "timeout" | "heartbeats"> = {},
): Reward {
  return async (samples, { signal }) => {
    const asked = new Map<string, Promise<number>>();
    const verdict = ({ row, completion }: (typeof samples)[number]) => {
      const task = rowTask(row, "reward lean");
      const proof = answerOf(completion);
      const code = proofText(task.statement, proof);
      const key = JSON.stringify([task.problem, code]);
      const known = asked.get(key);
      if (known !== undefined) return known;
      // Lean is not asked about nothing.
      const answer =
        proof.trim() === ""
          ? Promise.resolve(0)
          : lean
              .verify(task.problem, code, { ...options, signal })
              .then((found) => (found.verdict === "proved" ? 1 : 0));
      asked.set(key, answer);
      return answer;
    };
    return Promise.all(samples.map(verdict));
  };
}
