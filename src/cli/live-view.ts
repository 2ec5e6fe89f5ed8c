/**
 * What a person sees while a model trains: one block that is redrawn in place on a terminal, plain lines now and
 * then elsewhere.
 */

import type { RunLength } from "../runs/loop.ts";
import { formatClock, formatCompact, formatCount, formatRate } from "../text/units.ts";
import type { Evaluation } from "../train/evaluate.ts";
import type { StepMetrics } from "../train/trainer.ts";
import type { Output } from "./output.ts";
import { RedrawnBlock } from "./redrawn-block.ts";

const BLOCKS = "▁▂▃▄▅▆▇█";

/** Values as a line of bars, scaled to `top` (default: the largest). */
export function bars(values: readonly number[], top = Math.max(...values)): string {
  return values
    .map(
      (v) =>
        BLOCKS[Math.max(0, Math.min(BLOCKS.length - 1, Math.round((v / (top || 1)) * (BLOCKS.length - 1))))],
    )
    .join("");
}

/** Mean of each of `count` equal parts of a history. */
export function condense(history: readonly number[], count: number): number[] {
  if (history.length <= count) return [...history];
  return Array.from({ length: count }, (_, i) => {
    const part = history.slice(
      Math.floor((i * history.length) / count),
      Math.floor(((i + 1) * history.length) / count),
    );
    return part.reduce((a, b) => a + b, 0) / part.length;
  });
}

export class LiveView {
  readonly #out: Output;
  readonly #losses: number[] = [];
  #evaluation: Evaluation | null = null;
  #speed = 0;
  readonly #block: RedrawnBlock;
  #lastPlain = 0;
  #began = performance.now();
  /** What the block shows. */
  #last: { readonly metrics: StepMetrics; readonly length: RunLength } | null = null;

  constructor(out: Output) {
    this.#out = out;
    this.#block = new RedrawnBlock(out);
  }

  step(metrics: StepMetrics, length: RunLength): void {
    this.#losses.push(metrics.loss);
    this.#speed = this.#speed === 0 ? metrics.speed : 0.9 * this.#speed + 0.1 * metrics.speed;
    this.#last = { metrics, length };
    if (this.#out.isTTY) this.#draw();
    else if (metrics.step === 1 || performance.now() - this.#lastPlain > 10_000 || length.seconds === 0) {
      this.#lastPlain = performance.now();
      this.#out.write(`${this.#render(metrics, length)[0]}\n`);
    }
  }

  evaluation(step: number, result: Evaluation): void {
    this.#evaluation = result;
    if (this.#out.isTTY) this.#draw();
    else this.#out.write(`  held out after step ${step}: ${evaluationText(result)}\n`);
  }

  /** Draws the block over the one before. */
  #draw(): void {
    if (this.#last === null) return;
    this.#block.draw(this.#render(this.#last.metrics, this.#last.length));
  }

  /** Leaves the block as it stands: what is written next comes below it. */
  end(): void {
    this.#block.end();
  }

  /** Writes a line above the block. */
  note(text: string): void {
    this.#block.note(text);
  }

  #render(m: StepMetrics, { steps, seconds }: RunLength): string[] {
    const of = steps === null ? "" : `/${formatCount(steps)}`;
    const left = seconds === null ? "measuring speed" : `${formatClock(seconds)} left`;
    const elapsed = formatClock((performance.now() - this.#began) / 1000);
    const lines = [
      `step ${formatCount(m.step)}${of}  loss ${m.loss.toFixed(3)}  ${formatRate(this.#speed, 1)} tokens/s  elapsed ${elapsed}, ${left}`,
    ];
    const mtp = m.mtpLoss === null ? "" : `  MTP loss ${m.mtpLoss.toFixed(3)}`;
    lines.push(
      `  ${formatCompact(m.tokens)} tokens  learning rate ${m.learningRate.toExponential(1)}  gradient norm ${m.gradientNorm.toFixed(2)}${mtp}`,
    );
    const terms = termsText(m.terms);
    if (terms !== "") lines.push(`  ${terms}`);
    const history = condense(this.#losses, 48);
    const low = Math.min(...history);
    lines.push(
      `  loss ${bars(history.map((l) => l - low + 0.02))} ${history[0].toFixed(2)} → ${m.loss.toFixed(2)}`,
    );
    if (this.#evaluation) lines.push(`  held out: ${evaluationText(this.#evaluation)}`);
    for (const { layer, counts } of m.experts) {
      const mean = counts.reduce((a, b) => a + b, 0) / counts.length;
      const most = Math.max(...counts) / mean;
      lines.push(`  layer ${layer} experts ${bars(counts, 2 * mean)} busiest ${most.toFixed(2)}x mean`);
    }
    return lines;
  }
}

/** "accuracy 0.750  margin 0.120". */
function termsText(terms: Readonly<Record<string, number>> = {}, between = "  "): string {
  return Object.entries(terms)
    .map(([name, value]) => `${name} ${value.toFixed(3)}`)
    .join(between);
}

/** "1.234 nats/token, 0.987 bits/byte". */
export function evaluationText({ loss, bitsPerByte, terms, unit = "nats/token" }: Evaluation): string {
  const bits = bitsPerByte === null ? [] : [`${bitsPerByte.toFixed(3)} bits/byte`];
  const more = terms === undefined ? [] : [termsText(terms, ", ")];
  return [`${loss.toFixed(3)} ${unit}`, ...bits, ...more].join(", ");
}
