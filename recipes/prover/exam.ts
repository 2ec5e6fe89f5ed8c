/** The exam of a prover: how many statements of mini-coreF2F it proves with so many samples each, family by family, in real Lean. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BenchmarkRow } from "../../src/prove/corpus/benchmark.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { concurrently, writtenAll } from "../../src/prove/pipeline/sides.ts";
import { verifyProof } from "../../src/prove/pipeline/stages.ts";
import { attemptSeed } from "../../src/prove/search/attempt.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { type PromptOptions, proofPrompt, STOP } from "../../src/prove/text/prompts.ts";
import { passAtK } from "../../src/train/policy/pass-at-k.ts";

export interface ExamOptions {
  readonly samples: number;
  /** Statements of each family (default: all). */
  readonly perFamily?: number;
  readonly seed: number;
  readonly maxTokens: number;
  readonly prompt: PromptOptions;
  readonly stopped?: () => boolean;
  readonly print: (line: string) => void;
}

export interface ExamRow {
  readonly name: string;
  readonly family: string;
  readonly level: number;
  /** Whether a fixed script proves it. */
  readonly automated: boolean;
  /** Samples that prove it. */
  readonly right: number;
  readonly samples: number;
}

export const benchmarkRows = (): BenchmarkRow[] =>
  readFileSync(fileURLToPath(new URL("mini-coref2f.jsonl", import.meta.url)), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as BenchmarkRow);

/** Of each family as many statements of every level as there are. */
function chosen(rows: readonly BenchmarkRow[], perFamily: number): BenchmarkRow[] {
  const taken = new Map<string, number>();
  const byLevel = [...rows].sort(
    (a, b) => (Number(a.name.split("_").at(-1)) % 7) - (Number(b.name.split("_").at(-1)) % 7),
  );
  return byLevel.filter(({ family }) => {
    const count = taken.get(family) ?? 0;
    taken.set(family, count + 1);
    return count < perFamily;
  });
}

export async function examine(
  { generator, lean }: { readonly generator: TextGenerator; readonly lean: LeanSession },
  { samples, perFamily = Number.POSITIVE_INFINITY, seed, maxTokens, prompt, stopped, print }: ExamOptions,
): Promise<readonly ExamRow[]> {
  const rows = chosen(benchmarkRows(), perFamily);
  const found: ExamRow[] = [];
  for (const [i, row] of rows.entries()) {
    if (stopped?.()) break;
    const { preamble, formal_statement: statement, name, family, level, automation } = row;
    const header = preamble === "" ? "" : `${preamble.trimEnd()}\n\n`;
    const written = await writtenAll(
      generator,
      new Array<string>(samples).fill(proofPrompt({ header, statement }, prompt)),
      {
        seeds: Array.from({ length: samples }, (_, k) => attemptSeed(seed, i, k)),
        ...{ maxTokens, temperature: 1, topP: 0.95, stop: [STOP] },
      },
    );
    const seen = new Map<string, Promise<boolean>>();
    const verdicts = await concurrently(lean.slots, written, ({ text }) => {
      const known = seen.get(text);
      if (known !== undefined) return known;
      const asked = verifyProof(lean, preamble, statement, text, {}).then(
        ({ answer }) => answer?.verdict === "proved",
      );
      seen.set(text, asked);
      return asked;
    });
    const right = verdicts.filter(Boolean).length;
    found.push({ name, family, level, automated: automation.length > 0, right, samples });
    if ((i + 1) % 20 === 0 || i + 1 === rows.length) {
      print(`exam: ${i + 1} of ${rows.length}, ${found.filter((each) => each.right > 0).length} proved`);
    }
  }
  return found;
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;

/** A table by family: statements, those that fixed scripts prove, pass@1 and pass@samples of the prover. */
export function examTable(rows: readonly ExamRow[]): string {
  const families = [...new Set(rows.map(({ family }) => family))].sort();
  const samples = rows[0]?.samples ?? 1;
  const line = (name: string, of: readonly ExamRow[]) => {
    const hard = of.filter(({ automated }) => !automated);
    const pass = (k: number, some: readonly ExamRow[]) =>
      some.length === 0 ? "–" : percent(mean(some.map(({ right }) => passAtK(samples, right, k))));
    const scripts = of.length - hard.length;
    return `| ${name} | ${of.length} | ${scripts} | ${pass(1, of)} | ${pass(samples, of)} | ${pass(samples, hard)} |`;
  };
  return [
    `| family | statements | proved by fixed scripts | pass@1 | pass@${samples} | pass@${samples} of the others |`,
    "|---|---|---|---|---|---|",
    ...families.map((family) =>
      line(
        family,
        rows.filter((row) => row.family === family),
      ),
    ),
    line("**all**", rows),
  ].join("\n");
}
