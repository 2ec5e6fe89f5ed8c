/**
 * A Lean verifier that remembers: the same question to the same Lean is answered from the store. Kept are only answers that
 * depend on nothing but the question (`DETERMINISTIC`); what ended at the wall clock, at a limit of memory or in a crash is asked
 * again.
 */
import { createHash } from "node:crypto";
import {
  type CheckAnswer,
  type CheckInput,
  type CheckOptions,
  DETERMINISTIC,
  type LeanProblem,
  type LeanSession,
  type VerifyAnswer,
} from "../lean/session.ts";
import type { ProofStore } from "./store.ts";

/** Of the rules that a verdict rests on: with other rules the same question may have another answer. */
export const POLICY_VERSION = 1;

export const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

/** Texts are taken as they are: a blank more is another question. */
function keyOf(lean: string, kind: "check" | "verify", parts: readonly unknown[]): string {
  return sha256(JSON.stringify([lean, POLICY_VERSION, kind, ...parts]));
}

/** Names a question to a Lean of this version, and its answer in the store. */
export function checkKey(lean: string, input: CheckInput, options: CheckOptions): string {
  const { imports = ["Init"], preamble = "", trustedPreamble = false, code } = input;
  const { heartbeats = null, steps = false } = options;
  return keyOf(lean, "check", [imports, preamble, trustedPreamble, code, heartbeats, steps]);
}

/** As `checkKey`, for verdicts. */
export function verifyKey(lean: string, problem: LeanProblem, code: string, options: CheckOptions): string {
  const { imports = ["Init"], preamble = "", trustedPreamble = false, statement } = problem;
  const { heartbeats = null, steps = false } = options;
  return keyOf(lean, "verify", [imports, preamble, trustedPreamble, statement, code, heartbeats, steps]);
}

export class CheckedLean implements LeanSession {
  readonly #lean: LeanSession;
  readonly #store: ProofStore;
  /** Questions that are being answered, so that equal ones wait for one answer. */
  readonly #asked = new Map<string, Promise<CheckAnswer>>();
  #hits = 0;
  #misses = 0;

  constructor(lean: LeanSession, store: ProofStore) {
    this.#lean = lean;
    this.#store = store;
  }

  get kind() {
    return this.#lean.kind;
  }

  get version() {
    return this.#lean.version;
  }

  get slots() {
    return this.#lean.slots;
  }

  /** Answers from the store, and answers of Lean. */
  get counts(): { readonly hits: number; readonly misses: number } {
    return { hits: this.#hits, misses: this.#misses };
  }

  ready(): Promise<void> {
    return this.#lean.ready();
  }

  check(input: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    return this.#remembered(
      checkKey(this.version, input, options),
      options.signal,
      (answer) => answer.failure === null && "checked",
      () => this.#lean.check(input, options),
    );
  }

  verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    return this.#remembered(
      verifyKey(this.version, problem, code, options),
      options.signal,
      ({ verdict }) => DETERMINISTIC.has(verdict) && verdict,
      () => this.#lean.verify(problem, code, options),
    );
  }

  async #remembered<A extends CheckAnswer>(
    key: string,
    signal: AbortSignal | undefined,
    keep: (answer: A) => string | false,
    ask: () => Promise<A>,
  ): Promise<A> {
    signal?.throwIfAborted();
    const known = this.#store.checked(key);
    if (known !== null) {
      this.#hits++;
      return known as A;
    }
    const asked = this.#asked.get(key);
    if (asked !== undefined) {
      // The first question may have been stopped: then it is asked again.
      const answer = await asked.catch(() => null);
      signal?.throwIfAborted();
      if (answer !== null && keep(answer as A) !== false) {
        this.#hits++;
        return answer as A;
      }
    }
    this.#misses++;
    const asking = ask();
    this.#asked.set(key, asking);
    try {
      const answer = await asking;
      const verdict = keep(answer);
      if (verdict !== false) this.#store.saveChecked(key, verdict, answer, this.#lean.version);
      return answer;
    } finally {
      if (this.#asked.get(key) === asking) this.#asked.delete(key);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#lean[Symbol.asyncDispose]();
  }
}
