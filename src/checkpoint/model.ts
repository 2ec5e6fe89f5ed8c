/** Between models and files: a checkpoint as the weights of a model, and a model as the tensors of a checkpoint. */
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import type { WeightSource } from "../nn/parameters.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import type { FileTree } from "./byte-source.ts";
import { type Checkpoint, openCheckpoint } from "./folder.ts";
import type { SafetensorsEntry } from "./safetensors-writer.ts";

/** A checkpoint as models read it. */
export function modelWeights(checkpoint: Checkpoint): WeightSource {
  return {
    names: () => checkpoint.names(),
    has: (name) => checkpoint.has(name),
    shape: (name) => checkpoint.info(name).shape,
    readF32: (name) => checkpoint.readF32(name),
  };
}

/** What safetensors calls a float tensor's storage. */
export function safetensorsDtypeOf(tensor: Tensor): "F32" | "BF16" | "F16" {
  return tensor.dtype === "bf16" ? "BF16" : tensor.dtype === "f16" ? "F16" : "F32";
}

/** A float tensor, ready to be saved under `name`; it is read when its turn comes. */
export function tensorEntry(name: string, tensor: Tensor): SafetensorsEntry {
  const data = async () => {
    const raw = await tensor.raw();
    return new Uint8Array(raw.buffer, raw.byteOffset, raw.byteLength);
  };
  return { name, dtype: safetensorsDtypeOf(tensor), shape: tensor.shape, data };
}

/** A model's official tensors, ready to be saved. */
export function* modelEntries(model: CausalLM): Generator<SafetensorsEntry> {
  for (const { name } of model.parameters.named()) yield tensorEntry(name, model.parameters.get(name));
}

export interface LoadOptions {
  /** Storage of the matrices; default f32. */
  readonly dtype?: "f32" | "bf16" | "f16";
}

/** Loads a model from a folder in the Hugging Face layout. @throws ConfigError, FormatError, ShapeError */
export async function loadModel(
  tree: FileTree,
  device: Device,
  options: LoadOptions = {},
): Promise<CausalLM> {
  const checkpoint = await openCheckpoint(tree);
  try {
    if (checkpoint.config === null) {
      throw new ConfigError("the folder has no config.json", {
        where: tree.name,
        hint: "Copy it from the model's page.",
      });
    }
    const model = createModel(checkpoint.config, device, { dtype: options.dtype ?? "f32" });
    try {
      await model.load(modelWeights(checkpoint));
    } catch (error) {
      model[Symbol.dispose]();
      throw error;
    }
    return model;
  } finally {
    await checkpoint.close();
  }
}
