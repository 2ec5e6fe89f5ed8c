/**
 * The SQLite file that proofs, verdicts and searches are kept in: written ahead (WAL), so that a process that is killed loses
 * at most what it had not yet committed, and several processes may use it at once.
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { realPlace } from "../../files/place.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";

/** "DSPV" in ASCII: marks the files of this program. */
const APPLICATION = 0x44535056;
/** Of the tables below. A file of a newer program is refused, one of an older program brought up to date. */
const VERSION = 2;
const BUSY_MS = 60_000;

/** One entry a version: what brings a file of the version before up to it. */
const MIGRATIONS: readonly string[] = [
  `
CREATE TABLE problem (
  id INTEGER PRIMARY KEY, source TEXT NOT NULL, informal TEXT NOT NULL, preamble TEXT NOT NULL, hash TEXT NOT NULL UNIQUE);
CREATE TABLE truth (problem_id INTEGER PRIMARY KEY REFERENCES problem, truth TEXT NOT NULL);
CREATE TABLE statement (
  id INTEGER PRIMARY KEY, problem_id INTEGER NOT NULL REFERENCES problem, round INTEGER NOT NULL, sample INTEGER NOT NULL,
  generated TEXT NOT NULL, lean TEXT, canonical_sha256 TEXT, UNIQUE (problem_id, round, sample));
CREATE INDEX statement_canonical ON statement (canonical_sha256);
CREATE TABLE verdict (
  id INTEGER PRIMARY KEY, statement_id INTEGER NOT NULL REFERENCES statement, stage TEXT NOT NULL, outcome TEXT NOT NULL,
  detail TEXT NOT NULL, UNIQUE (statement_id, stage));
CREATE TABLE proof (
  id INTEGER PRIMARY KEY, statement_id INTEGER REFERENCES statement, search_id INTEGER REFERENCES search,
  side TEXT NOT NULL, text TEXT NOT NULL, text_sha256 TEXT NOT NULL, tokens INTEGER NOT NULL, axioms TEXT NOT NULL,
  model TEXT NOT NULL, lean TEXT NOT NULL, search TEXT NOT NULL, cost INTEGER NOT NULL);
CREATE UNIQUE INDEX proof_text ON proof (coalesce(statement_id, -1), coalesce(search_id, -1), side, text_sha256);
CREATE TABLE search (
  id INTEGER PRIMARY KEY, problem_sha256 TEXT NOT NULL, identity TEXT NOT NULL, seed INTEGER NOT NULL,
  status TEXT NOT NULL, created INTEGER NOT NULL);
CREATE INDEX search_problem ON search (problem_sha256);
CREATE TABLE attempt (
  search_id INTEGER NOT NULL REFERENCES search, completed INTEGER NOT NULL, tree INTEGER NOT NULL, seq INTEGER NOT NULL,
  event TEXT NOT NULL, PRIMARY KEY (search_id, completed), UNIQUE (search_id, tree, seq)) WITHOUT ROWID;
CREATE TABLE checked (
  key TEXT PRIMARY KEY, verdict TEXT NOT NULL, answer TEXT NOT NULL, lean TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE job (
  id TEXT PRIMARY KEY, kind TEXT NOT NULL, data TEXT NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL, error TEXT);
`,
  `
CREATE TABLE setting (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE question (key TEXT PRIMARY KEY, kind TEXT NOT NULL, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE written (
  key TEXT PRIMARY KEY, model TEXT NOT NULL, text TEXT NOT NULL, tokens INTEGER NOT NULL, ended TEXT NOT NULL) WITHOUT ROWID;
`,
];

export interface StoreOptions {
  /** Waits for the disk at every commit: nothing is lost when power fails either, at some milliseconds a commit. */
  readonly durable?: boolean;
  /** Milliseconds to wait for another process that writes (default 60,000). */
  readonly busyMs?: number;
}

async function sqlite(): Promise<typeof import("node:sqlite")> {
  try {
    return await import("node:sqlite");
  } catch (cause) {
    throw new ConfigError("keeping proofs needs node:sqlite", {
      where: "proof store",
      expected: "Node 22.5 or later",
      found: `Node ${process.versions.node}`,
      hint: "Use a newer Node; `deepseek-ts verify` works without a store.",
      cause,
    });
  }
}

/** Result codes of SQLite that are no fault of the file, in words. */
const FAULTS: ReadonlyMap<number, readonly [message: string, hint: string]> = new Map([
  [5, ["another process holds the proof store", "Let it finish, or name another file."]],
  [6, ["another process holds the proof store", "Let it finish, or name another file."]],
  [8, ["the proof store cannot be written", "Make the file and its folder writable, or name another file."]],
  [10, ["the proof store cannot be read or written", "See that its disk is well, or name another file."]],
  [13, ["the disk is full", "Free some space; what was kept is whole, and the same command goes on."]],
]);

