/** An evaluation as a person at a terminal sees it: how far it is, its figures, and the comparison of two. */
import type { EvaluationProgress, TaskEvaluation } from "../evaluate/evaluate.ts";
import type { TaskComparison } from "../evaluate/node-compare.ts";
import { formatClock, formatCount, formatRate, plural } from "../text/units.ts";

/** Lines of cells below each other; the first row is the heading. */
export function tableText(rows: readonly (readonly string[])[]): string {
  const widths = rows[0].map((_, i) => Math.max(...rows.map((row) => [...row[i]].length)));
  const line = (row: readonly string[]) =>
    row
      .map((cell, i) => cell + " ".repeat(widths[i] - [...cell].length))
      .join("  ")
      .trimEnd();
  return rows.map(line).join("\n");
}

const SHORTEST = 0.0005;
const LONGEST = 1e6;

/** Four digits behind the point, unless the value is very small or large. */
function figure(value: number): string {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  return size !== 0 && (size < SHORTEST || size >= LONGEST) ? value.toExponential(2) : value.toFixed(4);
}

const interval = (ends: readonly [number, number] | null) =>
  ends === null ? "-" : `${figure(ends[0])} to ${figure(ends[1])}`;

const better = (higherIsBetter: boolean) => (higherIsBetter ? "↑" : "↓");

/** How far an evaluation is, and how long its task will take. */
export class EvaluationClock {
  #task = "";
  #began = 0;
  #first = 0;
  #tokens = 0;

  text({ task, rows, of, tokens }: EvaluationProgress): string {
    const now = performance.now();
    if (task !== this.#task) {
      this.#task = task;
      this.#began = now;
      this.#first = rows;
      this.#tokens = tokens;
    }
    const seconds = (now - this.#began) / 1000;
    const done = rows - this.#first;
    const left = of === null || done <= 0 ? "" : `, ${formatClock(((of - rows) * seconds) / done)} left`;
    const speed = seconds > 0 ? `  ${formatRate(tokens - this.#tokens, seconds)} tokens/s` : "";
    const all = of === null ? "" : ` of ${formatCount(of)}`;
    return `${task}  ${formatCount(Math.floor(rows))}${all} rows${speed}${left}`;
  }
}

/** The figures of all tasks. */
export function evaluationTable(tasks: readonly TaskEvaluation[]): string {
  const rows = tasks.flatMap(({ name, rows, shots, metrics }) =>
    metrics.map(({ name: metric, higherIsBetter, value, standardError, interval: ends }, i) => [
      ...(i === 0 ? [name, formatCount(rows), String(shots)] : ["", "", ""]),
      ...[`${metric} ${better(higherIsBetter)}`, figure(value)],
      ...[standardError === null ? "-" : figure(standardError), interval(ends)],
    ]),
  );
  return tableText([["task", "rows", "shots", "metric", "value", "std. error", "95% interval"], ...rows]);
}

/** What went otherwise than asked; nothing where all went well. */
export function countNotes(tasks: readonly TaskEvaluation[]): string[] {
  return tasks.flatMap(({ name, counts: { shortened, unjudged, timedOut } }) => [
    ...(shortened > 0
      ? [
          `${name}: ${plural(shortened, "request")} lost the beginning, which did not fit what the model reads`,
        ]
      : []),
    ...(unjudged > 0 ? [`${name}: ${plural(unjudged, "text")} without a verdict`] : []),
    ...(timedOut > 0 ? [`${name}: ${plural(timedOut, "row")} not judged in time`] : []),
  ]);
}

const winners = { a: "A is better", b: "B is better" } as const;

/** Two results on the same rows, and what they decide. */
export function comparisonTable(compared: readonly TaskComparison[]): string {
  const rows = compared.map((each) => {
    const { task, metric, higherIsBetter, a, b, difference, interval: ends, better: rows, winner } = each;
    return [
      ...[task, formatCount(each.rows), `${metric} ${better(higherIsBetter)}`, figure(a), figure(b)],
      ...[`${difference > 0 ? "+" : ""}${figure(difference)}`, interval(ends)],
      ...[
        `${formatCount(rows.a)} / ${formatCount(rows.b)}`,
        winner === null ? "not decided" : winners[winner],
      ],
    ];
  });
  const head = ["task", "rows", "metric", "A", "B", "B - A", "95% interval", "better A / B", "verdict"];
  return tableText([head, ...rows]);
}
