/** What a checkpoint draws with: that of Janus, or that of JanusFlow. */
import type { CodeGeneration } from "../models/janus/generation.ts";
import type { FlowGeneration } from "../models/janusflow/generation.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ProcessorFiles } from "./load-vision.ts";

/** What a model draws with. */
export interface LoadedDrawing {
  /** All of it; its `language` is the loaded `model`. */
  readonly model: VisionLanguageModel;
  /** `codes`: it draws ids of an image tokenizer. `flow`: it moves latents. */
  readonly generation: CodeGeneration | FlowGeneration;
  /** What Janus reads in place of a prompt to draw without one; null if the vocabulary has no such token. */
  readonly padId: number | null;
}

/** Null for a model without what draws. @param onNotice is told what the files lack, in one line each */
export function drawingOf(
  model: VisionLanguageModel,
  files: Pick<ProcessorFiles, "tokenizer">,
  tokenizer: Tokenizer | null,
  onNotice: (text: string) => void,
): LoadedDrawing | null {
  const { generation } = model;
  if (generation === null) return null;
  const padId = tokenizer?.idOf(TOKEN.pad) ?? null;
  if (generation.kind === "codes" && tokenizer !== null) {
    const named = files.tokenizer?.pad_token ?? null;
    if (padId === null) {
      onNotice(`tokenizer.json has no ${TOKEN.pad}: the model draws with guidance 1 only`);
    } else if (named === null) {
      onNotice(`tokenizer_config.json names no pad_token: it is ${TOKEN.pad}, token ${padId}`);
    }
  }
  return { model, generation, padId };
}
