/**
 * A run that learns from rewards (GRPO), as a folder on disk: it goes on from its newest saved step to the end, evaluates prompts
 * that are kept apart, and leaves a model in the Hugging Face layout.
 *
 *     run.json  base/{config.json, tokenizer.json, ..}  prompts.jsonl  held-out.jsonl  metrics.jsonl  checkpoints/step-*  model/
 *
 * With adapters `adapter/` takes the place of `model/`, and the model below is needed until the end.
 *
 * One process at a time writes to it. A run that was killed goes on with the same bits, if its rewards depend on nothing but
 * their samples.
 */
import { join } from "node:path";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { Engine } from "../../engine/engine.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { checkFolderPlace, realPlace } from "../../files/place.ts";
import type { HeldLock } from "../../files/process-lock.ts";
import { isTaken } from "../../files/temporary.ts";
import { type CausalLM, createModel } from "../../models/causal-lm.ts";
import { toConfigJson } from "../../models/config.ts";
import { DeepseekError, NotFiniteError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { type TrainingMemory, trainingMemory } from "../../train/memory.ts";
import { type PassAt, passAt } from "../../train/policy/evaluation.ts";
import { type PolicyMetrics, PolicyTrainer } from "../../train/policy/policy-trainer.ts";
import type { PolicyPrompt } from "../../train/policy/prompts.ts";
import type { Reward } from "../../train/policy/rewards.ts";
import { readJson } from "../json-file.ts";
import { lockRun } from "../lock.ts";
import type { RunLength } from "../loop.ts";
import { MetricsLog } from "../metrics-log.ts";
import type { OpenOptions } from "../run.ts";
import { RunStates } from "../states.ts";
import { baseReader, loadBase, savedConfigText } from "../tuned/base-model.ts";
import { statesOf } from "../tuned/learner.ts";
import { TrainedModel } from "../tuned/trained-model.ts";
import { type PolicyRunConfig, savedPolicyRun } from "./config.ts";
import { BASE } from "./preparation.ts";
import { HELD_OUT_PROMPTS, readPrompts, TRAIN_PROMPTS } from "./prompts.ts";

export interface PolicyRunEvents {
  onStep?(metrics: PolicyMetrics, length: RunLength): void;
  /** Also after step 0: how good the model is that the run begins with. */
  onEvaluation?(step: number, result: PassAt): void;
  onSave?(step: number, folder: string): void;
  onNotice?(text: string): void;
}

export interface PolicyRunResult {
  readonly finished: boolean;
  readonly step: number;
  /** Of completions, that updates learned from. */
  readonly tokens: number;
  /** Null if nothing is kept apart. */
  readonly evaluation: PassAt | null;
  /** Folder of the model, once finished. */
  readonly modelFolder: string | null;
}

export interface OpenPolicyOptions extends OpenOptions {
  /** The reward that the settings name (`openRewards`). */
  readonly reward: Reward;
  readonly signal?: AbortSignal;
}

/** What a run holds while it is open. */
interface Opened {
  readonly folder: string;
  readonly config: PolicyRunConfig;
  readonly states: RunStates;
  readonly trained: TrainedModel;
  readonly engine: Engine;
  readonly policy: PolicyTrainer;
  readonly heldOut: readonly PolicyPrompt[];
  readonly files: Readonly<Record<string, string>>;
  readonly reward: Reward;
  readonly decode: (ids: readonly number[]) => string;
  readonly vocabularySize: number;
}

export class PolicyRun implements AsyncDisposable {
  readonly #opened: Opened;
  readonly #log: MetricsLog;
  readonly #close: () => Promise<void>;

  private constructor(opened: Opened, log: MetricsLog, close: () => Promise<void>) {
    this.#opened = opened;
    this.#log = log;
    this.#close = close;
  }

  /**
   * Opens a prepared run at its newest whole state, or at its beginning, for this process alone until it is disposed.
   * @throws FormatError, ConfigError, the signal's reason; a ConfigError if another process trains the run
   */
  static async open(folder: string, device: Device, options: OpenPolicyOptions): Promise<PolicyRun> {
    const { onNotice = () => {}, reward, signal } = options;
    const path = join(folder, "run.json");
    // A folder that holds no run gets no lock either.
    await readJson(path);
    const lock: HeldLock = await lockRun(folder);
    const opened: (() => unknown)[] = [() => lock.release()];
    const close = async () => {
      for (const each of opened.splice(0).toReversed()) await each();
    };
    try {
      const config = savedPolicyRun(await readJson(path), path);
      const { policy: settings, sampling } = config;
      const states = new RunStates(join(folder, "checkpoints"));
      const base = nodeFolder(join(folder, BASE));
      const files: Record<string, string> = {};
      for (const name of await base.list()) files[name] = await base.readText(name);
      const begun = (await states.steps()).length > 0;
      const trained = await TrainedModel.open({ ...config, seed: settings.seed }, { files, begun }, device);
      opened.push(() => trained[Symbol.dispose]());
      const { model } = trained;
      const modelJson = toConfigJson(model.config);
      const copy =
        sampling.dtype === "f32" ? null : createModel(modelJson, device, { dtype: sampling.dtype });
      if (copy !== null) opened.push(() => copy[Symbol.dispose]());
      const penalized = (settings.objective?.beta ?? 0) > 0;
      const reference = penalized ? await loadBase(config.model, device, config.reference) : null;
      if (reference !== null) opened.push(() => reference[Symbol.dispose]());
      signal?.throwIfAborted();
      const prompts = await readPrompts(folder, TRAIN_PROMPTS);
      const heldOut = await readPrompts(folder, HELD_OUT_PROMPTS);
      const { tokenizer } = await baseReader(join(folder, BASE), config.model.name);
      const engine = new Engine(copy ?? trained.trained, engineOptions(config, [...prompts, ...heldOut]));
      opened.push(() => engine[Symbol.asyncDispose]());
      const decode = (ids: readonly number[]) => tokenizer.decode(ids);
      const vocabularySize = Math.min(tokenizer.vocabSize, model.config.vocabSize);
      const parts = { model: trained.trained, engine, prompts, reward, decode };
      const policy = new PolicyTrainer(
        { ...parts, ...(copy && { copy }), ...(reference && { reference }) },
        { ...settings, vocabularySize },
      );
      opened.push(() => policy[Symbol.dispose]());
      const load = async (state: string) => {
        await statesOf(policy.trainer).load(nodeFolder(state));
        await policy.trainer.checkWeights();
      };
      if (!(await states.loadNewest(load, onNotice)) && begun) {
        throw new DeepseekError("the saved states vanished while the run was opened", {
          where: states.folder,
        });
      }
      const log = new MetricsLog(join(folder, "metrics.jsonl"));
      const damage = await log.trim(policy.steps);
      if (damage !== null) onNotice(damage);
      const all = {
        folder,
        config,
        states,
        trained,
        engine,
        policy,
        heldOut,
        files,
        reward,
        decode,
        vocabularySize,
      };
      return new PolicyRun(all, log, close);
    } catch (error) {
      await close();
      throw error;
    }
  }

  get folder(): string {
    return this.#opened.folder;
  }

  get config(): PolicyRunConfig {
    return this.#opened.config;
  }

  get model(): CausalLM {
    return this.#opened.trained.model;
  }

  get policy(): PolicyTrainer {
    return this.#opened.policy;
  }

  /**
   * Trains until the end or until `signal` aborts, which gives up the rollout that runs; then saves, and at the end also writes the
   * model. A reward that fails ends it too, after the steps before are saved.
   * @throws NotFiniteError if a loss, gradient or weight is not finite: nothing is saved then; DeepseekError of the reward
   */
  async train(events: PolicyRunEvents = {}, signal?: AbortSignal): Promise<PolicyRunResult> {
    const { policy, folder, config, trained } = this.#opened;
    const out = join(folder, trained.folderName);
    // What stands in its way is better known before the training than after.
    if (!policy.done) await checkFolderPlace(await realPlace(out), { force: true });
    const begun = policy.steps;
    let saved = begun;
    let evaluation: PassAt | null = null;
    const began = performance.now();
    // A run that was stopped in between goes on with the evaluation of its last step.
    let evaluated = await this.#log.lastStep("evaluation");
    const evaluate = async () => {
      const { every } = config.evaluation;
      if (evaluated === policy.steps || !(policy.done || policy.steps % every === 0)) return;
      const found = await this.evaluate(signal);
      if (found === null) return;
      evaluation = found;
      evaluated = policy.steps;
      events.onEvaluation?.(policy.steps, found);
      await this.#log.append({ kind: "evaluation", step: policy.steps, ...found });
    };
    const save = async () => {
      if (saved === policy.steps) return;
      await this.#save(events);
      saved = policy.steps;
    };
    try {
      await evaluate();
      while (!policy.done && !signal?.aborted) {
        const metrics = await policy.step(signal);
        const perStep = (performance.now() - began) / 1000 / (policy.steps - begun);
        const { steps } = config.policy;
        events.onStep?.(metrics, { steps, seconds: (steps - policy.steps) * perStep });
        await this.#log.append({ kind: "step", ...metrics });
        if (policy.done || policy.steps % config.saveEvery === 0) await save();
        await evaluate();
        // Lets a pending Ctrl-C be handled.
        await new Promise((resolve) => setImmediate(resolve));
      }
    } catch (error) {
      if (error instanceof NotFiniteError) throw error;
      await save();
      if (!signal?.aborted) throw error;
    }
    await save();
    const finished = policy.done;
    if (finished && (policy.steps > begun || !(await isTaken(out)))) await this.saveModel(out);
    const { tokens } = policy.trainer;
    return { finished, step: policy.steps, tokens, evaluation, modelFolder: finished ? out : null };
  }

  /** Pass rates of the prompts that are kept apart, the same every time for the same weights; null if none are. */
  async evaluate(signal?: AbortSignal): Promise<PassAt | null> {
    const { policy, engine, heldOut, config, reward, decode, vocabularySize } = this.#opened;
    if (heldOut.length === 0) return null;
    const { maxTokens, stopIds, seed, objective, rewardSeconds, rewardParallel, passReward } = config.policy;
    const { samples, ks } = config.evaluation;
    await policy.renew();
    return await passAt(
      engine,
      heldOut,
      { reward, decode },
      {
        ...{ samples, ks, maxTokens, stopIds, seed, vocabularySize, rewardSeconds, passReward },
        temperature: objective?.temperature ?? 1,
        ...(rewardParallel !== undefined && { rewardParallel }),
      },
      signal,
    );
  }

  async #save(events: PolicyRunEvents): Promise<void> {
    const { policy, states, config } = this.#opened;
    await policy.trainer.checkWeights();
    const folder = states.path(policy.steps);
    const sink = await nodeFolderSink(folder, { kind: "state", force: true });
    await statesOf(policy.trainer).save(sink, this.#beside());
    events.onSave?.(policy.steps, folder);
    await states.removeOld(config.keep, events.onNotice);
  }

  /** What is saved beside weights, which are f32. */
  #beside() {
    const { files: all, config } = this.#opened;
    const { "config.json": _, ...files } = all;
    return { config: savedConfigText(all, { dtype: "F32", model: config.model }), files };
  }

  /**
   * Writes the model as it stands in the Hugging Face layout with the tokenizer, or the adapter in PEFT's.
   * @throws ConfigError if something else is there
   */
  async saveModel(out: string): Promise<void> {
    await this.#opened.trained.save(await nodeFolderSink(out, { force: true }), {
      ...this.#beside(),
      dtype: "F32",
    });
  }

  memory(): TrainingMemory {
    return trainingMemory(this.policy.trainer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}

/** Tokens beside those of prompts and completions that an engine wants to find free. */
const ROOM = 64;

/** An engine with room for all completions that run at a time, and for the prompts that they start from. */
function engineOptions({ policy, sampling, evaluation }: PolicyRunConfig, prompts: readonly PolicyPrompt[]) {
  const longest = prompts.reduce((most, { ids }) => Math.max(most, ids.length), 0);
  const queue = Math.max(policy.groups * policy.samples, evaluation.samples);
  const maxQueue = Math.min(100_000, queue);
  const maxBatch = Math.min(sampling.together, queue);
  const waves = Math.ceil(maxQueue / Math.min(policy.samples, evaluation.samples));
  const cacheTokens = maxBatch * (longest + policy.maxTokens + ROOM) + waves * longest;
  return { maxBatch, maxQueue, cacheTokens };
}
