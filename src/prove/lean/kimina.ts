/**
 * Lean behind a Kimina server, which runs a text in one of its REPLs and judges nothing: preamble, reference statement, answer and
 * the questions about it go in one text. What the statement is called there is asked once a problem.
 *
 * The server runs a text without imports on top of whatever ran before it, so there always is an import. It counts lines of
 * messages from the text's first line, those in the tree of tactics from the first behind the imports.
 */
import { randomUUID } from "node:crypto";
import { LeanError } from "./lean-error.ts";
import { messagesIn, type ReplAnswer, type ReplMessage, readReplAnswer } from "./repl/answer.ts";
import {
  errorVerdict,
  judge,
  nameQuestion,
  questions,
  type Reference,
  readReference,
  unguessable,
} from "./repl/judgement.ts";
import { askKimina, type KiminaServer } from "./repl/kimina-client.ts";
import {
  BadProblem,
  checkAnswer,
  excerptOf,
  HEARTBEATS,
  importLines,
  readProblem,
  refuseCheck,
  SETTINGS,
  TIMEOUT,
  type Unfinished,
  unfinished,
  verifyAnswer,
} from "./repl/outcome.ts";
import type { NamedStatement } from "./repl/rules.ts";
import { selfTest } from "./repl/self-test.ts";
import {
  type CheckAnswer,
  type CheckInput,
  type CheckOptions,
  type LeanProblem,
  type LeanSession,
  timeLimit,
  type VerifyAnswer,
} from "./session.ts";
import { Turns } from "./turns.ts";

export interface KiminaLeanOptions extends KiminaServer {
  /** What is imported by a problem that does not say (none: `Init` alone). */
  readonly imports?: readonly string[];
  /** Texts at the same time (4): as many REPLs as the server has. Further ones wait here; a busy server would refuse them. */
  readonly slots?: number;
  /** Lean and libraries of the server, which name cached verdicts; by default its Lean is asked. */
  readonly version?: string;
  /** Milliseconds for imports, which are no part of a check's own time (300,000). */
  readonly startTimeout?: number;
}

/** Problems whose names are kept. */
const MOST_REFERENCES = 4096;

/** @throws LeanError if the server cannot be used */
export async function openKimina(options: KiminaLeanOptions): Promise<LeanSession> {
  if (!URL.canParse(options.url) || !/^https?:/.test(options.url)) {
    throw new LeanError("no address of a Kimina server", {
      ...{ found: options.url, hint: "Write it as http://localhost:8000." },
    });
  }
  if (options.version !== undefined) return new KiminaLean(options, options.version);
  const said = await new KiminaLean(options, "").asked("#eval Lean.versionString");
  const version = /^"([^"\n]+)"$/.exec(said)?.[1];
  if (version === undefined) {
    throw new LeanError("the Kimina server does not say its version of Lean", {
      ...{ where: options.url, found: said, hint: "Name it yourself." },
    });
  }
  return new KiminaLean(options, `leanprover/lean4:v${version} at ${options.url}`);
}

/** A text made of parts, and where they are. */
class Parts {
  /** Imports and settings. */
  readonly header: string;
  readonly #lines: string[];

  constructor(header: readonly string[]) {
    this.header = header.join("\n");
    this.#lines = this.header.split("\n");
  }

  get lines(): number {
    return this.#lines.length;
  }

  get text(): string {
    return this.#lines.join("\n");
  }

  add(part: string): void {
    this.#lines.push(...part.split("\n"));
  }
}

/** The server has no answer, in its own words. */
class NoAnswer extends Error {
  readonly verdict: "timeout" | "crash";

  constructor(said: string) {
    super(said);
    this.verdict = said.includes("timed out") ? "timeout" : "crash";
  }
}

export class KiminaLean implements LeanSession {
  readonly kind = "kimina";
  readonly version: string;
  readonly slots: number;
  readonly #options: KiminaLeanOptions;
  readonly #imports: readonly string[];
  readonly #closed = new AbortController();
  readonly #turns: Turns;
  readonly #references = new Map<string, { shortName: string; reference: Reference }>();
  #ready: Promise<void> | null = null;

