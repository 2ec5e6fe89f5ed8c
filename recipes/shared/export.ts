/**
 * Turns the weights of a finished stage into a model that `deepseek-ts` opens: official `config.json`, the world's tokenizer and
 * processor, weights in 8 bits.
 *
 *     node recipes/shared/export.ts world-vl2 runs/recipe-vl2/tiles-9-1/stage-3/step-00001200 models/world-vl2
 */

import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { tiledConfigText, tiledEntries } from "../../src/checkpoint/tiles.ts";
import { visionConfigJson } from "../../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { type WorldPresetName, worldPresets } from "../../src/models/world-presets.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { worldFiles } from "./files.ts";
import { worldConfig } from "./models.ts";
import { loadPart } from "./weights.ts";

const [preset, weights, out] = process.argv.slice(2) as [WorldPresetName, string, string];
if (!Object.hasOwn(worldPresets, preset ?? "") || weights === undefined || out === undefined) {
  console.error(`usage: export.ts ${Object.keys(worldPresets).join("|")} STEP_FOLDER OUT_FOLDER`);
  process.exit(1);
}
await using device = await createCpuDevice();
const config = worldConfig(preset);
using model = allocateModule(device, "q8", (scope) => new VisionLanguageModel(scope, config));
await loadPart(weights, "", model.parameters, "");
const json = visionConfigJson(config, "bfloat16");
const { totalSize } = await saveCheckpoint(await nodeFolderSink(out), tiledEntries(model), {
  config: tiledConfigText(model, `${JSON.stringify(json, null, 2)}\n`),
  files: worldFiles(preset),
});
console.log(`${out}: ${(totalSize / 1e6).toFixed(1)} MB of tensors`);
