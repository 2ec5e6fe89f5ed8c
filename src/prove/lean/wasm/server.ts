/**
 * One running Lean, wherever it runs. It answers one request at a time; each has an id that checked text cannot guess, so
 * that nothing it might print passes for an answer.
 */

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

/** What a running Lean tells. */
export interface ServerEvents {
  /** A line of its answers. */
  receive(line: string): void;
  /** What else it prints; the end of it are its last words. */
  say(text: string): void;
  over(by: "itself" | "signal", how: string): void;
}

/** A running Lean. */
export interface Connection {
  send(line: string): void;
  kill(): void;
}

/** Starts one. */
export type Connect = (events: ServerEvents) => Connection;

/** Characters of last words. */
const WORDS = 2000;

/** 128 bits that nobody can guess. */
function secret(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
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

  constructor(connect: Connect) {
    this.ready = new Promise((resolve, reject) => {
      this.#becomeReady = resolve;
      this.#fail = reject;
    });
    this.ready.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.#connection = connect({
      receive: (line) => this.#receive(line),
      say: (text) => this.#say(text),
      over: (by, how) => this.#over(by, how),
    });
  }

  /** Asks; never rejects. */
  ask(request: ServerAnswer): Promise<Reply> {
    if (this.#end !== null) return Promise.resolve({ end: this.#end });
    const id = secret();
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
