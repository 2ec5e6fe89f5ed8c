/**
 * The supported `model_type`s of models that see, and their `config.json` read and written: adding one adds its folder
 * and a line here. Language models are listed in `architectures.ts`.
 */
import { readQuantization } from "./config-parts.ts";
import { ConfigReader, type Json } from "./config-reader.ts";
import { deepseekVl } from "./deepseek_vl/config.ts";
import { deepseekVlHybridPort, deepseekVlPort } from "./deepseek_vl/port-config.ts";
import { deepseekVl2 } from "./deepseek_vl2/config.ts";
import { janus } from "./janus/config.ts";
import { janusPort } from "./janus/port-config.ts";
import { janusFlow } from "./janusflow/config.ts";
import type { WeightDtype } from "./language-config.ts";
import type { VisionArchitecture, VisionLanguageConfig } from "./vision-config.ts";

/** Of those with one `model_type` the first whose section is there. */
const visionArchitectures: readonly VisionArchitecture[] = [
  janusFlow,
  janus,
  deepseekVl,
  deepseekVlPort,
  deepseekVlHybridPort,
  deepseekVl2,
  janusPort,
];

/** Whether a `config.json` is that of a model that sees. */
export function isVisionConfig(json: unknown): boolean {
  const modelType = (json as Json | null)?.model_type;
  return visionArchitectures.some((architecture) => architecture.modelType === modelType);
}

/** The architecture of a configuration. */
export function visionArchitecture({
  modelType,
  generation,
}: Pick<VisionLanguageConfig, "modelType" | "generation">): VisionArchitecture {
  const kind = generation?.kind ?? null;
  return visionArchitectures.find((each) => each.modelType === modelType && each.generation === kind)!;
}

/** Reads the parsed JSON of a `config.json`. @throws ConfigError naming the key that is not supported */
export function parseVisionConfig(json: unknown): VisionLanguageConfig {
  const reader = new ConfigReader(json);
  readQuantization(reader);
  const modelType = reader.raw("model_type");
  const found = visionArchitectures.find(
    ({ modelType: own, section }) =>
      own === modelType && (section === undefined || reader.raw(section) !== undefined),
  );
  if (found) return found.parse(reader);
  const known = new Set(visionArchitectures.map((each) => each.modelType));
  return reader.refuse("model_type", [...known].join(" | "), modelType);
}

/** A `config.json` that the classes of this `model_type` load. `dtype` is that of the saved weights. */
export function visionConfigJson(config: VisionLanguageConfig, dtype: WeightDtype = "float32"): Json {
  return visionArchitecture(config).write(config, dtype);
}
