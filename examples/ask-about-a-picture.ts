/**
 * Asks a model about a picture, twice: the second question does not see it again. Arguments: FOLDER PICTURE "question"; without
 * them it is a small DeepSeek-VL2 with random weights.
 */
import { readFile } from "node:fs/promises";
import { modelTemplate } from "deepseek-ts/chat";
import { memoryFolder, memoryFolderSink, saveCheckpoint, visionEntries } from "deepseek-ts/checkpoint";
import { worldSample, worldTokenizer } from "deepseek-ts/data";
import { Conversation, ImageEncoder } from "deepseek-ts/engine";
import { allocateModule, parseVisionConfig, VisionLanguageModel } from "deepseek-ts/models";
import { createCpuDevice, load } from "deepseek-ts/node";
import { loadFolder } from "deepseek-ts/pretrained";
import { Random } from "deepseek-ts/tensor";

const side = 32;
const sizes = { candidate_resolutions: [1, 2].map((across) => [across * side, side]) };
const language = {
  ...{ vocab_size: 128, hidden_size: 32, intermediate_size: 48, num_hidden_layers: 2, use_mla: false },
  ...{ num_attention_heads: 4, max_position_embeddings: 1024, bos_token_id: 1, eos_token_id: 2 },
};
const config = {
  ...{ model_type: "deepseek_vl_v2", ...sizes },
  vision_config: { image_size: side, patch_size: 8, width: 24, layers: 2, heads: 3, mlp_ratio: 2 },
  projector_config: { input_dim: 24, n_embed: 32 },
  language_config: language,
};
const processor = { processor_class: "DeepseekVLV2Processor", patch_size: 8, downsample_ratio: 2, ...sizes };

/** A model of random weights, in the files of a folder in memory. */
async function randomModel() {
  await using device = await createCpuDevice();
  using model = allocateModule(
    device,
    "f32",
    (scope) => new VisionLanguageModel(scope, parseVisionConfig(config)),
  );
  model.parameters.initialize(new Random(1), 0.25);
  const { tokenizer, config: tokenizerConfig } = worldTokenizer({ image: "<image>" });
  const json = { tokenizer, tokenizer_config: tokenizerConfig, processor_config: processor };
  const files = Object.fromEntries(
    Object.entries(json).map(([name, value]) => [`${name}.json`, JSON.stringify(value)]),
  );
  const written = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(written), visionEntries(model), { config, files });
  return memoryFolder(written);
}

const [folder, file, asked] = process.argv.slice(2);
await using opened = folder === undefined ? await loadFolder(await randomModel()) : await load(folder);
const { model, vision, tokenizer } = opened;
if (vision === null || tokenizer === null)
  throw new Error("this model sees no pictures, or has no tokenizer");
const sample = worldSample("questions", 1, 7);
const image = file === undefined ? sample.image! : await readFile(file);

using images = new ImageEncoder(vision.model, () => vision.imageProcessor());
using conversation = new Conversation(model, tokenizer, modelTemplate(opened, tokenizer), { images });
const questions = [
  [{ type: "image", image, name: file } as const, { type: "text", text: asked ?? sample.question } as const],
  asked ?? "what color is the ring ?",
];
for (const question of questions) {
  const reply = conversation.send(question, { maxTokens: 20 });
  for (let next = await reply.next(); ; next = await reply.next()) {
    if (next.done) {
      const { imageTokens, cachedTokens, imageMs } = next.value.stats;
      console.log(
        `\n${imageTokens} tokens of the picture, ${cachedTokens} cached, seen in ${imageMs.toFixed(0)} ms`,
      );
      break;
    }
    if (next.value.kind === "content") process.stdout.write(next.value.text);
  }
}
