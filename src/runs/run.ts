/**
 * A training run as a folder on disk. `preparation.ts` makes its tokenizer and tokens, `Run` trains on them, evaluates,
 * saves and resumes. The command line and TypeScript programs use the same; progress is told through callbacks.
 *
 *     run.json  tokenizer/  data/{train,held-out}/  metrics.jsonl  samples.jsonl  checkpoints/step-*  model/  run.lock
 *
 * One process at a time writes to it. A run that was killed or damaged goes on from its newest whole state. Runs of a sweep share the
 * tokenizer, the data and a state to begin with, which lie in other folders then.
 */
import { join, resolve } from "node:path";
import { modelEntries } from "../checkpoint/entries.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { BatchIterator, type TokenDataset } from "../data/dataset.ts";
import { openDataset } from "../data/node-dataset.ts";
import { nodeFolderSink } from "../files/folder-sink.ts";
import { checkFolderPlace, realPlace } from "../files/place.ts";
import type { HeldLock } from "../files/process-lock.ts";
import { isTaken } from "../files/temporary.ts";
import { readTextFile } from "../files/text-file.ts";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { toConfigJson } from "../models/config.ts";
import { setPrecision } from "../nn/precision.ts";
import { NotFiniteError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import type { Device } from "../tensor/tensor.ts";
import { loadTokenizer, type Tokenizer } from "../tokenizer/tokenizer.ts";
import { type Evaluation, evaluate } from "../train/evaluate.ts";
import { type TrainingMemory, trainingMemory } from "../train/memory.ts";
import { stepsWithin } from "../train/run-length.ts";
import { loadTraining, saveTraining } from "../train/state.ts";
import { Trainer } from "../train/trainer.ts";
import { type RunConfig, type RunLinks, savedConfig } from "./config.ts";
import { readJson, writeJson } from "./json-file.ts";
import { lockRun } from "./lock.ts";
import { type Measured, type RunEvents, trainLoop } from "./loop.ts";
import { MetricsLog } from "./metrics-log.ts";
import { RunSamples } from "./samples.ts";
import { RunStates } from "./states.ts";
import { tokenBytes } from "./token-bytes.ts";

export interface RunResult {
  readonly finished: boolean;
  readonly step: number;
  readonly tokens: number;
  readonly evaluation: Evaluation | null;
  /** Folder of the model in the Hugging Face layout, once finished. */
  readonly modelFolder: string | null;
}

export interface OpenOptions {
  /** Called with what was damaged and how the run goes on, a line each. */
  readonly onNotice?: (text: string) => void;
}

/** A run whose data are prepared: trains from its last saved state to the end. */
export class Run {
  readonly folder: string;
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
  readonly trainer: Trainer<CausalLM>;
  readonly #train: TokenDataset;
  readonly #heldOut: TokenDataset;
  readonly #files: Readonly<Record<string, string>>;
  readonly #log: MetricsLog;
  readonly #samples: RunSamples;
  readonly #lock: HeldLock;
  /** The folder of text that the run learns from. */
  readonly #source: string;
  readonly #links: RunLinks;
  #config: RunConfig;
  readonly #states: RunStates;

  private constructor(parts: {
    folder: string;
    config: RunConfig;
    source: string;
    links: RunLinks;
    lock: HeldLock;
    model: CausalLM;
    tokenizer: Tokenizer;
    train: TokenDataset;
    heldOut: TokenDataset;
    files: Readonly<Record<string, string>>;
  }) {
    this.folder = parts.folder;
    this.#config = parts.config;
    this.#source = parts.source;
    this.#links = parts.links;
    this.#lock = parts.lock;
    this.model = parts.model;
    this.tokenizer = parts.tokenizer;
    this.#train = parts.train;
    this.#heldOut = parts.heldOut;
    this.#files = parts.files;
    this.#log = new MetricsLog(join(parts.folder, "metrics.jsonl"));
    this.#samples = new RunSamples(parts.folder);
    this.#states = new RunStates(join(parts.folder, "checkpoints"));
    const { training, seed } = parts.config;
    const batches = new BatchIterator(parts.train, {
      batch: training.batch.size,
      length: training.sequenceLength,
      seed,
    });
    this.trainer = new Trainer(parts.model, batches, {
      // Until the speed of a time-limited run is known only the warm-up runs, which does not depend on the length.
      steps: training.steps,
      batch: training.batch,
      learningRate: training.learningRate,
      optimizer: training.optimizer,
      // A preset's weight stays if `model` was exchanged for one without prediction layers.
      mtpWeight: parts.model.config.mtpLayers > 0 ? training.mtpWeight : 0,
      balanceAlpha: training.balanceAlpha,
      biasGamma: training.biasGamma,
    });
  }

  /**
   * Opens a prepared run at its newest whole state, or at its beginning, for this process alone until it is disposed.
   * @throws FormatError, ConfigError; a ConfigError if another process trains the run
   */
  static async open(folder: string, device: Device, { onNotice = () => {} }: OpenOptions = {}): Promise<Run> {
    const path = join(folder, "run.json");
    // A folder that holds no run gets no lock either.
    await readJson(path);
    const lock = await lockRun(folder);
    const opened: (() => unknown)[] = [() => lock.release()];
    try {
      const { config, folder: source, links } = savedConfig(await readJson(path), path);
      const prepared = resolve(folder, links.prepared ?? ".");
      const names = ["tokenizer.json", "tokenizer_config.json"];
      const texts = await Promise.all(names.map((name) => readTextFile(join(prepared, "tokenizer", name))));
      const files = Object.fromEntries(names.map((name, i) => [name, texts[i]]));
      const tokenizer = loadTokenizer(texts[0], texts[1]);
      const train = await openDataset(join(prepared, "data", "train"));
      opened.push(() => train.close());
      const heldOut = await openDataset(join(prepared, "data", "held-out"));
      opened.push(() => heldOut.close());
      const vocabulary = { vocab_size: tokenizer.vocabSize, bos_token_id: 0, eos_token_id: 1 };
      const model = createModel({ ...config.model, ...vocabulary }, device, { dtype: "f32" });
      opened.push(() => model[Symbol.dispose]());
      setPrecision(model.parameters, config.training.precision);
      const run = new Run({ folder, config, source, links, lock, model, tokenizer, train, heldOut, files });
      opened.push(() => run.trainer[Symbol.dispose]());
      await run.#loadNewest(onNotice);
      for (const log of [run.#log, run.#samples]) {
        const damage = await log.trim(run.trainer.step);
        if (damage !== null) onNotice(damage);
      }
      return run;
    } catch (error) {
      for (const close of opened.toReversed()) await close();
      throw error;
    }
  }

  /** Every setting; a time-limited run learns its number of steps from the first ones. */
  get config(): RunConfig {
    return this.#config;
  }

  /** Complete saved states, oldest first. */
  savedSteps(): Promise<number[]> {
    return this.#states.steps();
  }

  async #loadNewest(onNotice: (text: string) => void): Promise<void> {
    const { config, model, trainer } = this;
    const load = async (path: string) => {
      await loadTraining(trainer, nodeFolder(path));
      await trainer.checkWeights();
    };
    if (await this.#states.loadNewest(load, onNotice)) return;
    if (this.#links.start !== undefined) return load(resolve(this.folder, this.#links.start));
    model.parameters.initialize(new Random(config.seed, 1), config.training.initStd);
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
      const next = `Change ${join(this.folder, "run.json")} and continue with --resume, or start a new run.`;
      throw new NotFiniteError(`${error.message} ${kept} ${next}`, { cause: error });
    }
  }

  async #trainOn(events: RunEvents, signal?: AbortSignal): Promise<RunResult> {
    const { trainer } = this;
    const { evaluateEvery, saveEvery } = this.config.training;
    const folder = join(this.folder, "model");
    // What stands in its way is better known before the training than after.
    if (!trainer.done) await checkFolderPlace(await realPlace(folder), { force: true });
    const begun = trainer.step;
    const evaluation = await trainLoop(
      {
        ...{ log: this.#log, trainer, evaluateEvery, saveEvery },
        trainStep: () => trainer.trainStep(),
        evaluate: () => this.evaluate(),
        sample: (step) => this.#samples.write(step, this.model, this.tokenizer),
        save: () => this.#save(events),
        setLength: (measured) => this.#setLength(measured),
      },
      events,
      signal,
    );
    let modelFolder: string | null = null;
    if (trainer.done) {
      modelFolder = folder;
      if (trainer.step > begun || !(await isTaken(folder)))
        await this.saveModel(folder, "F32", { force: true });
    }
    return { finished: trainer.done, step: trainer.step, tokens: trainer.tokens, evaluation, modelFolder };
  }

  /** Sets the number of steps from the speed of the first ones and writes it down for a later resume. */
  async #setLength(measured: Measured): Promise<void> {
    const { training } = this.config;
    const { seconds, batch, evaluateSequences, evaluateEvery } = training;
    const steps = stepsWithin(
      { seconds: seconds!, batchSize: batch.size, evaluateSequences, evaluateEvery },
      { ...measured, step: this.trainer.step },
    );
    this.#config = { ...this.config, training: { ...training, steps } };
    this.trainer.setSteps(steps);
    await writeJson(join(this.folder, "run.json"), { folder: this.#source, ...this.#links, ...this.#config });
  }

  async #save(events: RunEvents): Promise<void> {
    await this.trainer.checkWeights();
    const folder = this.#states.path(this.trainer.step);
    await saveTraining(this.trainer, await nodeFolderSink(folder, { kind: "state", force: true }), {
      config: toConfigJson(this.model.config),
      files: this.#files,
    });
    events.onSave?.(this.trainer.step, folder);
    await this.#states.removeOld(this.config.training.keep, events.onNotice);
  }

  /** Loss on the first sequences of the held-out part, the same every time. */
  async evaluate(sequences = this.config.training.evaluateSequences): Promise<Evaluation> {
    return evaluate(this.model, this.#heldOutBatches(sequences), this.tokenBytes());
  }

  /** The held-out tokens that `evaluate` reads: the first is only read, each of the others is also a target. */
  async heldOutTokens(sequences: number): Promise<Int32Array> {
    const iterator = this.#heldOutIterator();
    const count = Math.min(sequences, iterator.sequences) * iterator.length;
    const tokens = new Int32Array(count + 1);
    for (let at = 0; at < count; at += iterator.length) {
      await this.#heldOut.readInto(at / iterator.length, iterator.length, tokens, at);
    }
    return tokens;
  }

  #heldOutIterator(): BatchIterator {
    const { sequenceLength, batch } = this.config.training;
    const length = Math.min(sequenceLength, this.#heldOut.tokenCount - 1);
    return new BatchIterator(this.#heldOut, { batch: batch.size, length, shuffle: false });
  }

  async *#heldOutBatches(sequences: number) {
    const { batch } = this.config.training;
    const iterator = this.#heldOutIterator();
    let left = Math.min(sequences, iterator.sequences);
    while (left > 0) {
      const size = Math.min(batch.size, left);
      yield await iterator.next(size);
      left -= size;
    }
  }

  /** Bytes of text that each token stands for; special tokens stand for none. */
  tokenBytes(): Uint16Array {
    return tokenBytes(this.tokenizer);
  }

  /**
   * Writes the model in the Hugging Face layout with its tokenizer; `force` replaces a model that this program wrote.
   * @throws ConfigError if something else is there
   */
  async saveModel(
    folder: string,
    dtype: "F32" | "BF16" = "F32",
    options: { readonly force?: boolean } = {},
  ): Promise<void> {
    await saveCheckpoint(await nodeFolderSink(folder, options), modelEntries(this.model), {
      config: { ...toConfigJson(this.model.config), torch_dtype: dtype === "F32" ? "float32" : "bfloat16" },
      dtype,
      keepF32: (name) => name.endsWith("e_score_correction_bias"),
      files: this.#files,
    });
  }

  memory(): TrainingMemory {
    return trainingMemory(this.trainer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.trainer[Symbol.dispose]();
    this.model[Symbol.dispose]();
    await this.#train.close();
    await this.#heldOut.close();
    await this.#lock.release();
  }
}
