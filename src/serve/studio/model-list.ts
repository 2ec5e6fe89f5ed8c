/**
 * The models that could be opened: those in the cache of the hub, and folders, GGUF files and training runs below the roots. Names
 * are those that `open` takes.
 */
import { lstat, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { weightLayouts } from "../../checkpoint/folder.ts";
import { isOwnExport } from "../../checkpoint/gguf/own-export.ts";
import { isMissing } from "../../files/file-error.ts";
import { removeOwnFile, removeOwnFolder } from "../../files/owned.ts";
import { someOf } from "../../files/place.ts";
import { readTextFile } from "../../files/text-file.ts";
import { isCommit, RepoCache } from "../../pretrained/hub-cache.ts";
import { indexedShards } from "../../pretrained/hub-files.ts";
import { parseHubName } from "../../pretrained/hub-name.ts";
import { defaultProver } from "../../prove/prover/settings.ts";
import { modelPath } from "../../runs/model-path.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { ApiError } from "../errors.ts";
import { modelFacts } from "./model-facts.ts";
import type { OpenModels } from "./open-models.ts";
import type { ModelEntry, RootPath } from "./protocol.ts";
import { walkRoots } from "./root-walk.ts";
import { holdsOf, type Roots } from "./roots.ts";
import { shownPath } from "./shown-path.ts";

/** Models that are told. */
const MOST_MODELS = 500;
/** Name of the small prover of the package. */
const PACKAGED = "world-prover";

/** A model on disk. */
export interface StoredModel {
  readonly model: string;
  readonly from: "hub" | "package" | RootPath;
  /** What `load` takes, as far as it is there; of a hub's model its snapshot or GGUF file. */
  readonly path: string;
  readonly size: number;
  readonly partial: boolean;
}

const names = async (folder: string): Promise<string[]> =>
  await readdir(folder).catch((error: unknown) => {
    if (isMissing(error)) return [];
    throw error;
  });

/** Bytes of the plain files below a folder of the cache. */
async function bytesBelow(folder: string): Promise<number> {
  let sum = 0;
  for (const name of await names(folder)) {
    const info = await lstat(join(folder, name)).catch(() => null);
    if (info?.isFile()) sum += info.size;
  }
  return sum;
}

/** The snapshot that counts: that of `main`, else any. */
async function snapshotOf(cache: RepoCache): Promise<string | null> {
  const main = await cache.commitOf("main");
  const commits = (await names(join(cache.folder, "snapshots"))).filter(isCommit);
  if (main !== null && commits.includes(main)) return main;
  return commits.at(-1) ?? null;
}

const isWeight = (file: string) =>
  weightLayouts.some(({ files }) => files.test(file)) || /\.gguf$/i.test(file);

/** Whether weights that an index names are missing. */
async function lacksShards(cache: RepoCache, commit: string, files: readonly string[]): Promise<boolean> {
  const index = files.find((file) => /\.safetensors\.index\.json$/.test(file));
  if (index === undefined) return false;
  const text = await readTextFile(join(cache.snapshot(commit), index));
  try {
    return indexedShards(cache.name, index, text).some((shard) => !files.includes(shard));
  } catch {
    return true;
  }
}

/** What the cache has of a repository; null if it has nothing. */
export async function cachedModel(cacheDir: string, repo: string): Promise<StoredModel | null> {
  const cache = new RepoCache(cacheDir, repo);
  const blobs = await names(join(cache.folder, "blobs"));
  const commit = await snapshotOf(cache);
  if (blobs.length === 0 && commit === null) return null;
  const files = commit === null ? [] : await cache.filesOf(commit);
  const weights = files.filter(isWeight);
  const unfinished = blobs.some((name) => name.endsWith(".incomplete"));
  const partial =
    unfinished || weights.length === 0 || (commit !== null && (await lacksShards(cache, commit, files)));
  const folder = commit === null ? cache.folder : cache.snapshot(commit);
  const single = files.includes("config.json") ? undefined : weights.find((file) => /\.gguf$/i.test(file));
  return {
    ...{ model: repo, from: "hub", partial },
    path: single === undefined ? folder : join(folder, single),
    size: await bytesBelow(join(cache.folder, "blobs")),
  };
}

async function cachedModels(cacheDir: string): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  for (const name of await names(cacheDir)) {
    const [kind, ...parts] = name.split("--");
    const repo = parts.join("/");
    if (kind !== "models" || parts.length !== 2 || parseHubName(repo) === null) continue;
    const model = await cachedModel(cacheDir, repo);
    if (model !== null) found.push(model);
    if (found.length >= MOST_MODELS) break;
  }
  return found;
}

/** Bytes of the files directly in a folder, or of a file. */
async function sizeOf(path: string): Promise<number> {
  const info = await stat(path);
  return info.isDirectory() ? await bytesBelow(path) : info.size;
}

