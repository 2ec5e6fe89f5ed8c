/**
 * Training a policy by rewards that can be checked (GRPO), rollouts and updates in one process: an engine samples groups of
 * completions of prompts, a function judges them, the training pass computes their log-probabilities again, and the weights
 * change between two steps of the engine, which then forgets what it cached.
 *
 * A step is a rollout with its updates. The state at its end says all that the next needs besides weights and moments
 * (`saveTraining(trainer.trainer, ..)`): a run that was stopped goes on with the same bits, if rewards depend on nothing but
 * their samples and the engine has no other guests.
 */
import type { Engine } from "../../engine/engine.ts";
import type { TokenModel, TrainableModel } from "../../models/token-model.ts";
import { weightsOf } from "../../nn/model-weights.ts";
import { ConfigError, DeepseekError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { equalRewards, groupAdvantages } from "../advantages.ts";
import type { BatchSource } from "../batches.ts";
import { scoreCompletions } from "../objectives/completions.ts";
import { type PolicyBatch, type PolicyRow, policyBatches, policyObjective } from "../objectives/policy.ts";
import { type StepMetrics, Trainer } from "../trainer.ts";
import { atMost } from "./at-most.ts";
import { figuresOfGroups, type GroupFigures } from "./figures.ts";
import { type Judge, type JudgedGroup, judgeGroup } from "./judge.ts";
import { type PolicyPrompt, PromptOrder } from "./prompts.ts";
import { sampleGroups } from "./rollouts.ts";
import { checkPolicySettings, type PolicySettings, type SettledSettings, settled } from "./settings.ts";

export interface PolicyParts<Row = unknown> extends Judge<Row> {
  readonly model: TrainableModel;
  /** Serves `model`, or its `copy`; others may use it meanwhile. */
  readonly engine: Engine;
  /**
   * The same model in another storage (bf16, 8 bits), for an engine that is to sample with less to read: it takes the weights
   * over before it samples. What it samples counts as the policy's own, whose log-probabilities the training pass computes.
   */
  readonly copy?: TrainableModel;
  readonly prompts: readonly PolicyPrompt<Row>[];
  /** What the policy is to stay near, frozen; needed for a penalty (`objective.beta`). Any storage, on any device. */
  readonly reference?: TokenModel;
}

/** What one step did. Means are over completions, those of the objective over tokens and updates. */
export interface PolicyMetrics extends GroupFigures {
  /** Steps made, this one included. */
  readonly step: number;
  /** Groups that the updates used; all of a step if its groups of equal rewards are kept. */
  readonly groupsUsed: number;
  /** Null if no group was left to learn from. */
  readonly update: {
    readonly loss: number;
    /** k3 to the reference; null without one. */
    readonly kl: number | null;
    /** Of the policy's distributions, in nats. */
    readonly entropy: number;
    /** Share of tokens whose gradient a clip took away. */
    readonly clipped: number;
    readonly gradientNorm: number;
    readonly learningRate: number;
  } | null;
  /** Where the time went. */
  readonly seconds: {
    /** Weights into the copy that samples; about 0 where the engine serves the model itself. */
    readonly handOver: number;
    /** Until the last completion was there, rewards of earlier groups beside it. */
    readonly sample: number;
    /** After that, until the last reward was there. */
    readonly reward: number;
    /** Log-probabilities under the reference and, for several updates, under the policy. */
    readonly score: number;
    readonly update: number;
  };
}

/** What is handed from a rollout to the trainer, and the position that is saved. */
class Rollouts implements BatchSource<PolicyBatch> {
  batches: readonly PolicyBatch[] | null = null;
  step = 0;
  /** Whether weights changed since the copy took them over. */
  changed = true;
  order: PromptOrder<never>;
  readonly #seed: number;

  constructor(order: PromptOrder<never>, seed: number) {
    this.order = order;
    this.#seed = seed;
  }

  async next(): Promise<readonly PolicyBatch[]> {
    if (this.batches !== null) return this.batches;
    throw new DeepseekError("no rollout to learn from", {
      where: "PolicyTrainer",
      hint: "Call the policy trainer's step, not that of the trainer inside.",
    });
  }

  state(): unknown {
    const { taken, size: prompts } = this.order;
    return { step: this.step, taken, prompts, seed: this.#seed };
  }

  restore(state: unknown): void {
    const { step, taken, prompts, seed } = (state ?? {}) as Record<string, unknown>;
    if (prompts !== this.order.size || seed !== this.#seed || !Number.isSafeInteger(step)) {
      throw new ConfigError("the saved state is of other prompts or of another seed", {
        where: "PolicyTrainer",
        expected: `${this.order.size} prompts, seed ${this.#seed}`,
        found: `${prompts} prompts, seed ${seed}`,
      });
    }
    this.order.taken = taken as number;
    this.step = step as number;
    this.changed = true;
  }
}

export class PolicyTrainer<Row = unknown> implements Disposable {
  /** Holds weights, moments and schedules: what `saveTraining` and `loadTraining` take. */
  readonly trainer: Trainer<TrainableModel, PolicyBatch>;
  readonly #parts: PolicyParts<Row>;
  readonly #settings: SettledSettings;
  #order: PromptOrder<Row>;
  readonly #rollouts: Rollouts;
  readonly #inTurn: ReturnType<typeof atMost>;
  #running = false;

  /** @throws ConfigError */
  constructor(parts: PolicyParts<Row>, settings: PolicySettings) {
    const where = "PolicyTrainer";
    checkPolicySettings({ where }, settings);
    const { model, engine, reference, copy = model } = parts;
    if (engine.model !== copy) {
      throw new ConfigError("the engine serves another model than the one that is trained", { where });
    }
    const { objective = {}, seed = 0, updates = 1, steps, learningRate } = settings;
    if ((objective.beta ?? 0) > 0 && reference === undefined) {
      throw new ConfigError("a penalty needs a reference", {
        ...{ where, name: "objective.beta", expected: "0, or a reference", found: objective.beta },
        hint: "Load the model that training begins with once more, as the reference.",
      });
    }
    this.#parts = parts;
    this.#settings = settled(settings, model.config.eosTokenIds);
    this.#inTurn = atMost(this.#settings.rewardParallel);
    this.#order = new PromptOrder(parts.prompts, seed);
    this.#rollouts = new Rollouts(this.#order as PromptOrder<never>, seed);
    this.trainer = new Trainer(
      model,
      this.#rollouts,
      {
        ...settings.trainer,
        ...{ steps: steps === null ? null : steps * updates, learningRate },
        batch: { size: settings.groups * settings.samples },
      },
      policyObjective({ maxTokens: settings.maxTokens, ...objective }),
    );
  }

  /** Steps made. */
  get steps(): number {
    return this.#rollouts.step;
  }

  get done(): boolean {
    const { steps } = this.#settings;
    return steps !== null && this.steps >= steps;
  }

  /**
   * Goes on with other prompts after this step, such as those whose `passRates` are neither 0 nor 1 by now. A run that is
   * resumed needs the prompts that its saved step had. @throws ConfigError for none, or an empty one
   */
  choose(prompts: readonly PolicyPrompt<Row>[]): void {
    if (this.#running) throw new DeepseekError("a step is running", { where: "PolicyTrainer.choose" });
    this.#order = new PromptOrder(prompts, this.#settings.seed);
    this.#rollouts.order = this.#order as PromptOrder<never>;
  }

  /**
   * Brings the engine to the weights as they are, without anything cached: a step begins so, and so should an evaluation. What was
   * cached by the last one, or by a step without update, is not there for a run that is resumed.
   */
  async renew(): Promise<void> {
    const { engine, model, copy } = this.#parts;
    await engine.changeWeights(async () => {
      if (copy === undefined || !this.#rollouts.changed) return;
      await copy.parameters.load(weightsOf(model));
      this.#rollouts.changed = false;
    });
  }

  /**
   * One rollout and its updates. Aborted before the first update, it leaves the state as it was; updates are not interrupted.
   * @throws NotFiniteError, DeepseekError of the reward, the signal's reason
   */
  async step(signal: AbortSignal = new AbortController().signal): Promise<PolicyMetrics> {
    if (this.#running) throw new DeepseekError("a step is running already", { where: "PolicyTrainer" });
    this.#running = true;
    const { taken } = this.#order;
    try {
      return await this.#step(signal);
    } catch (error) {
      if (this.#rollouts.batches === null) this.#order.taken = taken;
      throw error;
    } finally {
      this.#rollouts.batches = null;
      this.#running = false;
    }
  }

  async #step(signal: AbortSignal): Promise<PolicyMetrics> {
    const { engine } = this.#parts;
    const { updates } = this.#settings;
    const handing = performance.now();
    await this.renew();
    const handOver = (performance.now() - handing) / 1000;
    const { groups, used, seconds } = await this.#rollout(signal);
    const rows = used.flatMap((group) => this.#rowsOf(group));
    const scoring = performance.now();
    const batches = await this.#scored(policyBatches(rows, this.#settings.passTokens), signal);
    const updating = performance.now();
    const made: StepMetrics[] = [];
    if (batches.length > 0) {
      this.#rollouts.batches = batches;
      this.#rollouts.changed = true;
      await engine.changeWeights(async () => {
        for (let i = 0; i < updates; i++) made.push(await this.trainer.trainStep());
      });
    }
    this.#rollouts.step++;
    const ended = performance.now();
    return {
      ...figuresOfGroups(groups, this.#settings.passReward),
      ...{ step: this.steps, groupsUsed: used.length, update: meanOf(made) },
      seconds: {
        handOver,
        ...seconds,
        score: (updating - scoring) / 1000,
        update: (ended - updating) / 1000,
      },
    };
  }

  /** Samples and judges groups, more of them in place of those without signal if that is asked for. */
  async #rollout(signal: AbortSignal) {
    const { engine } = this.#parts;
    const { groups: wanted, samples, maxTokens, equalGroups, mostRefills, stopIds, seed } = this.#settings;
    const { vocabularySize, objective, rewardSeconds } = this.#settings;
    const sampling = {
      ...{ samples, maxTokens, stopIds, temperature: objective.temperature ?? 1 },
      ...(vocabularySize !== undefined && { vocabularySize }),
    };
    const random = new Random(seed, 1 + this.steps);
    const groups: JudgedGroup[] = [];
    const used: JudgedGroup[] = [];
    const seconds = { sample: 0, reward: 0 };
    const waves = equalGroups === "refill" ? 1 + mostRefills : 1;
    for (let wave = 0; wave < waves && used.length < wanted; wave++) {
      const began = performance.now();
      let sampled = began;
      const found = await sampleGroups(
        engine,
        this.#order.take(wanted - used.length),
        sampling,
        random,
        (group, stop) => {
          sampled = performance.now();
          return this.#inTurn(() => judgeGroup(this.#parts, group, { stopIds, rewardSeconds }, stop));
        },
        signal,
      );
      seconds.sample += (sampled - began) / 1000;
      seconds.reward += (performance.now() - sampled) / 1000;
      groups.push(...found);
      used.push(...found.filter((group) => this.#teaches(group)));
    }
    return { groups, used, seconds };
  }

  /** Whether updates use a group. */
  #teaches({ rewards }: JudgedGroup): boolean {
    const known = rewards.filter((reward) => reward !== null);
    if (known.length === 0) return false;
    return this.#settings.equalGroups === "keep" || !equalRewards(known);
  }

  #rowsOf({ prompt, completions, rewards }: JudgedGroup): PolicyRow[] {
    const { advantage, advantageEpsilon, truncated } = this.#settings;
    const known = completions.flatMap((completion, i) =>
      rewards[i] === null ? [] : [{ ...completion, reward: rewards[i] }],
    );
    const advantages = groupAdvantages(
      known.map(({ reward }) => reward),
      advantage,
      advantageEpsilon,
    );
    return known.flatMap(({ ids, truncated: cut }, i) =>
      cut && truncated === "leave-out"
        ? []
        : [{ prompt, completion: ids, advantage: advantages[i], old: null, reference: null }],
    );
  }

  /** The batches with log-probabilities of the training pass: what sampling computed differs from it by rounding. */
  async #scored(batches: readonly PolicyBatch[], signal: AbortSignal): Promise<PolicyBatch[]> {
    const { model, reference } = this.#parts;
    const { updates, objective } = this.#settings;
    const penalized = (objective.beta ?? 0) > 0;
    const scored: PolicyBatch[] = [];
    for (const batch of batches) {
      signal.throwIfAborted();
      // With one update the policy that sampled is the one that is trained: ratios are 1.
      const old = updates > 1 ? await this.#logp(model, batch) : null;
      const near = penalized ? await this.#logp(reference!, batch) : null;
      const rows = batch.rows.map((row, i) => ({
        ...row,
        old: old?.[i] ?? null,
        reference: near?.[i] ?? null,
      }));
      scored.push({ ...batch, rows });
    }
    return scored;
  }

  /** Log-probabilities of each row's completion. */
  async #logp(model: TokenModel, { rows }: PolicyBatch): Promise<Float32Array[]> {
    const { temperature = 1 } = this.#settings.objective;
    const { logp, entropy, starts } = model.device.inference(() =>
      scoreCompletions(model, rows, { temperature }),
    );
    try {
      const values = (await logp.data()) as Float32Array;
      return rows.map((_, i) => values.slice(starts[i], starts[i + 1]));
    } finally {
      logp.dispose();
      entropy.dispose();
    }
  }

  [Symbol.dispose](): void {
    this.trainer[Symbol.dispose]();
  }
}

/** The figures of a step's updates: means, the last learning rate. */
function meanOf(made: readonly StepMetrics[]): PolicyMetrics["update"] {
  if (made.length === 0) return null;
  const mean = (value: (metrics: StepMetrics) => number) =>
    made.reduce((sum, metrics) => sum + value(metrics), 0) / made.length;
  const { terms = {}, learningRate } = made[made.length - 1];
  return {
    loss: mean(({ loss }) => loss),
    kl: terms.kl === undefined ? null : mean((metrics) => metrics.terms!.kl),
    entropy: mean((metrics) => metrics.terms!.entropy),
    clipped: mean((metrics) => metrics.terms!.clipped),
    gradientNorm: mean(({ gradientNorm }) => gradientNorm),
    learningRate,
  };
}
