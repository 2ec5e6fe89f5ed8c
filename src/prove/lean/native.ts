/**
 * Lean of the user's own, with the libraries of a project such as Mathlib: the official REPL (leanprover-community/repl), started
 * by `lake env` in the project's folder. Environments are chained: imports, preamble, limits, reference statement, answer; all
 * but the last are kept by each process for later checks. The REPL knows no limits, so a check that goes beyond its own ends the
 * process.
 */
import { availableParallelism, totalmem } from "node:os";
import { LeanError } from "./lean-error.ts";
import { messagesIn, type ReplAnswer, readReplAnswer } from "./repl/answer.ts";
import {
  errorVerdict,
  type Judgement,
  judge,
  nameQuestion,
  questions,
  type Reference,
  readReference,
  unguessable,
} from "./repl/judgement.ts";
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
import { ReplPool } from "./repl/pool.ts";
import { type ReplCommand, ReplEnded, type ReplProcess } from "./repl/process.ts";
import { projectVersion, readProject, replCommand } from "./repl/project.ts";
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

export interface NativeLeanOptions {
  /** Folder with `lean-toolchain`. */
  readonly project: string;
  /** The REPL's program, or the folder that it was built in; else it is looked for (`replPlaces`). */
  readonly repl?: string;
  /** What is imported by a problem that does not say (none: `Init` alone). */
  readonly imports?: readonly string[];
  /** Processes at a time: by default one for 8 GB of memory, at most one a core. */
  readonly processes?: number;
  /** Requests after which a process is replaced (1,000). */
  readonly uses?: number;
  /** Bytes of memory of one process (8 GB); kept on Linux. */
  readonly memory?: number;
  /** Milliseconds for imports, which are no part of a check's own time (300,000). */
  readonly startTimeout?: number;
  /** Whether answers to problems are held to the rules of text (true). Without them what Lean says decides alone: for tests. */
  readonly rules?: boolean;
}

/** Environments that a process keeps; beyond them it begins again. */
const MOST_ENVIRONMENTS = 256;

/** @throws LeanError if the project or the REPL cannot be used */
export async function openNative(options: NativeLeanOptions): Promise<LeanSession> {
  const project = readProject(options.project);
  return new NativeLean(replCommand(project, options.repl), projectVersion(project), options);
}

/** One check in a process, with what is left of its time. */
interface Turn {
  readonly process: ReplProcess;
  readonly signal: AbortSignal | undefined;
  /** By `performance.now()`. */
  readonly deadline: number;
}

export class NativeLean implements LeanSession {
  readonly kind = "native";
  readonly version: string;
  readonly slots: number;
  readonly #pool: ReplPool;
  readonly #imports: readonly string[];
  readonly #startTimeout: number;
  readonly #rules: boolean;
  readonly #references = new WeakMap<ReplProcess, Map<string, { env: number; reference: Reference }>>();
  #ready: Promise<void> | null = null;

  constructor(
    command: ReplCommand,
    version: string,
    options: Omit<NativeLeanOptions, "project" | "repl"> = {},
  ) {
    const memory = options.memory ?? 8e9;
    const fit = Math.min(availableParallelism(), Math.floor(totalmem() / memory));
    this.slots = options.processes ?? Math.max(1, fit);
    this.version = version;
    this.#pool = new ReplPool(command, { size: this.slots, uses: options.uses ?? 1000, memory });
    this.#imports = options.imports ?? [];
    this.#startTimeout = options.startTimeout ?? 300_000;
    this.#rules = options.rules ?? true;
  }

  ready(): Promise<void> {
    this.#ready ??= selfTest(this, this.#imports);
    return this.#ready;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#pool.close();
  }

  async check(input: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    options.signal?.throwIfAborted();
    const refused = refuseCheck(input);
    if (refused !== null) return refused;
    const began = performance.now();
    const work = async (turn: Turn) => {
      const base = await this.#base(turn, input, options);
      const said = await this.#code(turn, input.code, base, options);
      return this.#answer(said, input.code, options, began);
    };
    return this.#inProcess(input, options, ({ check }) => check, work);
  }

