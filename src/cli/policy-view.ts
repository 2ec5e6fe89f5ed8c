/** What a person sees while a model learns from rewards: rewards before losses, which say little here. */
import type { RunLength } from "../runs/loop.ts";
import { formatClock, formatCount, formatPercent, formatRate, plural } from "../text/units.ts";
import type { PassAt } from "../train/policy/evaluation.ts";
import type { PolicyMetrics } from "../train/policy/policy-trainer.ts";
import { bars, condense } from "./live-view.ts";
import type { Output } from "./output.ts";
import { RedrawnBlock } from "./redrawn-block.ts";

/** Milliseconds between two lines where nothing is redrawn. */
const PLAIN_EVERY = 10_000;
const BARS = 48;

/** "pass@1 41.2%, pass@8 70.3%, reward 0.43 (64 held-out prompts)". */
export function passText({ passAt, reward, prompts }: PassAt): string {
  const shares = Object.entries(passAt).map(([k, share]) => `pass@${k} ${formatPercent(share)}`);
  return `${shares.join(", ")}, reward ${reward.toFixed(3)} (${plural(prompts, "held-out prompt")})`;
}

export class PolicyView {
  readonly #out: Output;
  readonly #block: RedrawnBlock;
  readonly #rewards: number[] = [];
  #evaluation: PassAt | null = null;
  #lastPlain = Number.NEGATIVE_INFINITY;
  readonly #began = performance.now();
  #last: { readonly metrics: PolicyMetrics; readonly length: RunLength } | null = null;

  constructor(out: Output) {
    this.#out = out;
    this.#block = new RedrawnBlock(out);
  }

  step(metrics: PolicyMetrics, length: RunLength): void {
    this.#rewards.push(metrics.reward);
    this.#last = { metrics, length };
    if (this.#out.isTTY) this.#draw();
    else if (performance.now() - this.#lastPlain > PLAIN_EVERY || metrics.step === length.steps) {
      this.#lastPlain = performance.now();
      for (const line of this.#render(metrics, length).slice(0, 2)) this.#out.write(`${line}\n`);
    }
  }

  evaluation(step: number, result: PassAt): void {
    this.#evaluation = result;
    if (this.#out.isTTY && this.#last !== null) this.#draw();
    else
      this.#block.note(`  ${step === 0 ? "before" : `after step ${formatCount(step)}`}: ${passText(result)}`);
  }

  /** Leaves the block as it stands. */
  end(): void {
    this.#block.end();
  }

  /** Writes a line above the block. */
  note(text: string): void {
    this.#block.note(text);
  }

  #draw(): void {
    if (this.#last !== null) this.#block.draw(this.#render(this.#last.metrics, this.#last.length));
  }

  #render(m: PolicyMetrics, { steps, seconds }: RunLength): string[] {
    const of = steps === null ? "" : `/${formatCount(steps)}`;
    const left = seconds === null ? "" : `, ${formatClock(seconds)} left`;
    const elapsed = formatClock((performance.now() - this.#began) / 1000);
    const { sample, reward, score, update, handOver } = m.seconds;
    const lines = [
      `step ${formatCount(m.step)}${of}  reward ${m.reward.toFixed(3)}  passed ${formatPercent(m.passed)}  ` +
        `${m.length.toFixed(1)} tokens each  ${formatRate(m.tokens, sample + reward)} tokens/s  elapsed ${elapsed}${left}`,
    ];
    const u = m.update;
    const kl = u === null || u.kl === null ? "" : `KL ${u.kl.toFixed(4)}  `;
    lines.push(
      u === null
        ? "  nothing to learn: all groups were alike"
        : `  ${kl}entropy ${u.entropy.toFixed(3)}  clipped ${formatPercent(u.clipped)}  ` +
            `gradient norm ${u.gradientNorm.toFixed(2)}  learning rate ${u.learningRate.toExponential(1)}  loss ${u.loss.toFixed(4)}`,
    );
    const rare = [
      ...(m.unjudged > 0 ? [`${plural(m.unjudged, "completion")} without a reward`] : []),
      ...(m.timedOut > 0 ? [`${plural(m.timedOut, "group")} not judged in time`] : []),
    ];
    lines.push(
      `  ${plural(m.groups, "group")}, ${formatPercent(m.equalGroups)} alike  cut at the limit ${formatPercent(m.truncated)}  ` +
        `repeated ${formatPercent(m.duplicates)}${rare.map((each) => `  ${each}`).join("")}`,
    );
    const all = sample + reward + score + update + handOver;
    const share = (part: number) => formatPercent(all > 0 ? part / all : 0, 0);
    lines.push(
      `  time: sampling ${share(sample)}, rewards ${share(reward)}, scoring ${share(score)}, update ${share(update)}, ` +
        `weights handed over ${share(handOver)}`,
    );
    const history = condense(this.#rewards, BARS);
    const low = Math.min(...history);
    const high = Math.max(...history) - low;
    lines.push(
      `  reward ${bars(history.map((each) => each - low + 0.02 * high))} ${history[0].toFixed(2)} → ${m.reward.toFixed(2)}`,
    );
    if (this.#evaluation) lines.push(`  held out: ${passText(this.#evaluation)}`);
    return lines;
  }
}
