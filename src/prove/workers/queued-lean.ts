/** A Lean that answers in other processes: questions and answers go through the store, jobs through a queue. */
import type { JobQueue } from "../../jobs/job.ts";
import type {
  CheckAnswer,
  CheckInput,
  CheckOptions,
  LeanProblem,
  LeanSession,
  VerifyAnswer,
} from "../lean/session.ts";
import { checkKey, verifyKey } from "../store/checked-lean.ts";
import type { ProofStore } from "../store/store.ts";
import { jobId, jobKind, type LeanSays, TRIES, type VerifyDone, type VerifyJob } from "./jobs.ts";
import { resultOf } from "./result-of.ts";

/** A question as the store keeps it. */
export type LeanQuestion =
  | { readonly ask: "check"; readonly input: CheckInput; readonly options: QuestionOptions }
  | {
      readonly ask: "verify";
      readonly problem: LeanProblem;
      readonly code: string;
      readonly options: QuestionOptions;
    };

type QuestionOptions = Pick<CheckOptions, "heartbeats" | "steps">;

export class QueuedLean implements LeanSession {
  readonly kind: LeanSession["kind"];
  readonly version: string;
  readonly slots: number;
  readonly #queue: JobQueue;
  readonly #store: ProofStore;

  /** Queue and store stay the caller's. @param says what the workers are (`LEAN_SAYS`) */
  constructor(queue: JobQueue, store: ProofStore, { kind, version, slots }: LeanSays) {
    this.#queue = queue;
    this.#store = store;
    this.kind = kind;
    this.version = version;
    this.slots = slots;
  }

  async ready(): Promise<void> {}

  async check(input: CheckInput, options: CheckOptions = {}): Promise<CheckAnswer> {
    const { imports, preamble, trustedPreamble, code } = input;
    const plain = { imports, preamble, trustedPreamble, code };
    const question: LeanQuestion = { ask: "check", input: plain, options: kept(options) };
    return await this.#ask(checkKey(this.version, input, options), question, options, unanswered);
  }

  async verify(problem: LeanProblem, code: string, options: CheckOptions = {}): Promise<VerifyAnswer> {
    const question: LeanQuestion = { ask: "verify", problem, code, options: kept(options) };
    return await this.#ask(verifyKey(this.version, problem, code, options), question, options, (failure) => ({
      ...{ ...unanswered(failure), verdict: failure, detail: "", name: "", axioms: [] },
    }));
  }

  async #ask<A extends CheckAnswer>(
    key: string,
    question: LeanQuestion,
    { timeout = null, signal }: { readonly timeout?: number | null; readonly signal?: AbortSignal },
    failed: (failure: "timeout" | "memory" | "crash") => A,
  ): Promise<A> {
    signal?.throwIfAborted();
    this.#store.ask(key, "lean", question);
    let failure: VerifyDone["failure"] = null;
    for (let attempt = 0; attempt < TRIES; attempt++) {
      const known = this.#store.checked(key);
      if (known !== null) return known as A;
      const data: VerifyJob = { key, lean: this.version, timeout };
      const id = jobId("verify", key, timeout, attempt);
      ({ failure } = await resultOf<VerifyDone>(this.#queue, jobKind("verify"), data, id, signal));
      // A limit that was reached is an answer; a crash may be another check's fault.
      if (failure === "timeout" || failure === "memory") return failed(failure);
    }
    const known = this.#store.checked(key);
    return known === null ? failed(failure ?? "crash") : (known as A);
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

const kept = ({ heartbeats, steps }: CheckOptions): QuestionOptions => ({ heartbeats, steps });

const unanswered = (failure: "timeout" | "memory" | "crash"): CheckAnswer => ({
  ...{ complete: false, messages: [], sorries: [], refused: null, failure, steps: [], milliseconds: 0 },
});
