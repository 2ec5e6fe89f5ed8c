/** `deepseek-ts prove BENCH.jsonl`: a benchmark's statements one by one, what came of each, one report. */
import { readTextFile } from "../files/text-file.ts";
import { type BenchmarkOptions, reportText, runBenchmark } from "../prove/benchmark/run.ts";
import { type Benchmark, readBenchmark } from "../prove/formats/benchmark.ts";
import type { Prover } from "../prove/prover/prover.ts";
import { formatPercent } from "../text/units.ts";
import { ProgressLine } from "./progress-line.ts";
import { SearchProgress } from "./prove-progress.ts";

/** Whether a file is a benchmark by its name. */
export const isBenchmark = (path: string): boolean => /\.jsonl?$/i.test(path);

/** @throws FormatError with line and field, FileError */
export const openBenchmark = async (path: string): Promise<Benchmark> =>
  await readBenchmark(await readTextFile(path), path);

/** @returns whether every statement that was used is proved; not if none could be used @throws as `runBenchmark` */
export async function proveBenchmark(
  path: string,
  benchmark: Benchmark,
  prover: Prover,
  { json, budget, ...options }: BenchmarkOptions & { readonly json: boolean; readonly budget: number },
): Promise<boolean> {
  const line = new ProgressLine(process.stderr, 0);
  const say = (value: object) => void (json && process.stdout.write(`${JSON.stringify(value)}\n`));
  say({ type: "benchmark", file: path, hash: benchmark.hash, rows: benchmark.problems.length });
  let progress: SearchProgress | null = null;
  let [ended, solved] = [0, 0];
  let complete = false;
  try {
    for await (const event of runBenchmark(prover, benchmark, options)) {
      switch (event.type) {
        case "looked":
          line.tell(`looking at the statements: ${event.count} of ${event.of}`);
          break;
        case "unusable":
          line.note(`left    ${event.name}: ${reasonOf(event)}`);
          say({ ...event, file: path });
          break;
        case "statement": {
          const { number, of, problem } = event;
          const share = ended === 0 ? "" : `, ${formatPercent(solved / ended, 0)} proved`;
          progress = new SearchProgress(`${number} of ${of}${share}, ${problem.name}`, budget);
          break;
        }
        case "search":
          progress?.take(event.event);
          if (progress !== null) line.tell(progress.text());
          if (event.event.type === "sample") {
            const { segments: _segments, ...rest } = event.event;
            say({ file: path, name: event.problem.name, ...rest });
          }
          break;
        case "ended": {
          const { name, right, samples, first } = event;
          ended++;
          if (right > 0) solved++;
          const counts = right === 0 ? `0 of ${samples}` : `${right} of ${samples}, the first at ${first}`;
          line.note(`${right > 0 ? "proved" : "open  "}  ${name} (${counts})`);
          say({ ...event, file: path });
          break;
        }
        case "report":
          line.clear();
          complete = event.statements > 0 && event.proved === event.statements;
          if (json) say({ ...event, file: path });
          else process.stdout.write(`${reportText(event)}\n`);
      }
    }
  } finally {
    line.clear();
  }
  return complete;
}

const SHOWN = 200;

function reasonOf({ finding, detail }: { readonly finding: string; readonly detail: string }): string {
  if (finding === "vacuous") return `its hypotheses contradict each other (${detail})`;
  return `Lean does not accept it: ${detail.replace(/\s*\n\s*/g, " ").slice(0, SHOWN)}`;
}
