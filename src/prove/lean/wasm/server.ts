/**
 * One running Lean: a child process, or a thread of this process. It answers one request at a time; each has an id that
 * checked text cannot guess, so that nothing it might print passes for an answer.
 */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { siblingModule, threadExecArgv } from "../../../tensor/cpu/thread-options.ts";
import type { LeanLine, LeanThreadData } from "./lean-thread.ts";
import { createMailbox, MailboxSender } from "./mailbox.ts";
import type { PreparedLean } from "./prepare.ts";

/** Where Lean runs: processes can be killed at any moment and take nothing else along, threads need less memory. */
export type LeanHost = "process" | "thread";

/** What the server of lean/ReplServer.lean answers; the fields depend on the request. */
export type ServerAnswer = Readonly<Record<string, unknown>>;

/** How a server ended: by itself, by a signal of someone else's, or by `kill`. */
export interface ServerEnd {
  readonly by: "itself" | "signal" | "us";
  /** Its last words. */
  readonly words: string;
}

/** What came of a request. */
export type Reply = { readonly answer: ServerAnswer } | { readonly end: ServerEnd };

/** Characters of last words. */
const WORDS = 2000;
const STACK_MEGABYTES = 16;

interface Connection {
  send(line: string): void;
  kill(): void;
}

export class LeanServer {
  /** Resolves when it takes requests. Rejects if it ends before. */
  readonly ready: Promise<void>;
  /** Resolves when it is gone. */
  readonly ended: Promise<ServerEnd>;
  /** Requests that were answered. */
  checks = 0;
  /** Resident bytes when it answered last; 0 if that cannot be told of it alone. */
  memory = 0;
  /** Environments by the modules that they import: their number here, or why they cannot be had. */
  readonly environments = new Map<string, number | string>();
  readonly #connection: Connection;
  #waiting: { readonly id: string; resolve(reply: Reply): void } | null = null;
  #becomeReady: () => void = () => {};
  #fail: (error: Error) => void = () => {};
  #finish: (end: ServerEnd) => void = () => {};
  #words = "";
  #killed = false;
  #end: ServerEnd | null = null;

  constructor(lean: PreparedLean, host: LeanHost) {
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#fail = reject;
    });
    this.ready.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#connection = host === "process" ? this.#startProcess(lean) : this.#startThread(lean);
  }

  /** Asks; never rejects. */
  ask(request: ServerAnswer): Promise<Reply> {
    if (this.#end !== null) return Promise.resolve({ end: this.#end });
    const id = randomBytes(16).toString("hex");
    return new Promise((resolve) => {
      this.#waiting = { id, resolve };
      this.#connection.send(`${JSON.stringify({ ...request, id })}\n`);
    });
  }

  kill(): void {
    if (this.#end !== null) return;
    this.#killed = true;
    this.#connection.kill();
  }

  #startProcess({ base, server }: PreparedLean): Connection {
    const file = fileURLToPath(siblingModule(import.meta.url, "lean-process"));
    const child = spawn(process.execPath, [file, "serve", base, server], { stdio: ["pipe", "pipe", "pipe"] });
    // What is written to a dead process.
    child.stdin.on("error", () => {});
    child.stderr.setEncoding("utf8").on("data", (text: string) => this.#say(text));
    let rest = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#receive(line);
    });
    child.on("error", (error) => this.#over("itself", error.message));
    child.on("close", (code, signal) => {
      this.#over(signal === null ? "itself" : "signal", `ended with ${signal ?? `status ${code}`}`);
    });
    return { send: (line) => child.stdin.write(line), kill: () => child.kill("SIGKILL") };
  }

  #startThread({ base, server }: PreparedLean): Connection {
    const mailbox = createMailbox();
    const data: LeanThreadData = { base, server, mailbox, args: ["-j1", "--run", "/srv/Main.lean"] };
    const worker = new Worker(siblingModule(import.meta.url, "lean-thread"), {
      workerData: data,
      execArgv: threadExecArgv(),
      resourceLimits: { stackSizeMb: STACK_MEGABYTES },
    });
    worker.on("message", ({ stream, line }: LeanLine) => {
      if (stream === 1 && line.startsWith("{")) this.#receive(line);
      else this.#say(`${line}\n`);
    });
    worker.on("error", (error: unknown) =>
      this.#say(error instanceof Error ? error.message : JSON.stringify(error)),
    );
    worker.on("exit", (code) => this.#over("itself", `ended with status ${code}`));
    const sender = new MailboxSender(mailbox);
    return {
      send: (line) => sender.send(new TextEncoder().encode(line)),
      kill: () => void worker.terminate(),
    };
  }

  #say(text: string): void {
    this.#words = (this.#words + text).slice(-WORDS);
  }

  #receive(line: string): void {
    let message: ServerAnswer;
    try {
      message = JSON.parse(line) as ServerAnswer;
    } catch {
      return;
    }
    if (typeof message !== "object" || message === null) return;
    if (message.ready === true) this.#becomeReady();
    if (typeof message.memory === "number") this.memory = message.memory;
    if (this.#waiting === null || message.id !== this.#waiting.id) return;
    const { resolve } = this.#waiting;
    this.#waiting = null;
    this.checks++;
    resolve({ answer: message });
  }

  #over(by: "itself" | "signal", how: string): void {
    if (this.#end !== null) return;
    const words = `${this.#words.trim()}${this.#words.trim() ? " " : ""}(${how})`;
    this.#end = { by: this.#killed ? "us" : by, words };
    this.#fail(new Error(words));
    this.#waiting?.resolve({ end: this.#end });
    this.#waiting = null;
    this.#finish(this.#end);
  }
}
