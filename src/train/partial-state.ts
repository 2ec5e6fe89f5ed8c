/**
 * A saved step without what is never trained: the weights that change and their moments. The rest stands where the run
 * began.
 *
 *     step-00000200/  weights.safetensors  optimizer.safetensors  trainer.json
 */
import type { FileTree, FolderSink } from "../checkpoint/byte-source.ts";
import { safetensorsDtypeOf, tensorEntry } from "../checkpoint/entries.ts";
import { openSafetensors } from "../checkpoint/safetensors.ts";
import { writeSafetensors } from "../checkpoint/safetensors-writer.ts";
import { parseJsonObject } from "../checkpoint/strict-json.ts";
import { writeWhole } from "../files/sink.ts";
import type { ParameterGroup } from "../nn/parameter-group.ts";
import { bytesPerElement, rawView } from "../tensor/dtype.ts";
import { FormatError } from "../tensor/errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { Batch } from "./batches.ts";
import type { Trainable } from "./objectives/objective.ts";
import type { Trainer, TrainerState } from "./trainer.ts";

const FORMAT = 1;
const CHUNK_BYTES = 1 << 22;

/** What is saved of a step beside the trainer's state. */
export interface PartialState extends TrainerState {
  readonly format: number;
  /** Number of the stage, from 0. */
  readonly stage: number;
}

interface Named {
  readonly name: string;
  readonly tensor: Tensor;
}

/** The weights that training may change: those that some stage trains, and the biases of balanced experts. */
export function changingWeights(model: Trainable, trained: (group: ParameterGroup) => boolean): Named[] {
  return [...model.parameters.groups()]
    .filter((group) => trained(group) || (!group.trained && group.key.endsWith("e_score_correction_bias")))
    .map(({ key, tensor }) => ({ name: key, tensor }));
}

/** Saves a step into `sink` and commits it. */
export async function savePartial<M extends Trainable, B extends Batch>(
  trainer: Trainer<M, B>,
  sink: FolderSink,
  weights: readonly Named[],
  stage: number,
): Promise<void> {
  const state: PartialState = { format: FORMAT, stage, ...trainer.state() };
  const entries = (named: Iterable<Named>) =>
    Array.from(named, ({ name, tensor }) => tensorEntry(name, tensor));
  try {
    await writeSafetensors(await sink.file("weights.safetensors"), entries(weights), {});
    await writeSafetensors(await sink.file("optimizer.safetensors"), entries(trainer.tensors()), {});
    await writeWhole(await sink.file("trainer.json"), `${JSON.stringify(state, null, 2)}\n`);
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}

/** The state in a saved step. @throws FormatError */
export async function readPartialState(tree: FileTree): Promise<PartialState> {
  const where = `${tree.name}/trainer.json`;
  const state = parseJsonObject(await tree.readText("trainer.json"), where) as unknown as PartialState;
  const refuse = (name: string, expected: unknown, found: unknown): never => {
    throw new FormatError("damaged state, or one of another version", { where, name, expected, found });
  };
  if (state.format !== FORMAT) refuse("format", FORMAT, state.format);
  for (const name of ["step", "tokens", "optimizerSteps", "stage"] as const) {
    if (!(Number.isSafeInteger(state[name]) && state[name] >= 0))
      refuse(name, "an integer, 0 or more", state[name]);
  }
  return state;
}

/** Reads named tensors out of a file. @throws FormatError if one is missing or of another shape */
export async function readTensors(
  tree: FileTree,
  what: "weights" | "moments",
  named: Iterable<Named>,
): Promise<void> {
  const source = await tree.open(what === "moments" ? "optimizer.safetensors" : "weights.safetensors");
  try {
    const file = await openSafetensors(source);
    for (const { name, tensor } of named) {
      const info = file.tensors.get(name);
      const found = info && `${info.dtype} [${info.shape}]`;
      const expected = `${safetensorsDtypeOf(tensor)} [${tensor.shape}]`;
      if (found !== expected) {
        throw new FormatError(`the saved ${what} do not match this model`, {
          where: source.name,
          name,
          expected,
          found: found ?? "nothing",
          hint: "Resume with the configuration that the run was started with.",
        });
      }
      const bytes = info!.end - info!.begin;
      const width = bytesPerElement[tensor.dtype];
      for (let at = 0; at < bytes; at += CHUNK_BYTES) {
        const chunk = (await file.readRange(name, at, Math.min(CHUNK_BYTES, bytes - at))).slice();
        tensor.set(rawView(tensor.dtype, chunk.buffer, 0, chunk.byteLength / width), at / width);
      }
    }
  } finally {
    await source.close?.();
  }
}
