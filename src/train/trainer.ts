/**
 * The training loop: forward, backward, AdamW, router-bias update, schedules, metrics, stop and resume, of any model with
 * any objective. DeepSeek-V3's is L = CE + alpha * balance + lambda * MTP (report 2.1, 2.2); dense and softmax-routed
 * models use it with the parts that they have. A run may consist of stages (`enter`), each with its own trained parts,
 * schedules, batches and objective.
 *
 * The loop knows no files and no terminal.
 */

import type { TrainableModel } from "../models/token-model.ts";
import type { Parameters } from "../nn/parameters.ts";
import { checkKeys, checkNumber, type Place, refuseValue } from "../tensor/check-value.ts";
import { ConfigError, NotFiniteError } from "../tensor/errors.ts";
import { maxViolation, updateRouterBias } from "../tensor/ops/balance.ts";
import { squaredNorm } from "../tensor/ops/reduce.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { differentiate } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Batch, BatchSource, TokenBatch } from "./batches.ts";
import { type Objective, type Trainable, tokenObjective } from "./objectives/objective.ts";
import { AdamW, type AdamWOptions, checkAdamW } from "./optimizer.ts";
import { disposePasses, figuresOf, type Pass, shareOf } from "./passes.ts";
import { checkTrainedParts, groupRates, type TrainedParts } from "./rates.ts";
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
import { WeightAverage } from "./weight-average.ts";

export interface TrainOptions extends TrainedParts {
  /**
   * Updates of the whole run, or of the stage; schedules are fractions of it. Null while the length is not known yet: then
   * the run stands at its beginning, regardless of the step.
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
  /** Part of the moving average of the trained weights that a step leaves (JanusFlow: 0.99); absent: there is none. */
  readonly averageDecay?: number;
}

/** The settings that `Trainer` takes besides its optimizer's. @throws ConfigError */
export function checkTrainOptions(place: Place, options: object): void {
  const fields = options as Record<string, unknown>;
  const weights = ["mtpWeight", "balanceAlpha", "biasGamma", "averageDecay"];
  checkKeys(place, fields, ["steps", "batch", "learningRate", "optimizer", "trained", "rates", ...weights]);
  checkTrainedParts(place, fields);
  if (fields.steps !== null) checkSteps(place, "steps", fields.steps);
  checkBatch(place, "batch", fields.batch);
  checkLearningRate(place, "learningRate", fields.learningRate);
  const { optimizer, mtpWeight, balanceAlpha, biasGamma, averageDecay, learningRate } = fields;
  if (optimizer !== undefined) checkAdamW(place, "optimizer", optimizer);
  if (mtpWeight !== undefined) checkPiecewise(place, "mtpWeight", mtpWeight);
  if (balanceAlpha !== undefined) checkNumber(place, "balanceAlpha", balanceAlpha, WEIGHT);
  if (biasGamma !== undefined) checkPiecewise(place, "biasGamma", biasGamma, FRACTION);
  if (averageDecay !== undefined) checkNumber(place, "averageDecay", averageDecay, FRACTION);
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

/** What one step did. Losses of text are in nats per token. */
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
  /** Samples of this step. */
  readonly samples: number;
  /** What they were, if the batch says it. */
  readonly kind?: string;
  /** Further figures of the objective. */
  readonly terms?: Readonly<Record<string, number>>;
}

/** Everything besides weights and moments that a run needs to continue with the same bits. */
export interface TrainerState {
  readonly step: number;
  readonly tokens: number;
  readonly optimizerSteps: number;
  /** Step at which the present stage began; absent: 0. */
  readonly stageStart?: number;
  /** Updates of groups that have fewer: trained later, or without part in some steps; absent: none. */
  readonly fewerUpdates?: Readonly<Record<string, number>>;
  readonly data: unknown;
}

interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

/** The float32 weights of a model that training may change: gradients and the balancing of experts. */
function weightsOf(parameters: Parameters): Named[] {
  return [...parameters.groups()].flatMap(({ key, weight, frozen }) =>
    frozen || isQuantized(weight) || weight.dtype !== "f32" ? [] : [{ name: key, tensor: weight }],
  );
}

/** Name of the first tensor with a value that is not finite, or so large that its square is not; null for none. */
async function firstNotFinite(tensors: readonly Named[]): Promise<string | null> {
  for (const { name, tensor } of tensors) {
    using squared = tensor.device.unscoped(() => squaredNorm([tensor]));
    if (!Number.isFinite(await squared.item())) return name;
  }
  return null;
}

