/**
 * The layers of a decoder-only language model of any family, declared under official names: embedding, blocks, final
 * norm, head, and V3's multi-token-prediction modules (arXiv 2412.19437 section 2.2). How they are run is
 * `causal-lm.ts`; what they hold can be had without memory (`describeDecoder`).
 */
import { Embedding } from "../nn/embedding.ts";
import { Linear } from "../nn/linear.ts";
import { RmsNorm } from "../nn/norm.ts";
import type { Parameters } from "../nn/parameters.ts";
import { describeModule, type ParameterScope } from "../nn/scope.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { Block } from "./block.ts";
import type { LanguageConfig } from "./language-config.ts";

/** Layers times experts that are described one by one; the largest models have a tenth of it. */
const MOST_EXPERTS = 1 << 18;

/** Refuses numbers that no memory holds a description of. @throws ConfigError */
function checkCount({ moe }: LanguageConfig, key: string, layers: number): void {
  const experts = moe?.experts ?? 1;
  if (layers * experts <= MOST_EXPERTS) return;
  throw new ConfigError("too many layers and experts", {
    where: "config.json",
    name: moe === null ? key : `${key} times n_routed_experts`,
    expected: `at most ${MOST_EXPERTS}`,
    found: moe === null ? layers : `${layers} times ${experts}`,
  });
}

/** A multi-token-prediction module; embedding and head are the main model's. */
export class PredictionModule {
  readonly block: Block;
  readonly embeddingNorm: RmsNorm;
  readonly hiddenNorm: RmsNorm;
  readonly projection: Linear;
  readonly headNorm: RmsNorm;

  constructor(scope: ParameterScope, config: LanguageConfig, layer: number) {
    const { hiddenSize, normEpsilon } = config;
    const norm = (name: string) => new RmsNorm(scope.child(name), hiddenSize, normEpsilon);
    this.block = new Block(scope, config, layer);
    this.embeddingNorm = norm("enorm");
    this.hiddenNorm = norm("hnorm");
    this.projection = new Linear(scope.child("eh_proj"), 2 * hiddenSize, hiddenSize, { role: "head" });
    this.headNorm = norm("shared_head.norm");
  }
}

export class Decoder {
  readonly config: LanguageConfig;
  /** Put before `model.` and `lm_head.` in the checkpoint. */
  readonly prefix: string;
  readonly embedding: Embedding;
  readonly blocks: readonly Block[];
  readonly finalNorm: RmsNorm;
  /** Null if the head is the embedding's table. */
  readonly #head: Linear | null;
  readonly modules: readonly PredictionModule[];
  /** Everything in checkpoint order: the main model, then the prediction modules. */
  readonly parameters: Parameters;
  readonly mainParameters: Parameters;
  readonly mtpParameters: Parameters;

  /** @throws ConfigError on counts beyond reason */
  constructor(scope: ParameterScope, config: LanguageConfig) {
    const { vocabSize, hiddenSize, layers, mtpLayers, normEpsilon } = config;
    checkCount(config, "num_hidden_layers", layers);
    checkCount(config, "num_nextn_predict_layers", mtpLayers);
    this.config = config;
    this.prefix = scope.prefix;
    const whole = scope.part();
    const [main, mtp] = [whole.part(), whole.part()];
    const inner = (part: ParameterScope, name: string) => part.child("model").child(name);
    this.embedding = new Embedding(inner(main, "embed_tokens"), vocabSize, hiddenSize);
    this.blocks = Array.from(
      { length: layers },
      (_, layer) => new Block(inner(main, `layers.${layer}`), config, layer),
    );
    this.finalNorm = new RmsNorm(inner(main, "norm"), hiddenSize, normEpsilon);
    this.#head = config.tieEmbeddings
      ? null
      : new Linear(main.child("lm_head"), hiddenSize, vocabSize, { role: "head" });
    this.modules = Array.from({ length: mtpLayers }, (_, module) => {
      const layer = layers + module;
      return new PredictionModule(inner(mtp, `layers.${layer}`), config, layer);
    });
    this.parameters = whole.parameters;
    this.mainParameters = main.parameters;
    this.mtpParameters = mtp.parameters;
  }

  /** Logits of normed states: `[.., d]` to `[.., V]`. */
  logits(hidden: Tensor): Tensor {
    return this.#head === null ? this.embedding.logits(hidden) : this.#head.forward(hidden); // [.., V]
  }

  /** Whether a checkpoint may hold this tensor though the model does not read it. */
  ignores(name: string): boolean {
    const { config, prefix } = this;
    if (!name.startsWith(prefix)) return false;
    if (name.endsWith(".rotary_emb.inv_freq")) return true;
    if (config.tieEmbeddings && name === `${prefix}lm_head.weight`) return true;
    const layer = layerOf(name, prefix);
    if (layer === null || layer < config.layers) return false;
    // Prediction layers that this model was built without.
    if (config.mtpLayers === 0) return true;
    // Released files repeat the embedding and the head inside each.
    const copies = ["embed_tokens.weight", "shared_head.head.weight"];
    return (
      layer < config.layers + config.mtpLayers &&
      copies.some((copy) => name === `${prefix}model.layers.${layer}.${copy}`)
    );
  }
}

/** The layer that a tensor belongs to by its name; null outside layers. */
export function layerOf(name: string, prefix: string): number | null {
  const [, layer] = name.startsWith(prefix)
    ? (/^model\.layers\.(\d+)\./.exec(name.slice(prefix.length)) ?? [])
    : [];
  return layer === undefined ? null : Number(layer);
}

/** The decoder of a configuration without memory. @throws ConfigError on counts beyond reason */
export function describeDecoder(config: LanguageConfig, prefix = ""): Decoder {
  return describeModule((scope) => new Decoder(scope, config), prefix).module;
}
