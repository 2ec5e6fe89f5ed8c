/** From a name to a model: a path on this machine, or `org/name[@revision]` on the Hugging Face hub. Node only. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { ADAPTER_CONFIG } from "../checkpoint/adapter-config.ts";
import type { FileTree } from "../checkpoint/byte-source.ts";
import { weightLayouts } from "../checkpoint/folder.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { recoverFolder } from "../files/folder-sink.ts";
import { isTaken } from "../files/temporary.ts";
import { ConfigError, FormatError } from "../tensor/errors.ts";
import { type DownloadOptions, type DownloadProgress, downloadModel } from "./hub.ts";
import { HubError } from "./hub-client.ts";
import { indexedShards, neededFiles } from "./hub-files.ts";
import { parseHubName } from "./hub-name.ts";
import { hubSettings } from "./hub-settings.ts";
import { hubTree } from "./hub-tree.ts";
import {
  type LoadedModel,
  type LoadFilesOptions,
  type LoadProgress,
  loadFolder,
  loadGguf,
  type ModelOrigin,
  nameOf,
} from "./load.ts";
import { locateVae } from "./node-vae.ts";

export interface LoadOptions
  extends Omit<DownloadOptions, "onProgress">,
    Omit<LoadFilesOptions, "onProgress" | "vae" | "adapter"> {
  /**
   * With `drawing`: the autoencoder that JanusFlow draws with, a folder, a safetensors file or `org/name` on the hub. Default:
   * the folder `vae` beside the model, else what was downloaded of stabilityai/sdxl-vae.
   */
  readonly vae?: string;
  /** A folder with a low-rank adapter of the language model, in PEFT's layout. */
  readonly adapter?: string;
  /** Called during the download, then during loading. */
  readonly onProgress?: (progress: DownloadProgress | LoadProgress) => void;
}

/** The files of a model. */
export interface ModelPlace {
  readonly name: string;
  readonly source: ModelOrigin;
  readonly tree: FileTree;
  /** A GGUF file in the tree; null for a folder in the Hugging Face layout. */
  readonly gguf: string | null;
}

async function kindOf(path: string): Promise<"file" | "folder" | null> {
  // A replacement of it may have been cut short, or be under way.
  if (!(await isTaken(path))) await recoverFolder(path);
  try {
    return (await stat(path)).isDirectory() ? "folder" : "file";
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")) return null;
    throw error;
  }
}

async function localPlace(path: string, kind: "file" | "folder", file?: string): Promise<ModelPlace> {
  const name = nameOf(resolve(path));
  const gguf = (folder: string, inner: string): ModelPlace => ({
    ...{ name: nameOf(inner), tree: nodeFolder(folder), gguf: inner },
    source: { kind: "gguf", path: join(folder, inner) },
  });
  if (kind === "file") {
    if (/\.gguf$/i.test(path)) return gguf(dirname(path), basename(path));
    throw new FormatError("a model must be a folder or a .gguf file", {
      where: path,
      hint: weightLayouts.some(({ files }) => files.test(path))
        ? "Give the folder that the file is in; `deepseek-ts inspect` lists what a single file holds."
        : undefined,
    });
  }
  const names = await readdir(path);
  if (file === undefined && (names.includes("config.json") || !names.some((n) => /\.gguf$/i.test(n)))) {
    return { name, tree: nodeFolder(path), gguf: null, source: { kind: "folder", path } };
  }
  const ggufs = names.filter((name) => /\.gguf$/i.test(name));
  return gguf(path, neededFiles(path, ggufs, file).weights[0]);
}

/** A repository's tree with only the files of one model: others beside them would be ambiguous. */
function onlyFiles(tree: FileTree, paths: readonly string[]): FileTree {
  const kept = new Set(paths);
  return {
    ...tree,
    has: async (path) => kept.has(path),
    list: async () => (await tree.list()).filter((path) => kept.has(path)),
  };
}

async function remotePlace(name: string, options: DownloadOptions): Promise<ModelPlace> {
  const tree = await hubTree(name, options);
  const paths = tree.files.map(({ path }) => path);
  const { kind, small, weights, index } = neededFiles(tree.repo, paths, options.file);
  const shards =
    index === null ? weights : [index, ...indexedShards(tree.repo, index, await tree.readText(index))];
  const gguf = kind === "gguf" ? weights[0] : null;
  const source = { kind: "hub", path: tree.name, repo: tree.repo, commit: tree.commit } as const;
  return { name: tree.repo, source, tree: onlyFiles(tree, [...small, ...shards]), gguf };
}