function isList<B>(next: B | readonly B[]): next is readonly B[] {
  return Array.isArray(next);
}

/** Only a language model has an objective by default. */
export type ObjectiveOf<M, B extends Batch> = [M, B] extends [TrainableModel, TokenBatch]
  ? [objective?: Objective<M, B>]
  : [objective: Objective<M, B>];

export class Trainer<M extends Trainable = TrainableModel, B extends Batch = TokenBatch>
  implements Disposable
{
  readonly model: M;
  readonly optimizer: AdamW;
  objective: Objective<M, B>;
  step = 0;
  tokens = 0;
  #batches: BatchSource<B>;
  #options: TrainOptions;
  #average: WeightAverage | null = null;
  #stageStart = 0;

  /**
   * @throws ConfigError if an option is out of range, a part unknown, or trained weights are not f32. What is not trained
   * may be stored in any way
   */
  constructor(model: M, batches: BatchSource<B>, options: TrainOptions, ...[objective]: ObjectiveOf<M, B>) {
    const place = { where: "Trainer" };
    checkTrainOptions(place, options);
    this.model = model;
    this.#options = options;
    this.optimizer = new AdamW(model.parameters, options.optimizer, groupRates(model, options, place));
    this.#followAverage(options);
    this.#batches = batches;
    // The types leave it out for language models only.
    this.objective = objective ?? (tokenObjective as unknown as Objective<M, B>);
  }

  /**
   * Begins another stage after this step: its schedules start anew, `steps` are its own. Weights that stay trained keep
   * their moments, unless `optimizer` differs, and their averages; those trained anew begin with fresh ones. @throws ConfigError
   */
  enter(
    options: TrainOptions,
    batches: BatchSource<B> = this.#batches,
    objective: Objective<M, B> = this.objective,
  ): void {
    const place = { where: "Trainer.enter" };
    checkTrainOptions(place, options);
    this.optimizer.train(groupRates(this.model, options, place), options.optimizer);
    this.#followAverage(options);
    this.#options = options;
    this.#batches = batches;
    this.objective = objective;
    this.#stageStart = this.step;
  }

  #followAverage({ averageDecay }: TrainOptions): void {
    if (averageDecay === undefined) {
      this.#average?.[Symbol.dispose]();
      this.#average = null;
      return;
    }
    const { groups } = this.optimizer;
    if (this.#average === null) this.#average = new WeightAverage(groups, averageDecay);
    else this.#average.follow(groups, averageDecay);
  }

  /** The moving average of the trained weights; null without `averageDecay`. */
  get average(): WeightAverage | null {
    return this.#average;
  }

  /** What is saved of a step besides weights and `state`, by name: moments, and averages where there are. */
  *tensors(): Iterable<{ name: string; tensor: Tensor }> {
    yield* this.optimizer.state();
    if (this.#average !== null) yield* this.#average.state();
  }

  get options(): TrainOptions {
    return this.#options;
  }

  /** Changes the length of the run, and with it the schedules from the next step on. @throws ConfigError */
  setSteps(steps: number): void {
    checkSteps({ where: "Trainer" }, "steps", steps);
    this.#options = { ...this.#options, steps };
  }

  /** Steps of the stage; null until they are known. */
  get steps(): number | null {
    return this.options.steps;
  }

  get done(): boolean {
    const { steps } = this.options;
    return steps !== null && this.stageStep >= steps;
  }

  /** Updates made in the present stage. */
  get stageStep(): number {
    return this.step - this.#stageStart;
  }

  /**
   * One update on the next batch. @throws NotFiniteError if a loss or the gradient's norm is not finite: the weights
   * are then those before the step
   */
  async trainStep(): Promise<StepMetrics> {
    const { batch: sizes, learningRate, mtpWeight, balanceAlpha, biasGamma } = this.options;
    const steps = this.options.steps ?? Number.MAX_SAFE_INTEGER;
    const at = this.stageStep;
    const next = await this.#batches.next(batchSizeAt(sizes, at, steps));
    const batches: readonly B[] = isList(next) ? next : [next];
    const began = performance.now();
    const rate = learningRateAt(learningRate, at, steps);
    const metrics = await this.#update(batches, {
      learningRate: rate,
      mtpWeight: piecewiseAt(mtpWeight ?? 0, at, steps),
      balanceAlpha: balanceAlpha ?? 0,
      biasGamma: piecewiseAt(biasGamma ?? 0, at, steps),
    });
    const seconds = (performance.now() - began) / 1000;
    const seen = batches.reduce((sum, { batch, length }) => sum + batch * length, 0);
    this.step++;
    this.tokens += seen;
    const { step, tokens } = this;
    const samples = batches.reduce((sum, { batch }) => sum + batch, 0);
    const kinds = [...new Set(batches.flatMap(({ kind }) => kind ?? []))];
    return {
      ...metrics,
      ...{ step, tokens, learningRate: rate, speed: seen / seconds, samples },
      ...(kinds.length > 0 && { kind: kinds.join("+") }),
    };
  }

  async #update(
    batches: readonly B[],
    weights: { learningRate: number; mtpWeight: number; balanceAlpha: number; biasGamma: number },
  ): Promise<Omit<StepMetrics, "step" | "tokens" | "learningRate" | "speed" | "samples" | "kind">> {
    const { model, optimizer } = this;
    const { device } = model;
    const changed = new Set(weightsOf(model.parameters).map(({ tensor }) => tensor));
    const shares = batches.map(({ weight, batch }) => weight ?? batch);
    const total = shares.reduce((a, b) => a + b, 0);
    const passes: Pass[] = [];
    let norm: Tensor | null = null;
    try {
      batches.forEach((batch, i) => {
        const share = batches.length === 1 ? 1 : shares[i] / Math.max(1, total);
        const losses = device.tidy(() =>
          differentiate(device, () => shareOf(this.objective(model, batch, weights), share)),
        );
        passes.push({ share, losses });
      });
      if (!optimizer.hasGradients) {
        const found = [...new Set(batches.map(({ kind }) => kind ?? "samples"))].join(", ");
        throw new ConfigError("nothing that is trained takes part in this batch", {
          where: `training step ${this.step + 1}`,
          expected: "samples that the trained parts read",
          found,
          hint: "Train another part too, or leave these samples out of the mixture.",
        });
      }
      norm = device.tidy(() => optimizer.squaredNorm());
      const figures = await figuresOf(passes);
      const gradientNorm = Math.sqrt(await norm.item());
      const { experts, terms, ...losses } = figures;
      // Looked at before the update, so that what is not finite never reaches the weights.
      const broken = Object.entries({ ...losses, ...terms, gradientNorm }).filter(
        ([, value]) => value !== null && !Number.isFinite(value),
      );
      if (broken.length > 0) throw await this.#notFinite(broken, weights.learningRate);
      const squared = norm;
      device.tidy(() => {
        optimizer.step(weights.learningRate, squared);
        this.#average?.update();
        for (const { layer, bias } of passes[0].losses.expertCounts ?? []) {
          if (!bias || weights.biasGamma === 0 || !changed.has(bias)) continue;
          const { counts } = experts.find((each) => each.layer === layer)!;
          updateRouterBias(bias, device.tensor(counts, [counts.length], "i32"), weights.biasGamma);
        }
      });
      return {
        ...losses,
        gradientNorm,
        experts,
        maxViolation: experts.length > 0 ? Math.max(...experts.map((e) => maxViolation(e.counts))) : null,
        ...(Object.keys(terms).length > 0 && { terms }),
      };
    } finally {
      optimizer.clearGradients();
      norm?.dispose();
      disposePasses(passes);
    }
  }

  /** The error of a step whose `broken` figures are not finite, with the first tensors that show it. */
  async #notFinite(broken: readonly [string, unknown][], learningRate: number): Promise<NotFiniteError> {
    const { parameters } = this.model;
    const weights = weightsOf(parameters);
    const gradients = weights.flatMap(({ name, tensor: { grad } }) => (grad ? [{ name, tensor: grad }] : []));
    const weight = await firstNotFinite(weights);
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
    const { fewer } = this.optimizer;
    return {
      step: this.step,
      tokens: this.tokens,
      optimizerSteps: this.optimizer.steps,
      ...(this.#stageStart > 0 && { stageStart: this.#stageStart }),
      ...(Object.keys(fewer).length > 0 && { fewerUpdates: fewer }),
      data: this.#batches.state(),
    };
  }

  restore(state: TrainerState): void {
    this.#batches.restore(state.data);
    this.step = state.step;
    this.tokens = state.tokens;
    this.#stageStart = state.stageStart ?? 0;
    this.optimizer.restore(state.optimizerSteps, state.fewerUpdates ?? {});
  }

  [Symbol.dispose](): void {
    this.optimizer[Symbol.dispose]();
    this.#average?.[Symbol.dispose]();
  }
}
