/**
 * The supported `model_type`s of models that see, and their `config.json` read and written: adding one adds its folder
 * and a line here. Language models are listed in `architectures.ts`.
 */
import { readQuantization } from "./config-parts.ts";
import { ConfigReader, type Json } from "./config-reader.ts";
import { deepseekVl } from "./deepseek_vl/config.ts";
import { deepseekVlHybridPort, deepseekVlPort } from "./deepseek_vl/port-config.ts";
import { deepseekVl2 } from "./deepseek_vl2/config.ts";
import type { WeightDtype } from "./language-config.ts";
import type { VisionArchitecture, VisionLanguageConfig } from "./vision-config.ts";

const visionArchitectures: readonly VisionArchitecture[] = [
  deepseekVl,
  deepseekVlPort,
  deepseekVlHybridPort,
  deepseekVl2,
];

/** Whether a `config.json` is that of a model that sees. */
export function isVisionConfig(json: unknown): boolean {
  const modelType = (json as Json | null)?.model_type;
  return visionArchitectures.some((architecture) => architecture.modelType === modelType);
}

/** @throws ConfigError */
export function visionArchitecture(modelType: unknown, reader = new ConfigReader({})): VisionArchitecture {
  const found = visionArchitectures.find((architecture) => architecture.modelType === modelType);
  return (
    found ?? reader.refuse("model_type", visionArchitectures.map((a) => a.modelType).join(" | "), modelType)
  );
}

/** Reads the parsed JSON of a `config.json`. @throws ConfigError naming the key that is not supported */
export function parseVisionConfig(json: unknown): VisionLanguageConfig {
  const reader = new ConfigReader(json);
  readQuantization(reader);
  return visionArchitecture(reader.raw("model_type"), reader).parse(reader);
}

/** A `config.json` that the classes of this `model_type` load. `dtype` is that of the saved weights. */
export function visionConfigJson(config: VisionLanguageConfig, dtype: WeightDtype = "float32"): Json {
  return visionArchitecture(config.modelType).write(config, dtype);
}
