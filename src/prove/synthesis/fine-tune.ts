/**
 * Fine-tunes the start model on what was proved, in this process: always from the start, so that faults of one round's model do
 * not live on in the next. A training that was killed goes on behind its last saved state; the model appears when it is whole.
 */
import { companions } from "../../checkpoint/companions.ts";
import { changedConfig, setDtype } from "../../checkpoint/config-text.ts";
import { modelEntries } from "../../checkpoint/entries.ts";
import { nodeFolder, nodeFolderSink } from "../../checkpoint/node-files.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { yieldToEventLoop } from "../../engine/yield-to-event-loop.ts";
import { removeOwnFolder } from "../../files/owned.ts";
import { type LoadOptions, load, locateModel } from "../../pretrained/node-load.ts";
import { RunStates } from "../../runs/states.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { PackedRows } from "../../train/packed-rows.ts";
import { loadTraining, saveTraining } from "../../train/state.ts";
import { Trainer } from "../../train/trainer.ts";
import { PROVER_FILE, type ProverSettings } from "../prover/settings.ts";
import { encodeLessons, type LessonText } from "./lessons.ts";

export interface FineTuning {
  /** Passes over all lessons (default 3). */
  readonly epochs?: number;
  /** Default 1e-4, as DeepSeek-Prover V1 has it; constant after a warm-up of a twentieth of the steps. */
  readonly learningRate?: number;
  /** Rows of one update (default 8). */
  readonly batchRows?: number;
  /** Tokens of a row (default: the model's context, at most 2,048). */
  readonly rowTokens?: number;
}

export interface FineTuneJob {
  /** The model that training begins with. */
  readonly start: string;
  readonly load: LoadOptions;
  readonly texts: readonly LessonText[];
  /** How the model was asked, and is to be asked from now on. */
  readonly settings: ProverSettings;
  readonly contextTokens: number;
  readonly seed: number;
  /** Where the model goes, and where the states of its training are until then. */
  readonly folder: string;
  readonly states: string;
  readonly signal?: AbortSignal;
  readonly onNotice?: (text: string) => void;
}

export interface FineTuneStep {
  readonly step: number;
  readonly steps: number;
  readonly loss: number;
  readonly rows: number;
}

const SAVE_MS = 120_000;

/** @throws ConfigError, NotFiniteError, the signal's reason */
export async function* fineTune(
  {
    start,
    load: options,
    texts,
    settings,
    contextTokens,
    seed,
    folder,
    states: place,
    signal,
    onNotice,
  }: FineTuneJob,
  { epochs = 3, learningRate = 1e-4, batchRows = 8, rowTokens }: FineTuning,
): AsyncGenerator<FineTuneStep> {
  const found = await locateModel(start, options);
  await using loaded = await load(start, { ...options, dtype: "f32", signal });
  const { model, tokenizer } = loaded as typeof loaded & { readonly tokenizer: Tokenizer };
  const length = rowTokens ?? Math.min(contextTokens, 2048);
  const rows = new PackedRows(encodeLessons(texts, tokenizer), { length, seed });
  const steps = Math.max(1, Math.ceil((epochs * rows.rows) / batchRows));
  using trainer = new Trainer(model, rows, {
    ...{ steps, batch: { size: Math.min(batchRows, rows.rows) } },
    learningRate: { peak: learningRate, warmupSteps: Math.ceil(steps / 20), shape: "constant" },
  });
  const config = changedConfig(await found.tree.readText("config.json"), (json) => {
    setDtype(json, "float32");
    json.delete("quantization_config");
  });
  const files = {
    ...(await companions(found.tree)),
    [PROVER_FILE]: `${JSON.stringify(settings, null, 1)}\n`,
  };
  const states = new RunStates(place);
  await states.loadNewest((path) => loadTraining(trainer, nodeFolder(path)), onNotice ?? (() => {}));
  const save = async () => {
    await trainer.checkWeights();
    const sink = await nodeFolderSink(states.path(trainer.step), { kind: "state", force: true });
    await saveTraining(trainer, sink, { config: JSON.parse(config) as never, files });
    await states.removeOld(1);
  };
  let saved = performance.now();
  while (!trainer.done) {
    if (signal?.aborted) {
      if (trainer.step > 0) await save();
      signal.throwIfAborted();
    }
    const { step, loss } = await trainer.trainStep();
    yield { step, steps, loss, rows: rows.rows };
    // Else no signal is seen before the end.
    await yieldToEventLoop();
    if (performance.now() - saved >= SAVE_MS && !trainer.done) {
      await save();
      saved = performance.now();
    }
  }
  await trainer.checkWeights();
  await saveCheckpoint(await nodeFolderSink(folder, { force: true }), modelEntries(model), { config, files });
  for (const step of await states.steps()) await removeOwnFolder(states.path(step));
}
