/** The column of truth beside an informal problem: carried by the pipeline, read only by those who grade it (`truth.ts`). */
import type { Level } from "./family.ts";

export type Defect = "none" | "wrong answer" | "contradiction" | "trivial" | "duplicate";

export interface ProblemTruth {
  readonly truth: "true" | "false" | "vacuous";
  readonly defect: Defect;
  readonly family: string;
  readonly level: Level;
  /** The statement that a faithful translation gives. */
  readonly gold: string;
  /** Index of the problem that this one repeats in other words. */
  readonly repeats?: number;
  /** A proof of the side that holds: of the statement, of its universal negation, or of False; null if none is scripted. */
  readonly proof: string | null;
}

/** Has no member that tells anything: what holds one can keep it and hand it on. */
export class HiddenTruth {
  readonly #truth: ProblemTruth;

  constructor(truth: ProblemTruth) {
    this.#truth = truth;
  }

  /** Only for `truth.ts`, which graders import. */
  static open(hidden: HiddenTruth): ProblemTruth {
    return hidden.#truth;
  }
}
