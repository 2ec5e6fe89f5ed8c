/**
 * Which files of a repository a model needs: configuration, tokenizer and safetensors (torch's files only if there
 * are none), or one GGUF file. States of optimizers, settings of training runs and the original releases' own formats
 * have other names and are never among them.
 */
import { checkInnerPath } from "../checkpoint/byte-source.ts";
import { shardsOf, type WeightFormat, type WeightLayout, weightLayouts } from "../checkpoint/folder.ts";
import { parseJsonObject } from "../checkpoint/strict-json.ts";
import { vaeFiles } from "../checkpoint/vae-names.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import type { HubFile } from "./hub-client.ts";

const SMALL =
  /^(config|generation_config|preprocessor_config|processor_config|tokenizer[^/]*|special_tokens_map|added_tokens|chat_template|prover)\.json$|^chat_template\.jinja$/;

export interface NeededFiles {
  readonly kind: WeightFormat | "gguf";
  /** Files to fetch with any kind of weights. */
  readonly small: readonly string[];
  /** Weight files, parts in order; with an `index` they are known once that file is read (`indexedShards`). */
  readonly weights: readonly string[];
  readonly index: string | null;
}

/** The GGUF models among paths: each its parts in order, one if the file is not split. */
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
 * Chooses from the paths of a repository: `file` names one GGUF file; without it safetensors come first, then torch's
 * files, then the only GGUF file. @throws ConfigError if there is a choice to make, FormatError if there is
 * nothing to load
 */
export function neededFiles(where: string, paths: readonly string[], file?: string): NeededFiles {
  const small = paths.filter((path) => SMALL.test(path));
  const ggufs = ggufModels(paths);
  if (file !== undefined) {
    const other = weightLayouts.find(({ files }) => files.test(file));
    if (other) {
      throw new ConfigError("only GGUF files can be selected by name", {
        where,
        name: file,
        expected: "a .gguf file",
        hint: `Without a name, ${other.single} or its shards are used.`,
      });
    }
    return { kind: "gguf", small: [], weights: findGguf(where, ggufs, file), index: null };
  }
  for (const { format, single, index } of weightLayouts) {
    // As transformers does where a repository holds both.
    if (paths.includes(single)) return { kind: format, small, weights: [single], index: null };
    if (paths.includes(index)) return { kind: format, small, weights: [], index };
  }
  // A repository of an autoencoder, as JanusFlow draws with: files of diffusers.
  const autoencoder = vaeFiles.find((path) => paths.includes(path));
  if (autoencoder !== undefined && small.includes("config.json"))
    return { kind: "safetensors", small, weights: [autoencoder], index: null };
  if (ggufs.length === 1) return { kind: "gguf", small: [], weights: ggufs[0], index: null };
  if (ggufs.length > 1) {
    throw new ConfigError("the repository holds several GGUF files", {
      where,
      expected: "the name of one, or a part of it such as Q4_0",
      found: ggufs.map(([path]) => path).slice(0, 40),
      hint: "Select one with --gguf (download: --file; TypeScript: option `file`).",
    });
  }
  throw new FormatError("no weights in the repository", {
    where,
    expected: `${weightLayouts.flatMap(({ single, index }) => [single, index]).join(", ")} or a .gguf file`,
    found: paths.slice(0, 12),
  });
}

/** The weight files that the text of the index file `name` names, each once. @throws FormatError */
export function indexedShards(where: string, name: string, text: string): string[] {
  const layout = weightLayouts.find(({ index }) => index === name) as WeightLayout;
  const shown = `${where}: ${name}`;
  return [...shardsOf(shown, parseJsonObject(text, shown), layout).keys()].sort();
}

/** Bytes of an index of shards, which is read whole: that of DeepSeek-V3 has 9 million. */
const MOST_INDEX = 100_000_000;

/**
 * What is fetched of a repository's files: those that `neededFiles` names, and the shards of its index.
 * @param readIndex gives the text of the index once the files that come with any kind of weights are there
 * @throws as `neededFiles`; FormatError for an index that names what the repository lacks, or that is too large
 */
export async function filesToFetch(
  name: string,
  files: readonly HubFile[],
  wanted: string | undefined,
  readIndex: (first: readonly HubFile[], index: string) => Promise<string>,
): Promise<{
  readonly needed: NeededFiles;
  readonly weights: readonly string[];
  readonly all: readonly HubFile[];
}> {
  const byPath = new Map(files.map((file) => [file.path, file]));
  const find = (path: string): HubFile => {
    checkInnerPath(name, path);
    const file = byPath.get(path);
    if (file) return file;
    throw new FormatError("the index names a file that the repository lacks", { where: name, name: path });
  };
  const needed = neededFiles(name, [...byPath.keys()], wanted);
  const { small, index } = needed;
  let { weights } = needed;
  if (index !== null) {
    const { size } = find(index);
    if (size > MOST_INDEX) {
      throw new FormatError("the index of the weights is too large", {
        ...{ where: name, name: index, expected: `at most ${MOST_INDEX} bytes`, found: size },
      });
    }
    const text = await readIndex([...small, index].map(find), index);
    weights = [index, ...indexedShards(name, index, text)];
  }
  return { needed, weights, all: [...small, ...weights].map(find) };
}
