/**
 * The training loop: forward, backward, AdamW, router-bias update, schedules, evaluation, metrics, stop and
 * resume. DeepSeek-V3's objective is L = CE + alpha * balance + lambda * MTP (report 2.1, 2.2); dense and
 * softmax-routed models use the same loop with the parts that they have.
 *
 * The loop knows no files and no terminal: what happens is told through callbacks.
 */
import type { CausalLM } from "../models/causal-lm.ts";
import { maxViolation, updateRouterBias } from "../tensor/ops/balance.ts";
import { differentiate } from "../tensor/tape.ts";
import { disposeAll } from "../tensor/tensor.ts";
import { type BatchSource, inputsOf, type TokenBatch } from "./batches.ts";
import { AdamW, type AdamWOptions } from "./optimizer.ts";
import {
  type BatchSchedule,
  batchSizeAt,
  type LearningRateSchedule,
  learningRateAt,
  type Piecewise,
  piecewiseAt,
} from "./schedule.ts";

export interface TrainOptions {
  /** Updates of the whole run; schedules are fractions of it. */
  readonly steps: number;
  readonly batch: BatchSchedule;
  readonly learningRate: LearningRateSchedule;
  readonly optimizer?: AdamWOptions;
  /** Weight lambda of the multi-token-prediction loss; V3: 0.3, then 0.1. */
  readonly mtpWeight?: Piecewise;
  /** Weight alpha of the sequence-wise balance loss; V3: 1e-4, V2 and MoE: 1e-3. */
  readonly balanceAlpha?: number;
  /** Step gamma of the router bias; V3: 1e-3, 0 for the last 3 % of the run. */
  readonly biasGamma?: Piecewise;
}

/** What one step did. Losses are in nats per token. */
export interface StepMetrics {
  /** Updates made, this one included. */
  readonly step: number;
  /** Tokens seen so far in the run. */
  readonly tokens: number;
  readonly loss: number;
  readonly mtpLoss: number | null;
  /** Sum over layers, before its weight. */
  readonly balanceLoss: number | null;
  /** Global gradient norm before clipping. */
  readonly gradientNorm: number;
  readonly learningRate: number;
  /** Tokens per second of this step. */
  readonly speed: number;
  /** Tokens that each expert of each expert layer received. */
  readonly experts: readonly { readonly layer: number; readonly counts: readonly number[] }[];
  /** Largest overload of an expert over its layer's mean: (max - mean) / mean. */
  readonly maxViolation: number | null;
}

/** Everything besides weights and moments that a run needs to continue with the same bits. */
export interface TrainerState {
  readonly step: number;
  readonly tokens: number;
  readonly optimizerSteps: number;
  readonly data: unknown;
}

export class Trainer implements Disposable {
  readonly model: CausalLM;
  readonly optimizer: AdamW;
  readonly #batches: BatchSource;
  #options: TrainOptions;
  step = 0;
  tokens = 0;

  /** @throws ConfigError where the model's weights are not f32 */
  constructor(model: CausalLM, batches: BatchSource, options: TrainOptions) {
    this.model = model;
    this.#options = options;
    this.optimizer = new AdamW(model.parameters, options.optimizer);
    this.#batches = batches;
  }

  get options(): TrainOptions {
    return this.#options;
  }

  /** Changes the length of the run, and with it the schedules from the next step on. */
  setSteps(steps: number): void {
    this.#options = { ...this.#options, steps };
  }

  get done(): boolean {
    return this.step >= this.options.steps;
  }

  /** One update on the next batch. */
  async trainStep(): Promise<StepMetrics> {
    const { steps, batch, learningRate, mtpWeight, balanceAlpha, biasGamma } = this.options;
    const tokens = await this.#batches.next(batchSizeAt(batch, this.step, steps));
    const began = performance.now();
    const rate = learningRateAt(learningRate, this.step, steps);
    const metrics = await this.#update(tokens, {
      learningRate: rate,
      mtpWeight: piecewiseAt(mtpWeight ?? 0, this.step, steps),
      balanceAlpha: balanceAlpha ?? 0,
      biasGamma: piecewiseAt(biasGamma ?? 0, this.step, steps),
    });
    this.step++;
    this.tokens += tokens.batch * tokens.length;
    const speed = (tokens.batch * tokens.length) / ((performance.now() - began) / 1000);
    return { ...metrics, step: this.step, tokens: this.tokens, learningRate: rate, speed };
  }

  async #update(
    batch: TokenBatch,
    weights: { learningRate: number; mtpWeight: number; balanceAlpha: number; biasGamma: number },
  ): Promise<Omit<StepMetrics, "step" | "tokens" | "learningRate" | "speed">> {
    const { model, optimizer } = this;
    const { device } = model;
    const { batch: sequences, targets } = batch;
    // All of the update is queued in one turn; only reading its figures waits.
    const made = device.tidy(() => {
      const { crossEntropy, mtp, balance, expertCounts } = differentiate(device, () =>
        model.loss({ sequences, ids: inputsOf(batch), targets }, weights),
      );
      const squared = optimizer.step(weights.learningRate);
      for (const { counts, bias } of expertCounts) {
        if (bias && weights.biasGamma > 0) updateRouterBias(bias, counts, weights.biasGamma);
      }
      return {
        crossEntropy,
        mtp,
        balance: balance.map(({ loss }) => loss),
        counts: expertCounts.map(({ layer, counts }) => ({ layer, counts })),
        squared,
      };
    });
    try {
      const balance = await Promise.all(made.balance.map((loss) => loss.item()));
      const experts = await Promise.all(
        made.counts.map(async ({ layer, counts }) => ({ layer, counts: Array.from(await counts.data()) })),
      );
      return {
        loss: await made.crossEntropy.item(),
        mtpLoss: made.mtp && (await made.mtp.item()),
        balanceLoss: balance.length > 0 ? balance.reduce((a, b) => a + b, 0) : null,
        gradientNorm: Math.sqrt(await made.squared.item()),
        experts,
        maxViolation: experts.length > 0 ? Math.max(...experts.map((e) => maxViolation(e.counts))) : null,
      };
    } finally {
      disposeAll(made);
    }
  }

  state(): TrainerState {
    return {
      step: this.step,
      tokens: this.tokens,
      optimizerSteps: this.optimizer.steps,
      data: this.#batches.state(),
    };
  }

  restore(state: TrainerState): void {
    this.#batches.restore(state.data);
    this.step = state.step;
    this.tokens = state.tokens;
    this.optimizer.steps = state.optimizerSteps;
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
  }
}
