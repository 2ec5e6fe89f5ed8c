/** Which comparison a case of DeepSeek-VL or DeepSeek-VL2 takes: told from its configuration and what it holds. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { isVisionConfig } from "../models/vision-architectures.ts";
import type { Device } from "../tensor/tensor.ts";
import type { ParityOutput } from "./comparison.ts";
import { compareChat, compareGradients, compareHybridChat, compareTiledChat } from "./vision-models.ts";
import { compareHybrid, compareProjectors, compareSiglip, compareTiles } from "./vision-towers.ts";
import { VisionCase } from "./vision-values.ts";

type Json = Readonly<Record<string, unknown>>;

/** Whether each key of a file is the configuration of a projector. */
function areProjectors(json: Json): boolean {
  return Object.values(json).every((each) => (each as Json | null)?.model_type === "mlp_projector");
}

/** Whether a case is one of a model that sees, or of a part of it. */
export async function isVisionCase(tree: FileTree): Promise<boolean> {
  const json = JSON.parse(await tree.readText("config.json")) as Json;
  return isVisionConfig(json) || areProjectors(json);
}

function comparisonOf(json: Json, run: VisionCase): (run: VisionCase) => Promise<void> {
  const tiled = json.model_type === "deepseek_vl_v2";
  if (areProjectors(json)) return compareProjectors;
  if (json.language_config === undefined && json.text_config === undefined) {
    if (tiled) return compareTiles;
    const { cls } = json.vision_config as { cls: string };
    return cls.includes("Hybrid") ? compareHybrid : compareSiglip;
  }
  if (run.expected.has("loss")) return compareGradients;
  if (tiled) return compareTiledChat;
  return run.inputs.has("pixel_values") ? compareChat : compareHybridChat;
}

/** Runs a case and compares everything that it holds. @throws FormatError, ConfigError */
export async function compareVision(tree: FileTree, device: Device): Promise<readonly ParityOutput[]> {
  const run = await VisionCase.open(tree, device);
  try {
    await comparisonOf((await run.config()) as Json, run)(run);
    return run.finish();
  } finally {
    await run.close();
  }
}
