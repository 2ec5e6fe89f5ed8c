/** Whether a Lean that judges by our questions judges rightly: an old one may not know them, a server may answer for another. */
import { LeanError } from "../lean-error.ts";
import type { LeanSession } from "../session.ts";

const STATEMENT = "theorem deepseek_ts_probe (n : Nat) : n + 0 = n := sorry";
const head = STATEMENT.slice(0, STATEMENT.indexOf(" := "));

/** @throws LeanError if a proof that is known is not accepted, or a cheat is */
export async function selfTest(lean: Pick<LeanSession, "verify">, imports: readonly string[]): Promise<void> {
  const problem = { statement: STATEMENT, imports };
  for (const [proof, expected] of [
    ["rfl", "proved"],
    ["sorry", "sorry"],
    // Unfolds to the statement, and is another.
    ["", "changed statement"],
  ] as const) {
    const code =
      proof === "" ? head.replace("n + 0 = n", "(fun k : Nat => k) n = n := rfl") : `${head} := ${proof}`;
    const { verdict, detail } = await lean.verify(problem, code, { timeout: 60_000 });
    if (verdict === expected) continue;
    throw new LeanError("this Lean does not judge a known proof as it must", {
      expected: `${expected} for \`${code}\``,
      found: detail === "" ? verdict : `${verdict}: ${detail}`,
      hint: "See that the imports exist in its project; Lean before 4.9 is not supported.",
    });
  }
}
