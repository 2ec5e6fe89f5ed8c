/** The small prover that comes with the package, and how a prover wants to be asked. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { readTextIfThere } from "../../files/text-file.ts";
import { checkChoice, checkKeys, checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { SearchKind } from "../search/search-options.ts";
import type { PromptStyle } from "../text/prompts.ts";

/** Beside the weights of a prover that was trained here. */
export const PROVER_FILE = "prover.json";

export interface ProverSettings {
  readonly style: PromptStyle;
  /** How it searches best, unless another way is asked for. */
  readonly search?: SearchKind;
  /** Tokens of prompt and answer that it was trained on. */
  readonly contextTokens?: number;
  readonly maxTokens?: number;
}

/** `official` for a folder that says nothing. @throws ConfigError, FormatError for a file that is no such settings */
export async function proverSettings(folder: string): Promise<ProverSettings> {
  const path = join(folder, PROVER_FILE);
  const text = await readTextIfThere(path);
  if (text === null) return { style: "official" };
  const value = JSON.parse(text) as Record<string, unknown>;
  const place = { where: path };
  checkKeys(place, value, ["style", "search", "contextTokens", "maxTokens"]);
  checkChoice(place, "style", value.style, ["official", "short"]);
  if (value.search !== undefined) checkChoice(place, "search", value.search, ["sample", "resume", "rmaxts"]);
  for (const name of ["contextTokens", "maxTokens"]) {
    if (value[name] !== undefined) checkNumber(place, name, value[name], { integer: true, min: 1 });
  }
  return value as unknown as ProverSettings;
}

const DEFAULT = fileURLToPath(new URL("../../../models/world-prover", import.meta.url));

/** Folder of the small prover. @throws ConfigError if this installation has none */
export function defaultProver(): string {
  if (existsSync(join(DEFAULT, "config.json"))) return DEFAULT;
  throw new ConfigError("this installation has no prover of its own", {
    where: "prove",
    hint: "Name one: --model deepseek-ai/DeepSeek-Prover-V1.5-RL, or a folder.",
  });
}
