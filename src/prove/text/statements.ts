/**
 * Statements derived from a theorem: its hypotheses alone (`False` from the same context shows that they contradict each
 * other) and both forms of its negation (DeepSeek-Prover V1, section 3.2). Text only: whether they elaborate decides Lean.
 */
import { FormatError } from "../../tensor/errors.ts";
import { MOST_DEPTH, textBreach } from "../lean/text-limits.ts";
import { codeTokens, endOfGroup, nesting, type Token, withoutComments } from "./tokens.ts";

/** A theorem without its proof. */
export interface Statement {
  /** Full name as it is written; empty for an `example`. */
  readonly name: string;
  /** Universe parameters with their braces, `.{u, v}`; mostly empty. */
  readonly levels: string;
  /** As written, without comments. */
  readonly binders: string;
  readonly conclusion: string;
}

const KEYWORDS = new Set(["theorem", "lemma", "example"]);
/** What may stand behind the last `:=` of a statement. */
const NO_PROOF = /^(?:by)?\s*(?:sorry)?$/;

/**
 * Takes a statement apart: binders before the first colon outside brackets, conclusion up to the last `:=`, behind which only
 * `by` and `sorry` may stand; without `:=` up to the end.
 * @throws FormatError for text that is no theorem, has a proof, or is longer or nested deeper than Lean reads
 */
export function parseStatement(source: string): Statement {
  const refuse = (fault: string, hint: string): never => {
    throw new FormatError(fault, { where: "statement", found: excerpt(source), hint });
  };
  const breach = textBreach(source);
  if (breach !== null)
    return refuse(`a statement that Lean cannot read: ${breach.reason}`, "Write a plainer one.");
  const text = withoutComments(source);
  const tokens = codeTokens(text);
  let depth = 0;
  for (const token of tokens) {
    depth = Math.max(depth + nesting(token), 0);
    if (depth > MOST_DEPTH)
      return refuse("brackets are nested too deeply", `At most ${MOST_DEPTH} are read.`);
  }
  const keyword = tokens.findIndex((token) => token.kind === "name" && KEYWORDS.has(token.text));
  if (keyword < 0) return refuse("no theorem", "It must hold one theorem, lemma or example.");
  const anonymous = tokens[keyword].text === "example";
  let at = keyword + 1;
  const name = anonymous ? "" : (tokens[at++]?.text ?? "");
  const levelsStart = at;
  // The dot that opens universe parameters follows the name at once.
  if (!anonymous && tokens[at]?.text === "." && tokens[at + 1]?.text === "{") at = endOfGroup(tokens, at + 1);
  const levels = at > levelsStart ? text.slice(tokens[levelsStart].start, tokens[at - 1].end) : "";
  const colon = outside(tokens, at, (token) => token.text === ":");
  if (colon < 0)
    return refuse("a theorem without a colon", "Write it as `theorem name binders : conclusion := by`.");
  const end = tokens.findLastIndex((token, i) => i > colon && token.text === ":=");
  const closed = end >= 0;
  if (closed && !NO_PROOF.test(text.slice(tokens[end].end).trim())) {
    return refuse("a statement with something behind its last `:=`", "End it with `:= by`, without a proof.");
  }
  const conclusion = text.slice(tokens[colon].end, closed ? tokens[end].start : undefined).trim();
  if (conclusion === "")
    return refuse("a theorem without a conclusion", "Write what it claims behind the colon.");
  const binders = at === colon ? "" : text.slice(tokens[at].start, tokens[colon - 1].end);
  return { name, levels, binders, conclusion };
}

const excerpt = (text: string) => (text.length > 120 ? `${text.slice(0, 120)}…` : text);

/** Index of the first token outside brackets, from `from` on, that is meant; -1 if there is none. */
function outside(tokens: readonly Token[], from: number, meant: (token: Token) => boolean): number {
  let depth = 0;
  for (let i = from; i < tokens.length; i++) {
    if (depth === 0 && meant(tokens[i])) return i;
    depth += nesting(tokens[i]);
  }
  return -1;
}

/** `sameContext`: the paper's Γ ⊢ ¬P. `universal`: ¬ ∀ Γ, P, which decides more: that P is no theorem. */
export type NegationForm = "sameContext" | "universal";

const head = ({ name, levels, binders }: Statement, suffix: string, conclusion: string) =>
  `theorem ${name || "statement"}${suffix}${levels}${binders && ` ${binders}`} : ${conclusion} := by\n`;

/** The same hypotheses with conclusion `False`. @throws FormatError for text that is no statement */
export const falseGoal = (statement: string): string => head(parseStatement(statement), "_false", "False");

/** The negation of a statement. @throws FormatError for text that is no statement */
export function negate(statement: string, form: NegationForm = "universal"): string {
  const parts = parseStatement(statement);
  const { binders, conclusion } = parts;
  if (form === "sameContext") return head(parts, "_neg", `¬ (${conclusion})`);
  const claim = binders === "" ? conclusion : `∀ ${binders}, ${conclusion}`;
  return head({ ...parts, binders: "" }, "_not", `¬ (${claim})`);
}

/** The statement as one `theorem … := by`, whatever it was written as; a nameless one gets the name. */
export const theoremHead = (statement: Statement, name = "statement"): string =>
  head({ ...statement, name: statement.name || name }, "", statement.conclusion);
