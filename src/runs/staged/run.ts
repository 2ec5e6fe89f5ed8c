/**
 * A run in stages of a model that sees, as a folder on disk: it trains from its newest saved step to the end, and leaves a
 * model in the layout of the one that it began with.
 *
 *     run.json  base/{config.json, tokenizer.json, ..}  metrics.jsonl  states/step-*  model/  run.lock
 */
import { join } from "node:path";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { checkFolderPlace, realPlace } from "../../files/place.ts";
import type { HeldLock } from "../../files/process-lock.ts";
import { isTaken } from "../../files/temporary.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { FormatError, NotFiniteError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import type { Evaluation } from "../../train/evaluate.ts";
import { imageBatches, type Lesson } from "../../train/image-rows.ts";
import { type TrainingMemory, trainingMemory } from "../../train/memory.ts";
import { changingWeights, readPartialState, readTensors, savePartial } from "../../train/partial-state.ts";
import { stepsWithin } from "../../train/run-length.ts";
import { Trainer, type TrainOptions } from "../../train/trainer.ts";
import { type UnifiedModel, unifiedObjective } from "../../train/unified-model.ts";
import { readJson, writeJson } from "../json-file.ts";
import { lockRun } from "../lock.ts";
import type { RunEvents } from "../loop.ts";
import { MetricsLog } from "../metrics-log.ts";
import type { OpenOptions, RunResult } from "../run.ts";
import { RunStates } from "../states.ts";
import { type StagedBatch, StagedBatches } from "./batches.ts";
import { type StageConfig, type StagedConfig, savedStaged } from "./config.ts";
import type { DrawingLesson } from "./drawing.ts";
import { LessonMaker } from "./lessons.ts";
import { beginModel, modelFiles, type StagedModel, saveStagedModel } from "./model.ts";
import { isHead, OpenedDrawing } from "./opened-drawing.ts";
import { type OpenedSource, openSource, type StagedSample, sourceKey } from "./sources.ts";

/** Steps over which the speed is measured when `seconds` sets the length of a stage. */
const MEASURED_STEPS = 24;

/** What a stage tells the trainer. */
function optionsOf(
  { steps, batch, learningRate, optimizer, trained, rates, ...more }: StageConfig,
  { alignment }: UnifiedModel,
): TrainOptions {
  const { balanceAlpha = 0, biasGamma = 0, averageDecay } = more;
  // The head of alignment belongs to no model that is used, and is always trained.
  const head = alignment === null ? [] : ["alignment"];
  const parts = { ...(trained && { trained: [...trained, ...head] }), ...(rates && { rates }) };
  const average = averageDecay === undefined ? {} : { averageDecay };
  return {
    steps: steps ?? null,
    batch,
    learningRate,
    optimizer,
    balanceAlpha,
    biasGamma,
    ...parts,
    ...average,
  };
}

/** Samples that are read at once to be scored. */
const SCORED_TOGETHER = 16;

interface ScoredSource {
  /** Mean over the tokens that the stage learns, nats. */
  readonly loss: number;
  readonly tokens: number;
}

/** After a source's name: its pictures that are drawn. */
const DRAWN = ":drawing";

export interface StagedEvaluation extends Evaluation {
  /** By what names the source in states. */
  readonly sources: Readonly<Record<string, ScoredSource>>;
}

export class StagedRun implements AsyncDisposable {
  readonly folder: string;
  readonly trainer: Trainer<UnifiedModel, StagedBatch>;
  readonly #made: StagedModel;
  readonly #drawing: OpenedDrawing;
  readonly #lessons: LessonMaker;
  readonly #sources: ReadonlyMap<string, OpenedSource>;
  readonly #log: MetricsLog;
  readonly #lock: HeldLock;
  readonly #fingerprints: Readonly<Record<string, string>>;
  #config: StagedConfig;
  #stage = 0;
  #batches: StagedBatches;
  #evaluation: StagedEvaluation | null = null;
  readonly #states: RunStates;

