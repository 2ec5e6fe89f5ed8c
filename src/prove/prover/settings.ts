/** The small prover that comes with the package, and how a prover wants to be asked. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { FileTree } from "../../checkpoint/byte-source.ts";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { parseJsonObject } from "../../checkpoint/strict-json.ts";
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

/** `official` for a folder, or the folder of a GGUF file, that says nothing. @throws as `treeProverSettings` */
export async function proverSettings(path: string): Promise<ProverSettings> {
  return await treeProverSettings(nodeFolder(/\.gguf$/i.test(path) ? dirname(path) : path));
}

/** As `proverSettings`, of the files of a model. @throws ConfigError, FormatError for a file that is no such settings */
export async function treeProverSettings(tree: FileTree): Promise<ProverSettings> {
  if (!(await tree.has(PROVER_FILE))) return { style: "official" };
  const where = `${tree.name}/${PROVER_FILE}`;
  const value = parseJsonObject(await tree.readText(PROVER_FILE), where);
  const place = { where };
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
