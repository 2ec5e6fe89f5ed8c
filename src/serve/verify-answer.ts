/** What a server's Lean says of proofs: verdicts in the order asked, as many checks at a time as there are Leans. */
import { LeanError } from "../prove/lean/lean-error.ts";
import type { ProofLine } from "../prove/lean/proof-lines.ts";
import type { LeanSession, Verdict } from "../prove/lean/session.ts";
import { ApiError, unavailable } from "./errors.ts";
import { Counter } from "./metrics.ts";

/** Most proofs of all requests that are not judged yet. */
const MOST_WAITING = 1024;
/** Seconds after which there may be room again. */
const RETRY_AFTER = 5;
/** Most characters of Lean's words in an answer. */
const MOST_DETAIL = 4000;

export interface VerdictBody {
  readonly object: "verdict";
  readonly name: string;
  readonly verdict: Verdict;
  /** Full name of the theorem. */
  readonly theorem: string;
  readonly axioms: readonly string[];
  readonly detail: string;
  /** Milliseconds in Lean. */
  readonly milliseconds: number;
}

/** Why proofs cannot be verified by a server that was started without a Lean. */
export const withoutLean = (): ApiError =>
  new ApiError({
    status: 501,
    message:
      "This server has no Lean. Start it with --lean wasm (nothing to install), --project DIR or --lean kimina=URL.",
    type: "server_error",
    param: null,
    code: "lean_not_started",
  });

/** The Lean of a server, and what waits for it. */
export class Verifier {
  readonly lean: LeanSession;
  /** Verdicts given, by their name. */
  readonly given = new Counter();
  #open = 0;

  constructor(lean: LeanSession) {
    this.lean = lean;
  }

  /** Proofs that are not judged yet. */
  get open(): number {
    return this.#open;
  }

  /**
   * Has all proofs judged, and gives the verdicts in their order. At most `slots` proofs of a request are with Lean at a time,
   * so that one with many does not keep others waiting behind all of them.
   * @param signal stops what is not judged yet
   * @throws ApiError 429 at once if too many wait; 503 while reading if Lean cannot run; the signal's reason
   */
  verdicts(proofs: readonly ProofLine[], signal: AbortSignal): AsyncGenerator<VerdictBody, void> {
    if (this.#open + proofs.length > MOST_WAITING) {
      throw new ApiError({
        status: 429,
        message: `${this.#open} proofs wait for Lean already; at most ${MOST_WAITING} may.`,
        type: "rate_limit_error",
        param: null,
        code: "queue_full",
        retryAfter: RETRY_AFTER,
      });
    }
    this.#open += proofs.length;
    const settle: { resolve(body: VerdictBody): void; reject(error: unknown): void }[] = [];
    const bodies = proofs.map(
      () => new Promise<VerdictBody>((resolve, reject) => void settle.push({ resolve, reject })),
    );
    // The reader stops at the first failure, and need not read at all.
    for (const body of bodies) body.catch(() => {});
    let next = 0;
    const work = async () => {
      for (let i = next++; i < proofs.length; i = next++) {
        await this.#judge(proofs[i], signal).then(settle[i].resolve, settle[i].reject);
        this.#open--;
      }
    };
    for (let i = 0; i < Math.min(this.lean.slots, proofs.length); i++) void work();
    return this.#tell(bodies);
  }

  async *#tell(bodies: readonly Promise<VerdictBody>[]): AsyncGenerator<VerdictBody, void> {
    try {
      for (const body of bodies) yield await body;
    } catch (error) {
      if (!(error instanceof LeanError)) throw error;
      throw unavailable(error.message, "lean_unavailable", RETRY_AFTER);
    }
  }

  async #judge(
    { name, problem, code, timeout, heartbeats }: ProofLine,
    signal: AbortSignal,
  ): Promise<VerdictBody> {
    const answer = await this.lean.verify(problem, code, { timeout, heartbeats, signal });
    const { verdict, axioms, detail, milliseconds } = answer;
    this.given.add({ verdict });
    const shown = detail.length > MOST_DETAIL ? `${detail.slice(0, MOST_DETAIL)} ..` : detail;
    return {
      ...{ object: "verdict", name, verdict, theorem: answer.name },
      ...{ axioms, detail: shown, milliseconds },
    };
  }
}
