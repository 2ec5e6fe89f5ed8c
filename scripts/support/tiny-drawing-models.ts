/** Models of Janus' and JanusFlow's kinds with random weights, for the programs and commands of the documents. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { vaeEntries } from "../../src/checkpoint/vae.ts";
import { visionEntries } from "../../src/checkpoint/vision-model.ts";
import { vaeConfigJson } from "../../src/models/vae-config.ts";
import { parseVisionConfig } from "../../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { Random } from "../../src/tensor/random.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { VaeModel } from "../../src/vision/vae.ts";

const WIDTH = 32;

/** Programs of the documents name ids of the released vocabularies. */
const VOCABULARY = 102_400;

const towerOf = (side: number, patch: number) => ({
  ...{ cls: "CLIPVisionTower", model_type: "vision" },
  params: {
    ...{ model_name: "siglip_tiny", image_size: side, patch_size: patch, width: 16, layers: 1, heads: 2 },
    ...{ mlp_ratio: 2, select_feature: "same", select_layer: -1 },
  },
});
const language = {
  ...{ model_type: "llama", vocab_size: VOCABULARY, hidden_size: WIDTH, intermediate_size: 48 },
  ...{ num_hidden_layers: 1, num_attention_heads: 2, num_key_value_heads: 2, max_position_embeddings: 4096 },
  ...{ bos_token_id: 0, eos_token_id: 1 },
};
const mlp = (input_dim: number) => ({
  params: { projector_type: "mlp_gelu", input_dim, n_embed: WIDTH, depth: 2 },
});

/** Draws 4 x 4 codes of 16 pixels. */
const janus = {
  model_type: "multi_modality",
  vision_config: towerOf(64, 16),
  aligner_config: { cls: "MlpProjector", model_type: "aligner", ...mlp(16) },
  gen_vision_config: {
    ...{ cls: "VQ-16", model_type: "gen_vision" },
    params: {
      ...{ image_token_size: 64, n_embed: 8, ch: 32, z_channels: 32, num_res_blocks: 1 },
      ...{ encoder_ch_mult: [1, 1, 1, 1, 1], decoder_ch_mult: [1, 1, 1, 1, 1] },
    },
  },
  gen_aligner_config: { cls: "MlpProjector", model_type: "gen_aligner", ...mlp(8) },
  gen_head_config: {
    ...{ cls: "vision_head", model_type: "gen_head" },
    params: { image_token_embed: WIDTH, image_token_size: 64, n_embed: WIDTH },
  },
  language_config: language,
};

const uvit = {
  ...{ block_out_channels: [24], layers_in_middle: 1, hidden_size: WIDTH, use_bias: true },
  ...{ elementwise_affine: true, norm_eps: 1e-6, use_mid_block: true },
};

/** Draws 48 x 48 latents, as the released one. */
const janusFlow = {
  model_type: "multi_modality",
  vision_und_enc_config: { ...towerOf(384, 16), model_type: "vision_und_enc" },
  vision_gen_enc_config: {
    ...{ cls: "ShallowUViTEncoder", model_type: "vision_gen_enc" },
    params: { input_channels: 4, kernel_size: 2, stride: 2, padding: 0, ...uvit },
  },
  vision_gen_dec_config: {
    ...{ cls: "ShallowUViTDecoder", model_type: "vision_gen_dec" },
    params: { in_channels: 24, out_channels: 4, upsamples: 1, ...uvit },
  },
  language_config: language,
};

const TOKENS = [
  "<image_placeholder>",
  "<begin_of_image>",
  "<end_of_image>",
  "<\uFF5Cbegin\u2581of\u2581generation\uFF5C>",
  "<\uFF5C\u2581pad\u2581\uFF5C>",
];

/** Files of the processor, whose images have `side` pixels. */
const processorFiles = (side: number, tokens: number) => ({
  "preprocessor_config.json": {
    image_processor_type: "VLMImageProcessor",
    ...{ image_size: side, min_size: 14, do_normalize: true, rescale_factor: 1 / 255 },
    ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5] },
  },
  "processor_config.json": {
    processor_class: "VLChatProcessor",
    ...{ image_tag: TOKENS[0], num_image_tokens: tokens, sft_format: "deepseek_old" },
  },
});

async function writeVae(folder: string, device: Device): Promise<void> {
  const config = { latentChannels: 4, widths: [8, 8, 8, 8], blocks: 1, groups: 4, scalingFactor: 0.13025 };
  using vae = allocateModule(device, "f32", (scope) => new VaeModel(scope, config));
  vae.parameters.initialize(new Random(2), 0.1);
  await saveCheckpoint(await nodeFolderSink(folder), vaeEntries(vae), { config: vaeConfigJson(config) });
}

/**
 * Writes `Janus-1.3B`, `Janus-Pro-1B`, `JanusFlow-1.3B` with its autoencoder, and `sdxl-vae` into `folder`, with the tokenizer of
 * another model and the tokens that prompts need.
 */
export async function writeTinyDrawingModels(folder: string, tokenizerFolder: string): Promise<void> {
  const device = createReferenceDevice();
  const read = (file: string) => JSON.parse(readFileSync(join(tokenizerFolder, file), "utf8"));
  const tokenizer = read("tokenizer.json");
  const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
  const known = new Set(tokenizer.added_tokens.map(({ content }: { content: string }) => content));
  for (const content of TOKENS) {
    if (!known.has(content)) tokenizer.added_tokens.push({ id: 1000 + known.size, content, ...flags });
    known.add(content);
  }
  for (const [name, config, side, tokens] of [
    ["Janus-1.3B", janus, 64, 16],
    ["Janus-Pro-1B", janus, 64, 16],
    ["JanusFlow-1.3B", janusFlow, 384, 576],
  ] as const) {
    const parsed = parseVisionConfig(config);
    using model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, parsed));
    model.parameters.initialize(new Random(1), 0.1);
    const own = join(folder, name);
    await saveCheckpoint(await nodeFolderSink(own), visionEntries(model), { config });
    const files = {
      ...processorFiles(side, tokens),
      "tokenizer.json": tokenizer,
      "tokenizer_config.json": { ...read("tokenizer_config.json"), pad_token: TOKENS[4] },
    };
    for (const [file, json] of Object.entries(files)) writeFileSync(join(own, file), JSON.stringify(json));
  }
  await writeVae(join(folder, "JanusFlow-1.3B/vae"), device);
  await writeVae(join(folder, "sdxl-vae"), device);
}