/** The model at a place below a root: a folder, a GGUF file, a run; null if there is none. */
async function modelAt(roots: Roots, place: RootPath): Promise<StoredModel | null> {
  const real = await roots.resolve(place).catch(() => null);
  if (real === null) return null;
  const shared = { model: shownPath(place), from: place, partial: false };
  if (/\.gguf$/i.test(real)) return { ...shared, path: real, size: await sizeOf(real) };
  const holds = holdsOf(new Set(await names(real)));
  if (holds === null) return null;
  // A run that has saved nothing yet has no model.
  const path = await modelPath(real).catch(() => null);
  if (path === null || !(await names(path)).some(isWeight)) return null;
  return { ...shared, path, size: await sizeOf(path) };
}

async function rootModels(roots: Roots): Promise<StoredModel[]> {
  const found: StoredModel[] = [];
  const look = async (place: RootPath) => {
    const model = await modelAt(roots, place);
    if (model !== null) found.push(model);
    return model;
  };
  await walkRoots(roots, { look, files: /\.gguf$/i, most: MOST_MODELS });
  return found;
}

/** The small prover that comes with the package; null for an installation without. */
async function packagedModel(): Promise<StoredModel | null> {
  try {
    const path = defaultProver();
    return { model: PACKAGED, from: "package", path, size: await sizeOf(path), partial: false };
  } catch (error) {
    if (error instanceof ConfigError) return null;
    throw error;
  }
}

export class StoredModels {
  readonly #roots: Roots;
  readonly #cacheDir: string;

  /** @param cacheDir folder of the hub's cache */
  constructor(roots: Roots, cacheDir: string) {
    this.#roots = roots;
    this.#cacheDir = cacheDir;
  }

  /** What is at a model's name: below a root, of the package, or in the cache. @throws ApiError 404 */
  async find(model: string): Promise<StoredModel> {
    if (model === PACKAGED) {
      const own = await packagedModel();
      if (own !== null) return own;
    }
    const place = this.#roots.parse(model);
    const below = place === null ? null : await modelAt(this.#roots, place);
    if (below !== null) return below;
    const cached =
      parseHubName(model) === null ? null : await cachedModel(this.#cacheDir, model).catch(() => null);
    if (cached !== null) return cached;
    throw new ApiError({
      ...{ status: 404, type: "invalid_request_error", param: "model", code: "model_not_found" },
      message: `There is no model '${model.slice(0, 200)}' here: it is neither below a root nor in the cache of the hub.`,
    });
  }

  /**
   * Deletes a model: what the cache has of it, or what this program made below a root. @returns its bytes
   * @throws ApiError 404, 409 for what this program did not make
   */
  async remove(model: string): Promise<number> {
    const { from, path, size } = await this.find(model);
    if (from === "package") {
      throw new ApiError({
        ...{ status: 409, type: "invalid_request_error", param: "model", code: "not_deleted" },
        message: `${model} comes with this program and is not deleted.`,
      });
    }
    if (from === "hub") return await new RepoCache(this.#cacheDir, model).remove();
    const refuse = (why: string): never => {
      throw new ApiError({
        ...{ status: 409, type: "invalid_request_error", param: "model", code: "not_deleted" },
        message: `${model} is not deleted: ${why}. Delete it by hand.`,
      });
    };
    const place = await this.#roots.resolve(from);
    if (/\.gguf$/i.test(place)) {
      if (!(await removeOwnFile(place, isOwnExport))) refuse("this program did not write the file");
      return size;
    }
    if (place !== path) refuse("it is the model of a training run");
    const foreign = await removeOwnFolder(place);
    if (foreign.length > 0) refuse(`this program did not write ${someOf(foreign)}, or it was changed since`);
    return size;
  }

  /** Folders of models whose weights are all there: what a run can go on with. */
  async trainable(): Promise<StoredModel[]> {
    const all = [...(await rootModels(this.#roots)), ...(await cachedModels(this.#cacheDir))];
    return all.filter(({ partial, path }) => !partial && !/\.gguf$/i.test(path));
  }

  /** All, with how each of them stands. */
  async list(open: OpenModels): Promise<ModelEntry[]> {
    const own = await packagedModel();
    const packaged = own === null ? [] : [own];
    const cached = await cachedModels(this.#cacheDir);
    const below = await rootModels(this.#roots);
    // By one name the one that `find` gives, which is also the one that is deleted.
    const byName = new Map([...packaged, ...below, ...cached].toReversed().map((each) => [each.model, each]));
    const named = [...packaged, ...cached, ...below].filter((each) => byName.get(each.model) === each);
    return await Promise.all(
      named.slice(0, MOST_MODELS).map(async ({ model, from, path, size, partial }): Promise<ModelEntry> => {
        const { architecture, system, parameters } = await modelFacts(path);
        const { state, info, error, job } = open.state(model) ?? {
          state: "closed",
          info: null,
          error: null,
          job: null,
        };
        return { model, from, size, partial, architecture, system, parameters, state, info, error, job };
      }),
    );
  }
}
