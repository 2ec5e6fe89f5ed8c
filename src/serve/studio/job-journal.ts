/**
 * The jobs that leave something on disk, written down while they run: where the server ends before they do, the next one can say
 * what was interrupted and what is there. Each server has a file of its own, with the process that it is.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { removeOwnFile, replaceOwnFile } from "../../files/owned.ts";
import { fateOf, type ProcessIdentity, thisProcess } from "../../files/process-identity.ts";
import { makeFolders } from "../../files/temporary.ts";
import { readTextFile } from "../../files/text-file.ts";
import type { JobView } from "./protocol.ts";

/** Jobs that are told, and files of servers that are looked at. */
const MOST_JOBS = 64;
const MOST_FILES = 64;
const NAME = /^jobs-[\w-]+\.json$/;
const FORMAT = "deepseek-ts studio jobs";

interface Journal {
  readonly format: typeof FORMAT;
  readonly owner: ProcessIdentity;
  readonly jobs: readonly JobView[];
}

function isJournal(value: unknown): value is Journal {
  const { format, owner, jobs } = (value ?? {}) as Partial<Journal>;
  const whole = ({ id, kind, title, added }: Partial<JobView>) =>
    [id, kind, title].every((text) => typeof text === "string") && typeof added === "number";
  return (
    format === FORMAT &&
    typeof owner === "object" &&
    owner !== null &&
    Array.isArray(jobs) &&
    jobs.every((job) => typeof job === "object" && job !== null && whole(job))
  );
}

async function readJournal(path: string): Promise<Journal | null> {
  try {
    const value: unknown = JSON.parse(await readTextFile(path));
    return isJournal(value) ? value : null;
  } catch {
    return null;
  }
}

export class JobJournal {
  /** What earlier servers were doing when they ended, newest first. */
  readonly interrupted: readonly JobView[];
  readonly #path: string;
  readonly #owner: ProcessIdentity;
  readonly #log: (line: string) => void;
  readonly #jobs = new Map<string, JobView>();
  #written: Promise<void> = Promise.resolve();

  private constructor(
    path: string,
    owner: ProcessIdentity,
    interrupted: readonly JobView[],
    log: (line: string) => void,
  ) {
    this.#path = path;
    this.#owner = owner;
    this.interrupted = interrupted;
    this.#log = log;
  }

  /** @param folder is made; what ended servers left in it is read and taken away @param session names this server's file */
  static async open(folder: string, session: string, log: (line: string) => void): Promise<JobJournal> {
    await makeFolders(folder);
    const left: JobView[] = [];
    for (const name of (await readdir(folder)).filter((each) => NAME.test(each)).slice(0, MOST_FILES)) {
      const path = join(folder, name);
      const journal = await readJournal(path);
      if (journal === null || (await fateOf(journal.owner)) !== "gone") continue;
      left.push(...journal.jobs);
      await removeOwnFile(path, async () => true);
    }
    const interrupted = left
      .sort((a, b) => b.added - a.added)
      .slice(0, MOST_JOBS)
      .map(
        (job): JobView => ({
          ...job,
          ...INTERRUPTED,
          error: { message: wordsFor(job), code: "interrupted" },
        }),
      );
    return new JobJournal(join(folder, `jobs-${session}.json`), await thisProcess(), interrupted, log);
  }

  /** Writes down that a job runs. */
  begin(job: JobView): Promise<void> {
    this.#jobs.set(job.id, job);
    return this.#write();
  }

  /** Writes down that it has ended. */
  end(id: string): Promise<void> {
    return this.#jobs.delete(id) ? this.#write() : this.#written;
  }

  #write(): Promise<void> {
    this.#written = this.#written.then(async () => {
      try {
        if (this.#jobs.size === 0) await this.#remove();
        else {
          const jobs = [...this.#jobs.values()];
          const journal: Journal = { format: FORMAT, owner: this.#owner, jobs };
          await replaceOwnFile(this.#path, `${JSON.stringify(journal)}\n`);
        }
      } catch (error) {
        // The work is more important than the note about it.
        this.#log(`warning: ${error instanceof Error ? error.message : String(error)}`);
      }
    });
    return this.#written;
  }

  async #remove(): Promise<void> {
    await removeOwnFile(this.#path, async () => true).catch(() => {});
  }
}

const INTERRUPTED = { state: "interrupted", progress: null, firstEvent: 1, lastEvent: 0 } as const;

function wordsFor({ kind }: JobView): string {
  const ended = "The server ended before the job did.";
  switch (kind) {
    case "train":
    case "resume":
      return `${ended} What the run had saved is there: resume it. A run that was still being prepared has left nothing.`;
    case "download":
      return `${ended} What was downloaded is kept: download it again, which goes on where it stopped.`;
    default:
      return `${ended} It has left nothing: start it again.`;
  }
}
