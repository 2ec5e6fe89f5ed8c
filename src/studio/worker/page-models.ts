/** The models that a page without a server could open: those in the browser's storage, and those whose files were picked. */

import { blobFolder } from "../../checkpoint/byte-source.ts";
import { weightLayouts } from "../../checkpoint/folder.ts";
import { openGgufFiles } from "../../checkpoint/gguf/reader.ts";
import { parseJsonObject } from "../../checkpoint/strict-json.ts";
import { neededFiles } from "../../pretrained/hub-files.ts";
import { SDXL_VAE } from "../../pretrained/load-drawing.ts";
import { ApiError } from "../../serve/errors.ts";
import { configFacts, ggufFacts, type ModelFacts, UNKNOWN } from "../../serve/studio/config-facts.ts";
import type { OpenModels } from "../../serve/studio/open-models.ts";
import type { ModelEntry } from "../../serve/studio/protocol.ts";
import { type KeptModel, KeptModels } from "./kept-models.ts";
import type { EngineStart, PickedFile } from "./messages.ts";

/** Root of models that were picked, in their names. */
export const DISK = "disk";
/** Bytes of a `config.json` that is looked at. */
const MOST_CONFIG = 4 * 2 ** 20;
const MOST_PICKED = 1000;

const isWeight = (path: string) =>
  weightLayouts.some(({ files }) => files.test(path)) || /\.gguf$/i.test(path);

/** What a model's worker opens, of the files that are there. */
export type Openable = Pick<EngineStart, "files" | "gguf">;

interface Found {
  readonly entry: Pick<ModelEntry, "model" | "from" | "size" | "partial">;
  /** Changes with what is there. */
  readonly key: string;
  readonly files: () => Promise<readonly PickedFile[]>;
}

export class PageModels {
  readonly kept = new KeptModels();
  /** By name, for as long as the page lives. */
  readonly #picked = new Map<string, readonly PickedFile[]>();
  readonly #facts = new Map<string, ModelFacts>();

  /**
   * Makes a model of files that were picked: a folder, or GGUF files. @returns its name
   * @throws ConfigError, FormatError if they are no model
   */
  add(files: readonly PickedFile[]): string {
    const paths = files.slice(0, MOST_PICKED).map(({ path }) => path);
    // A folder's files begin with its name.
    const [first = ""] = paths;
    const top = first.includes("/") ? first.slice(0, first.indexOf("/")) : null;
    const inner = files.slice(0, MOST_PICKED).map(({ path, file }) => ({
      path: top !== null && path.startsWith(`${top}/`) ? path.slice(top.length + 1) : path,
      file,
    }));
    const { kind, weights } = neededFiles(
      top ?? "the files",
      inner.map(({ path }) => path),
    );
    const name = kind === "gguf" ? weights[0].split("/").at(-1)! : (top ?? "model");
    const model = `${DISK}/${name}`;
    this.#picked.set(model, kind === "gguf" ? inner.filter(({ path }) => weights.includes(path)) : inner);
    return model;
  }

  /** Files of a picked model; null for others. */
  pickedFiles(model: string): readonly PickedFile[] | null {
    return this.#picked.get(model) ?? null;
  }

  async #found(kept: KeptModel): Promise<Found> {
    const { model, list, partial } = kept;
    const from = list.from === "hub" ? "hub" : { root: "browser", path: model.slice(DISK.length + 1) };
    return {
      entry: { model, from, size: await kept.size(), partial },
      key: `${model} ${list.commit} ${list.whole.length}`,
      files: () => kept.files(),
    };
  }

  async #all(): Promise<Found[]> {
    const kept = await Promise.all((await this.kept.list()).map((each) => this.#found(each)));
    const picked = [...this.#picked]
      .filter(([model]) => !kept.some(({ entry }) => entry.model === model && !entry.partial))
      .map(([model, files]): Found => {
        const size = files.reduce((sum, { file }) => sum + file.size, 0);
        const from = { root: DISK, path: model.slice(DISK.length + 1) };
        return {
          entry: { model, from, size, partial: false },
          key: `${model} ${size} ${files[0]?.file.lastModified}`,
          files: async () => files,
        };
      });
    return [
      ...picked,
      ...kept.filter(({ entry }) => !picked.some((each) => each.entry.model === entry.model)),
    ];
  }

  /** @throws ApiError 404 */
  async find(model: string): Promise<Found> {
    const found = (await this.#all()).find(({ entry }) => entry.model === model);
    if (found) return found;
    throw new ApiError({
      ...{ status: 404, type: "invalid_request_error", param: "model", code: "model_not_found" },
      message: `There is no model '${model.slice(0, 200)}' in this browser. Download it, or open its folder.`,
    });
  }

  async openable(found: Found): Promise<Openable> {
    const files = await found.files();
    const { kind, weights } = neededFiles(
      found.entry.model,
      files.map(({ path }) => path),
    );
    return { files, gguf: kind === "gguf" ? weights[0] : null };
  }

  /** The autoencoder that JanusFlow draws with, where it was downloaded. */
  async autoencoder(): Promise<readonly PickedFile[]> {
    const kept = await this.kept.find(SDXL_VAE);
    return kept === null || kept.partial ? [] : await kept.files();
  }

  async facts({ key, files, entry }: Found): Promise<ModelFacts> {
    const before = this.#facts.get(key);
    if (before) return before;
    if (entry.partial) return UNKNOWN;
    const facts = await this.#read(await files()).catch(() => UNKNOWN);
    this.#facts.set(key, facts);
    return facts;
  }

  async #read(files: readonly PickedFile[]): Promise<ModelFacts> {
    const config = files.find(({ path }) => path === "config.json")?.file;
    if (config !== undefined) {
      if (config.size > MOST_CONFIG) return UNKNOWN;
      return configFacts(parseJsonObject(await config.text(), "config.json"));
    }
    const tree = blobFolder(new Map(files.map(({ path, file }) => [path, file])), "model");
    const gguf = files.find(({ path }) => /\.gguf$/i.test(path));
    if (gguf === undefined) return UNKNOWN;
    const opened = await openGgufFiles(tree, gguf.path);
    try {
      return ggufFacts(opened);
    } finally {
      await opened.close();
    }
  }

  /** Bytes of its weights on disk. */
  async weightBytes({ files }: Found): Promise<number> {
    return (await files()).filter(({ path }) => isWeight(path)).reduce((sum, { file }) => sum + file.size, 0);
  }

  /** Deletes what is kept of a model, or forgets that it was picked. @returns bytes that are free then */
  async remove(model: string): Promise<number> {
    const { entry } = await this.find(model);
    this.#picked.delete(model);
    if ((await this.kept.find(model)) === null) return 0;
    await this.kept.remove(model);
    return entry.size;
  }

  /** All, with how each of them stands. */
  async list(open: OpenModels): Promise<ModelEntry[]> {
    return await Promise.all(
      (await this.#all()).map(async (found): Promise<ModelEntry> => {
        const { architecture, system, parameters } = await this.facts(found);
        const { state, info, error, job } = open.state(found.entry.model) ?? {
          state: "closed",
          info: null,
          error: null,
          job: null,
        };
        return { ...found.entry, architecture, system, parameters, state, info, error, job };
      }),
    );
  }
}
