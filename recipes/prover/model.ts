/** The small prover: a dense model of the shape of LLaMA with a vocabulary of 1,024 entries. */
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import type { Json } from "../../src/models/config-reader.ts";
import { PROVER_VOCABULARY, trainProverTokenizer } from "../../src/prove/corpus/vocabulary.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import type { TokenizerJson } from "../../src/tokenizer/schema.ts";
import { loadTokenizer, type Tokenizer } from "../../src/tokenizer/tokenizer.ts";
import { trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";

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
/** Items of the corpus that the vocabulary is trained on. */
const TOKENIZER_ITEMS = 6000;

export const proverModel = (device: Device, seed: number): CausalLM =>
  createModel(PROVER_CONFIG, device, { seed, std: STD });

export interface ProverTokenizer {
  readonly tokenizer: Tokenizer;
  readonly json: TokenizerJson;
}

/** The vocabulary: the same for every seed, so that runs can be compared. */
export async function proverTokenizer(): Promise<ProverTokenizer> {
  const json = await trainProverTokenizer(1, TOKENIZER_ITEMS);
  return { json, tokenizer: loadTokenizer(json, trainedTokenizerConfig(CONTEXT)) };
}
