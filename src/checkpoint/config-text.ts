/**
 * `config.json` of a model that is saved again: the text that it came with, and in it only what the saving changes. What
 * no one here reads (remote code, advice to other programs, comments) stays, with its digits and in its order.
 */
import { JsonNumber, type JsonObject, parseJson, toPlain, writeJson } from "../json/index.ts";
import { parseConfig } from "../models/config.ts";
import { isInferenceJson } from "../models/inference-json.ts";
import type { LanguageConfig } from "../models/language-config.ts";

/** Names of the dtype of saved weights. */
export type TorchDtype = "float32" | "bfloat16" | "float16";

/** Whether a text can be kept: that of V3's `inference/configs` is in the keys of another program. */
export function isConfigText(text: string): boolean {
  return !isInferenceJson(toPlain(parseJson(text)));
}

/** The text of an object (which has been parsed before) after `change`. */
export function changedConfig(text: string, change: (config: JsonObject) => void): string {
  const config = parseJson(text) as JsonObject;
  change(config);
  return `${writeJson(config, { indent: 2 })}\n`;
}

/** Sets the dtype of the weights, by the key that is there; the newer one counts in transformers where both are. */
export function setDtype(config: JsonObject, dtype: TorchDtype): void {
  if (config.has("dtype")) config.set("dtype", dtype);
  if (config.has("torch_dtype") || !config.has("dtype")) config.set("torch_dtype", dtype);
}

/** Sets the number of prediction layers, where the text names another one than are saved. */
export function setMtpLayers(config: JsonObject, layers: number): void {
  const key = "num_nextn_predict_layers";
  const named = config.get(key);
  if (named instanceof JsonNumber && named.toNumber() !== layers) config.set(key, JsonNumber.from(layers));
}

/** Sets ids that end or begin a text, where the text names others. */
export function setTokenIds(config: JsonObject, { bosTokenIds, eosTokenIds }: LanguageConfig): void {
  const named = parseConfig(toPlain(config));
  const set = (key: string, ids: readonly number[], before: readonly number[]) => {
    if (ids.join() === before.join()) return;
    const numbers = ids.map((id) => JsonNumber.from(id));
    config.set(key, numbers.length === 1 ? numbers[0] : numbers.length === 0 ? null : numbers);
  };
  set("bos_token_id", bosTokenIds, named.bosTokenIds);
  set("eos_token_id", eosTokenIds, named.eosTokenIds);
}