  async verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    options.signal?.throwIfAborted();
    const statement = readProblem(problem, code, this.#rules);
    if ("verdict" in statement) return statement;
    const began = performance.now();
    const failed = ({ check, verdict, detail }: Unfinished) =>
      verifyAnswer(check, statement.name, { verdict, detail, axioms: [] });
    return this.#inProcess(problem, options, failed, async (turn) => {
      const base = await this.#base(turn, problem, options);
      const { env, reference } = await this.#reference(turn, problem.statement, statement, base);
      const said = await this.#code(turn, code, env, options);
      const judgement = await this.#judge(turn, said, code, { env, reference });
      return verifyAnswer(this.#answer(said, code, options, began), reference.theorem, judgement);
    });
  }

  #answer(said: ReplAnswer, code: string, { steps = false }: CheckOptions, began: number): CheckAnswer {
    return checkAnswer(said, excerptOf(code), { steps, milliseconds: performance.now() - began });
  }

  async #judge(
    turn: Turn,
    said: ReplAnswer,
    code: string,
    { env, reference }: { env: number; reference: Reference },
  ): Promise<Judgement> {
    const wrong = errorVerdict(messagesIn(said.messages, excerptOf(code)));
    if (wrong === null) {
      const asked = questions(reference);
      const { messages } = await this.#ask(turn, { cmd: asked.text, env: said.env });
      const judgement = judge(asked, messages, 0);
      // Its answers are out of step.
      if (judgement.verdict === "error") turn.process.kill();
      return judgement;
    }
    const taken =
      /already (?:been )?declared/.test(wrong.detail) && (await this.#exists(turn, reference.theorem, env));
    const verdict = taken ? ("bad statement" as const) : wrong.verdict;
    return { verdict, detail: taken ? `the name ${reference.theorem} is taken` : wrong.detail, axioms: [] };
  }

  /** Runs a check in a process that nobody else uses; whatever it does to the process is an answer. @throws LeanError if none starts */
  async #inProcess<T>(
    { imports = this.#imports }: Pick<LeanProblem, "imports">,
    { signal, timeout: given = TIMEOUT }: CheckOptions,
    failed: (unfinished: Unfinished) => T,
    work: (turn: Turn) => Promise<T>,
  ): Promise<T> {
    const timeout = timeLimit(given);
    const began = performance.now();
    for (let attempt = 0; ; attempt++) {
      let started = false;
      try {
        return await this.#pool.use(signal, async (process) => {
          await this.#header(process, imports, signal);
          started = true;
          return work({ process, signal, deadline: performance.now() + timeout });
        });
      } catch (error) {
        const milliseconds = performance.now() - began;
        if (error instanceof BadProblem) {
          return failed(unfinished(error.verdict, error.message, { milliseconds, messages: error.messages }));
        }
        if (!(error instanceof ReplEnded)) throw error;
        const { why, message } = error;
        if (started && (why === "timeout" || why === "memory")) {
          return failed(unfinished(why, message, { milliseconds }));
        }
        // It may have been somebody else's signal: once more, in a process of its own.
        if (attempt === 0) continue;
        if (started) return failed(unfinished("crash", message, { milliseconds }));
        throw new LeanError("Lean does not start", {
          found: message,
          hint: message.includes("ENOENT")
            ? "`lake` is not there: install elan, which brings it (Debian and Ubuntu: apt install elan)."
            : "See that `lake env lean --version` runs in the project's folder.",
          cause: error,
        });
      }
    }
  }

  #code(turn: Turn, code: string, env: number, { steps }: CheckOptions): Promise<ReplAnswer> {
    return this.#ask(turn, { cmd: code, env, ...(steps === true ? { infotree: "original" } : {}) });
  }

  async #ask(
    turn: Turn,
    request: { cmd: string; env?: number | null; infotree?: string },
  ): Promise<ReplAnswer> {
    const { process, signal, deadline } = turn;
    const { memory } = this.#pool.options;
    const timeout = Math.max(1, deadline - performance.now());
    const answer = readReplAnswer(await process.ask(request, { timeout, memory, signal }));
    if (typeof answer !== "string") return answer;
    process.kill();
    throw new ReplEnded("protocol", `the REPL could not do it: ${answer}`);
  }

  /** Environment with the imports alone. */
  #header(
    process: ReplProcess,
    imports: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<number> {
    const lines = [...importLines(imports), SETTINGS];
    return this.#kept(
      { process, signal, deadline: performance.now() + this.#startTimeout },
      null,
      lines.join("\n"),
    );
  }

  /** Environment behind the preamble, with the limit of heartbeats. */
  async #base(
    turn: Turn,
    { imports = this.#imports, preamble = "" }: Pick<LeanProblem, "imports" | "preamble">,
    { heartbeats = HEARTBEATS }: CheckOptions,
  ): Promise<number> {
    if (turn.process.environments.size > MOST_ENVIRONMENTS) {
      turn.process.kill();
      throw new ReplEnded("exit", "it keeps too many environments");
    }
    const header = await this.#header(turn.process, imports, turn.signal);
    const opened = preamble.trim() === "" ? header : await this.#kept(turn, header, preamble);
    return this.#kept(turn, opened, `set_option maxHeartbeats ${heartbeats}`);
  }

  /** The environment behind commands of the problem. */
  async #kept(turn: Turn, env: number | null, cmd: string): Promise<number> {
    const key = JSON.stringify([env, cmd]);
    const known = turn.process.environments.get(key);
    if (known !== undefined) return known;
    const answer = await this.#ask(turn, env === null ? { cmd } : { cmd, env });
    const messages = messagesIn(answer.messages, excerptOf(cmd));
    const wrong = errorVerdict(messages);
    if (wrong !== null) throw new BadProblem("bad preamble", wrong.detail, messages);
    turn.process.environments.set(key, this.#environment(answer));
    return this.#environment(answer);
  }

  #environment({ env }: ReplAnswer): number {
    if (env === null) throw new ReplEnded("protocol", "the REPL named no environment");
    return env;
  }

  /** The statement under a name that no answer knows. */
  async #reference(turn: Turn, text: string, statement: NamedStatement, base: number) {
    const known =
      this.#references.get(turn.process) ?? new Map<string, { env: number; reference: Reference }>();
    this.#references.set(turn.process, known);
    const key = JSON.stringify([base, text]);
    const found = known.get(key);
    if (found !== undefined) return found;
    const shortName = unguessable("reference");
    const declared = await this.#ask(turn, { cmd: statement.renamed(shortName), env: base });
    const wrong = errorVerdict(messagesIn(declared.messages, excerptOf(text)));
    if (wrong !== null) throw new BadProblem("bad statement", wrong.detail);
    const env = this.#environment(declared);
    const { messages } = await this.#ask(turn, { cmd: nameQuestion(statement, shortName), env });
    const said = messages[0]?.text ?? "";
    const reference = readReference(said, statement, shortName);
    if (reference === null) throw new BadProblem("bad statement", `Lean does not name it: ${said}`);
    known.set(key, { env, reference });
    return { env, reference };
  }

  async #exists(turn: Turn, name: string, env: number): Promise<boolean> {
    const { messages } = await this.#ask(turn, { cmd: `#check @_root_.${name}`, env });
    return messages.every(({ severity }) => severity !== "error");
  }
}
