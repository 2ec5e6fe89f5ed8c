/**
 * Turns the weights of a finished stage into a model that `deepseek-ts` opens: official `config.json`, the world's tokenizer and
 * processor, weights in 8 bits.
 *
 *     node recipes/shared/export.ts world-vl2 runs/recipe-vl2/tiles-9-1/stage-3/step-00001200 models/world-vl2
 *
 * JanusFlow takes its autoencoder along, as 16-bit floats:
 *
 *     node recipes/shared/export.ts world-flow runs/recipe-janusflow/janusflow-1/stage-3/averaged models/world-flow recipes/start/vae
 */

import { join } from "node:path";
import { nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { tiledConfigText, tiledEntries } from "../../src/checkpoint/tiles.ts";
import { loadVae, vaeEntries } from "../../src/checkpoint/vae.ts";
import { vaeConfigJson } from "../../src/models/vae-config.ts";
import { visionConfigJson } from "../../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { type WorldPresetName, worldPresets } from "../../src/models/world-presets.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import type { StorageRule } from "../../src/nn/storage.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { worldFiles } from "./files.ts";
import { worldConfig } from "./models.ts";
import { loadPart } from "./weights.ts";

const [preset, weights, out, vae] = process.argv.slice(2) as [WorldPresetName, string, string, string?];
const flow = preset === "world-flow";
if (!Object.hasOwn(worldPresets, preset ?? "") || out === undefined || (vae !== undefined) !== flow) {
  console.error(
    `usage: export.ts ${Object.keys(worldPresets).join("|")} STEP_FOLDER OUT_FOLDER [VAE_FOLDER]`,
  );
  process.exit(1);
}
await using device = await createCpuDevice();
const config = worldConfig(preset);
/** In 8 bits all of a model that draws would be 11 MB or 12, more than a model of the repository may have. */
const FOUR: Partial<Record<WorldPresetName, RegExp>> = {
  "world-janus": /^language_model\..*\.mlp\./,
  "world-flow": /^language_model\.(?!.*self_attn)/,
};
const inFour = (key: string) => FOUR[preset]?.test(key) ?? false;
// No kernel reads convolutions in 8 bits.
const storage: StorageRule = ({ key, role, unquantizable }) =>
  role === "filter" || unquantizable ? "bf16" : inFour(key) ? "q4" : "q8";
using model = allocateModule(device, storage, (scope) => new VisionLanguageModel(scope, config));
await loadPart(weights, "", model.parameters, "");
const json = visionConfigJson(config, "bfloat16");
const { totalSize } = await saveCheckpoint(await nodeFolderSink(out), tiledEntries(model), {
  config: tiledConfigText(model, `${JSON.stringify(json, null, 2)}\n`),
  files: worldFiles(preset),
});
console.log(`${out}: ${(totalSize / 1e6).toFixed(1)} MB of tensors`);
if (vae !== undefined) {
  using autoencoder = await loadVae(nodeFolder(vae), device);
  const sink = await nodeFolderSink(join(out, "vae"));
  const json = vaeConfigJson(autoencoder.config);
  const { totalSize: more } = await saveCheckpoint(sink, vaeEntries(autoencoder), {
    config: json,
    dtype: "BF16",
  });
  console.log(`${join(out, "vae")}: ${(more / 1e6).toFixed(1)} MB of tensors`);
}
