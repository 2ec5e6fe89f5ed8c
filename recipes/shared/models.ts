/** The models that recipes train, made from the world's presets. */
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { parseConfig } from "../../src/models/config.ts";
import type { Json } from "../../src/models/config-reader.ts";
import { ImageTextModel } from "../../src/models/image-text.ts";
import { parseVisionConfig } from "../../src/models/vision-architectures.ts";
import type { VisionLanguageConfig } from "../../src/models/vision-config.ts";
import { VisionLanguageModel } from "../../src/models/vision-language.ts";
import { type WorldPresetName, worldPresets } from "../../src/models/world-presets.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import type { HybridConfig, SiglipConfig } from "../../src/vision/tower-config.ts";
import { NamedTower, PAGE_NAMES } from "./high-tower.ts";
import { VIEW } from "./pages.ts";
import { NAMES } from "./tower-data.ts";

/** Standard deviation of first weights at these widths. */
const STD = 0.02;

/** Of towers, which are narrower. */
const TOWER_STD = 0.06;
const POSITION_SCALE = 0.5;

/** Of the tower's text encoder. */
const TEXT = {
  ...{ model_type: "llama", vocab_size: 128, hidden_size: 192, num_hidden_layers: 3, num_attention_heads: 3 },
  ...{
    num_key_value_heads: 3,
    intermediate_size: 512,
    max_position_embeddings: 128,
    tie_word_embeddings: true,
  },
  ...{ bos_token_id: 1, eos_token_id: 2 },
};

/** A preset without the attention pool that no model runs. */
export function worldConfig(preset: WorldPresetName): VisionLanguageConfig {
  const config = parseVisionConfig(worldPresets[preset] as Record<string, never>);
  const { tower } = config;
  if (tower.kind === "siglip") return { ...config, tower: { ...tower, pool: false } };
  return { ...config, tower: { ...tower, low: { ...tower.low, pool: false }, norms: false } };
}

export function towerModel(preset: WorldPresetName, device: Device, seed: number): ImageTextModel {
  const { tower } = worldConfig(preset);
  const config = { tower: tower as SiglipConfig, text: parseConfig(TEXT), width: 128, names: NAMES };
  const model = allocateModule(device, "f32", (scope) => new ImageTextModel(scope, config));
  model.parameters.initialize(new Random(seed), TOWER_STD);
  const positions = model.parameters.get("tower.pos_embed");
  positions.set(gridPositions(VIEW / 8, config.tower.width));
  model.setComparison(10, -10);
  return model;
}

/** The high tower of DeepSeek-VL with the names that its tokens learn. */
export function highTowerModel(device: Device, seed: number): NamedTower {
  const { tower } = worldConfig("world-vl-hybrid");
  const { high } = tower as HybridConfig;
  const model = allocateModule(device, "f32", (scope) => new NamedTower(scope, high, PAGE_NAMES));
  model.parameters.initialize(new Random(seed), TOWER_STD);
  const { imageSize, patchSize, width } = high;
  model.expectNothing();
  model.parameters.get("tower.pos_embed").set(gridPositions(imageSize / patchSize, width));
  return model;
}

/**
 * Sines and cosines of row and column, a quarter of the width each (Beyer et al. 2022, arXiv 2205.01580): neighbors are told
 * apart from the first step on, where learned positions would take thousands of samples.
 */
function gridPositions(side: number, width: number): Float32Array {
  const values = new Float32Array(side * side * width);
  const quarter = width / 4;
  for (let token = 0; token < side * side; token++) {
    const place = [Math.floor(token / side), token % side];
    for (let i = 0; i < width; i++) {
      const part = Math.floor(i / quarter);
      const angle = (place[part >> 1] * (2 * side) ** (-(i % quarter) / (quarter - 1)) * Math.PI) / 2;
      values[token * width + i] = POSITION_SCALE * (part % 2 === 0 ? Math.sin(angle) : Math.cos(angle));
    }
  }
  return values;
}

export function languageModel(preset: WorldPresetName, device: Device, seed: number): CausalLM {
  return createModel(worldPresets[preset].language_config as Json, device, { seed, std: STD });
}

export function visionModel(preset: WorldPresetName, device: Device, seed: number): VisionLanguageModel {
  const config = worldConfig(preset);
  const model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, config));
  model.parameters.initialize(new Random(seed), STD);
  return model;
}
