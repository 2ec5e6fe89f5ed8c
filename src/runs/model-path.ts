/** Models by the folder of the training run that made them: the model in it, or while it still trains its newest saved state. */
import { access, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { ADAPTER_CONFIG } from "../checkpoint/adapter-config.ts";
import { recoverFolder } from "../files/folder-sink.ts";
import { ConfigError } from "../tensor/errors.ts";
import { savedSteps, stepFolder } from "../train/state.ts";

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
      hint: "Pass a model folder (config.json, model.safetensors, tokenizer.json) or a training run.",
    });
  }
  if (await exists(join(path, "config.json"))) return path;
  await recoverFolder(join(path, "model"));
  if (await exists(join(path, "model", "config.json"))) return join(path, "model");
  if ((await adapterPath(path)) !== null) {
    throw new ConfigError("this is an adapter, which needs the model below it", {
      where: path,
      hint: `Give that model and --adapter ${path}, or merge both: deepseek-ts convert MODEL FOLDER --adapter ${path}`,
    });
  }
  const state = await newestState(path);
  if (state !== null) return state;
  const isRun = await exists(join(path, "run.json"));
  if (savedSteps(await readdir(join(path, "states")).catch(() => [])).length > 0) {
    throw new ConfigError("the run is not over, and its states hold only what is trained", {
      where: path,
      hint: `Write the model as it stands: deepseek-ts train --resume ${path} --write-model FOLDER`,
    });
  }
  throw new ConfigError(isRun ? "the run has saved nothing yet" : "neither a model nor a training run", {
    where: path,
    hint: isRun ? "Wait for its first saved state." : "A model folder contains a config.json.",
  });
}

/** The newest saved state of a training run; null if there is none. */
async function newestState(path: string): Promise<string | null> {
  const step = savedSteps(await readdir(join(path, "checkpoints")).catch(() => [])).at(-1);
  return step === undefined ? null : join(path, "checkpoints", stepFolder(step));
}

/**
 * The folder of an adapter: `path` itself, or of a training run that one which it trains, or while it still trains its newest
 * saved state; null if there is none.
 */
async function adapterPath(path: string): Promise<string | null> {
  for (const folder of [path, join(path, "adapter"), await newestState(path)]) {
    if (folder !== null && (await exists(join(folder, ADAPTER_CONFIG)))) return folder;
  }
  return null;
}

/** What `adapter` names: where that is the folder of a training run, the adapter in it. */
export async function givenAdapter({ adapter }: { readonly adapter?: string }): Promise<string | undefined> {
  return adapter === undefined ? undefined : ((await adapterPath(adapter)) ?? adapter);
}

/** `path` with the folder of a training run replaced by the model in it; other paths and names as they are. */
export async function modelPath(path: string): Promise<string> {
  const isFolder = await stat(path).then(
    (info) => info.isDirectory(),
    () => false,
  );
  if (!isFolder) return path;
  const hasGguf = (await readdir(path)).some((name) => /\.gguf$/i.test(name));
  return hasGguf ? path : modelFolder(path);
}
