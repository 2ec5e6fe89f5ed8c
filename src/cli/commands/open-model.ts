/** From the MODEL of a command line to a model: a folder in the Hugging Face layout, or a training run. */
import { access, readdir } from "node:fs/promises";
import { join } from "node:path";
import { loadModel } from "../../checkpoint/model.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import type { CausalLM } from "../../models/causal-lm.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Device } from "../../tensor/tensor.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { savedSteps, stepFolder } from "../../train/state.ts";

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/**
 * The model folder that `path` names: itself, or of a training run its `model/`, or while it still trains its newest
 * saved state. @throws ConfigError
 */
export async function modelFolder(path: string): Promise<string> {
  if (!(await exists(path))) {
    throw new ConfigError("no such folder", {
      where: path,
      hint: "Give a model's folder (config.json, model.safetensors, tokenizer.json) or a training run's.",
    });
  }
  if (await exists(join(path, "config.json"))) return path;
  if (await exists(join(path, "model", "config.json"))) return join(path, "model");
  const step = savedSteps(await readdir(join(path, "checkpoints")).catch(() => [])).at(-1);
  if (step !== undefined) return join(path, "checkpoints", stepFolder(step));
  const isRun = await exists(join(path, "run.json"));
  throw new ConfigError(isRun ? "the run has saved nothing yet" : "neither a model nor a training run", {
    where: path,
    hint: isRun ? "Wait for its first saved state." : "A model's folder has a config.json.",
  });
}

/** The tokenizer in a model folder. @throws FormatError */
export async function openTokenizer(folder: string): Promise<Tokenizer> {
  const tree = nodeFolder(folder);
  const config = "tokenizer_config.json";
  return loadTokenizer(
    await tree.readText("tokenizer.json"),
    (await tree.has(config)) ? await tree.readText(config) : undefined,
  );
}

/** `auto`: bf16 where the weights were saved so, else f32. */
export type DtypeOption = "auto" | "f32" | "bf16";

/** Loads model and tokenizer of `path`. @throws ConfigError, FormatError, ShapeError */
export async function openModel(
  path: string,
  device: Device,
  dtype: DtypeOption,
): Promise<{ folder: string; model: CausalLM; tokenizer: Tokenizer }> {
  const folder = await modelFolder(path);
  const tokenizer = await openTokenizer(folder);
  const tree = nodeFolder(folder);
  let storage: "f32" | "bf16" = dtype === "bf16" ? "bf16" : "f32";
  if (dtype === "auto") {
    const config = JSON.parse(await tree.readText("config.json")) as { torch_dtype?: unknown };
    if (config.torch_dtype === "bfloat16") storage = "bf16";
  }
  return { folder, model: await loadModel(tree, device, { dtype: storage }), tokenizer };
}
