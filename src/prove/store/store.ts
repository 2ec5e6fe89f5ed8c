/**
 * What proving has found out, in one SQLite file: verdicts, searches with every attempt in the order in which they were completed,
 * proofs. An attempt is one transaction, so a search that was killed at any moment goes on behind its last completed attempt.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { CheckAnswer } from "../lean/session.ts";
import { type Database, openDatabase, type Row, type StoreOptions } from "./database.ts";
import { PipelineRows } from "./pipeline-rows.ts";
import type { NewProof } from "./proof.ts";

/** What a search must have in common with the one that it continues: model, tokenizer, prompts, Lean, options. */
export type SearchIdentity = Readonly<Record<string, string | number | boolean | null>>;

/** `open`: not all of its samples are spent. */
export type SearchStatus = "open" | "proved" | "exhausted";

export interface StoredSearch {
  readonly id: number;
  readonly seed: number;
  readonly status: SearchStatus;
}

/** One completed attempt; `event` is the search's own record of it, plain JSON. */
export interface StoredAttempt {
  readonly tree: number;
  /** Number of the attempt in its tree, given when it began. */
  readonly seq: number;
  readonly event: unknown;
}

/** A text that a worker's model wrote. */
export interface WrittenText {
  readonly text: string;
  readonly tokens: number;
  readonly end: "stop" | "length";
}

export interface StoredProof extends NewProof {
  readonly id: number;
}

const proofOf = (row: Row): StoredProof => ({
  ...{ id: row.id as number, side: row.side as NewProof["side"], text: row.text as string },
  ...{ textSha256: row.text_sha256 as string, tokens: row.tokens as number },
  ...{ axioms: JSON.parse(row.axioms as string) as string[], model: row.model as string },
  ...{ lean: row.lean as string, search: row.search as string, cost: row.cost as number },
});

export class ProofStore implements Disposable {
  readonly #database: Database;
  /** Problems, statements and verdicts of the pipeline. */
  readonly pipeline: PipelineRows;

  private constructor(database: Database) {
    this.#database = database;
    this.pipeline = new PipelineRows(database);
  }

  /** @throws as `openDatabase` */
  static async open(path: string, options?: StoreOptions): Promise<ProofStore> {
    return new ProofStore(await openDatabase(path, options));
  }

  get path(): string {
    return this.#database.path;
  }

  /** All of `work` or nothing of it. It waits for nothing. */
  transaction<T>(work: () => T): T {
    return this.#database.transaction(work);
  }

  /** What the file is kept for, by name, as JSON; null if it was not said. */
  setting(name: string): unknown {
    const row = this.#database.get("SELECT value FROM setting WHERE name = ?", name);
    return row === null ? null : (JSON.parse(row.value as string) as unknown);
  }

