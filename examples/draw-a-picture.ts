/**
 * Draws pictures of a prompt and tells how far each is. Arguments: FOLDER "prompt" [SEED]; without them it is a small Janus with
 * random weights, which draws noise.
 */
import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { memoryFolder, memoryFolderSink, saveCheckpoint, visionEntries } from "deepseek-ts/checkpoint";
import { worldTokenizer } from "deepseek-ts/data";
import { draw } from "deepseek-ts/engine";
import { allocateModule, parseVisionConfig, VisionLanguageModel } from "deepseek-ts/models";
import { createCpuDevice, load } from "deepseek-ts/node";
import { loadFolder } from "deepseek-ts/pretrained";
import { Random } from "deepseek-ts/tensor";
import { encodePng } from "deepseek-ts/vision";

const projector = { projector_type: "mlp_gelu", input_dim: 24, n_embed: 32, depth: 2 };
const tower = {
  model_name: "small",
  image_size: 32,
  patch_size: 8,
  width: 24,
  layers: 1,
  heads: 3,
  mlp_ratio: 2,
};
const codes = { image_token_size: 48, n_embed: 4, ch: 32, z_channels: 32, num_res_blocks: 1 };
const levels = { encoder_ch_mult: [1, 1, 1, 1], decoder_ch_mult: [1, 1, 1, 1] };
const config = {
  model_type: "multi_modality",
  vision_config: { cls: "CLIPVisionTower", params: tower },
  aligner_config: { cls: "MlpProjector", params: projector },
  gen_vision_config: { cls: "VQ-16", params: { ...codes, ...levels } },
  gen_aligner_config: { cls: "MlpProjector", params: { ...projector, input_dim: 4 } },
  gen_head_config: {
    cls: "vision_head",
    params: { image_token_embed: 32, image_token_size: 48, n_embed: 32 },
  },
  language_config: {
    ...{ model_type: "llama", vocab_size: 128, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2 },
    ...{ num_attention_heads: 4, max_position_embeddings: 256, bos_token_id: 1, eos_token_id: 2 },
  },
};

/** A model of random weights, in the files of a folder in memory. */
async function randomModel() {
  await using device = await createCpuDevice();
  using model = allocateModule(
    device,
    "f32",
    (scope) => new VisionLanguageModel(scope, parseVisionConfig(config)),
  );
  model.parameters.initialize(new Random(1), 0.25);
  const { tokenizer, config: tokenizerConfig } = worldTokenizer();
  const written = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(written), visionEntries(model), {
    config,
    files: {
      "tokenizer.json": JSON.stringify(tokenizer),
      "tokenizer_config.json": JSON.stringify(tokenizerConfig),
    },
  });
  return memoryFolder(written);
}

const [folder, prompt = "a red ring left of a blue cross", seed = "7"] = process.argv.slice(2);
const options = { drawing: true };
await using model =
  folder === undefined ? await loadFolder(await randomModel(), options) : await load(folder, options);
const out = await mkdtemp(join(tmpdir(), "drawing-"));
for await (const event of draw(model, { prompt, count: 2, seed: Number(seed) })) {
  if (event.type === "progress") {
    console.log(`image ${event.image}: ${event.unit} ${event.done} of ${event.of}`);
    continue;
  }
  const file = join(out, `${event.image}.png`);
  await writeFile(file, await encodePng(event.picture, { texts: { prompt, seed } }));
  console.log(file);
}
