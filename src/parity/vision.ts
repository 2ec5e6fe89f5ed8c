/** Which comparison a case of DeepSeek-VL, DeepSeek-VL2, Janus or JanusFlow takes: told from its configuration and what it holds. */
import type { FileTree } from "../checkpoint/byte-source.ts";
import { isVisionConfig } from "../models/vision-architectures.ts";
import type { Device } from "../tensor/tensor.ts";
import type { ParityOutput } from "./comparison.ts";
import { compareDrawing, compareTokenizer } from "./janus.ts";
import {
  compareAlignment,
  compareFlowLoss,
  compareSampling,
  compareUvit,
  compareVae,
  compareVelocity,
} from "./janusflow.ts";
import { compareChat, compareGradients, compareHybridChat, compareTiledChat } from "./vision-models.ts";
import { compareHybrid, compareProjectors, compareSiglip, compareTiles } from "./vision-towers.ts";
import { VisionCase } from "./vision-values.ts";

type Json = Readonly<Record<string, unknown>>;

/** Whether each key of a file is the configuration of a projector. */
function areProjectors(json: Json): boolean {
  return Object.values(json).every((each) => (each as Json | null)?.model_type === "mlp_projector");
}

/** Whether each key of a file holds encoder and decoder of a flow. */
function areUvits(json: Json): boolean {
  return Object.values(json).every((each) => (each as Json | null)?.vision_gen_dec_config !== undefined);
}

const isVae = (json: Json) => json._class_name === "AutoencoderKL";
const isTokenizer = (json: Json) =>
  json.gen_vision_config !== undefined && json.language_config === undefined;

/** The comparison of a case of a model that draws; null for what only sees. */
function drawingOf(json: Json, run: VisionCase): ((run: VisionCase) => Promise<void>) | null {
  if (isVae(json)) return compareVae;
  if (areUvits(json)) return compareUvit;
  if (isTokenizer(json)) return compareTokenizer;
  if (run.inputs.has("input_ids")) return null;
  if (json.model_type === "janus" || json.gen_vision_config !== undefined) return compareDrawing;
  if (json.vision_gen_dec_config === undefined) return null;
  if (run.inputs.has("x")) return run.expected.has("cosine") ? compareAlignment : compareFlowLoss;
  return run.inputs.has("z0") ? compareSampling : compareVelocity;
}

/** Whether a case is one of a model that sees, or of a part of it. */
export async function isVisionCase(tree: FileTree): Promise<boolean> {
  const json = JSON.parse(await tree.readText("config.json")) as Json;
  return isVisionConfig(json) || areProjectors(json) || isVae(json) || areUvits(json) || isTokenizer(json);
}

function comparisonOf(json: Json, run: VisionCase): (run: VisionCase) => Promise<void> {
  const drawing = drawingOf(json, run);
  if (drawing !== null) return drawing;
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