async function downloadedPlace(name: string, options: DownloadOptions): Promise<ModelPlace> {
  const { repo, revision, commit, kind, path, files } = await downloadModel(name, options);
  const source = { kind: "hub", path, repo, revision, commit } as const;
  if (kind !== "gguf") return { name: repo, source, tree: nodeFolder(path), gguf: null };
  const folder = dirname(path);
  const first = files.find((file) => /\.gguf$/i.test(file))!;
  return { name: repo, source, tree: nodeFolder(folder), gguf: basename(first) };
}

/**
 * Finds the files of `name`: an existing path wins over a name on the hub. What lies on the hub is downloaded, or with
 * `download: false` read in place. @throws ConfigError if it is neither, HubError, FormatError
 */
export async function locateModel(
  name: string,
  options: Omit<LoadOptions, "dtype" | "device"> & { readonly download?: boolean } = {},
): Promise<ModelPlace> {
  const { download = true, onProgress, ...rest } = options;
  const kind = await kindOf(name);
  if (kind !== null) {
    if (rest.revision !== undefined) {
      throw new ConfigError("--revision applies to models on the hub only", {
        where: name,
        found: rest.revision,
      });
    }
    return localPlace(name, kind, rest.file);
  }
  if (parseHubName(name) === null) {
    throw new ConfigError("neither an existing file or folder nor a name on the Hugging Face hub", {
      where: name,
      expected: "a model folder, a .gguf file, or org/name",
      found: `nothing at ${resolve(name)}`,
      hint: "Check the path; names on the hub look like deepseek-ai/DeepSeek-V2-Lite-Chat.",
    });
  }
  try {
    if (!download && !(await hubSettings(rest)).offline) return await remotePlace(name, rest);
    return await downloadedPlace(name, { ...rest, onProgress });
  } catch (error) {
    if (!(error instanceof HubError) || !(error.unknownModel || error.unreachable)) throw error;
    const message = error.unknownModel
      ? "neither a file or folder here nor a model on the hub that can be seen"
      : "no file or folder here, and the hub does not answer";
    throw new ConfigError(message, {
      where: name,
      found: `nothing at ${resolve(name)}; ${error.message}`,
      cause: error,
    });
  }
}

/** The folder of an adapter: itself, or that in the folder of a run that trained one. @throws ConfigError */
export async function adapterFolder(path: string): Promise<FileTree> {
  if ((await kindOf(path)) === "folder") {
    for (const folder of [path, join(path, "adapter")]) {
      const tree = nodeFolder(folder);
      if (await tree.has(ADAPTER_CONFIG)) return tree;
    }
  }
  throw new ConfigError("no adapter there", {
    where: path,
    expected: `a folder with ${ADAPTER_CONFIG} and adapter_model.safetensors, as PEFT saves it`,
    hint: "Adapters on the hub are not downloaded: fetch the folder first.",
  });
}

/**
 * Loads a model with its tokenizer and settings from a folder, a `.gguf` file, or `org/name[@revision]` on the Hugging
 * Face hub, which is downloaded into the shared cache first.
 * @throws ConfigError, FormatError, ShapeError, HubError, the signal's reason
 */
export async function load(name: string, options: LoadOptions = {}): Promise<LoadedModel> {
  const { dtype, storage, drawing, sftFormat, vae: wanted, adapter: beside, device, ...rest } = options;
  // Before anything is downloaded.
  const adapter = beside === undefined ? undefined : await adapterFolder(beside);
  const place = await locateModel(name, rest);
  const { signal, onProgress, onNotice } = options;
  const find = () => locateVae(place.tree, wanted, rest);
  const vae = wanted === undefined ? find : ((await find()) ?? undefined);
  const files = { dtype, storage, drawing, sftFormat, vae, adapter, device, signal, onProgress, onNotice };
  return place.gguf === null
    ? loadFolder(place.tree, files, place)
    : loadGguf(place.tree, place.gguf, files, place);
}
