/** Checks the texts of a search: verdict, segments, and what can be saved of a proof that goes on behind its end. */
import { FormatError } from "../../tensor/errors.ts";
import { DETERMINISTIC, type LeanProblem, type LeanSession, type VerifyAnswer } from "../lean/session.ts";
import { withoutEnd } from "../text/prompts.ts";
import { type SegmentRule, segment } from "../text/segments.ts";
import { NO_GOALS } from "../text/states.ts";
import type { Outcome } from "./attempt.ts";
import type { SearchSegment } from "./policy.ts";

export type CheckedText = Pick<Outcome, "verdict" | "detail" | "axioms" | "proof" | "segments">;

export interface ProofCheckOptions {
  /** Whether segments are wanted. */
  readonly steps: boolean;
  readonly segmentation: SegmentRule;
  readonly cutProofs: boolean;
  readonly timeout?: number;
  readonly heartbeats?: number;
  /** Whether text with its state fits into a prompt. */
  readonly fits: (text: string) => boolean;
  readonly signal: AbortSignal;
}

/** A refused text is cut before the refused line and asked again: so often at most. */
const MOST_CUTS = 3;

export class ProofChecks {
  readonly #lean: LeanSession;
  readonly #problem: LeanProblem;
  readonly #statement: string;
  readonly #options: ProofCheckOptions;
  /** By text: a generation that repeats another costs no check. */
  readonly #known = new Map<string, Promise<CheckedText>>();
  #count = 0;

  /** @param statement what stands before every proof */
  constructor(lean: LeanSession, problem: LeanProblem, statement: string, options: ProofCheckOptions) {
    this.#lean = lean;
    this.#problem = problem;
    this.#statement = statement;
    this.#options = options;
  }

  /** Questions to the verifier so far. */
  get count(): number {
    return this.#count;
  }

  /** @throws FormatError if the statement itself is at fault, the signal's reason */
  check(written: string): Promise<CheckedText> {
    const proof = withoutEnd(written);
    const known = this.#known.get(proof);
    if (known !== undefined) return known;
    const checked = this.#check(proof);
    this.#known.set(proof, checked);
    checked.then(
      ({ verdict }) => {
        if (verdict !== "empty" && !DETERMINISTIC.has(verdict)) this.#known.delete(proof);
      },
      () => this.#known.delete(proof),
    );
    return checked;
  }

  async #check(proof: string): Promise<CheckedText> {
    if (proof.trim() === "") return { verdict: "empty", detail: "", axioms: [], proof: null, segments: [] };
    const answer = await this.#verify(proof);
    const { verdict, detail, axioms } = answer;
    if (verdict === "bad statement" || verdict === "bad preamble") {
      throw new FormatError(
        verdict === "bad statement"
          ? "Lean does not accept the statement"
          : "Lean does not accept what stands before the statement",
        {
          where: this.#problem.statement.slice(0, 200),
          found: detail,
        },
      );
    }
    const segments = this.#options.steps ? this.#marked(await this.#segments(proof, answer)) : [];
    if (verdict === "proved") return { verdict, detail, axioms, proof, segments };
    const cut = this.#options.cutProofs && this.#options.segmentation === "tactic" && finished(segments);
    if (cut !== false && cut !== proof) {
      const shorter = await this.#verify(cut);
      if (shorter.verdict === "proved") {
        return { verdict: "proved", detail: "", axioms: shorter.axioms, proof: cut, segments };
      }
    }
    return { verdict, detail, axioms: [], proof: null, segments };
  }

  #verify(proof: string): Promise<VerifyAnswer> {
    this.#count++;
    const { steps, timeout, heartbeats, signal } = this.#options;
    return this.#lean.verify(this.#problem, this.#statement + proof, { steps, timeout, heartbeats, signal });
  }

  /** Of a text that was refused before it ran, the part before the refused word is looked at again. */
  async #segments(proof: string, answer: VerifyAnswer): Promise<SearchSegment[]> {
    const { segmentation: rule, timeout, heartbeats, signal } = this.#options;
    const start = this.#statement.length;
    let text = this.#statement + proof;
    let last: Parameters<typeof segment>[2] = answer;
    for (let cuts = 0; last.refused !== null && cuts < MOST_CUTS; cuts++) {
      const at = Math.min(last.refused.at.index, text.length);
      text = text.slice(0, text.lastIndexOf("\n", at - 1) + 1);
      if (text.length <= start) return [];
      const { preamble, trustedPreamble, imports } = this.#problem;
      this.#count++;
      const options = { steps: true, timeout, heartbeats, signal };
      last = await this.#lean.check({ preamble, trustedPreamble, imports, code: withoutEnd(text) }, options);
      text = withoutEnd(text);
    }
    if (last.refused !== null) return [];
    return segment(text, start, last, { rule });
  }

  #marked(segments: readonly SearchSegment[]): SearchSegment[] {
    let code = "";
    return segments.map((each) => {
      code += each.code;
      const { code: own, state, comment } = each;
      return { code: own, state, comment, ...(this.#options.fits(code + comment) ? {} : { tooLong: true }) };
    });
  }
}

/** The text up to the first segment that leaves no goals; false if none does. */
function finished(segments: readonly SearchSegment[]): string | false {
  const end = segments.findIndex(({ state }) => state === NO_GOALS);
  return end < 0
    ? false
    : withoutEnd(
        segments
          .slice(0, end + 1)
          .map(({ code }) => code)
          .join(""),
      );
}
