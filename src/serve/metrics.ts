/** Counters and histograms and their text in Prometheus' exposition format 0.0.4. Left out: exemplars, summaries. */
import type { HistogramState } from "../engine/host/histogram.ts";

export type Labels = Readonly<Record<string, string>>;

/** A counter per combination of labels. */
export class Counter {
  readonly #values = new Map<string, { labels: Labels; value: number }>();

  add(labels: Labels, by = 1): void {
    const key = JSON.stringify(labels);
    const entry = this.#values.get(key);
    if (entry) entry.value += by;
    else this.#values.set(key, { labels, value: by });
  }

  get values(): readonly { readonly labels: Labels; readonly value: number }[] {
    return [...this.#values.values()];
  }
}

const escapeLabel = (text: string) =>
  text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");

function labelText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escapeLabel(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

const numberText = (value: number) => (value === Number.POSITIVE_INFINITY ? "+Inf" : String(value));

/** Collects metrics as text, each name with its help and type once. */
export class MetricsText {
  #lines: string[] = [];

  #head(name: string, help: string, type: string): void {
    this.#lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} ${type}`);
  }

  gauge(name: string, help: string, value: number, labels: Labels = {}): void {
    this.#head(name, help, "gauge");
    this.#lines.push(`${name}${labelText(labels)} ${numberText(value)}`);
  }

  counter(
    name: string,
    help: string,
    values: number | readonly { readonly labels: Labels; readonly value: number }[],
  ): void {
    this.#head(name, help, "counter");
    const list = typeof values === "number" ? [{ labels: {}, value: values }] : values;
    for (const { labels, value } of list)
      this.#lines.push(`${name}${labelText(labels)} ${numberText(value)}`);
  }

  histogram(name: string, help: string, { bounds, counts, sum }: HistogramState): void {
    this.#head(name, help, "histogram");
    let total = 0;
    counts.forEach((count, i) => {
      total += count;
      const le = numberText(bounds[i] ?? Number.POSITIVE_INFINITY);
      this.#lines.push(`${name}_bucket${labelText({ le })} ${total}`);
    });
    this.#lines.push(`${name}_sum ${numberText(sum)}`, `${name}_count ${total}`);
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }
}
