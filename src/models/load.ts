/**
 * What a checkpoint holds against what its configuration says: counts and sizes, before lists or memory follow from
 * them. `prefix` is what the model's names begin with if it stands beside other modules.
 */
import { checkGroups } from "../nn/loading.ts";
import { plannedGroups, resolveStorage, type StorageRule } from "../nn/storage.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { FormatError } from "../tensor/errors.ts";
import { type Decoder, describeDecoder, layerOf } from "./decoder.ts";
import type { LanguageConfig } from "./language-config.ts";

/** The layers whose tensors a source has, by their numbers. */
function storedLayers(source: WeightSource, prefix: string): Set<number> {
  const found = new Set<number>();
  for (const name of [...source.names(), ...(source.tiles?.keys() ?? [])]) {
    const layer = layerOf(name, prefix);
    if (layer !== null) found.add(layer);
  }
  return found;
}

/** Experts of the layer that has most; null if only their bytes say so. */
function storedExperts(source: WeightSource, prefix: string): number | null {
  const layers = new Map<number, number>();
  let most = 0;
  for (const name of source.names()) {
    const layer = layerOf(name, prefix);
    const [, rest] = /\.mlp\.experts\.(.+)$/.exec(name) ?? [];
    if (layer === null || rest === undefined) continue;
    const stacked = !/^\d/.test(rest);
    // Each expert has one of these, whatever it has besides.
    if (!stacked && !rest.endsWith(".down_proj.weight")) continue;
    const count = stacked ? (source.shape(name)[0] ?? 0) : (layers.get(layer) ?? 0) + 1;
    layers.set(layer, Math.max(count, layers.get(layer) ?? 0));
    most = Math.max(most, count);
  }
  return most === 0 && source.tiles !== undefined ? null : most;
}

function tooFew(source: WeightSource, what: string, key: string, found: number, said: number): FormatError {
  const plural = found === 1 ? what : `${what}s`;
  return new FormatError(`the file has ${found} ${plural}, its configuration says ${said}`, {
    where: source.where ?? "load",
    name: key,
    hint: "Is config.json the one that belongs to these weights?",
  });
}

/**
 * Compares the counts of a configuration with the names of a checkpoint: lists of layers and experts may be built from
 * them afterwards. @throws FormatError if it names more than there are
 */
export function checkCounts(config: LanguageConfig, source: WeightSource, prefix = ""): void {
  const { layers, moe } = config;
  if (moe !== null) {
    const first = Math.ceil(moe.firstDenseLayers / moe.layerFrequency) * moe.layerFrequency;
    const experts = first < layers ? storedExperts(source, prefix) : null;
    if (experts !== null && experts < moe.experts) {
      throw tooFew(source, "expert", "n_routed_experts", experts, moe.experts);
    }
  }
  const stored = storedLayers(source, prefix).size;
  if (stored < layers) throw tooFew(source, "layer", "num_hidden_layers", stored, layers);
}

/**
 * Compares everything that a model would take memory for with a checkpoint; nothing is allocated. `config` names only
 * prediction layers that are stored. @throws FormatError, ShapeError naming the tensor
 */
export function checkStored(
  config: LanguageConfig,
  source: WeightSource,
  storage: StorageRule,
  prefix = "",
): void {
  checkCounts(config, source, prefix);
  const groups = [...describeDecoder(config, prefix).parameters.groups()];
  checkGroups([...plannedGroups(groups, resolveStorage(groups, storage))], source);
}

/**
 * How many of the multi-token-prediction layers that the configuration names the checkpoint holds: transformers keeps
 * the key of the file it loaded and saves no such layer. Any tensor of a layer counts: what lacks others is damaged.
 */
export function storedMtpLayers(
  { layers, mtpLayers }: LanguageConfig,
  source: WeightSource,
  prefix = "",
): number {
  const found = storedLayers(source, prefix);
  let stored = 0;
  while (stored < mtpLayers && found.has(layers + stored)) stored++;
  return stored;
}

/** What to say if the checkpoint holds fewer prediction layers than its configuration names. */
export function absentMtpText(named: number, stored: number): string {
  return (
    `config.json names ${named} multi-token-prediction layer${named === 1 ? "" : "s"}, the files hold ` +
    `${stored === 0 ? "none" : stored}; everything but speculation and training of them works without`
  );
}

/** Refuses a source without the prediction layers that a model was made with. @throws FormatError */
export function checkMtpStored({ modules }: Decoder, source: WeightSource): void {
  for (const { projection } of modules) {
    const { key: name } = projection.matrix;
    if (source.has(name) || source.tiles?.tileFormat(name)) continue;
    throw new FormatError(
      "the checkpoint lacks a multi-token-prediction layer that its config.json declares",
      {
        where: source.where ?? "load",
        name,
        hint: "Create the model with mtpLayers: 0, or set num_nextn_predict_layers to 0.",
      },
    );
  }
}
