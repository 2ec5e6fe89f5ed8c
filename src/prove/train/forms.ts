/**
 * Training examples of a checked proof in the forms of DeepSeek-Prover-V1.5 (arXiv 2408.08152 sections 2.1 and 3.1): the whole
 * proof, with or without thoughts; the proof cut behind a tactic, whose state is learned with the rest as an auxiliary task;
 * and the same without the state learned, as a search asks for it. A proof of t cuts gives one example of the first kind and t
 * of each other.
 */
import { ConfigError } from "../../tensor/errors.ts";
import type { Lesson } from "../../train/packed-rows.ts";
import {
  type PromptOptions,
  type PromptProblem,
  proofPrompt,
  resumePrompt,
  STOP,
  withoutEnd,
} from "../text/prompts.ts";
import type { Segment } from "../text/segments.ts";

/**
 * `whole`: the proof after its statement, with comments where the prompt asks for them (mode `cot`). `state`: a tactic's
 * state, and the rest of the proof. `resume`: the rest alone, behind the state.
 */
export const PROOF_FORMS = ["whole", "state", "resume"] as const;
export type ProofForm = (typeof PROOF_FORMS)[number];

export interface ProofExample {
  readonly form: ProofForm;
  /** What is read: nothing of it is learned. */
  readonly read: string;
  /** What the model has to write, up to the fence that ends the code. */
  readonly written: string;
}

/** A proof as it was checked, with its segments (`segment`) where forms are cut. */
export interface CutProof {
  readonly problem: PromptProblem;
  /** Text behind the statement. */
  readonly proof: string;
  readonly segments?: readonly Pick<Segment, "code" | "comment">[];
}

export interface ProofExampleOptions extends Pick<PromptOptions, "mode" | "style"> {
  /** Default: all three; without segments only `whole`. */
  readonly forms?: readonly ProofForm[];
}

/** The line that opens a state's comment, up to which an example with a state is read. */
const OPENING = "/- tactic state:";

/**
 * All examples of a proof in the given forms: the whole one first, then by cut. @throws ConfigError for segments that are not
 * of this proof, or missing
 */
export function proofExamples(
  { problem, proof, segments }: CutProof,
  { forms = segments ? PROOF_FORMS : ["whole"], ...options }: ProofExampleOptions = {},
): ProofExample[] {
  const where = "proofExamples";
  const text = withoutEnd(proof);
  const examples: ProofExample[] = [];
  if (forms.includes("whole")) {
    examples.push({ form: "whole", read: proofPrompt(problem, options), written: `${text}\n${STOP}` });
  }
  const cut = forms.filter((form) => form !== "whole");
  if (cut.length === 0) return examples;
  if (segments === undefined) {
    throw new ConfigError("a proof without segments cannot be cut", {
      ...{ where, name: "forms", expected: "whole", found: cut },
      hint: "Check the proof with its tactics, and give the segments of the answer.",
    });
  }
  let code = "";
  for (const [i, segment] of segments.entries()) {
    code += segment.code;
    // The last line end may be the segment's own.
    if (!text.startsWith(withoutEnd(code))) {
      throw new ConfigError("a segment is not of this proof", {
        ...{
          where,
          name: `segment ${i}`,
          expected: JSON.stringify(text.slice(code.length - segment.code.length)),
        },
        found: JSON.stringify(segment.code),
      });
    }
    const { comment } = segment;
    const opening = comment.indexOf(OPENING) + OPENING.length;
    if (opening < OPENING.length) {
      throw new ConfigError("a segment shows no state", {
        ...{ where, name: `segment ${i}`, expected: `a comment with ${OPENING}`, found: comment },
      });
    }
    const rest = text.slice(code.length);
    const written = rest === "" ? STOP : `${rest}\n${STOP}`;
    const read = resumePrompt(problem, { code, comment }, options);
    const shown = comment.length - opening;
    for (const form of cut) {
      examples.push(
        form === "resume"
          ? { form, read, written }
          : { form, read: read.slice(0, read.length - shown), written: comment.slice(opening) + written },
      );
    }
  }
  return examples;
}

/** How texts become ids. */
export interface LessonEncoding {
  /** Ids of a text, nothing added, control tokens in it taken for plain characters. */
  readonly encode: (text: string) => readonly number[];
  /** Put before what is read: BOS, for most tokenizers. */
  readonly begin: readonly number[];
  /** Put behind what is written, and learned: the end token. Empty where the fence is the end. */
  readonly end: readonly number[];
}

/**
 * An example as ids with their marks. What is read and what is written are encoded one by one, so that no token reaches over
 * the border: a model that is asked begins there too.
 */
export function exampleLesson(
  { read, written }: Omit<ProofExample, "form"> & Partial<ProofExample>,
  { encode, begin, end }: LessonEncoding,
): Lesson {
  const prompt = [...begin, ...encode(read)];
  const answer = [...encode(written), ...end];
  return {
    ids: Int32Array.from([...prompt, ...answer]),
    learned: new Uint8Array(prompt.length + answer.length).fill(1, prompt.length),
  };
}
