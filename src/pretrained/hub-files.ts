/** Which files of a repository a model needs: configuration, tokenizer and safetensors, or one GGUF file. */
import { isPickleName, pickleError } from "../checkpoint/safetensors.ts";
import { isObject, parseJsonObject } from "../checkpoint/strict-json.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";

const SMALL =
  /^(config|generation_config|tokenizer[^/]*|special_tokens_map|added_tokens|chat_template)\.json$|^chat_template\.jinja$/;
const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

export interface NeededFiles {
  readonly kind: "safetensors" | "gguf";
  /** Files to fetch whatever the weights are. */
  readonly small: readonly string[];
  /** Weight files, the parts of a split one in order; where `index` is set they are known once that file is read (`shardsOf`). */
  readonly weights: readonly string[];
  readonly index: string | null;
}

/** The GGUF models among paths: each its parts in order, one where the file is not split. */
function ggufModels(paths: readonly string[]): string[][] {
  const models = new Map<string, string[]>();
  for (const path of [...paths].sort()) {
    if (!/\.gguf$/i.test(path) || /(^|\/)mmproj/i.test(path)) continue;
    const key = path.replace(/-\d{5}-of-(\d{5}\.gguf)$/i, "-of-$1");
    models.set(key, [...(models.get(key) ?? []), path]);
  }
  return [...models.values()];
}

/** `wanted` among the GGUF models: a file's path, its name, or a part that only one model has (`Q4_0`). */
function findGguf(where: string, models: readonly string[][], wanted: string): string[] {
  const lower = wanted.toLowerCase();
  const named = (path: string) => path === wanted || path.split("/").at(-1) === wanted;
  const exact = models.filter((parts) => parts.some(named));
  const found = exact.length > 0 ? exact : models.filter(([path]) => path.toLowerCase().includes(lower));
  if (found.length === 1) return found[0];
  const none = found.length === 0;
  throw new ConfigError(none ? "no such GGUF file" : "more than one GGUF file of this name", {
    where,
    name: wanted,
    expected: none ? "one of the repository's" : "a name that only one has",
    found: (none ? models : found).map(([path]) => path).slice(0, 20),
  });
}

/**
 * Chooses from the paths of a repository: `file` names one GGUF file; without it safetensors come first, then the only
 * GGUF file. @throws ConfigError where there is a choice to make, FormatError where there is nothing to load
 */
export function neededFiles(where: string, paths: readonly string[], file?: string): NeededFiles {
  const small = paths.filter((path) => SMALL.test(path));
  const ggufs = ggufModels(paths);
  if (file !== undefined) {
    if (isPickleName(file)) throw pickleError(where, file);
    return { kind: "gguf", small: [], weights: findGguf(where, ggufs, file), index: null };
  }
  // As transformers does where a repository holds both.
  if (paths.includes(SINGLE)) return { kind: "safetensors", small, weights: [SINGLE], index: null };
  if (paths.includes(INDEX)) return { kind: "safetensors", small, weights: [], index: INDEX };
  if (ggufs.length === 1) return { kind: "gguf", small: [], weights: ggufs[0], index: null };
  if (ggufs.length > 1) {
    throw new ConfigError("the repository holds several GGUF files", {
      where,
      expected: "the name of one, or a part of it such as Q4_0",
      found: ggufs.map(([path]) => path).slice(0, 40),
      hint: "Say which: --gguf, of download --file, in programs the option `file`.",
    });
  }
  const pickles = paths.filter(isPickleName);
  if (pickles.length > 0) throw pickleError(where, pickles.slice(0, 4).join(", "));
  throw new FormatError("no weights in the repository", {
    where,
    expected: `${SINGLE}, ${INDEX} or a .gguf file`,
    found: paths.slice(0, 12),
  });
}

/** The weight files that an index names, each once. @throws FormatError */
export function shardsOf(where: string, indexText: string): string[] {
  const map = parseJsonObject(indexText, where).weight_map;
  if (!isObject(map)) throw new FormatError("index has no weight_map", { where, name: INDEX });
  const shards = new Set<string>();
  for (const shard of Object.values(map)) {
    if (typeof shard !== "string")
      throw new FormatError("shard name is not a string", { where, name: INDEX });
    if (isPickleName(shard)) throw pickleError(where, shard);
    shards.add(shard);
  }
  return [...shards].sort();
}
