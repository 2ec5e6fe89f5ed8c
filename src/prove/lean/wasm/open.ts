/** The embedded verifier: real Lean 4 in WebAssembly, prepared at first use, behind the interface of all verifiers. */
import { availableParallelism } from "node:os";
import { thisMachine } from "../../../files/machine.ts";
import { TextPositions } from "../../text/positions.ts";
import type {
  AuditAnswer,
  AuditOptions,
  CheckAnswer,
  CheckInput,
  CheckOptions,
  LeanAuditor,
  LeanProblem,
  LeanSession,
  VerifyAnswer,
} from "../session.ts";
import { textBreach } from "../text-limits.ts";
import { auditAnswer, checkAnswer, emptyCheck, START, verifyAnswer } from "./answers.ts";
import { LeanPool, type PoolOptions } from "./pool.ts";
import { type PreparedLean, type PrepareOptions, prepareLean } from "./prepare.ts";

export interface WasmLeanOptions extends PrepareOptions, Partial<PoolOptions> {
  /** What is prepared already. */
  readonly prepared?: PreparedLean;
  /**
   * Whether texts are held to the rules that keep code from running while they are read (true). Without them a verdict
   * rests on elaborated terms, axioms and the kernel alone: for tests.
   */
  readonly rules?: boolean;
}

/** Resident bytes of one server, a little more than measured. */
const SERVER_BYTES = 1.1e9;
const TIMEOUT = 10_000;
const HEARTBEATS = 200_000;
/** Modules whose presence gives checked text no way to run programs. */
const IMPORTABLE = /^(?:Init|Std)(?:\.[A-Za-z_][\w']*)*$/;

/** As many servers as there are cores, and as fit into the free memory. */
export function defaultSize(): number {
  return Math.max(1, Math.min(availableParallelism(), Math.floor(thisMachine().free / SERVER_BYTES)));
}

function importBreach(imports: readonly string[]): string | null {
  const name = imports.find((one) => !IMPORTABLE.test(one));
  return name === undefined
    ? null
    : `cannot import ${name}: the embedded Lean has Init and Std; Mathlib needs a Lean of your own`;
}

/** Sessions may share a pool; each closes it. */
export class WasmLean implements LeanSession, LeanAuditor {
  readonly kind = "wasm";
  readonly version: string;
  readonly slots: number;
  readonly #pool: LeanPool;
  readonly #rules: boolean;

  /** @param rules as `WasmLeanOptions.rules` */
  constructor(version: string, pool: LeanPool, rules = true) {
    this.version = version;
    this.slots = pool.size;
    this.#pool = pool;
    this.#rules = rules;
  }

  ready(): Promise<void> {
    return this.#pool.ready();
  }

  async check(input: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    options.signal?.throwIfAborted();
    const { code, preamble = "" } = input;
    const breach = importBreach(input.imports ?? []);
    if (breach !== null) return emptyCheck({ refused: { reason: breach, at: START } });
    for (const text of [code, preamble]) {
      const found = textBreach(text);
      if (found === null) continue;
      return emptyCheck({ refused: { reason: found.reason, at: new TextPositions(text).at(found.index) } });
    }
    const request = {
      ...this.#request(input, options),
      op: "check",
      code,
      allTactics: options.steps === true,
    };
    return checkAnswer(await this.#run(request, input, options), code);
  }

  async verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    options.signal?.throwIfAborted();
    const { statement, preamble = "", imports = [] } = problem;
    const refused = (verdict: VerifyAnswer["verdict"], detail: string, part: Partial<CheckAnswer> = {}) => ({
      ...{ ...emptyCheck(part), verdict, detail },
      ...{ name: "", axioms: [] },
    });
    const breach = importBreach(imports) ?? textBreach(preamble)?.reason;
    if (breach) return refused("bad preamble", breach);
    const wrong = textBreach(statement);
    if (wrong !== null) return refused("bad statement", wrong.reason);
    const found = textBreach(code);
    if (found !== null) {
      const at = new TextPositions(code).at(found.index);
      return refused("refused", found.reason, { refused: { reason: found.reason, at } });
    }
    const request = {
      ...this.#request(problem, options),
      op: "verify",
      code,
      statement,
      allTactics: options.steps === true,
    };
    return verifyAnswer(await this.#run(request, problem, options), code, preamble);
  }

  async audit(
    { imports = [], code }: Pick<CheckInput, "imports" | "code">,
    options: AuditOptions = {},
  ): Promise<AuditAnswer> {
    options.signal?.throwIfAborted();
    const breach = importBreach(imports);
    const found = breach === null ? textBreach(code) : { reason: breach, index: 0 };
    if (found !== null) {
      const refused = { reason: found.reason, at: new TextPositions(code).at(found.index) };
      return { ...emptyCheck({ refused }), theorems: [] };
    }
    const request = { ...this.#request({ trustedPreamble: options.trusted }, options), op: "audit", code };
    return auditAnswer(await this.#run(request, { imports }, options), code);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#pool[Symbol.asyncDispose]();
  }

  #request(
    { preamble = "", trustedPreamble = false }: Pick<CheckInput, "preamble" | "trustedPreamble">,
    options: CheckOptions,
  ) {
    return {
      preamble,
      trustedPreamble,
      strict: this.#rules,
      maxHeartbeats: options.heartbeats ?? HEARTBEATS,
    };
  }

  #run(
    request: Readonly<Record<string, unknown>>,
    { imports = [] }: Pick<CheckInput, "imports">,
    { timeout = TIMEOUT, signal }: CheckOptions,
  ) {
    // `Init` is what every server starts with.
    const more = imports.filter((name) => name !== "Init");
    return this.#pool.run(request, { imports: more.length > 0 ? ["Init", ...more] : [], timeout, signal });
  }
}

/**
 * Opens the embedded verifier; its first server starts at once. Close it (`await using`), or the process does not end.
 * @throws LeanError if Lean cannot be had, FileError if the cache cannot be written to, the signal's reason
 */
export async function openWasmLean(options: WasmLeanOptions = {}): Promise<LeanSession & LeanAuditor> {
  const prepared = options.prepared ?? (await prepareLean(options));
  const { size = defaultSize(), host, mostChecks, mostMemory, grace, startLimit } = options;
  const given = { host, mostChecks, mostMemory, grace, startLimit };
  const pool = new LeanPool(prepared, {
    size,
    ...Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
  });
  return new WasmLean(prepared.version, pool, options.rules);
}