  setSetting(name: string, value: unknown): void {
    this.#database.run(
      "INSERT INTO setting (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
      ...[name, JSON.stringify(value)],
    );
  }

  /** Keeps what a job of another process is to answer, under the name that the job carries. */
  ask(key: string, kind: string, body: unknown): void {
    this.#database.run(
      "INSERT INTO question (key, kind, body) VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
      ...[key, kind, JSON.stringify(body)],
    );
  }

  /** @throws ConfigError for a question that another store has */
  question(key: string, kind: string): unknown {
    const row = this.#database.get("SELECT body FROM question WHERE key = ? AND kind = ?", key, kind);
    if (row !== null) return JSON.parse(row.body as string) as unknown;
    throw new ConfigError("a job asks for what this store does not have", {
      ...{ where: this.path, name: kind, found: key },
      hint: "Workers and those that ask must share one store: --store.",
    });
  }

  /** What a model wrote for this question; null if it has not yet. */
  written(key: string): WrittenText | null {
    const row = this.#database.get("SELECT text, tokens, ended FROM written WHERE key = ?", key);
    if (row === null) return null;
    const { text, tokens, ended } = row;
    return { text: text as string, tokens: tokens as number, end: ended as WrittenText["end"] };
  }

  /** @returns false if there is a text already, which stays */
  keepWritten(key: string, model: string, { text, tokens, end }: WrittenText): boolean {
    const { changes } = this.#database.run(
      "INSERT INTO written (key, model, text, tokens, ended) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      ...[key, model, text, tokens, end],
    );
    return changes > 0;
  }

  /** The answer to a question that was asked before. */
  checked(key: string): CheckAnswer | null {
    const row = this.#database.get("SELECT answer FROM checked WHERE key = ?", key);
    return row === null ? null : (JSON.parse(row.answer as string) as CheckAnswer);
  }

  saveChecked(key: string, verdict: string, answer: CheckAnswer, lean: string): void {
    this.#database.run(
      "INSERT INTO checked (key, verdict, answer, lean, created) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      ...[key, verdict, JSON.stringify(answer), lean, Date.now()],
    );
  }

  /** Kept verdicts, by name. */
  verdictCounts(): Readonly<Record<string, number>> {
    const rows = this.#database.all(
      "SELECT verdict, count(*) AS n FROM checked GROUP BY verdict ORDER BY verdict",
    );
    return Object.fromEntries(rows.map(({ verdict, n }) => [verdict as string, n as number]));
  }

  /**
   * The search of a problem with these settings: the one that was begun, or a new one.
   * @param fresh begins a new one in any case
   * @throws ConfigError if an unfinished one has other settings, with what differs
   */
  beginSearch(
    problemSha256: string,
    identity: SearchIdentity,
    seed: number,
    { fresh = false }: { readonly fresh?: boolean } = {},
  ): StoredSearch {
    return this.transaction(() => {
      const text = JSON.stringify(
        Object.fromEntries(Object.entries(identity).sort(([a], [b]) => (a < b ? -1 : 1))),
      );
      const last = this.#database.get(
        "SELECT id, identity, seed, status FROM search WHERE problem_sha256 = ? ORDER BY id DESC LIMIT 1",
        problemSha256,
      );
      if (last !== null && !fresh) {
        if (last.identity === text && last.seed === seed) {
          return { id: last.id as number, seed, status: last.status as SearchStatus };
        }
        if (last.status === "open") refuseOther(this.path, last, { ...identity, seed });
      }
      const { lastId } = this.#database.run(
        "INSERT INTO search (problem_sha256, identity, seed, status, created) VALUES (?, ?, ?, 'open', ?)",
        ...[problemSha256, text, seed, Date.now()],
      );
      return { id: lastId, seed, status: "open" };
    });
  }

  /** Completed attempts in the order of their completion. */
  attempts(search: number): readonly StoredAttempt[] {
    return this.#database
      .all("SELECT tree, seq, event FROM attempt WHERE search_id = ? ORDER BY completed", search)
      .map(({ tree, seq, event }) => ({
        ...{ tree: tree as number, seq: seq as number },
        event: JSON.parse(event as string) as unknown,
      }));
  }

  /**
   * Keeps an attempt and the proof that it found, both or neither; the proof also for a statement of the pipeline.
   * @returns false if the attempt was kept already, which changes nothing
   */
  completeAttempt(
    search: number,
    { tree, seq, event }: StoredAttempt,
    proof?: NewProof,
    statement?: number,
  ): boolean {
    return this.transaction(() => {
      const { changes } = this.#database.run(
        "INSERT INTO attempt (search_id, completed, tree, seq, event) VALUES " +
          "(?, (SELECT coalesce(max(completed), 0) + 1 FROM attempt WHERE search_id = ?), ?, ?, ?) ON CONFLICT DO NOTHING",
        ...[search, search, tree, seq, JSON.stringify(event)],
      );
      if (changes === 0) return false;
      if (proof !== undefined) this.addProof(proof, { search, statement });
      return true;
    });
  }

  endSearch(search: number, status: Exclude<SearchStatus, "open">): void {
    this.#database.run("UPDATE search SET status = ? WHERE id = ?", status, search);
  }

  /** @returns false if this text is kept for the same side of the same thing */
  addProof(proof: NewProof, of: { readonly search?: number; readonly statement?: number }): boolean {
    const { side, text, textSha256, tokens, axioms, model, lean, search, cost } = proof;
    const { changes } = this.#database.run(
      "INSERT INTO proof (statement_id, search_id, side, text, text_sha256, tokens, axioms, model, lean, search, cost) " +
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
      ...[of.statement ?? null, of.search ?? null, side, text, textSha256, tokens, JSON.stringify(axioms)],
      ...[model, lean, search, cost],
    );
    return changes > 0;
  }

  proofsOfSearch(search: number): readonly StoredProof[] {
    return this.#database.all("SELECT * FROM proof WHERE search_id = ? ORDER BY id", search).map(proofOf);
  }

  [Symbol.dispose](): void {
    this.#database[Symbol.dispose]();
  }
}

function refuseOther(path: string, last: Row, wanted: SearchIdentity): never {
  const kept: SearchIdentity = {
    ...(JSON.parse(last.identity as string) as SearchIdentity),
    seed: last.seed as number,
  };
  const different = [...new Set([...Object.keys(kept), ...Object.keys(wanted)])].filter(
    (key) => kept[key] !== wanted[key],
  );
  const list = (of: SearchIdentity) => different.map((key) => `${key} ${of[key] ?? "none"}`).join(", ");
  throw new ConfigError("an unfinished search of this problem has other settings", {
    ...{ where: path, expected: list(kept), found: list(wanted) },
    hint: "Go on with the settings that are expected, or begin anew with --fresh.",
  });
}
