/**
 * The two other language jobs of DeepSeek-Prover V1 (arXiv 2405.14333, sections 3.1 and 3.2): translation of a problem into a
 * Lean statement, with the paper's prompt to the letter, and grading of statements in five classes. The paper prints only what
 * the grading prompt asks for; its wording is ours.
 */
import { answerOf } from "./prompts.ts";

/** What a model reads before it writes the statement. `problem`: in words, its answer included ("Show that it is 4."). */
export const formalizePrompt = (problem: string): string =>
  `Mathematical Problem in Natural Language:\n${problem}\nTranslate the problem to Lean 4 (only the core declaration):\n\`\`\`lean4\n`;

/** The statement in a model's answer; null for an answer without one. */
export function formalizedStatement(generated: string): string | null {
  const statement = answerOf(generated).trim();
  return statement === "" ? null : statement;
}

/** Classes of statements, the best first. */
export const GRADES = ["excellent", "good", "above average", "fair", "poor"] as const;
export type Grade = (typeof GRADES)[number];
/** Classes that a pipeline keeps. */
export const KEPT_GRADES: ReadonlySet<Grade> = new Set<Grade>(["excellent", "good", "above average"]);

/** A graded statement: one answer of the three parts that the prompt asks for. */
export interface GradedStatement {
  readonly statement: string;
  readonly translation: string;
  readonly analysis: string;
  readonly grade: Grade;
}

const TRANSLATION = "Translation:";
const ANALYSIS = "Analysis:";
const ASSESSMENT = "Assessment:";

const TASK = `Grade the Lean 4 statement. First translate the code back to natural language. Then analyze it by five criteria: relevance to current research, complexity and depth, interdisciplinary potential, community needs, innovativeness. End with an assessment in one of these words: ${GRADES.join(", ")}.`;

const question = (statement: string) => `Statement:\n\`\`\`lean4\n${statement.trim()}\n\`\`\`\n`;

/** The answer in its three parts, as models are trained to write it. */
export const gradingAnswer = ({ translation, analysis, grade }: Omit<GradedStatement, "statement">): string =>
  `${TRANSLATION} ${translation}\n${ANALYSIS} ${analysis}\n${ASSESSMENT} ${grade}\n`;

/** What a model reads before it grades a statement. `style` `short` leaves out the explanation, for models trained on it. */
export function gradingPrompt(
  statement: string,
  { shots = [], style = "official" }: GradingPromptOptions = {},
): string {
  const examples = shots.map((shot) => `${question(shot.statement)}${gradingAnswer(shot)}\n`).join("");
  return `${style === "short" ? "Grade:" : TASK}\n\n${examples}${question(statement)}${TRANSLATION}`;
}

export interface GradingPromptOptions {
  /** Graded statements that come first. */
  readonly shots?: readonly GradedStatement[];
  readonly style?: "official" | "short";
}

/** Longest first: "above average" holds no other class, but an answer may say "not poor, above average". */
const GRADE = new RegExp([...GRADES].sort((a, b) => b.length - a.length).join("|"), "i");

/** The class behind the last label of an assessment; null if there is none. */
export function gradeOf(generated: string): Grade | null {
  const label = generated.toLowerCase().lastIndexOf(ASSESSMENT.slice(0, -1).toLowerCase());
  if (label < 0) return null;
  const found = GRADE.exec(generated.slice(label + ASSESSMENT.length - 1));
  return found === null ? null : (found[0].toLowerCase() as Grade);
}
