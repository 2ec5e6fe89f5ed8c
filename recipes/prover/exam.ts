/** The exam of a prover: how many statements of mini-coreF2F it proves with so many samples each, in real Lean. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { BenchmarkRow } from "../../src/prove/corpus/benchmark.ts";
import type { LeanSession } from "../../src/prove/lean/session.ts";
import { concurrently, writtenAll } from "../../src/prove/pipeline/sides.ts";
import { verifyProof } from "../../src/prove/pipeline/stages.ts";
import { attemptSeed } from "../../src/prove/search/attempt.ts";
import type { TextGenerator } from "../../src/prove/search/generator.ts";
import { type ProofMode, proofPrompt, STOP } from "../../src/prove/text/prompts.ts";
import { mean } from "../../src/statistics/sample.ts";
import { passAtK } from "../../src/train/policy/pass-at-k.ts";
import type { ArmOutcome } from "../shared/program.ts";
import type { Count } from "../shared/score.ts";
import type { StageContext } from "../shared/stage.ts";
import { keptLines } from "./kept-lines.ts";
import { SAMPLING, SHORT, stoppable, TOGETHER } from "./parts.ts";
import { scripted } from "./table.ts";

export interface ExamOptions {
  readonly samples: number;
  readonly seed: number;
  /** Statements of each family (default: all). */
  readonly perFamily?: number;
  /** `mix`: every other sample with thoughts (default: none). */
  readonly mode?: ProofMode | "mix";
}

export interface ExamRow {
  readonly row: BenchmarkRow;
  /** Samples that prove it. */
  readonly right: number;
  readonly samples: number;
  /** Of all samples. */
  readonly tokens: number;
}

export const benchmarkRows = (): BenchmarkRow[] =>
  readFileSync(fileURLToPath(new URL("mini-coref2f.jsonl", import.meta.url)), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as BenchmarkRow);

/** Of each family so many statements, of every level. */
export function chosen(rows: readonly BenchmarkRow[], perFamily: number): BenchmarkRow[] {
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

/** @throws StageStopped */
export async function examine(
  { generator, lean }: { readonly generator: TextGenerator; readonly lean: LeanSession },
  place: StageContext,
  { samples, seed, perFamily = Number.POSITIVE_INFINITY, mode = "non-cot" }: ExamOptions,
): Promise<ExamRow[]> {
  const name = "exam";
  using stop = stoppable(place, name);
  const items = chosen(benchmarkRows(), perFamily);
  const results = await keptLines(place, {
    ...{ name, items, identity: [generator.model, lean.version, samples, seed, perFamily, mode, SAMPLING] },
    // While Lean checks the samples of one statement, those of others are written.
    atOnce: 1 + Math.ceil(TOGETHER / samples),
    solved: ({ right }: Omit<ExamRow, "row">) => right > 0,
    async work({ preamble, formal_statement: statement }, index) {
      const header = preamble === "" ? "" : `${preamble.trimEnd()}\n\n`;
      const prompts = Array.from({ length: samples }, (_, k) => {
        const own = mode !== "mix" ? mode : k % 2 === 0 ? "non-cot" : "cot";
        return proofPrompt({ header, statement }, { ...SHORT, mode: own });
      });
      const written = await writtenAll(generator, prompts, {
        ...{ ...SAMPLING, stop: [STOP], signal: stop.signal },
        seeds: Array.from({ length: samples }, (_, k) => attemptSeed(seed, index, k)),
      });
      const proved = await concurrently(lean.slots, written, async ({ text }) => {
        const { answer } = await verifyProof(lean, preamble, statement, text, { signal: stop.signal });
        return answer?.verdict === "proved";
      });
      const tokens = written.reduce((sum, each) => sum + each.tokens, 0);
      return { right: proved.filter(Boolean).length, samples, tokens };
    },
  });
  return results.map((result, i) => ({ row: items[i], ...result }));
}

/** Values of items, each from 0 to 1, as a share. */
export const shareOf = (values: readonly number[]): Count => ({
  right: values.reduce((a, b) => a + b, 0),
  of: values.length,
});

const scriptless = ({ row }: ExamRow) => row.automation.length === 0;

/** pass@k by the unbiased estimator: of all statements, and of those that no fixed script proves. */
export function examScores(results: readonly ExamRow[]): Pick<ArmOutcome, "scores" | "items" | "figures"> {
  const { samples } = results[0];
  const items: Record<string, number[]> = {};
  for (const k of [1, 8, 16, 32].filter((each) => each <= samples)) {
    const pass = ({ right }: ExamRow) => passAtK(samples, right, k);
    items[`pass@${k}`] = results.map(pass);
    items[`pass@${k}, no script`] = results.filter(scriptless).map(pass);
  }
  const beyond = results.filter(({ row, right }) => right > 0 && !scripted(row)).length;
  return {
    scores: Object.fromEntries(Object.entries(items).map(([measure, each]) => [measure, shareOf(each)])),
    items,
    figures: {
      "statements beyond the scripts that were shown": beyond,
      "tokens a sample": mean(results.map(({ tokens }) => tokens / samples)),
    },
  };
}

const percent = (share: number) => `${(100 * share).toFixed(1)} %`;

/** A table by family: statements, those that fixed scripts prove, pass@1 and pass@samples of the prover. */
export function examTable(results: readonly ExamRow[]): string {
  const families = [...new Set(results.map(({ row }) => row.family))].sort();
  const samples = results[0]?.samples ?? 1;
  const line = (name: string, of: readonly ExamRow[]) => {
    const hard = of.filter(scriptless);
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
        results.filter(({ row }) => row.family === family),
      ),
    ),
    line("**all**", results),
  ].join("\n");
}