  private constructor(parts: {
    folder: string;
    config: StagedConfig;
    made: StagedModel;
    drawing: OpenedDrawing;
    lessons: LessonMaker;
    sources: ReadonlyMap<string, OpenedSource>;
    fingerprints: Readonly<Record<string, string>>;
    lock: HeldLock;
  }) {
    const { folder, config, made, drawing, lessons, sources, fingerprints, lock } = parts;
    this.folder = folder;
    this.#config = config;
    this.#made = made;
    this.#drawing = drawing;
    this.#lessons = lessons;
    this.#sources = sources;
    this.#fingerprints = fingerprints;
    this.#lock = lock;
    this.#log = new MetricsLog(join(folder, "metrics.jsonl"));
    this.#states = new RunStates(join(folder, "states"));
    this.#batches = this.#batchesOf(0);
    const { model } = drawing;
    drawing.align(config.stages[0]);
    this.trainer = new Trainer<UnifiedModel, StagedBatch>(
      ...[model, this.#batches, optionsOf(config.stages[0], model)],
      unifiedObjective,
    );
  }

  /**
   * Opens a run at its newest whole state, or at its beginning, for this process alone until it is disposed.
   * @throws FormatError, ConfigError; a ConfigError if another process trains it, or its data changed
   */
  static async open(
    folder: string,
    device: Device,
    { onNotice = () => {} }: OpenOptions = {},
  ): Promise<StagedRun> {
    const path = join(folder, "run.json");
    await readJson(path);
    const lock = await lockRun(folder);
    const opened: (() => unknown)[] = [() => lock.release()];
    try {
      const { fingerprints, ...saved } = (await readJson(path)) as { fingerprints?: Record<string, string> };
      const config = savedStaged(saved, path);
      const made = await beginModel(config, device);
      opened.push(() => made[Symbol.dispose]());
      const lessons = new LessonMaker(made.reader);
      const sources = new Map<string, OpenedSource>();
      for (const { mixture } of config.stages) {
        for (const entry of mixture) {
          const key = sourceKey(entry);
          if (sources.has(key)) continue;
          const { seed, heldOut = 0 } = config;
          const source = await openSource(entry, { lessons, seed, heldOut, checkLengths: false });
          sources.set(key, source);
          opened.push(() => source[Symbol.asyncDispose]());
          if (fingerprints?.[key] !== undefined && fingerprints[key] !== source.fingerprint) {
            throw new FormatError("the data changed since the run began", {
              where: key,
              expected: `contents with the fingerprint ${fingerprints[key]}`,
              found: source.fingerprint,
              hint: "Restore the file, or begin a new run.",
            });
          }
        }
      }
      const drawn = config.stages.some(({ mixture }) =>
        mixture.some((entry) =>
          sources.get(sourceKey(entry))!.parts.some(({ source }) => source.modality === "drawing"),
        ),
      );
      const drawing = await OpenedDrawing.open(config, made, drawn);
      opened.push(() => drawing[Symbol.dispose]());
      lessons.drawnSide = drawing.side;
      const run = new StagedRun({
        ...{ folder, config, made, drawing, lessons, sources, lock, fingerprints: fingerprints ?? {} },
      });
      opened.push(() => run.trainer[Symbol.dispose]());
      await run.#loadNewest(onNotice);
      const damage = await run.#log.trim(run.trainer.step);
      if (damage !== null) onNotice(damage);
      return run;
    } catch (error) {
      for (const close of opened.toReversed()) await close();
      throw error;
    }
  }

  get model(): VisionLanguageModel {
    return this.#made.model;
  }

  /** Every setting; a stage limited by time learns its number of steps from its first ones. */
  get config(): StagedConfig {
    return this.#config;
  }

  /** Number of the stage, from 0. */
  get stage(): number {
    return this.#stage;
  }

  #batchesOf(stage: number, counts = {}): StagedBatches {
    const { mixture, loss, grouped, textShare, textWarmup, steps } = this.#config.stages[stage];
    const parts = mixture.flatMap((entry) =>
      this.#sources.get(sourceKey(entry))!.parts.map(({ source, share }) => ({
        source,
        weight: (entry.weight ?? 1) * share,
      })),
    );
    const { imageId, padId } = this.#lessons;
    return new StagedBatches(
      {
        ...{ seed: this.#config.seed, stage, loss, steps: steps ?? null },
        drawing: this.#drawing.batchesOf(this.#config.stages[stage]),
        ...(grouped !== undefined && { grouped }),
        ...(textShare !== undefined && { textShare }),
        ...(textWarmup !== undefined && { textWarmup }),
        sources: parts.map(({ source }) => source),
        weights: parts.map(({ weight }) => weight),
        rows: { imageId, padId, maxTokens: this.#config.tokensAtOnce },
      },
      counts,
    );
  }

  /** Goes to a stage: its batches, parts and schedules. */
  #enter(stage: number, counts: Readonly<Record<string, number>>): void {
    this.#stage = stage;
    this.#batches = this.#batchesOf(stage, counts);
    this.#drawing.align(this.#config.stages[stage]);
    this.trainer.enter(optionsOf(this.#config.stages[stage], this.#drawing.model), this.#batches);
  }

  /** Weights that are saved. */
  get #changing() {
    const { trained } = this.#made;
    return changingWeights(this.#drawing.model, (group) => {
      return trained.has(group.layout?.official.key ?? group.key) || isHead(group.key);
    });
  }

  async #loadNewest(onNotice: (text: string) => void): Promise<void> {
    await this.#states.loadNewest(async (path) => {
      const tree = nodeFolder(path);
      const state = await readPartialState(tree);
      if (this.#config.stages[state.stage] === undefined) {
        throw new FormatError("no such stage", { where: tree.name, name: "stage", found: state.stage });
      }
      if (state.stage !== this.#stage) this.#enter(state.stage, {});
      await readTensors(tree, "weights", this.#changing);
      await readTensors(tree, "moments", this.trainer.tensors());
      this.trainer.restore(state);
      await this.trainer.checkWeights();
    }, onNotice);
  }

  /**
   * Trains until the end or until `signal` aborts; then saves, and at the end also writes the model.
   * @throws NotFiniteError if a loss, gradient or weight is not finite: nothing is saved or deleted then
   */
  async train(events: RunEvents = {}, signal?: AbortSignal): Promise<RunResult> {
    const { trainer } = this;
    const out = join(this.folder, "model");
    const begun = trainer.step;
    let saved = begun;
    this.#evaluation = null;
    if (!this.finished) await checkFolderPlace(await realPlace(out), { force: true });
    while (!signal?.aborted) {
      if (trainer.done) {
        if (this.#stage + 1 === this.#config.stages.length) break;
        this.#enter(this.#stage + 1, this.#batches.state().counts);
      }
      this.#tellStage(events);
      saved = await this.#trainStage(events, saved, signal);
    }
    if (saved !== trainer.step) await this.#save(events);
    const { finished } = this;
    if (finished && (trainer.step > begun || !(await isTaken(out)))) await this.saveModel(out);
    const { step, tokens } = trainer;
    return { finished, step, tokens, evaluation: this.#evaluation, modelFolder: finished ? out : null };
  }

  /**
   * The loss on what is held out of each source of the stage, by source, and on all of it; null if nothing is.
   * @throws NotFiniteError
   */
  async evaluate(): Promise<StagedEvaluation | null> {
    const stage = this.#config.stages[this.#stage];
    const { mixture, loss, name } = stage;
    const { imageId, padId } = this.#lessons;
    const rows = { imageId, padId, maxTokens: this.#config.tokensAtOnce };
    const sources: Record<string, ScoredSource> = {};
    for (const key of new Set(mixture.map(sourceKey))) {
      const { heldOut } = this.#sources.get(key)!;
      if (heldOut.length === 0) continue;
      const [total, drawn] = [0, 1].map(() => ({ nats: 0, tokens: 0 }));
      for (let at = 0; at < heldOut.length; at += SCORED_TOGETHER) {
        const samples: StagedSample[] = [];
        for (const read of heldOut.slice(at, at + SCORED_TOGETHER)) samples.push(await read(loss));
        const lessons = samples.filter((sample): sample is Lesson => !("picture" in sample));
        if (lessons.length > 0) await this.#score(imageBatches(lessons, rows), total);
        const pictures = samples.filter((sample): sample is DrawingLesson => "picture" in sample);
        if (pictures.length > 0) await this.#score(await this.#drawing.scored(pictures, stage, at), drawn);
      }
      if (total.tokens > 0) sources[key] = { loss: total.nats / total.tokens, tokens: total.tokens };
      if (drawn.tokens > 0) sources[key + DRAWN] = { loss: drawn.nats / drawn.tokens, tokens: drawn.tokens };
    }
    // Errors of velocities and nats are not added up.
    const flow = this.#made.model.generation?.kind === "flow";
    const nats = Object.entries(sources).filter(([key]) => !flow || !key.endsWith(DRAWN));
    const scores = nats.length > 0 ? nats.map(([, score]) => score) : Object.values(sources);
    if (scores.length === 0) return null;
    const tokens = scores.reduce((sum, each) => sum + each.tokens, 0);
    const mean = scores.reduce((sum, each) => sum + each.loss * each.tokens, 0) / tokens;
    if (!Number.isFinite(mean)) {
      throw new NotFiniteError("the loss on held-out samples is not finite", {
        where: `stage ${name}, after training step ${this.trainer.step}`,
        found: mean,
        hint: "Try a lower learningRate.peak or a longer warm-up.",
      });
    }
    const unit = nats.length > 0 ? {} : { unit: "squared error of velocities" };
    return { loss: mean, tokens, bytes: null, bitsPerByte: null, sources, ...unit };
  }

  /** Adds the losses of batches, each as often as it has targets. */
  async #score(batches: readonly StagedBatch[], total: { nats: number; tokens: number }): Promise<void> {
    const { model } = this.#drawing;
    for (const batch of batches) {
      using scored = model.device.inference(() => {
        const { loss, crossEntropy = loss } = unifiedObjective(model, batch, {});
        return crossEntropy;
      });
      total.nats += (await scored.item()) * batch.weight;
      total.tokens += batch.weight;
    }
  }

  get finished(): boolean {
    return this.trainer.done && this.#stage + 1 === this.#config.stages.length;
  }

  #tellStage(events: RunEvents): void {
    const { stages } = this.#config;
    const { name, trained = ["everything"], rates = {} } = stages[this.#stage];
    const frozen = Object.keys(rates).filter((part) => rates[part] === 0);
    const but = frozen.length > 0 ? ` but ${frozen.join(", ")}` : "";
    const at = stages.length > 1 ? `${this.#stage + 1} of ${stages.length}: ` : "";
    events.onNotice?.(`stage     ${at}${name}, trained: ${trained.join(", ")}${but}`);
  }

  /** Trains to the end of the stage. @returns the last step that was saved */
  async #trainStage(events: RunEvents, before: number, signal?: AbortSignal): Promise<number> {
    const { trainer } = this;
    const began = performance.now();
    const durations: number[] = [];
    let saved = before;
    const { name } = this.#config.stages[this.#stage];
    const { saveEvery, evaluateEvery = saveEvery } = this.#config;
    while (!trainer.done && !signal?.aborted) {
      const stepBegan = performance.now();
      const metrics = await trainer.trainStep();
      durations.push((performance.now() - stepBegan) / 1000);
      if (trainer.options.steps === null && durations.length === MEASURED_STEPS) {
        await this.#setLength(durations, began);
      }
      const perStep = (performance.now() - began) / 1000 / durations.length;
      const { steps } = trainer.options;
      const left = steps === null ? null : steps - trainer.stageStep;
      events.onStep?.(metrics, {
        steps: left === null ? null : metrics.step + left,
        seconds: left === null ? null : left * perStep,
      });
      await this.#log.append({ ...metrics, kind: "step", stage: name, modality: metrics.kind ?? null });
      if (trainer.done || metrics.step % evaluateEvery === 0) {
        const evaluation = await this.evaluate();
        if (evaluation !== null) {
          this.#evaluation = evaluation;
          events.onEvaluation?.(metrics.step, evaluation);
          await this.#log.append({ kind: "evaluation", step: metrics.step, stage: name, ...evaluation });
        }
      }
      if (metrics.step % saveEvery === 0) {
        await this.#save(events);
        saved = trainer.step;
      }
      // Lets a pending Ctrl-C be handled.
      await new Promise((resolve) => setImmediate(resolve));
    }
    return saved;
  }

  /** Sets the stage's number of steps from the speed of its first ones and writes it down for a later resume. */
  async #setLength(durations: readonly number[], began: number): Promise<void> {
    const { seconds, batch } = this.#config.stages[this.#stage];
    const steps = stepsWithin(
      { seconds: seconds!, batchSize: batch.size, evaluateSequences: 0, evaluateEvery: 1 },
      { durations, elapsed: (performance.now() - began) / 1000, step: this.trainer.stageStep },
    );
    const stages = this.#config.stages.map((stage, i) => (i === this.#stage ? { ...stage, steps } : stage));
    this.#config = { ...this.#config, stages };
    this.trainer.setSteps(steps);
    this.#batches.setSteps(steps);
    await writeJson(join(this.folder, "run.json"), { ...this.#config, fingerprints: this.#fingerprints });
  }

  async #save(events: RunEvents): Promise<void> {
    await this.trainer.checkWeights();
    const folder = this.#states.path(this.trainer.step);
    const sink = await nodeFolderSink(folder, { kind: "state", force: true });
    await savePartial(this.trainer, sink, this.#changing, this.#stage);
    events.onSave?.(this.trainer.step, folder);
    await this.#states.removeOld(this.#config.keep, events.onNotice);
  }

  /** Writes the model with the files of the one it began with. @throws ConfigError if something else is there */
  async saveModel(out: string): Promise<void> {
    const base = join(this.folder, "base");
    const files = await modelFiles(base);
    const { average } = this.trainer;
    average?.exchange();
    try {
      await saveStagedModel(this.#made, this.#config, out, files, await this.#drawing.filesBeside());
    } finally {
      average?.exchange();
    }
  }

  memory(): TrainingMemory {
    return trainingMemory(this.trainer);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.trainer[Symbol.dispose]();
    this.#drawing[Symbol.dispose]();
    this.#made[Symbol.dispose]();
    for (const source of this.#sources.values()) await source[Symbol.asyncDispose]();
    await this.#lock.release();
  }
}
