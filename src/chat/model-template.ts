/** The chat template of a loaded model. */
import type { LoadedModel } from "../pretrained/load.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ChatTemplate, chatTemplate } from "./template.ts";
import { visionTemplate } from "./vision-template.ts";

/** Of a model that sees the prompts of its family; else its own template, or the built-in one that fits. @throws ConfigError */
export function modelTemplate(
  { vision, model, chatTemplate: own, name }: Pick<LoadedModel, "vision" | "model" | "chatTemplate" | "name">,
  tokenizer: Tokenizer,
): ChatTemplate {
  if (vision !== null) return visionTemplate(tokenizer, vision.family, vision.imageToken);
  return chatTemplate(tokenizer, own, { modelType: model.config.modelType, name });
}
