/**
 * What a checkpoint holds against what its configuration says: counts and sizes before lists or memory follow from
 * them, and names, so that what would be ignored silently is refused instead.
 */
import { checkGroup } from "../nn/loading.ts";
import type { Parameters, StorageRule, WeightSource } from "../nn/parameters.ts";
import { FormatError } from "../tensor/errors.ts";
import type { LanguageConfig } from "./language-config.ts";
import { withLatentHalves } from "./latent-weights.ts";
import { resolveStorage } from "./quantization.ts";
import { mainSpecs, mtpCopies, mtpSpecs } from "./specs.ts";

/** The layers whose tensors a source has, by their numbers. */
function storedLayers(source: WeightSource): Set<number> {
  const found = new Set<number>();
  for (const name of [...source.names(), ...(source.tiles?.keys() ?? [])]) {
    const layer = /^model\.layers\.(\d+)\./.exec(name);
    if (layer) found.add(Number(layer[1]));
  }
  return found;
}

/** Experts of the layer that has most; null where only their bytes say so. */
function storedExperts(source: WeightSource): number | null {
  const layers = new Map<string, number>();
  let most = 0;
  for (const name of source.names()) {
    const [, layer, rest] = /^(model\.layers\.\d+)\.mlp\.experts\.(.+)$/.exec(name) ?? [];
    if (layer === undefined) continue;
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
 * them afterwards. @throws FormatError where it names more than there are
 */
export function checkCounts(config: LanguageConfig, source: WeightSource): void {
  const { layers, moe } = config;
  if (moe !== null) {
    const first = Math.ceil(moe.firstDenseLayers / moe.layerFrequency) * moe.layerFrequency;
    const experts = first < layers ? storedExperts(source) : null;
    if (experts !== null && experts < moe.experts) {
      throw tooFew(source, "expert", "n_routed_experts", experts, moe.experts);
    }
  }
  const stored = storedLayers(source).size;
  if (stored < layers) throw tooFew(source, "layer", "num_hidden_layers", stored, layers);
}

/**
 * Compares everything that a model would take memory for with a checkpoint; nothing is allocated. `config` names only
 * prediction layers that are stored. @throws FormatError, ShapeError naming the tensor
 */
export function checkStored(config: LanguageConfig, source: WeightSource, storage: StorageRule): void {
  checkCounts(config, source);
  const { layout } = resolveStorage(config, storage);
  const { attention } = config;
  const halved = layout === "absorbed" && attention.kind === "mla";
  const weights = halved ? withLatentHalves(source, attention) : source;
  for (const spec of [...mainSpecs(config, layout), ...mtpSpecs(config, layout)]) checkGroup(spec, weights);
}

/**
 * How many of the multi-token-prediction layers that the configuration names the checkpoint holds: transformers keeps
 * the key of the file it loaded and saves no such layer. Any tensor of a layer counts: what lacks others is damaged.
 */
export function storedMtpLayers({ layers, mtpLayers }: LanguageConfig, source: WeightSource): number {
  const found = storedLayers(source);
  let stored = 0;
  while (stored < mtpLayers && found.has(layers + stored)) stored++;
  return stored;
}

/** What to say where the checkpoint holds fewer prediction layers than its configuration names. */
export function absentMtpText(named: number, stored: number): string {
  return (
    `config.json names ${named} multi-token-prediction layer${named === 1 ? "" : "s"}, the files hold ` +
    `${stored === 0 ? "none" : stored}; everything but speculation and training of them works without`
  );
}

/** Refuses names that the model has no place for. @throws FormatError */
export function checkNames(config: LanguageConfig, parameters: Parameters, source: WeightSource): void {
  const stacked = new Set<string>();
  for (const { stackedName } of parameters.groups()) if (stackedName !== undefined) stacked.add(stackedName);
  const copies = mtpCopies(config);
  const stored = config.layers + config.mtpLayers;
  for (let layer = config.layers; layer < stored; layer++) {
    const name = `model.layers.${layer}.eh_proj.weight`;
    if (source.has(name) || source.tiles?.tileFormat(name)) continue;
    throw new FormatError("the checkpoint lacks a multi-token-prediction layer that its config.json names", {
      where: "load",
      name,
      hint: "Create the model with mtpLayers: 0, or set num_nextn_predict_layers to 0.",
    });
  }
  for (const key of source.tiles?.keys() ?? []) {
    if (parameters.hasGroup(key)) continue;
    throw new FormatError("the checkpoint holds quantized weights that the model has no place for", {
      where: "load",
      name: key,
      hint: "Is config.json the one that belongs to these weights?",
    });
  }
  const inTiles = new Set<string>();
  for (const key of source.tiles?.keys() ?? []) {
    for (const { name } of parameters.group(key).parts) inTiles.add(name);
  }
  for (const name of source.names()) {
    if (inTiles.has(name)) {
      throw new FormatError("a weight is stored twice, as floats and quantized", { where: "load", name });
    }
    if (parameters.has(name) || stacked.has(name) || copies.has(name)) continue;
    if (name.endsWith(".rotary_emb.inv_freq")) continue;
    if (config.tieEmbeddings && name === "lm_head.weight") continue;
    // Multi-token-prediction layers that this model was built without.
    const layer = /^model\.layers\.(\d+)\./.exec(name);
    if (layer && config.mtpLayers === 0 && Number(layer[1]) >= stored) continue;
    throw new FormatError("the checkpoint holds a tensor that the model has no place for", {
      where: "load",
      name,
      hint: "Is config.json the one that belongs to these weights?",
    });
  }
}
