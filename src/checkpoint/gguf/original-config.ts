/**
 * The `config.json` that a model had before it became a GGUF file. Our export keeps its text in the metadata, where
 * llama.cpp does not look, so that a folder made of the file says all that the first one said.
 */
import { JsonSyntaxError, parseJson, toPlain } from "../../json/index.ts";
import { parseConfig } from "../../models/config.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { ggufModelMetadata } from "./metadata.ts";
import type { GgufFile } from "./reader.ts";
import type { GgufValue } from "./types.ts";

/** Metadata key of the text. */
export const ORIGINAL_CONFIG = "deepseek_ts.config";

function same(a: GgufValue, b: GgufValue | undefined): boolean {
  if (b === undefined || a.type !== b.type) return false;
  if (a.type !== "array" || b.type !== "array") return "value" in a && "value" in b && a.value === b.value;
  const [items, others] = [a.items, b.items] as [ArrayLike<unknown>, ArrayLike<unknown>];
  return (
    a.of === b.of && items.length === others.length && Array.from(items).every((v, i) => v === others[i])
  );
}

/**
 * The text, or null: the file holds none, or one that does not describe the model that its other metadata describe, as
 * if they were changed. Ids of tokens may differ, which the tokenizer's metadata decide.
 */
export function originalConfig(file: Pick<GgufFile, "metadata">): string | null {
  const entry = file.metadata.get(ORIGINAL_CONFIG);
  if (entry?.type !== "string") return null;
  try {
    const described = ggufModelMetadata(parseConfig(toPlain(parseJson(entry.value))), file.metadata);
    for (const [key, value] of described) {
      if (!key.startsWith("tokenizer.") && !same(value, file.metadata.get(key))) return null;
    }
    return entry.value;
  } catch (error) {
    if (error instanceof ConfigError || error instanceof JsonSyntaxError) return null;
    throw error;
  }
}
