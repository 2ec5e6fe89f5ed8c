/**
 * Rows of the pipeline: problems, the statements that were made of them, what each stage found out, proofs. A row is never
 * changed; a stage that is run again finds its own rows and adds none.
 */
import type { Database, Row } from "./database.ts";
import type { NewProof } from "./proof.ts";

/** A problem in words. Nothing here says whether it is true. */
export interface ProblemRow {
  readonly id: number;
  readonly source: string;
  /** With its answer: "Show that it is 4." */
  readonly informal: string;
  /** Lean commands that its statement builds on. */
  readonly preamble: string;
}

export interface StatementRow {
  readonly id: number;
  readonly problem: ProblemRow;
  readonly round: number;
  /** Which translation of the round, from 0. */
  readonly sample: number;
  /** What the model wrote. */
  readonly generated: string;
  /** `theorem … := by` and a line end; null if there is no statement in what it wrote. */
  readonly lean: string | null;
  readonly canonicalSha256: string | null;
}

export interface VerdictRow {
  readonly stage: string;
  readonly outcome: string;
  readonly detail: string;
}

export interface PipelineProof {
  readonly statement: StatementRow;
  readonly side: NewProof["side"];
  readonly text: string;
  readonly tokens: number;
  readonly axioms: readonly string[];
  /** What wrote it and what checked it. */
  readonly model: string;
  readonly lean: string;
  /** Stage and round that found it, the samples that it took, and the seed of them all. */
  readonly stage: string;
  readonly cost: number;
  readonly seed: number | null;
}

const STATEMENT =
  "SELECT s.id, s.round, s.sample, s.generated, s.lean, s.canonical_sha256, p.id AS problem_id, p.source, p.informal, " +
  "p.preamble FROM statement s JOIN problem p ON p.id = s.problem_id";

const problemOf = (row: Row, id: unknown = row.id): ProblemRow => ({
  ...{ id: id as number, source: row.source as string },
  ...{ informal: row.informal as string, preamble: row.preamble as string },
});

const statementOf = (row: Row): StatementRow => ({
  ...{ id: row.id as number, problem: problemOf(row, row.problem_id), round: row.round as number },
  ...{ sample: row.sample as number, generated: row.generated as string },
  ...{ lean: row.lean as string | null, canonicalSha256: row.canonical_sha256 as string | null },
});

export class PipelineRows {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The problem of this hash, added if it is new. */
  addProblem(problem: Omit<ProblemRow, "id">, hash: string): ProblemRow {
    this.#database.run(
      "INSERT INTO problem (source, informal, preamble, hash) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
      ...[problem.source, problem.informal, problem.preamble, hash],
    );
    return problemOf(this.#database.get("SELECT * FROM problem WHERE hash = ?", hash)!);
  }

  problems(): readonly ProblemRow[] {
    return this.#database.all("SELECT * FROM problem ORDER BY id").map((row) => problemOf(row));
  }

  /** The statement of this place, added if there is none: what was written first stays. */
  addStatement(problem: number, statement: Omit<StatementRow, "id" | "problem">): StatementRow {
    const { round, sample, generated, lean, canonicalSha256 } = statement;
    this.#database.run(
      "INSERT INTO statement (problem_id, round, sample, generated, lean, canonical_sha256) VALUES (?, ?, ?, ?, ?, ?) " +
        "ON CONFLICT DO NOTHING",
      ...[problem, round, sample, generated, lean, canonicalSha256],
    );
    return this.statementAt(problem, round, sample)!;
  }

  statementAt(problem: number, round: number, sample: number): StatementRow | null {
    const row = this.#database.get(
      `${STATEMENT} WHERE s.problem_id = ? AND s.round = ? AND s.sample = ?`,
      ...[problem, round, sample],
    );
    return row === null ? null : statementOf(row);
  }

  statements(): readonly StatementRow[] {
    return this.#database.all(`${STATEMENT} ORDER BY s.id`).map(statementOf);
  }

  /** The first statement of this canonical form that passed `stage`, other than `id` and made before it. */
  earlier(canonicalSha256: string, id: number, stage: string, outcome: string): number | null {
    const row = this.#database.get(
      "SELECT s.id FROM statement s JOIN verdict v ON v.statement_id = s.id AND v.stage = ? AND v.outcome = ? " +
        "WHERE s.canonical_sha256 = ? AND s.id < ? ORDER BY s.id LIMIT 1",
      ...[stage, outcome, canonicalSha256, id],
    );
    return row === null ? null : (row.id as number);
  }

  verdict(statement: number, stage: string): VerdictRow | null {
    const row = this.#database.get(
      "SELECT stage, outcome, detail FROM verdict WHERE statement_id = ? AND stage = ?",
      ...[statement, stage],
    );
    return row as VerdictRow | null;
  }

  /** In the order in which they were found. */
  verdicts(statement: number): readonly VerdictRow[] {
    return this.#database.all(
      "SELECT stage, outcome, detail FROM verdict WHERE statement_id = ? ORDER BY id",
      statement,
    ) as unknown as VerdictRow[];
  }

  /** @returns false if this stage had its verdict, which stays */
  addVerdict(statement: number, { stage, outcome, detail }: VerdictRow): boolean {
    const { changes } = this.#database.run(
      "INSERT INTO verdict (statement_id, stage, outcome, detail) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
      ...[statement, stage, outcome, detail],
    );
    return changes > 0;
  }

  /** Verified proofs of statements and their negations, by statement, the shortest first. */
  proofs(): readonly PipelineProof[] {
    const statements = new Map(this.statements().map((statement) => [statement.id, statement]));
    return this.#database
      .all(
        "SELECT p.statement_id, p.side, p.text, p.tokens, p.axioms, p.model, p.lean, p.search, p.cost, s.seed FROM proof p " +
          "LEFT JOIN search s ON s.id = p.search_id WHERE p.statement_id IS NOT NULL " +
          "ORDER BY p.statement_id, p.side, length(p.text), p.id",
      )
      .map((row) => ({
        ...{ statement: statements.get(row.statement_id as number)!, side: row.side as NewProof["side"] },
        ...{ text: row.text as string, tokens: row.tokens as number },
        ...{ axioms: JSON.parse(row.axioms as string) as string[], model: row.model as string },
        ...{ lean: row.lean as string, stage: row.search as string, cost: row.cost as number },
        seed: row.seed as number | null,
      }));
  }

  /** What is known of a problem beside it. Reports read it, stages do not. */
  setTruth(problem: number, truth: string): void {
    this.#database.run(
      "INSERT INTO truth (problem_id, truth) VALUES (?, ?) ON CONFLICT DO NOTHING",
      problem,
      truth,
    );
  }

  truths(): ReadonlyMap<number, string> {
    const rows = this.#database.all("SELECT problem_id, truth FROM truth");
    return new Map(rows.map(({ problem_id, truth }) => [problem_id as number, truth as string]));
  }
}
