/** What a checkpoint draws with: that of Janus, or that of JanusFlow. */
import type { CodeGeneration } from "../models/janus/generation.ts";
import type { FlowGeneration } from "../models/janusflow/generation.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";

/** What a model draws with. */
export interface LoadedDrawing {
  /** All of it; its `language` is the loaded `model`. */
  readonly model: VisionLanguageModel;
  /** `codes`: it draws ids of an image tokenizer. `flow`: it moves latents. */
  readonly generation: CodeGeneration | FlowGeneration;
}

/** Null for a model without what draws. */
export function drawingOf(model: VisionLanguageModel): LoadedDrawing | null {
  const { generation } = model;
  return generation && { model, generation };
}
