/**
 * A run that goes on with a language model, as a folder on disk: it trains from its newest saved state to the end, and leaves a
 * model in the layout of the one that it began with. `learner.ts` says what a kind of run adds.
 *
 *     run.json  base/{config.json, tokenizer.json, ..}  data/  reference.jsonl  metrics.jsonl  checkpoints/step-*  model/  run.lock
 *
 * Once a state is saved, nothing outside the folder is needed; with adapters the model below is, and `adapter/` takes the
 * place of `model/`.
 */
import { join } from "node:path";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { checkFolderPlace, realPlace } from "../../files/place.ts";
import type { HeldLock } from "../../files/process-lock.ts";
import { isTaken } from "../../files/temporary.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { toConfigJson } from "../../models/config.ts";
import { NotFiniteError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { Evaluation } from "../../train/evaluate.ts";
import type { TrainingMemory } from "../../train/memory.ts";
import { stepsWithin } from "../../train/run-length.ts";
import { readJson, writeJson } from "../json-file.ts";
import { lockRun } from "../lock.ts";
import { type Measured, type RunEvents, trainLoop } from "../loop.ts";
import { MetricsLog } from "../metrics-log.ts";
import type { OpenOptions, RunResult } from "../run.ts";
import { RunStates } from "../states.ts";
import { type BaseFiles, baseReader, readBaseFiles, savedConfigText } from "./base-model.ts";
import { savedTuned, type TunedConfig } from "./config.ts";
import { dpoLearner } from "./dpo.ts";
import type { Learner, LearnerParts } from "./learner.ts";
import { sftLearner } from "./sft.ts";
import { TrainedModel } from "./trained-model.ts";

function learnerOf({ config, ...parts }: LearnerParts): Promise<Learner> {
  if (config.kind === "sft") return sftLearner({ ...parts, config });
  return dpoLearner({ ...parts, config });
}

export class TunedRun implements AsyncDisposable {
  readonly folder: string;
  readonly #trained: TrainedModel;
  readonly #learner: Learner;
  readonly #files: BaseFiles;
  readonly #log: MetricsLog;
  readonly #lock: HeldLock;
  readonly #states: RunStates;
  #config: TunedConfig;

  private constructor(parts: {
    folder: string;
    config: TunedConfig;
    trained: TrainedModel;
    learner: Learner;
    files: BaseFiles;
    states: RunStates;
    lock: HeldLock;
  }) {
    this.folder = parts.folder;
    this.#config = parts.config;
    this.#trained = parts.trained;
    this.#learner = parts.learner;
    this.#files = parts.files;
    this.#states = parts.states;
    this.#lock = parts.lock;
    this.#log = new MetricsLog(join(parts.folder, "metrics.jsonl"));
  }

  /**
   * Opens a prepared run at its newest whole state, or at its beginning, for this process alone until it is disposed.
   * @throws FormatError, ConfigError; a ConfigError if another process trains it
   */
  static async open(
    folder: string,
    device: Device,
    { onNotice = () => {} }: OpenOptions = {},
  ): Promise<TunedRun> {
    const path = join(folder, "run.json");
    await readJson(path);
    const lock = await lockRun(folder);
    const opened: (() => unknown)[] = [() => lock.release()];
    try {
      const config = savedTuned(await readJson(path), path);
      const base = join(folder, "base");
      const files = await readBaseFiles(base);
      const { tokenizer } = await baseReader(base, config.model.name);
      const states = new RunStates(join(folder, "checkpoints"));
      const begun = (await states.steps()).length > 0;
      const trained = await TrainedModel.open(config, { files, begun }, device);
      opened.push(() => trained[Symbol.dispose]());
      const learner = await learnerOf({ folder, config, model: trained.trained, tokenizer });
      opened.push(() => learner[Symbol.asyncDispose]());
      const { trainer } = learner;
      const load = async (state: string) => {
        await trainer.load(nodeFolder(state));
        await trainer.checkWeights();
      };
      await states.loadNewest(load, onNotice);
      const run = new TunedRun({ folder, config, trained, learner, files, states, lock });
      const damage = await run.#log.trim(trainer.step);
      if (damage !== null) onNotice(damage);
      return run;
    } catch (error) {
      for (const close of opened.toReversed()) await close();
      throw error;
    }
  }

  get model(): CausalLM {
    return this.#trained.model;
  }

  /** Every setting; a run limited by time learns its number of steps from the first ones. */
  get config(): TunedConfig {
    return this.#config;
  }

  /** Updates made. */
  get step(): number {
    return this.#learner.trainer.step;
  }

  /** Complete saved states, oldest first. */
  savedSteps(): Promise<number[]> {
    return this.#states.steps();
  }

  /** Scores what is held out; null if nothing is. */
  async evaluate(): Promise<Evaluation | null> {
    await this.#learner.begin?.(() => {});
    return this.#learner.evaluate();
  }

  /**
   * Trains until the end or until `signal` aborts; then saves, and at the end also writes the model.
   * @throws NotFiniteError if a loss, gradient or weight is not finite: nothing is saved or deleted then
   */
  async train(events: RunEvents = {}, signal?: AbortSignal): Promise<RunResult> {
    try {
      return await this.#trainOn(events, signal);
    } catch (error) {
      if (!(error instanceof NotFiniteError)) throw error;
      const kept = await this.#states.keptText();
      throw new NotFiniteError(`${error.message} ${kept} Begin a new run with a lower --rate.`, {
        cause: error,
      });
    }
  }

  async #trainOn(events: RunEvents, signal?: AbortSignal): Promise<RunResult> {
    const { trainer } = this.#learner;
    const { evaluateEvery, saveEvery } = this.#config.training;
    const out = join(this.folder, this.#trained.folderName);
    if (!trainer.done) await checkFolderPlace(await realPlace(out), { force: true });
    const begun = trainer.step;
    let evaluation: Evaluation | null = null;
    try {
      if (!trainer.done) await this.#learner.begin?.((text) => events.onNotice?.(text), signal);
      evaluation = await trainLoop(
        {
          ...{ log: this.#log, trainer, evaluateEvery, saveEvery },
          trainStep: (stop) => this.#learner.trainStep(stop),
          evaluate: () => this.#learner.evaluate(),
          save: () => this.#save(events),
          setLength: (measured) => this.#setLength(measured),
        },
        events,
        signal,
      );
    } catch (error) {
      // Stopped before the first step.
      if (!(signal?.aborted && error === signal.reason)) throw error;
    }
    const { done: finished, step, tokens } = trainer;
    if (finished && (step > begun || !(await isTaken(out)))) await this.saveModel(out, { force: true });
    return { finished, step, tokens, evaluation, modelFolder: finished ? out : null };
  }

  /** Sets the number of steps from the speed of the first ones and writes it down for a later resume. */
  async #setLength(measured: Measured): Promise<void> {
    const { training } = this.#config;
    const { seconds, batch, evaluateEvery } = training;
    const steps = stepsWithin(
      { seconds: seconds!, batchSize: batch.size, evaluateSequences: 0, evaluateEvery },
      { ...measured, step: this.step },
    );
    this.#config = { ...this.#config, training: { ...training, steps } };
    this.#learner.trainer.setSteps(steps);
    await writeJson(join(this.folder, "run.json"), this.#config);
  }

  async #save(events: RunEvents): Promise<void> {
    const { trainer } = this.#learner;
    await trainer.checkWeights();
    const folder = this.#states.path(trainer.step);
    const { "config.json": _, ...files } = this.#files;
    await trainer.save(await nodeFolderSink(folder, { kind: "state", force: true }), {
      config: toConfigJson(this.model.config),
      files,
    });
    events.onSave?.(trainer.step, folder);
    await this.#states.removeOld(this.#config.training.keep, events.onNotice);
  }

  /**
   * Writes the model in the Hugging Face layout with the files of the one it began with, or the adapter in PEFT's; `force`
   * replaces what this program wrote. @throws ConfigError if something else is there
   */
  async saveModel(out: string, options: { readonly force?: boolean } = {}): Promise<void> {
    const { "config.json": _, ...files } = this.#files;
    await this.#trained.save(await nodeFolderSink(out, options), {
      config: savedConfigText(this.#files, this.#config),
      dtype: this.#config.dtype,
      keepF32: (name) => name.endsWith("e_score_correction_bias"),
      files,
    });
  }

  memory(): TrainingMemory {
    return this.#learner.trainer.memory();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#learner[Symbol.asyncDispose]();
    this.#trained[Symbol.dispose]();
    await this.#lock.release();
  }
}
