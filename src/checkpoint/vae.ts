/** The autoencoder that JanusFlow draws with, from a folder in any of the layouts that it is offered in. */
import { parseVaeConfig, sdxlVae } from "../models/vae-config.ts";
import { checkNames } from "../nn/check-names.ts";
import { checkGroups } from "../nn/loading.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { allocateModule, describeModule, type ParameterScope } from "../nn/scope.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import type { Device } from "../tensor/tensor.ts";
import { type VaeConfig, VaeModel } from "../vision/vae.ts";
import type { FileTree } from "./byte-source.ts";
import { openCheckpoint } from "./folder.ts";
import { modelWeights } from "./model.ts";
import { f32Entry, type SafetensorsEntry } from "./safetensors-writer.ts";
import { vaeFiles, withVaeNames } from "./vae-names.ts";

/** A folder whose `model.safetensors` is a file of another name. */
function named(tree: FileTree, file: string): FileTree {
  const actual = (path: string) => (path === "model.safetensors" ? file : path);
  return {
    name: tree.name,
    list: async () => (await tree.list()).map((path) => (path === file ? "model.safetensors" : path)),
    has: (path) => tree.has(actual(path)),
    open: (path) => tree.open(actual(path)),
    readText: (path) => tree.readText(actual(path)),
  };
}

/** One weights file as a folder: an autoencoder of a pipeline, or one that lies among other files. */
export function vaeOfFile(tree: FileTree, file: string): FileTree {
  const alone = named(tree, file);
  // A configuration beside it may be of something else.
  const ours = async (path: string) => {
    if (path !== "config.json" || !(await tree.has(path))) return await alone.has(path);
    return /"_class_name"\s*:\s*"AutoencoderKL"/.test(await tree.readText(path));
  };
  return { ...alone, name: `${tree.name}/${file}`, has: ours };
}

/** The autoencoder that lies beside a model, in its folder `vae`; null if there is none. */
export async function vaeBeside(tree: FileTree): Promise<FileTree | null> {
  const inner = (path: string) => `vae/${path}`;
  const beside: FileTree = {
    name: `${tree.name}/vae`,
    list: async () => {
      const present = [...vaeFiles, "model.safetensors", "config.json"];
      const found = await Promise.all(present.map((path) => tree.has(inner(path))));
      return present.filter((_, i) => found[i]);
    },
    has: (path) => tree.has(inner(path)),
    open: (path) => tree.open(inner(path)),
    readText: (path) => tree.readText(inner(path)),
  };
  const files = await beside.list();
  return files.some((path) => path.endsWith(".safetensors")) ? beside : null;
}

/** Makes an autoencoder and fills it from a source with either set of names. @throws FormatError, ShapeError */
export async function vaeFrom(config: VaeConfig, source: WeightSource, device: Device): Promise<VaeModel> {
  const make = (scope: ParameterScope) => new VaeModel(scope, config);
  const described = describeModule(make);
  const official = withVaeNames(source, described.parameters.named(), config.widths.length);
  checkNames([described.module], official);
  checkGroups([...described.parameters.groups()], official);
  const model = allocateModule(device, "f32", make);
  try {
    await model.parameters.load(official);
  } catch (error) {
    model[Symbol.dispose]();
    throw error;
  }
  return model;
}

/**
 * Loads an autoencoder from a folder: with `config.json` that of diffusers, without it Stable Diffusion XL's. The weights are
 * in `diffusion_pytorch_model.safetensors`, `sdxl_vae.safetensors` or `model.safetensors`, alone or among those of a
 * pipeline. @throws ConfigError, FormatError, ShapeError
 */
export async function loadVae(tree: FileTree, device: Device): Promise<VaeModel> {
  let folder = tree;
  for (const file of vaeFiles) {
    if (!(await tree.has(file))) continue;
    folder = named(tree, file);
    break;
  }
  const checkpoint = await openCheckpoint(folder);
  try {
    const { config } = checkpoint;
    return await vaeFrom(
      config === null ? sdxlVae : parseVaeConfig(config),
      modelWeights(checkpoint),
      device,
    );
  } finally {
    await checkpoint.close();
  }
}

/** The tensors of an autoencoder under the names of diffusers, ready to be saved beside `vaeConfigJson`. */
export function* vaeEntries(model: VaeModel): Generator<SafetensorsEntry> {
  const source = weightsOf(model);
  for (const name of source.names()) {
    yield f32Entry(name, source.shape(name), async function* () {
      for await (const { values } of source.readF32(name)) yield values;
    });
  }
}
