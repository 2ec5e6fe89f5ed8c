/**
 * What a prover learns from between rounds: every verified proof of statements, negations and contradictions, in the forms of
 * DeepSeek-Prover-V1.5, and translations whose statements were proved, so that it does not forget to translate.
 */
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Lesson } from "../../train/packed-rows.ts";
import type { LeanSession } from "../lean/session.ts";
import { ProofChecks } from "../search/check-proof.ts";
import type { PipelineProof } from "../store/pipeline-rows.ts";
import type { ProofStore } from "../store/store.ts";
import { formalizePrompt } from "../text/formalize.ts";
import { answerOf, type PromptOptions, type PromptProblem, STOP, withoutEnd } from "../text/prompts.ts";
import type { NegationForm } from "../text/statements.ts";
import { exampleLesson, type ProofExample, type ProofForm, proofExamples } from "../train/forms.ts";
import { provedHead } from "./outputs.ts";

export interface LessonOptions {
  readonly prompt: Pick<PromptOptions, "mode" | "style">;
  readonly negation: NegationForm;
  readonly forms: readonly ProofForm[];
  /** Most proofs of one side of a statement, the shortest first. */
  readonly perStatement: number;
  readonly signal?: AbortSignal;
}

export type LessonText = Pick<ProofExample, "read" | "written">;

/** The first proofs of each side of a statement, `most` of each: those that are learned. */
export function* learnedProofs(
  proofs: readonly PipelineProof[],
  most: number,
): IterableIterator<PipelineProof> {
  const counts = new Map<string, number>();
  for (const proof of proofs) {
    const key = `${proof.statement.id} ${proof.side}`;
    const count = counts.get(key) ?? 0;
    counts.set(key, count + 1);
    if (count < most) yield proof;
  }
}

/** All texts that are learned, in the order of the statements. @throws the signal's reason */
export async function lessonTexts(
  store: ProofStore,
  lean: LeanSession,
  { prompt, negation, forms, perStatement, signal = new AbortController().signal }: LessonOptions,
): Promise<LessonText[]> {
  const cut = forms.some((form) => form !== "whole");
  const texts: LessonText[] = [];
  const translated = new Set<number>();
  for (const found of learnedProofs(store.pipeline.proofs(), perStatement)) {
    const { statement, side, text: proof } = found;
    const { preamble, informal } = statement.problem;
    const head = provedHead(found, negation);
    // As the pipeline's own prompts have it.
    const problem: PromptProblem = {
      ...(preamble !== "" && { header: `${preamble}\n` }),
      statement: head,
    };
    const asked = { preamble, trustedPreamble: true, statement: `${head}  sorry` };
    const checks = new ProofChecks(lean, asked, head, {
      ...{ segmentation: "tactic", cutProofs: false, steps: true, fits: () => true, signal },
    });
    const segments = cut ? (await checks.check(proof)).segments : undefined;
    const usable = segments === undefined || segments.length === 0 ? (["whole"] as const) : forms;
    texts.push(
      ...proofExamples({ problem, proof: withoutEnd(proof), segments }, { ...prompt, forms: usable }),
    );
    if (side !== "statement" || translated.has(statement.id)) continue;
    translated.add(statement.id);
    texts.push({ read: formalizePrompt(informal), written: `${answerOf(statement.generated)}${STOP}` });
  }
  return texts;
}

/** Texts as ids: what follows the prompt is learned, the end of the text with it. */
export function encodeLessons(texts: readonly LessonText[], tokenizer: Tokenizer): Lesson[] {
  const { bos, eos } = tokenizer.specialIds;
  const plain = { addSpecialTokens: false, parseSpecial: false };
  const encoding = {
    encode: (text: string) => tokenizer.encode(text, plain),
    begin: bos === undefined ? [] : [bos],
    end: eos === undefined ? [] : [eos],
  };
  return texts.map((text) => exampleLesson(text, encoding));
}
