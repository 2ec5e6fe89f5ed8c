/**
 * Low-rank adapters in the layout of PEFT ("PEFT checkpoint format" in its documentation): a folder with `adapter_config.json` and
 * `adapter_model.safetensors`, whose tensors are called `base_model.model.` + official module + `.lora_A.weight` or
 * `.lora_B.weight`. Which matrices are adapted is read from these names.
 */

import { writeWhole } from "../files/sink.ts";
import { allocateAdapters, chosenMatrices } from "../models/adapted-model.ts";
import { checkNames } from "../nn/check-names.ts";
import { checkGroups } from "../nn/loading.ts";
import {
  type AdaptableMatrix,
  adaptableMatrices,
  LowRankAdapters,
  type LowRankSettings,
  PEFT_PREFIX,
} from "../nn/low-rank-adapters.ts";
import type { Parameters } from "../nn/parameters.ts";
import { describeModule } from "../nn/scope.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { ADAPTER_CONFIG, readAdapterConfig, writeAdapterConfig } from "./adapter-config.ts";
import type { FileTree, FolderSink } from "./byte-source.ts";
import { modelEntries } from "./entries.ts";
import { decodeFloats } from "./folder.ts";
import { openSafetensors, type SafetensorsFile } from "./safetensors.ts";
import { isKnownDtype, safetensorsDtypes } from "./safetensors-dtype.ts";
import { writeSafetensors } from "./safetensors-writer.ts";
import { parseJsonObject } from "./strict-json.ts";

export const ADAPTER_WEIGHTS = "adapter_model.safetensors";

/** Values read at once. */
const CHUNK = 1 << 20;

/** What a file of adapters may hold besides. */
const MEANING: readonly (readonly [RegExp, string])[] = [
  [/\.lora_magnitude_vector/, "DoRA's magnitudes are not supported."],
  [/\.lora_embedding_[AB]$/, "Adapters of embeddings are not supported."],
  [/\.lora_[AB]\.bias$/, "Biases of adapters are not supported."],
  [/\.modules_to_save\./, "Whole modules beside adapters are not supported."],
];

/** A single file of float tensors as weights. */
function fileWeights(file: SafetensorsFile, where: string): WeightSource {
  return {
    where,
    names: () => file.tensors.keys(),
    has: (name) => file.tensors.has(name),
    shape: (name) => file.tensors.get(name)!.shape,
    async *readF32(name) {
      const { dtype, begin, end } = file.tensors.get(name)!;
      if (!isKnownDtype(dtype) || decodeFloats(dtype, new Uint8Array(0)) === undefined) {
        throw new FormatError("the weights of an adapter must be floats", { where, name, found: dtype });
      }
      const width = safetensorsDtypes[dtype];
      for (let at = 0; at < end - begin; at += CHUNK * width) {
        const bytes = await file.readRange(name, at, Math.min(CHUNK * width, end - begin - at));
        yield { offset: at / width, values: decodeFloats(dtype, bytes)! };
      }
    },
  };
}

/** The modules that a file's names speak of. @throws FormatError for a name that is none of an adapter's */
function modulesOf(source: WeightSource): Set<string> {
  const modules = new Set<string>();
  for (const name of source.names()) {
    const [, module] = /^base_model\.model\.(.+)\.lora_[AB]\.weight$/.exec(name) ?? [];
    if (module !== undefined) {
      modules.add(module);
      continue;
    }
    throw new FormatError("the file holds a tensor that is no low-rank adapter's", {
      where: source.where!,
      name,
      expected: `${PEFT_PREFIX}MODULE.lora_A.weight, or lora_B`,
      hint: MEANING.find(([pattern]) => pattern.test(name))?.[1],
    });
  }
  return modules;
}

/** The matrices that the modules of a file are about. @throws FormatError for one that the model does not have */
function matricesOf(modules: ReadonlySet<string>, parameters: Pick<Parameters, "groups">, where: string) {
  const all = adaptableMatrices(parameters.groups());
  const known = new Set(all.flatMap((matrix) => matrix.modules));
  for (const module of modules) {
    if (known.has(module)) continue;
    throw new FormatError("the adapter is of another model", {
      where,
      name: module,
      expected: "a linear layer of this model",
      hint: "adapter_config.json says which one in base_model_name_or_path.",
    });
  }
  if (modules.size === 0) throw new FormatError("the file holds no adapters", { where });
  return chosenMatrices(all, (module) => modules.has(module));
}

