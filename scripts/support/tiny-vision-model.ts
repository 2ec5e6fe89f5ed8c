/** A model of DeepSeek-VL2's kind with random weights, small enough for a program of the documents to run at once. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { visionEntries } from "../../src/checkpoint/vision-model.ts";
import { parseVisionConfig } from "../../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { Random } from "../../src/tensor/random.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";

const config = {
  model_type: "deepseek_vl_v2",
  candidate_resolutions: [
    [384, 384],
    [768, 384],
  ],
  vision_config: {
    ...{ model_name: "siglip_small", image_size: 384, patch_size: 14, width: 16, layers: 1, heads: 2 },
    mlp_ratio: 2,
  },
  projector_config: { input_dim: 16, n_embed: 32 },
  language_config: {
    ...{ vocab_size: 301, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, use_mla: false },
    ...{ num_attention_heads: 2, max_position_embeddings: 4096, bos_token_id: 0, eos_token_id: 1 },
  },
};

/** Writes the model to `folder`, with the tokenizer of another and a token for images. */
export async function writeTinyVisionModel(folder: string, tokenizerFolder: string): Promise<void> {
  const device = createReferenceDevice();
  using model = allocateModule(
    device,
    "f32",
    (scope) => new VisionLanguageModel(scope, parseVisionConfig(config)),
  );
  model.parameters.initialize(new Random(1), 0.1);
  await saveCheckpoint(await nodeFolderSink(folder), visionEntries(model), { config });
  const read = (file: string) => JSON.parse(readFileSync(join(tokenizerFolder, file), "utf8"));
  const tokenizer = read("tokenizer.json");
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  tokenizer.added_tokens.push({ id: config.language_config.vocab_size - 1, content: "<image>", ...flags });
  writeFileSync(join(folder, "tokenizer.json"), JSON.stringify(tokenizer));
  writeFileSync(join(folder, "tokenizer_config.json"), JSON.stringify(read("tokenizer_config.json")));
}
