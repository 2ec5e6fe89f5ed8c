/** What a synthesis gives: statements with what became of them, and proofs with where they come from, as JSON lines. */
import { writeBenchmark } from "../formats/benchmark.ts";
import type { PipelineProof } from "../store/pipeline-rows.ts";
import type { ProofStore } from "../store/store.ts";
import { falseGoal, type NegationForm, negate } from "../text/statements.ts";

/** `theorem … := by` and a line end: what a proof of the pipeline proves. */
export function provedHead(
  { statement, side }: Pick<PipelineProof, "statement" | "side">,
  negation: NegationForm,
): string {
  const head = statement.lean!;
  if (side === "statement") return head;
  return side === "negation" ? negate(head, negation) : falseGoal(head);
}

/** Every translation with its problem and all verdicts, in the order in which they were made. */
export function statementLines(store: ProofStore): string {
  const rows = store.pipeline;
  return rows
    .statements()
    .map(({ id, problem, round, sample, generated, lean }) => {
      const verdicts = rows.verdicts(id);
      const row = {
        ...{ id, source: problem.source, informal: problem.informal, preamble: problem.preamble },
        ...{ formal_statement: lean, generated, round, sample },
        outcome: verdicts.at(-1)?.outcome ?? null,
        verdicts,
      };
      return `${JSON.stringify(row)}\n`;
    })
    .join("");
}

/** Every verified proof, in the fields of miniF2F's file and with its provenance: `verify` reads it. */
export function proofLines(store: ProofStore, negation: NegationForm): string {
  return writeBenchmark(
    store.pipeline.proofs().map((proof) => {
      const { statement, side, text, tokens, axioms, model, lean, stage, cost, seed } = proof;
      const { problem, id, round } = statement;
      return {
        name: `${problem.source} ${side} ${id}`,
        ...(problem.preamble !== "" && { preamble: problem.preamble }),
        ...{ statement: provedHead(proof, negation), proof: text },
        other: {
          ...{ statement_id: id, side, source: problem.source, informal: problem.informal, round },
          ...{ axioms, lean, model, search: stage, seed, cost, tokens },
        },
      };
    }),
  );
}