/** Settings and weights of the adapters in a folder. */
interface OpenedFolder extends AsyncDisposable {
  readonly settings: LowRankSettings;
  readonly source: WeightSource;
}

/** @throws FormatError for what is not supported, ConfigError if the folder holds none */
async function openFolder(tree: FileTree): Promise<OpenedFolder> {
  if (!(await tree.has(ADAPTER_CONFIG))) {
    throw new ConfigError("the folder holds no adapter", {
      where: tree.name,
      expected: `${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS}`,
      found: `no ${ADAPTER_CONFIG}`,
    });
  }
  const place = `${tree.name}/${ADAPTER_CONFIG}`;
  const settings = readAdapterConfig(parseJsonObject(await tree.readText(ADAPTER_CONFIG), place), place);
  if (!(await tree.has(ADAPTER_WEIGHTS))) {
    throw new ConfigError("the folder holds no adapter weights that can be read", {
      where: tree.name,
      expected: ADAPTER_WEIGHTS,
      hint: "adapter_model.bin is not read; PEFT writes safetensors with save_pretrained(FOLDER).",
    });
  }
  const file = await tree.open(ADAPTER_WEIGHTS);
  const close = async () => file.close?.();
  try {
    const source = fileWeights(await openSafetensors(file), `${tree.name}/${ADAPTER_WEIGHTS}`);
    return { settings, source, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/**
 * Reads the adapters in a folder, for matrices of `parameters`, which may be described only. The caller attaches or merges
 * them. @throws FormatError for what is not supported or of another model, ShapeError, ConfigError if the folder holds none
 */
export async function openAdapters(
  tree: FileTree,
  device: Device,
  parameters: Pick<Parameters, "groups">,
): Promise<LowRankAdapters> {
  await using opened = await openFolder(tree);
  const { settings, source } = opened;
  const matrices = matricesOf(modulesOf(source), parameters, source.where!);
  checkSizes(matrices, settings, source);
  const adapters = allocateAdapters(device, matrices, settings);
  try {
    await fill(adapters, source);
  } catch (error) {
    adapters[Symbol.dispose]();
    throw error;
  }
  return adapters;
}

async function fill(adapters: LowRankAdapters, source: WeightSource): Promise<void> {
  checkNames([adapters], source);
  await adapters.parameters.load(source);
}

/** Reads the weights of the same adapters, saved before. @throws FormatError if they are others, ShapeError, ConfigError */
export async function readAdapters(tree: FileTree, adapters: LowRankAdapters): Promise<void> {
  await using opened = await openFolder(tree);
  const described = ({ rank, alpha, rankStabilized = false }: LowRankSettings) =>
    `rank ${rank}, alpha ${alpha}${rankStabilized ? ", rank-stabilized" : ""}`;
  const [expected, found] = [described(adapters.settings), described(opened.settings)];
  if (expected !== found) {
    throw new FormatError("the saved adapters have other settings", { where: tree.name, expected, found });
  }
  await fill(adapters, opened.source);
}

/** Before memory is taken: the configuration may name any rank. @throws FormatError, ShapeError */
function checkSizes(
  matrices: readonly AdaptableMatrix[],
  settings: LowRankSettings,
  source: WeightSource,
): void {
  const { parameters } = describeModule(
    (scope) => new LowRankAdapters(scope, matrices, settings),
    PEFT_PREFIX,
  );
  checkGroups([...parameters.groups()], source);
}

export interface SaveAdaptersOptions {
  /** Name or path of the base model, for `adapter_config.json`. */
  readonly base?: string;
  /** Further files by name. */
  readonly files?: Readonly<Record<string, string>>;
}

/** Saves adapters into `sink` and commits it; on an error aborts it. */
export async function saveAdapters(
  sink: FolderSink,
  adapters: LowRankAdapters,
  { base, files = {} }: SaveAdaptersOptions = {},
): Promise<void> {
  const config = writeAdapterConfig(adapters.settings, adapters.modules, base ?? null);
  try {
    await writeWhole(await sink.file(ADAPTER_CONFIG), `${JSON.stringify(config, null, 2)}\n`);
    for (const [path, content] of Object.entries(files)) await writeWhole(await sink.file(path), content);
    await writeSafetensors(await sink.file(ADAPTER_WEIGHTS), [...modelEntries(adapters)], { format: "pt" });
    await sink.commit();
  } catch (error) {
    await sink.abort();
    throw error;
  }
}
