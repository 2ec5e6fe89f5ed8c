/**
 * The training loop: forward, backward, AdamW, router-bias update, schedules, evaluation, metrics, stop and
 * resume. DeepSeek-V3's objective is L = CE + alpha * balance + lambda * MTP (report 2.1, 2.2); dense and
 * softmax-routed models use the same loop with the parts that they have.
 *
 * The loop knows no files and no terminal: what happens is told through callbacks.
 */

import type { TrainableModel } from "../models/token-model.ts";
import type { Parameters } from "../nn/parameters.ts";
import { checkKeys, checkNumber, type Place, refuseValue } from "../tensor/check-value.ts";
import { NotFiniteError } from "../tensor/errors.ts";
import { maxViolation, updateRouterBias } from "../tensor/ops/balance.ts";
import { squaredNorm } from "../tensor/ops/reduce.ts";
import { differentiate } from "../tensor/tape.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { type BatchSource, inputsOf, type TokenBatch } from "./batches.ts";
import { nextTokenLoss, type Objective } from "./objectives/next-token.ts";
import { AdamW, type AdamWOptions, checkAdamW } from "./optimizer.ts";
import {
  type BatchSchedule,
  batchSizeAt,
  checkBatch,
  checkLearningRate,
  checkPiecewise,
  FRACTION,
  type LearningRateSchedule,
  learningRateAt,
  MOST_STEPS,
  type Piecewise,
  piecewiseAt,
  WEIGHT,
} from "./schedule.ts";

