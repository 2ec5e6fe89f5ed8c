/** The parameters of a model by their official names, from its configuration alone. */
import { mhaSpecs } from "../nn/attention.ts";
import { mlaSpecs } from "../nn/mla.ts";
import { mlpSpecs } from "../nn/mlp.ts";
import { moeSpecs } from "../nn/moe.ts";
import { type GroupSpec, matrix, vector } from "../nn/parameters.ts";
import { ConfigError } from "../tensor/errors.ts";
import { isMoeLayer, type LanguageConfig } from "./language-config.ts";

/**
 * How latent attention stores the projections that rebuild keys and values: as the official matrix, or as its two
 * halves in the layout of the absorbed form, which quantized models compute with.
 */
export type LatentLayout = "official" | "absorbed";

/** Attention of one layer with the norms inside it, without the block's norms. */
export function attentionSpecs(
  config: LanguageConfig,
  layer: number,
  layout: LatentLayout = "official",
): GroupSpec[] {
  const { attention, hiddenSize } = config;
  const prefix = `model.layers.${layer}.self_attn.`;
  return attention.kind === "mla"
    ? mlaSpecs(prefix, attention, hiddenSize, layout === "absorbed")
    : mhaSpecs(prefix, attention, hiddenSize);
}

/** One block: two norms, attention, and a dense or expert feed-forward layer. */
export function blockSpecs(
  config: LanguageConfig,
  layer: number,
  layout: LatentLayout = "official",
): GroupSpec[] {
  const { hiddenSize, intermediateSize, moe } = config;
  const prefix = `model.layers.${layer}.`;
  return [
    ...attentionSpecs(config, layer, layout),
    ...(moe !== null && isMoeLayer(config, layer)
      ? moeSpecs(`${prefix}mlp.`, moe, hiddenSize)
      : mlpSpecs(`${prefix}mlp.`, hiddenSize, intermediateSize)),
    vector(`${prefix}input_layernorm.weight`, hiddenSize),
    vector(`${prefix}post_attention_layernorm.weight`, hiddenSize),
  ];
}

/** Layers times experts that are described one by one; the largest models have a tenth of it. */
const MOST_EXPERTS = 1 << 18;

/** Refuses numbers that no memory holds a description of. @throws ConfigError */
function checkCounts({ moe }: LanguageConfig, key: string, layers: number): void {
  const experts = moe?.experts ?? 1;
  if (layers * experts <= MOST_EXPERTS) return;
  throw new ConfigError("a model of more layers and experts than any has", {
    where: "config.json",
    name: moe === null ? key : `${key} times n_routed_experts`,
    expected: `at most ${MOST_EXPERTS}`,
    found: moe === null ? layers : `${layers} times ${experts}`,
  });
}

/** The model without multi-token prediction, in checkpoint order. @throws ConfigError on counts beyond reason */
export function mainSpecs(config: LanguageConfig, layout: LatentLayout = "official"): GroupSpec[] {
  checkCounts(config, "num_hidden_layers", config.layers);
  const { vocabSize, hiddenSize, layers, tieEmbeddings } = config;
  const specs = [matrix("model.embed_tokens.weight", vocabSize, hiddenSize, { role: "embedding" })];
  for (let layer = 0; layer < layers; layer++) specs.push(...blockSpecs(config, layer, layout));
  specs.push(vector("model.norm.weight", hiddenSize));
  if (!tieEmbeddings) specs.push(matrix("lm_head.weight", vocabSize, hiddenSize, { role: "head" }));
  return specs;
}

/** What multi-token prediction adds (DeepSeek-V3 section 2.2); embedding and head are the main model's. */
export function mtpSpecs(config: LanguageConfig, layout: LatentLayout = "official"): GroupSpec[] {
  checkCounts(config, "num_nextn_predict_layers", config.mtpLayers);
  const { hiddenSize, layers, mtpLayers } = config;
  const specs: GroupSpec[] = [];
  for (let layer = layers; layer < layers + mtpLayers; layer++) {
    const prefix = `model.layers.${layer}.`;
    specs.push(
      ...blockSpecs(config, layer, layout),
      vector(`${prefix}enorm.weight`, hiddenSize),
      vector(`${prefix}hnorm.weight`, hiddenSize),
      matrix(`${prefix}eh_proj.weight`, hiddenSize, 2 * hiddenSize, { role: "head" }),
      vector(`${prefix}shared_head.norm.weight`, hiddenSize),
    );
  }
  return specs;
}

/** Names under which released files repeat the embedding and the head inside MTP layers. */
export function mtpCopies({ layers, mtpLayers }: LanguageConfig): Map<string, string> {
  const copies = new Map<string, string>();
  for (let layer = layers; layer < layers + mtpLayers; layer++) {
    copies.set(`model.layers.${layer}.embed_tokens.weight`, "model.embed_tokens.weight");
    copies.set(`model.layers.${layer}.shared_head.head.weight`, "lm_head.weight");
  }
  return copies;
}
