/** The values of a task, row by row, as its work is done. */
import { ConfigError } from "../tensor/errors.ts";
import {
  ACCURACY,
  ACCURACY_NORMALIZED,
  BITS_PER_BYTE,
  BYTE_PERPLEXITY,
  EDIT_SIMILARITY,
  EXACT_MATCH,
  type Metric,
  type MetricValue,
  passMetric,
  REWARD,
  STOPPED,
  WORD_PERPLEXITY,
} from "./metrics.ts";
import type { TaskForm } from "./rows.ts";
import type { DoneWave, DoneWork, Position } from "./waves.ts";
import type { WorkSettings } from "./work.ts";

/** What a task of this form is judged by. */
export function metricsOf(form: TaskForm, { ks, judge }: Pick<WorkSettings, "ks" | "judge">): Metric[] {
  if (form === "choices") return [ACCURACY, ACCURACY_NORMALIZED];
  if (form === "infill") return [EXACT_MATCH, EDIT_SIMILARITY, STOPPED];
  if (form === "text") return [WORD_PERPLEXITY, BYTE_PERPLEXITY, BITS_PER_BYTE];
  return [judge === null ? EXACT_MATCH : REWARD, ...ks.map(passMetric)];
}

const behind = ({ row, piece, isLast }: DoneWork): Position =>
  isLast ? { row: row + 1, piece: 0 } : { row, piece: piece + 1 };

export class TaskValues {
  readonly values: Record<string, MetricValue[]>;
  readonly counts = { shortened: 0, unjudged: 0, timedOut: 0 };
  seconds = 0;
  rows = 0;
  #next: Position = { row: 0, piece: 0 };
  readonly #name: string;

  constructor(name: string, metrics: readonly Metric[]) {
    this.#name = name;
    this.values = Object.fromEntries(metrics.map((metric) => [metric.name, []]));
  }

  /** Where the next work is. */
  get next(): Position {
    return this.#next;
  }

  /** @throws ConfigError for a wave that is not the next one, or has other values */
  add({ done, seconds }: DoneWave): void {
    for (const work of done) {
      const { row, piece } = this.#next;
      const names = Object.keys(this.values);
      const missing = names.find((name) => work.values[name] === undefined);
      if (work.row !== row || work.piece !== piece || missing !== undefined) {
        throw new ConfigError("kept work does not fit the evaluation", {
          ...{ where: this.#name, expected: missing ?? `row ${row}, piece ${piece}` },
          found: missing === undefined ? `row ${work.row}, piece ${work.piece}` : Object.keys(work.values),
          hint: "The file is damaged or of other settings: begin anew.",
        });
      }
      for (const name of names) {
        const list = this.values[name];
        const value = work.values[name];
        const before = work.piece === 0 ? undefined : list.pop();
        list.push(
          typeof value === "number" || before === undefined || typeof before === "number"
            ? value
            : [before[0] + value[0], before[1] + value[1]],
        );
      }
      for (const key of ["shortened", "unjudged", "timedOut"] as const) {
        this.counts[key] += work.counts?.[key] ?? 0;
      }
      if (work.isLast) this.rows++;
      this.#next = behind(work);
    }
    this.seconds += seconds;
  }
}