export interface TrainOptions {
  /**
   * Updates of the whole run; schedules are fractions of it. Null while the length is not known yet: then the run
   * stands at its beginning, regardless of the step.
   */
  readonly steps: number | null;
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

/** The settings that `Trainer` takes besides its optimizer's. @throws ConfigError */
export function checkTrainOptions(place: Place, options: object): void {
  const fields = options as Record<string, unknown>;
  const known = ["steps", "batch", "learningRate", "optimizer", "mtpWeight", "balanceAlpha", "biasGamma"];
  checkKeys(place, fields, known);
  if (fields.steps !== null) checkSteps(place, "steps", fields.steps);
  checkBatch(place, "batch", fields.batch);
  checkLearningRate(place, "learningRate", fields.learningRate);
  const { optimizer, mtpWeight, balanceAlpha, biasGamma, learningRate } = fields;
  if (optimizer !== undefined) checkAdamW(place, "optimizer", optimizer);
  if (mtpWeight !== undefined) checkPiecewise(place, "mtpWeight", mtpWeight);
  if (balanceAlpha !== undefined) checkNumber(place, "balanceAlpha", balanceAlpha, WEIGHT);
  if (biasGamma !== undefined) checkPiecewise(place, "biasGamma", biasGamma, FRACTION);
  const decay = (optimizer as AdamWOptions | undefined)?.weightDecay ?? 0;
  const { peak } = learningRate as LearningRateSchedule;
  if (peak * decay >= 1) {
    refuseValue(
      place,
      "optimizer.weightDecay",
      `below ${1 / peak}: a step at the peak must leave something of a weight`,
      decay,
    );
  }
}

/** @throws ConfigError */
export function checkSteps(place: Place, name: string, value: unknown): asserts value is number {
  checkNumber(place, name, value, { integer: true, min: 1, max: MOST_STEPS });
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

interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

/** The float32 weights of a model, which are all of one that is trained. */
function weightsOf(parameters: Parameters): Named[] {
  return [...parameters.groups()].map(({ key, tensor }) => ({ name: key, tensor }));
}

/** Name of the first tensor with a value that is not finite, or so large that its square is not; null for none. */
async function firstNotFinite(tensors: readonly Named[]): Promise<string | null> {
  for (const { name, tensor } of tensors) {
    using squared = tensor.device.unscoped(() => squaredNorm([tensor]));
    if (!Number.isFinite(await squared.item())) return name;
  }
  return null;
}

export class Trainer<M extends TrainableModel = TrainableModel> implements Disposable {
  readonly model: M;
  readonly optimizer: AdamW;
  readonly #batches: BatchSource;
  #options: TrainOptions;
  /** Default: the next token, with the predictions beyond it and balanced experts that the weights ask for. */
  objective: Objective = nextTokenLoss;
  step = 0;
  tokens = 0;

  /** @throws ConfigError if an option is out of range or the model's weights are not f32 */
  constructor(model: M, batches: BatchSource, options: TrainOptions) {
    checkTrainOptions({ where: "Trainer" }, options);
    this.model = model;
    this.#options = options;
    this.optimizer = new AdamW(model.parameters, options.optimizer);
    this.#batches = batches;
  }

  get options(): TrainOptions {
    return this.#options;
  }

  /** Changes the length of the run, and with it the schedules from the next step on. @throws ConfigError */
  setSteps(steps: number): void {
    checkSteps({ where: "Trainer" }, "steps", steps);
    this.#options = { ...this.#options, steps };
  }

  get done(): boolean {
    const { steps } = this.options;
    return steps !== null && this.step >= steps;
  }

  /**
   * One update on the next batch. @throws NotFiniteError if a loss or the gradient's norm is not finite: the weights
   * are then those before the step
   */
  async trainStep(): Promise<StepMetrics> {
    const { batch, learningRate, mtpWeight, balanceAlpha, biasGamma } = this.options;
    const steps = this.options.steps ?? Number.MAX_SAFE_INTEGER;
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
    const biases: (Tensor | null)[] = [];
    const made = device.tidy(() => {
      const { crossEntropy, mtp, balance, expertCounts } = differentiate(device, () =>
        this.objective(model, { sequences, ids: inputsOf(batch), targets }, weights),
      );
      for (const { bias } of expertCounts) biases.push(bias);
      return {
        crossEntropy,
        mtp,
        balance: balance.map(({ loss }) => loss),
        counts: expertCounts.map(({ layer, counts }) => ({ layer, counts })),
        squared: optimizer.squaredNorm(),
      };
    });
    try {
      const balance = await Promise.all(made.balance.map((loss) => loss.item()));
      const losses = {
        loss: await made.crossEntropy.item(),
        mtpLoss: made.mtp && (await made.mtp.item()),
        balanceLoss: balance.length > 0 ? balance.reduce((a, b) => a + b, 0) : null,
        gradientNorm: Math.sqrt(await made.squared.item()),
      };
      // Looked at before the update, so that what is not finite never reaches the weights.
      const broken = Object.entries(losses).filter(([, value]) => value !== null && !Number.isFinite(value));
      if (broken.length > 0) throw await this.#notFinite(broken, weights.learningRate);
      device.tidy(() => {
        optimizer.step(weights.learningRate, made.squared);
        for (const [i, { counts }] of made.counts.entries()) {
          const bias = biases[i];
          if (bias && weights.biasGamma > 0) updateRouterBias(bias, counts, weights.biasGamma);
        }
      });
      const experts = await Promise.all(
        made.counts.map(async ({ layer, counts }) => ({ layer, counts: Array.from(await counts.data()) })),
      );
      return {
        ...losses,
        experts,
        maxViolation: experts.length > 0 ? Math.max(...experts.map((e) => maxViolation(e.counts))) : null,
      };
    } finally {
      optimizer.clearGradients();
      disposeAll(made);
    }
  }

  /** The error of a step whose `broken` figures are not finite, with the first tensors that show it. */
  async #notFinite(broken: readonly [string, unknown][], learningRate: number): Promise<NotFiniteError> {
    const { parameters } = this.model;
    const gradients = [...parameters.groups()].flatMap(({ key, tensor }) =>
      tensor.grad ? [{ name: key, tensor: tensor.grad }] : [],
    );
    const weight = await firstNotFinite(weightsOf(parameters));
    const gradient = await firstNotFinite(gradients);
    const places = [weight && `weights of ${weight}`, gradient && `gradient of ${gradient}`];
    const { peak } = this.options.learningRate;
    return new NotFiniteError("training has diverged: a figure is not finite", {
      where: `training step ${this.step + 1}`,
      ...(weight || gradient ? { name: places.filter((place) => place !== null).join(", ") } : {}),
      expected: "finite losses and gradients",
      found: `${broken.map(([name, value]) => `${name} ${value}`).join(", ")} at a learning rate of ${learningRate}`,
      hint: `Try a lower learningRate.peak (${peak} now), a longer warm-up or a smaller optimizer.clipNorm.`,
    });
  }

  /** @throws NotFiniteError naming the first weights that are not finite: such a state is not worth saving */
  async checkWeights(): Promise<void> {
    const weights = weightsOf(this.model.parameters);
    const { device } = this.model;
    using squared = device.unscoped(() => squaredNorm(weights.map(({ tensor }) => tensor)));
    if (Number.isFinite(await squared.item())) return;
    const { peak } = this.options.learningRate;
    throw new NotFiniteError("training has diverged: weights are not finite", {
      where: `after training step ${this.step}`,
      name: (await firstNotFinite(weights)) ?? "all together",
      hint: `Try a lower learningRate.peak (${peak} now), a longer warm-up or a smaller optimizer.clipNorm.`,
    });
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
