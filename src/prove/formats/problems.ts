/** Problems in words as JSON lines, what the pipeline of synthetic data begins with. */
import { FormatError } from "../../tensor/errors.ts";
import { type ReadLimits, readRows } from "./fields.ts";

/** What is known of a problem's statement; reports read it, the pipeline never. */
export type KnownTruth = "true" | "false" | "vacuous";

export interface WordProblem {
  /** Where it is from: the row's `name`, `id` or `source`, else its number. */
  readonly source: string;
  /** With its answer: "Show that it is 4." */
  readonly informal: string;
  /** Lean commands that its statement builds on; mostly empty. */
  readonly preamble: string;
  readonly truth?: KnownTruth;
}

const TRUTHS: ReadonlySet<unknown> = new Set<KnownTruth>(["true", "false", "vacuous"]);

/**
 * Rows with `informal` (or `problem`), and maybe `answer`, which is added as what is to be shown, `preamble`, `name`, `truth`.
 * @param where names the file in errors
 * @throws FormatError with line and field
 */
export function readProblems(text: string, where: string, limits?: ReadLimits): readonly WordProblem[] {
  const rows = readRows(text, where, limits);
  if (rows.length === 0) throw new FormatError("no problems in the file", { where, expected: "one a line" });
  return rows.map((fields, index): WordProblem => {
    const words = fields.text(["informal", "problem"]).trim();
    const answer = fields.optionalText("answer");
    const truth = fields.raw("truth") ?? undefined;
    if (truth !== undefined && !TRUTHS.has(truth)) {
      fields.refuse("truth", [...TRUTHS].join(", "), truth);
    }
    if (words === "") fields.refuse("informal", "a problem in words", words);
    return {
      source: fields.optionalText(["name", "id", "source"]) ?? `row ${index}`,
      informal: answer === undefined ? words : `${words} Show that it is ${answer.trim()}.`,
      preamble: fields.optionalText("preamble") ?? "",
      ...(truth !== undefined && { truth: truth as KnownTruth }),
    };
  });
}
