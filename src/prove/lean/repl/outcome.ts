/** Answers of sessions whose Lean is a REPL, directly or behind a server. */
import { TextPositions } from "../../text/positions.ts";
import type { CheckAnswer, CheckInput, LeanProblem, Verdict, VerifyAnswer } from "../session.ts";
import { emptyCheck } from "../wasm/answers.ts";
import { type Excerpt, messagesIn, type ReplAnswer, sorriesIn, stepsIn } from "./answer.ts";
import type { Judgement } from "./judgement.ts";
import type { Fault } from "./plain-text.ts";
import { type NamedStatement, readStatement, refuseAnswer, refusePreamble } from "./rules.ts";

/** Milliseconds of one check. */
export const TIMEOUT = 10_000;
export const HEARTBEATS = 200_000;
/** Other than in a file, a misspelt type must not become a variable. */
export const SETTINGS = "set_option autoImplicit false\nset_option relaxedAutoImplicit false";

const MODULE = /^[\p{L}_][\p{L}\p{N}_']*(?:\.(?:[\p{L}_][\p{L}\p{N}_']*|«[^»\s]+»))*$/u;

/** Lines that import modules. @throws BadProblem for what is no name of a module */
export function importLines(imports: readonly string[]): string[] {
  const wrong = imports.find((name) => !MODULE.test(name));
  if (wrong !== undefined) throw new BadProblem("bad preamble", `no name of a module: ${wrong}`);
  return imports.map((name) => `import ${name}`);
}

/** The problem's fault, not the answer's. */
export class BadProblem extends Error {
  override name = "BadProblem";
  readonly verdict: "bad preamble" | "bad statement";
  readonly messages: CheckAnswer["messages"];

  constructor(verdict: BadProblem["verdict"], message: string, messages: CheckAnswer["messages"] = []) {
    super(message);
    this.verdict = verdict;
    this.messages = messages;
  }
}

/** What became of a check that did not come to its end; for `verify` with the verdict. */
export interface Unfinished {
  readonly verdict: Verdict;
  readonly detail: string;
  readonly check: CheckAnswer;
}

export const excerptOf = (text: string, linesBefore = 0): Excerpt => ({
  ...{ text, positions: new TextPositions(text), lines: text.split("\n").length, linesBefore },
});

export function unfinished(
  verdict: "timeout" | "memory" | "crash" | BadProblem["verdict"],
  detail: string,
  part: Pick<CheckAnswer, "milliseconds"> & Partial<CheckAnswer>,
): Unfinished {
  const failure = verdict === "bad preamble" || verdict === "bad statement" ? null : verdict;
  return { verdict, detail, check: emptyCheck({ failure, ...part }) };
}

const refusal = (text: string, { reason, index }: Fault): CheckAnswer =>
  emptyCheck({ refused: { reason, at: new TextPositions(text).at(index) } });

/** Why a check is not begun; null if it may be. */
export function refuseCheck({
  code,
  preamble = "",
  trustedPreamble = false,
}: CheckInput): CheckAnswer | null {
  const inPreamble = refusePreamble(preamble, trustedPreamble);
  if (inPreamble !== null) return refusal(preamble, inPreamble);
  const inCode = refuseAnswer(code);
  return inCode && refusal(code, inCode);
}

/** The statement to prove, or the verdict of texts that Lean is not shown. Without `rules` it is shown every answer. */
export function readProblem(problem: LeanProblem, code: string, rules = true): NamedStatement | VerifyAnswer {
  const { preamble = "", trustedPreamble = false } = problem;
  const verdict = (verdict: Verdict, { reason }: Fault, name = "", check = emptyCheck({})) => ({
    ...{ ...check, verdict, detail: reason, name, axioms: [] },
  });
  const inPreamble = refusePreamble(preamble, trustedPreamble);
  if (inPreamble !== null) return verdict("bad preamble", inPreamble);
  const statement = readStatement(problem.statement);
  if ("reason" in statement) return verdict("bad statement", statement);
  const inCode = rules ? refuseAnswer(code) : null;
  return inCode === null ? statement : verdict("refused", inCode, statement.name, refusal(code, inCode));
}

/** What Lean said about a text. `tree`: where the text stands in the tree of tactics, whose lines may be counted otherwise. */
export function checkAnswer(
  answer: ReplAnswer,
  excerpt: Excerpt,
  { steps, milliseconds }: { readonly steps: boolean; readonly milliseconds: number },
  tree: Excerpt = excerpt,
): CheckAnswer {
  const messages = messagesIn(answer.messages, excerpt);
  return {
    complete: !messages.some(({ severity, kind }) => severity === "error" || kind === "hasSorry"),
    messages,
    ...{ sorries: sorriesIn(excerpt), refused: null, failure: null },
    steps: steps ? stepsIn(answer.infotree, tree) : [],
    milliseconds,
  };
}

export const verifyAnswer = (check: CheckAnswer, name: string, judgement: Judgement): VerifyAnswer => ({
  ...{ ...check, ...judgement, name },
});