  constructor(options: KiminaLeanOptions, version: string) {
    this.#options = options;
    this.version = version;
    this.slots = options.slots ?? 4;
    this.#turns = new Turns(this.slots);
    this.#imports = options.imports ?? [];
  }

  ready(): Promise<void> {
    this.#ready ??= selfTest(this, this.#imports);
    return this.#ready;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort(new Error("this Lean session is closed"));
  }

  /** What Lean says to a command of ours. */
  async asked(command: string): Promise<string> {
    const parts = this.#header(this.#imports);
    parts.add(command);
    try {
      return (await this.#send(parts, {})).messages.map(({ text }) => text).join("\n");
    } catch (error) {
      if (!(error instanceof NoAnswer)) throw error;
      throw new LeanError("the Kimina server runs no Lean", {
        ...{ where: this.#options.url, found: error.message, hint: "See its log." },
      });
    }
  }

  async check(input: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    options.signal?.throwIfAborted();
    const refused = refuseCheck(input);
    if (refused !== null) return refused;
    return this.#finished(
      ({ check }) => check,
      async (began) => {
        const parts = this.#base(input, options);
        const before = parts.lines;
        parts.add(input.code);
        const said = await this.#send(parts, options);
        this.#mustHold("bad preamble", input.preamble ?? "", said, 0, before);
        return this.#answer(said, input, before, options, began);
      },
    );
  }

  async verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    options.signal?.throwIfAborted();
    const statement = readProblem(problem, code);
    if ("verdict" in statement) return statement;
    const failed = ({ check, verdict, detail }: Unfinished) =>
      verifyAnswer(check, statement.name, { verdict, detail, axioms: [] });
    return this.#finished(failed, async (began) => {
      const { shortName, reference } = await this.#reference(problem, statement, options);
      const parts = this.#base(problem, options);
      parts.add(statement.renamed(shortName));
      const before = parts.lines;
      parts.add(code);
      // An error at the end of the answer stands where Lean reads on; here it is still the answer's.
      parts.add(`set_option maxHeartbeats ${options.heartbeats ?? HEARTBEATS}`);
      const behind = parts.lines;
      const asked = questions(reference);
      parts.add(asked.text);
      // A comment that the answer left open ends here.
      const end = parts.lines;
      parts.add("-- end");
      const said = await this.#send(parts, options);
      const apart = {
        ...said,
        messages: said.messages.filter(({ start }) => start.line <= behind || start.line > end),
      };
      const check = this.#answer(apart, { ...problem, code }, before, options, began);
      const wrong = errorVerdict(check.messages);
      if (wrong === null) return verifyAnswer(check, reference.theorem, judge(asked, said.messages, behind));
      const taken =
        /already (?:been )?declared/.test(wrong.detail) &&
        (await this.#exists(problem, reference.theorem, options));
      const judgement = taken
        ? { verdict: "bad statement" as const, detail: `the name ${reference.theorem} is taken` }
        : wrong;
      return verifyAnswer(check, reference.theorem, { ...judgement, axioms: [] });
    });
  }

  async #finished<T>(failed: (unfinished: Unfinished) => T, work: (began: number) => Promise<T>): Promise<T> {
    const began = performance.now();
    try {
      return await work(began);
    } catch (error) {
      const milliseconds = performance.now() - began;
      if (error instanceof NoAnswer)
        return failed(unfinished(error.verdict, error.message, { milliseconds }));
      if (!(error instanceof BadProblem)) throw error;
      const { verdict, message, messages } = error;
      return failed(unfinished(verdict, message, { milliseconds, messages }));
    }
  }

  #header(imports: readonly string[]): Parts {
    return new Parts([...importLines(imports.length === 0 ? ["Init"] : imports), SETTINGS]);
  }

  #base(
    { imports = this.#imports, preamble = "" }: Pick<LeanProblem, "imports" | "preamble">,
    options: CheckOptions,
  ): Parts {
    const parts = this.#header(imports);
    if (preamble.trim() !== "") parts.add(preamble);
    parts.add(`set_option maxHeartbeats ${options.heartbeats ?? HEARTBEATS}`);
    return parts;
  }

  /** What was said about the lines behind `before`. */
  #answer(
    said: ReplAnswer,
    { imports = this.#imports, code }: CheckInput,
    before: number,
    { steps = false }: CheckOptions,
    began: number,
  ): CheckAnswer {
    const own = { ...said, messages: between(said.messages, before, Number.POSITIVE_INFINITY) };
    const header = Math.max(1, imports.length);
    const milliseconds = performance.now() - began;
    return checkAnswer(
      own,
      excerptOf(code, before),
      { steps, milliseconds },
      excerptOf(code, before - header),
    );
  }

  #mustHold(
    verdict: BadProblem["verdict"],
    text: string,
    said: ReplAnswer,
    before: number,
    behind: number,
  ): void {
    const messages = messagesIn(between(said.messages, before, behind), excerptOf(text, before));
    const wrong = errorVerdict(messages);
    if (wrong !== null)
      throw new BadProblem(verdict, wrong.detail, verdict === "bad preamble" ? messages : []);
  }

  /** What the statement is called where it is declared under a name that no answer knows. */
  async #reference(problem: LeanProblem, statement: NamedStatement, options: CheckOptions) {
    const { imports = this.#imports, preamble = "" } = problem;
    const key = JSON.stringify([imports, preamble, problem.statement]);
    const known = this.#references.get(key);
    if (known !== undefined) return known;
    const shortName = unguessable("reference");
    const parts = this.#base(problem, options);
    const before = parts.lines;
    parts.add(statement.renamed(shortName));
    const behind = parts.lines;
    parts.add(nameQuestion(statement, shortName));
    const said = await this.#send(parts, options);
    this.#mustHold("bad preamble", preamble, said, 0, before);
    this.#mustHold("bad statement", problem.statement, said, before, Number.POSITIVE_INFINITY);
    const name = between(said.messages, behind, Number.POSITIVE_INFINITY)[0]?.text ?? "";
    const reference = readReference(name, statement, shortName);
    if (reference === null) throw new BadProblem("bad statement", `Lean does not name it: ${name}`);
    if (this.#references.size >= MOST_REFERENCES) this.#references.clear();
    this.#references.set(key, { shortName, reference });
    return { shortName, reference };
  }

  async #exists(problem: LeanProblem, name: string, options: CheckOptions): Promise<boolean> {
    const parts = this.#base(problem, options);
    parts.add(`#check @_root_.${name}`);
    const { messages } = await this.#send(parts, options);
    return messages.every(({ severity }) => severity !== "error");
  }

  async #send(parts: Parts, options: CheckOptions): Promise<ReplAnswer> {
    const { steps = false, signal } = options;
    const timeout = timeLimit(options.timeout ?? TIMEOUT);
    const request = (code: string, milliseconds: number) => ({
      ...{ id: randomUUID(), code, timeout: Math.ceil(milliseconds / 1000), infotree: steps },
    });
    const signals = signal ? AbortSignal.any([signal, this.#closed.signal]) : this.#closed.signal;
    const result = await this.#turns.run(async () => {
      const first = await askKimina(this.#options, request(parts.text, timeout), signals);
      if (!("error" in first && first.error.includes("header command timed out"))) return first;
      // Its Lean is new, and the imports had the time of one check.
      const long = this.#options.startTimeout ?? 300_000;
      await askKimina(this.#options, request(parts.header, long), signals);
      return askKimina(this.#options, request(parts.text, timeout), signals);
    }, signals);
    if ("error" in result) throw new NoAnswer(result.error);
    const answer = readReplAnswer(result.response);
    if (typeof answer === "string") throw new NoAnswer(answer);
    return answer;
  }
}

/** Messages of the lines behind `before` lines, up to line `behind`. */
const between = (messages: readonly ReplMessage[], before: number, behind: number) =>
  messages.filter(({ start }) => start.line > before && start.line <= behind);
