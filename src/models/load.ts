/** Which tensors a checkpoint of a model may hold, so that what would be ignored silently is refused instead. */
import type { Parameters, WeightSource } from "../nn/parameters.ts";
import { FormatError } from "../tensor/errors.ts";
import type { LanguageConfig } from "./config.ts";
import { mtpCopies } from "./specs.ts";

/**
 * How many of the multi-token-prediction layers that the configuration names the checkpoint holds: transformers keeps
 * the key of the file it loaded and saves no such layer. Any tensor of a layer counts: what lacks others is damaged.
 */
export function storedMtpLayers({ layers, mtpLayers }: LanguageConfig, source: WeightSource): number {
  const found = new Set<number>();
  for (const name of [...source.names(), ...(source.tiles?.keys() ?? [])]) {
    const layer = /^model\.layers\.(\d+)\./.exec(name);
    if (layer) found.add(Number(layer[1]));
  }
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