/** What SQLite says in words of this program, where it is the machine's fault; other errors as they are. */
function storeError(path: string, error: unknown): unknown {
  const { code, errcode, message } = (error ?? {}) as {
    code?: unknown;
    errcode?: unknown;
    message?: unknown;
  };
  // The low byte is the result, the others say more.
  const known = code === "ERR_SQLITE_ERROR" ? FAULTS.get(Number(errcode) & 0xff) : undefined;
  if (known === undefined) return error;
  return new ConfigError(known[0], { where: path, found: message, hint: known[1], cause: error });
}

/** A row as SQLite gives it. */
export type Row = Readonly<Record<string, string | number | null>>;
/** What SQLite takes and gives. */
export type Value = string | number | null;

/** An open file, and its statements, prepared once. */
export class Database implements Disposable {
  readonly path: string;
  readonly #database: DatabaseSync;
  readonly #statements = new Map<string, StatementSync>();
  #open = true;
  #depth = 0;

  constructor(path: string, database: DatabaseSync) {
    this.path = path;
    this.#database = database;
  }

  #statement(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (!statement) {
      statement = this.#database.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  /** Rows changed, and the number of the last row that was added. */
  run(sql: string, ...values: readonly Value[]): { readonly changes: number; readonly lastId: number } {
    const { changes, lastInsertRowid } = this.#told(() => this.#statement(sql).run(...values));
    return { changes: Number(changes), lastId: Number(lastInsertRowid) };
  }

  get(sql: string, ...values: readonly Value[]): Row | null {
    return (this.#told(() => this.#statement(sql).get(...values)) as Row | undefined) ?? null;
  }

  all(sql: string, ...values: readonly Value[]): readonly Row[] {
    return this.#told(() => this.#statement(sql).all(...values)) as unknown as Row[];
  }

  iterate(sql: string, ...values: readonly Value[]): IterableIterator<Row> {
    return this.#database.prepare(sql).iterate(...values) as unknown as IterableIterator<Row>;
  }

  #told<T>(work: () => T): T {
    try {
      return work();
    } catch (error) {
      throw storeError(this.path, error);
    }
  }

  /** All of `work` or, if it throws, nothing of it. `work` waits for nothing, so that no other work falls into it. */
  transaction<T>(work: () => T): T {
    if (this.#depth > 0) return work();
    this.#told(() => this.#database.exec("BEGIN IMMEDIATE"));
    this.#depth++;
    try {
      const result = work();
      this.#told(() => this.#database.exec("COMMIT"));
      return result;
    } catch (error) {
      try {
        this.#database.exec("ROLLBACK");
      } catch {
        // A full disk has ended the transaction already.
      }
      throw error;
    } finally {
      this.#depth--;
    }
  }

  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    this.#statements.clear();
    this.#database.close();
  }
}

/**
 * Opens or begins a store. `:memory:` keeps it in memory.
 * @throws ConfigError for a Node without node:sqlite, a file of another program or of a newer version of this one
 * @throws FormatError for a damaged file
 */
export async function openDatabase(
  path: string,
  { durable = false, busyMs = BUSY_MS }: StoreOptions = {},
): Promise<Database> {
  const { DatabaseSync } = await sqlite();
  const place = path === ":memory:" ? path : await realPlace(path);
  let database: DatabaseSync;
  try {
    database = new DatabaseSync(place, { timeout: busyMs });
  } catch (cause) {
    throw new ConfigError("the proof store cannot be opened", {
      ...{ where: path, found: (cause as Error).message, cause },
      hint: "Its folder must exist and be writable.",
    });
  }
  try {
    const number = (pragma: string) => Number(Object.values(database.prepare(`PRAGMA ${pragma}`).get()!)[0]);
    const [application, tables] = [number("application_id"), number("schema_version")];
    if (application !== APPLICATION && (application !== 0 || tables !== 0)) {
      throw new ConfigError("a database of another program", {
        where: path,
        hint: "Nothing was changed. Choose another name for the proof store.",
      });
    }
    database.exec(
      `PRAGMA journal_mode = WAL; PRAGMA synchronous = ${durable ? "FULL" : "NORMAL"}; PRAGMA foreign_keys = ON`,
    );
    // Inside a transaction: two processes may begin the same file at once.
    database.exec("BEGIN IMMEDIATE");
    const version = number("user_version");
    if (version > VERSION) {
      database.exec("ROLLBACK");
      throw new ConfigError("a proof store of a newer deepseek-ts", {
        ...{ where: path, expected: `version ${VERSION} or older`, found: version },
        hint: "Update deepseek-ts, or choose another file.",
      });
    }
    for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
    database.exec(`PRAGMA application_id = ${APPLICATION}; PRAGMA user_version = ${VERSION}; COMMIT`);
    return new Database(path, database);
  } catch (error) {
    database.close();
    const told = storeError(path, error);
    if (told instanceof ConfigError) throw told;
    throw new FormatError("no proof store, or a damaged one", {
      where: path,
      found: (error as Error).message,
      hint: "Nothing was changed. Choose another file, or delete this one if nothing else uses it.",
      cause: error,
    });
  }
}
