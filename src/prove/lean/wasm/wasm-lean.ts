/** The session of the embedded Lean over a pool of servers, in Node or in a page. */
import { TextPositions } from "../../text/positions.ts";
import {
  type AuditAnswer,
  type AuditOptions,
  type CheckAnswer,
  type CheckInput,
  type CheckOptions,
  type LeanAuditor,
  type LeanProblem,
  type LeanSession,
  timeLimit,
  type VerifyAnswer,
} from "../session.ts";
import { MOST_BYTES, MOST_FILE_BYTES, textBreach } from "../text-limits.ts";
import { auditAnswer, checkAnswer, emptyCheck, START, verifyAnswer } from "./answers.ts";
import type { LeanPool } from "./pool.ts";

const TIMEOUT = 10_000;
const HEARTBEATS = 200_000;
/** Modules whose presence gives checked text no way to run programs. */
const IMPORTABLE = /^(?:Init|Std)(?:\.[A-Za-z_][\w']*)*$/;

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
    for (const [text, most] of [
      [code, MOST_BYTES],
      [preamble, MOST_FILE_BYTES],
    ] as const) {
      const found = textBreach(text, most);
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
    const breach = importBreach(imports) ?? textBreach(preamble, MOST_FILE_BYTES)?.reason;
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
    const found = breach === null ? textBreach(code, MOST_FILE_BYTES) : { reason: breach, index: 0 };
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
    { timeout: given = TIMEOUT, signal }: CheckOptions,
  ) {
    const timeout = timeLimit(given);
    // `Init` is what every server starts with.
    const more = imports.filter((name) => name !== "Init");
    return this.#pool.run(request, { imports: more.length > 0 ? ["Init", ...more] : [], timeout, signal });
  }
}
