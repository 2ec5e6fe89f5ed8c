/**
 * A training run on disk: one folder per saved step in the Hugging Face layout, with the optimizer's moments and
 * the loop's state beside the weights. A folder appears in one rename when it is complete, so that a run killed at
 * any moment still has its last one.
 *
 *     step-00000200/  config.json  model.safetensors  tokenizer.json  optimizer.safetensors  trainer.json
 */
import { readAdapters, saveAdapters } from "../checkpoint/adapters.ts";
import type { FileTree, FolderSink } from "../checkpoint/byte-source.ts";
import { modelEntries, tensorEntry } from "../checkpoint/entries.ts";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { modelWeights } from "../checkpoint/model.ts";
import { writeSafetensors } from "../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { parseJsonObject } from "../checkpoint/strict-json.ts";
import type { AdaptedModel } from "../models/adapted-model.ts";
import type { Json } from "../models/config-reader.ts";
import { FormatError } from "../tensor/errors.ts";
import type { Batch } from "./batches.ts";
import type { Trainable } from "./objectives/objective.ts";
import { readTensors } from "./partial-state.ts";
import type { Trainer, TrainerState } from "./trainer.ts";

const FORMAT = 1;
interface SavedState extends TrainerState {
  readonly format: number;
}

/** Name of the folder of step `step`; names sort as steps do. */
export function stepFolder(step: number): string {
  return `step-${String(step).padStart(8, "0")}`;
}

/** The steps among folder names, oldest first. */
export function savedSteps(names: Iterable<string>): number[] {
  const steps: number[] = [];
  for (const name of names) {
    const match = /^step-(\d{8})$/.exec(name);
    if (match) steps.push(Number(match[1]));
  }
  return steps.sort((a, b) => a - b);
}

export interface SavedParts {
  /** The model's official `config.json`, or its text. */
  readonly config: Json | string;
  /** Further files by name, added as they are. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Writes the moments; aborts the folder on an error. */
async function saveMoments<M extends Trainable, B extends Batch>(
  trainer: Trainer<M, B>,
  sink: FolderSink,
): Promise<void> {
  try {
    const moments = Array.from(trainer.tensors(), ({ name, tensor }) => tensorEntry(name, tensor));
    await writeSafetensors(await sink.file("optimizer.safetensors"), moments, {});
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

function stateText(trainer: { state(): TrainerState }): string {
  const state: SavedState = { format: FORMAT, ...trainer.state() };
  return `${JSON.stringify(state, null, 2)}\n`;
}

/** Saves weights, moments and state into `sink` and commits it. */
export async function saveTraining<M extends Trainable, B extends Batch>(
  trainer: Trainer<M, B>,
  sink: FolderSink,
  { config, files = {} }: SavedParts,
): Promise<void> {
  const state = stateText(trainer);
  await saveMoments(trainer, sink);
  await saveCheckpoint(sink, modelEntries(trainer.model), {
    config,
    files: { ...files, "trainer.json": state },
  });
}

/**
 * The same of a model with adapters: the folder is an adapter in PEFT's layout, with moments and state beside it. The
 * weights below are not saved. @param base name or path of the base model
 */
export async function saveAdapterTraining<B extends Batch>(
  trainer: Trainer<AdaptedModel, B>,
  sink: FolderSink,
  base?: string,
): Promise<void> {
  const state = stateText(trainer);
  await saveMoments(trainer, sink);
  await saveAdapters(sink, trainer.model.adapters, { base, files: { "trainer.json": state } });
}

/** The loop's state in a saved step. @throws FormatError */
async function readState(tree: FileTree): Promise<SavedState> {
  const where = `${tree.name}/trainer.json`;
  const state = parseJsonObject(await tree.readText("trainer.json"), where) as unknown as SavedState;
  if (state.format !== FORMAT) {
    throw new FormatError("saved by another version", {
      where,
      name: "format",
      expected: FORMAT,
      found: state.format,
    });
  }
  for (const name of ["step", "tokens", "optimizerSteps"] as const) {
    const found = state[name];
    if (!(Number.isSafeInteger(found) && found >= 0)) {
      throw new FormatError("damaged state", { where, name, expected: "an integer, 0 or more", found });
    }
  }
  return state;
}

/** Puts a saved step back into `trainer`: weights, moments, data position. @throws FormatError, ConfigError */
export async function loadTraining<M extends Trainable, B extends Batch>(
  trainer: Trainer<M, B>,
  tree: FileTree,
): Promise<void> {
  const state = await readState(tree);
  const checkpoint = await openCheckpoint(tree);
  try {
    await trainer.model.parameters.load(modelWeights(checkpoint));
  } finally {
    await checkpoint.close();
  }
  await readTensors(tree, "moments", trainer.tensors());
  trainer.restore(state);
}

/** Puts a saved step of adapters back into `trainer`. @throws FormatError, also for adapters with other settings, ShapeError */
export async function loadAdapterTraining<B extends Batch>(
  trainer: Trainer<AdaptedModel, B>,
  tree: FileTree,
): Promise<void> {
  const state = await readState(tree);
  await readAdapters(tree, trainer.model.adapters);
  await readTensors(tree, "moments", trainer.tensors());
  trainer.restore(state);
}
