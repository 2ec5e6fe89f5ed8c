/** The small prover: a dense model of the shape of LLaMA with a vocabulary of 1,024 entries. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { loadModel } from "../../src/checkpoint/model.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import type { Json } from "../../src/models/config-reader.ts";
import { weightsOf } from "../../src/nn/model-weights.ts";
import { WithoutTiles } from "../../src/nn/weight-source.ts";
import { PROVER_VOCABULARY } from "../../src/prove/corpus/vocabulary.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import type { TokenizerJson } from "../../src/tokenizer/schema.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";
import { loadPart } from "../shared/weights.ts";

/** Tokens that a prompt and its answer may have together. */
export const CONTEXT = 1024;

/** 5.3 M parameters; ids of BOS and EOS are those of the trained vocabulary. */
export const PROVER_CONFIG: Json = {
  ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: PROVER_VOCABULARY },
  ...{ hidden_size: 256, intermediate_size: 704, num_hidden_layers: 6 },
  ...{ num_attention_heads: 8, num_key_value_heads: 4, max_position_embeddings: CONTEXT },
  ...{ hidden_act: "silu", rms_norm_eps: 1e-6, rope_theta: 10000, rope_scaling: null },
  ...{ tie_word_embeddings: false, attention_bias: false, initializer_range: 0.02 },
  ...{ bos_token_id: 0, eos_token_id: 1, torch_dtype: "float32" },
};

const STD = 0.04;

/** The prover that comes with the repository, from whose weights others go on. */
export const WORLD_PROVER = fileURLToPath(new URL("../../models/world-prover", import.meta.url));

export const proverModel = (device: Device, seed: number): CausalLM =>
  createModel(PROVER_CONFIG, device, { seed, std: STD });

/** Fills a model with the weights of a folder: of a stage's step, or of that prover, which lie there in 8 bits. */
export async function loadProver(model: CausalLM, folder: string): Promise<void> {
  if (folder !== WORLD_PROVER) {
    await loadPart(folder, "", model.parameters, "");
    return;
  }
  using stored = await loadModel(nodeFolder(folder), model.device);
  await model.parameters.load(new WithoutTiles(weightsOf(stored)));
}

export interface ProverTokenizer {
  readonly tokenizer: Tokenizer;
  readonly json: TokenizerJson;
}

/** The vocabulary that comes with that prover (`trainProverTokenizer(1, 6000)` gives it): runs of all seeds can be compared. */
export function proverTokenizer(): ProverTokenizer {
  const json = JSON.parse(readFileSync(join(WORLD_PROVER, "tokenizer.json"), "utf8")) as TokenizerJson;
  return { json, tokenizer: loadTokenizer(json, trainedTokenizerConfig(CONTEXT)) };
}
