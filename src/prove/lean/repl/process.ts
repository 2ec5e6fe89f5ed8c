/**
 * One running REPL: a JSON object on a line and a blank line ask, a JSON object over several lines and a blank line answer. The
 * protocol has no ids, so a process whose answers may be out of step (one that was not waited for, lines that nobody asked for)
 * is ended. `lake env` starts the REPL as a child of its own, so the whole group of processes is.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";

export interface ReplCommand {
  readonly command: string;
  readonly args: readonly string[];
  readonly folder: string;
}

/** How a process ended; `exit` by itself or by someone else's signal. */
export class ReplEnded extends Error {
  override name = "ReplEnded";
  readonly why: "timeout" | "memory" | "exit" | "protocol";

  constructor(why: ReplEnded["why"], message: string) {
    super(message);
    this.why = why;
  }
}

export interface AskOptions {
  /** Milliseconds after which the process is killed. */
  readonly timeout: number;
  /** Bytes above which it is killed (Linux only). */
  readonly memory: number;
  readonly signal?: AbortSignal;
}

const WORDS = 2000;
/** Characters of one answer; a tree of tactics of a long proof has some millions. */
const MOST_ANSWER = 256 * 2 ** 20;
const MEMORY_INTERVAL = 500;

/** Groups that must not outlive this process. */
const running = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of running) killGroup(child);
});

function killGroup(child: ChildProcess): void {
  try {
    if (child.pid !== undefined && process.platform !== "win32") process.kill(-child.pid, "SIGKILL");
    else child.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}

export class ReplProcess {
  /** Requests that were answered. */
  uses = 0;
  /** Numbers of environments by what made them. */
  readonly environments = new Map<string, number>();
  readonly #child: ChildProcess;
  #lines: string[] = [];
  #size = 0;
  #rest = "";
  #words = "";
  #ended: ReplEnded | null = null;
  #waiting: { resolve(value: unknown): void; reject(error: Error): void } | null = null;

  constructor({ command, args, folder }: ReplCommand) {
    const options = { cwd: folder, stdio: "pipe", detached: process.platform !== "win32" } as const;
    this.#child = spawn(command, args, options);
    running.add(this.#child);
    const { stdin, stdout, stderr } = this.#child as ChildProcess & { stdin: NodeJS.WritableStream };
    stdin.on("error", () => {});
    stderr?.setEncoding("utf8").on("data", (text: string) => this.#say(text));
    stdout?.setEncoding("utf8").on("data", (text: string) => this.#read(text));
    this.#child.on("error", ({ message }) => this.#over("exit", message));
    this.#child.on("close", (code, signal) => this.#over("exit", `ended with ${signal ?? `status ${code}`}`));
  }

  get ended(): boolean {
    return this.#ended !== null;
  }

  /** Resident bytes of the process and those it started; 0 where that cannot be told. */
  get memory(): number {
    return residentBytes(this.#child.pid);
  }

  /** @returns the JSON of the answer. @throws ReplEnded; the signal's reason, after the process is killed */
  async ask(request: unknown, { timeout, memory, signal }: AskOptions): Promise<unknown> {
    signal?.throwIfAborted();
    if (this.#ended !== null) throw this.#ended;
    if (this.#waiting !== null) throw new Error("a REPL answers one request at a time");
    const answer = new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
    const late = setTimeout(
      () => this.#kill("timeout", `no answer within ${Math.round(timeout)} ms`),
      timeout,
    );
    const watch = setInterval(() => {
      if (this.memory > memory) this.#kill("memory", `more than ${memory} bytes of memory`);
    }, MEMORY_INTERVAL);
    const abort = () => this.#kill("exit", "no longer needed");
    signal?.addEventListener("abort", abort, { once: true });
    try {
      this.#child.stdin?.write(`${JSON.stringify(request)}\n\n`);
      const value = await answer;
      this.uses++;
      return value;
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    } finally {
      clearTimeout(late);
      clearInterval(watch);
      signal?.removeEventListener("abort", abort);
    }
  }

  kill(): void {
    this.#kill("exit", "no longer needed");
  }

  #kill(why: ReplEnded["why"], message: string): void {
    this.#over(why, message);
    killGroup(this.#child);
  }

  #say(text: string): void {
    this.#words = (this.#words + text).slice(-WORDS);
  }

  #read(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    this.#size += text.length;
    if (this.#size > MOST_ANSWER) this.#kill("protocol", `an answer of more than ${MOST_ANSWER} characters`);
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (this.#ended !== null) return;
    const blank = line.trim() === "";
    if (this.#lines.length > 0) {
      if (blank) this.#answer();
      else this.#lines.push(line);
    } else if (!blank && !line.startsWith("{")) {
      // What `lake` says before the first answer.
      this.#say(`${line}\n`);
    } else if (!blank && this.#waiting === null) {
      this.#kill("protocol", `it said without being asked: ${line.slice(0, 200)}`);
    } else if (!blank) {
      this.#lines.push(line);
    }
  }

  #answer(): void {
    const text = this.#lines.join("\n");
    this.#lines = [];
    this.#size = this.#rest.length;
    try {
      this.#waiting?.resolve(JSON.parse(text));
      this.#waiting = null;
    } catch {
      this.#kill("protocol", `this is no JSON: ${text.slice(0, 200)}`);
    }
  }

  #over(why: ReplEnded["why"], message: string): void {
    if (this.#ended !== null) return;
    running.delete(this.#child);
    const words = this.#words.trim();
    this.#ended = new ReplEnded(why, words === "" ? message : `${message}: ${words}`);
    this.#waiting?.reject(this.#ended);
    this.#waiting = null;
  }
}

/** Of a process and its descendants; Linux only. */
function residentBytes(pid: number | undefined): number {
  if (process.platform !== "linux" || pid === undefined) return 0;
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const own = Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ");
    return children.reduce((sum, child) => sum + (child === "" ? 0 : residentBytes(Number(child))), own);
  } catch {
    return 0; // It has ended.
  }
}
