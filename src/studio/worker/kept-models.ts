/**
 * Models in the storage of this browser (OPFS): a folder for each, with its files under their escaped paths and a list that is
 * written before the first of them, so that what an interrupted download lacks is known.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { formatBytes } from "../../text/units.ts";
import type { PickedFile } from "./messages.ts";

/** A file as the list has it. */
export interface KeptFile {
  readonly path: string;
  readonly size: number;
  /** As the hub names its content; null for files from the disk. */
  readonly etag: string | null;
}

export interface KeptList {
  readonly format: typeof FORMAT;
  readonly model: string;
  readonly from: "hub" | "disk";
  /** Of the hub's repository. */
  readonly commit: string | null;
  readonly files: readonly KeptFile[];
  /** Paths of the files that are whole and compared. */
  readonly whole: readonly string[];
}

export const FORMAT = "deepseek-ts studio model";
const FOLDER = "models";
const LIST = "list.json";
/** Characters of a list; models that are listed. */
const MOST_LIST = 4 << 20;
const MOST_MODELS = 200;

const nameOf = (text: string) => encodeURIComponent(text);
const isMissing = (error: unknown) => error instanceof DOMException && error.name === "NotFoundError";
const isFull = (error: unknown) => error instanceof DOMException && error.name === "QuotaExceededError";

/** Reading and writing a file at once, which workers alone may: their types are not those of pages. */
interface SyncAccess {
  getSize(): number;
  read(into: Uint8Array<ArrayBuffer>, options: { readonly at: number }): number;
  write(bytes: Uint8Array<ArrayBuffer>, options: { readonly at: number }): number;
  truncate(size: number): void;
  flush(): void;
  close(): void;
}

const accessTo = (handle: FileSystemFileHandle) =>
  (
    handle as FileSystemFileHandle & { createSyncAccessHandle(): Promise<SyncAccess> }
  ).createSyncAccessHandle();

/** Writing one file on, at its end. */
export interface KeptWriter {
  readonly size: number;
  write(bytes: Uint8Array<ArrayBuffer>): void;
  read(offset: number, into: Uint8Array<ArrayBuffer>): number;
  truncate(): void;
  close(): void;
}

/** The same error, in words with figures where the storage is full. */
async function explained(error: unknown, model: string): Promise<unknown> {
  if (isFull(error)) return await noRoom(model, null);
  if (error instanceof DOMException && error.name === "NoModificationAllowedError")
    return new ConfigError("another tab is writing this file", {
      where: model,
      hint: "Wait until it has ended.",
    });
  return error;
}

async function noRoom(model: string, missing: number | null): Promise<ConfigError> {
  const { quota = 0, usage = 0 } = await navigator.storage.estimate();
  return new ConfigError("the browser's storage has no room for the model", {
    where: model,
    ...(missing === null ? {} : { expected: `${formatBytes(missing)} free` }),
    found: `${formatBytes(usage)} of the ${formatBytes(quota)} that this page may take are in use`,
    hint: "Delete models here, or free space on the disk: browsers give a share of what is free.",
  });
}

/** One model of the storage. */
export class KeptModel {
  readonly model: string;
  readonly #folder: FileSystemDirectoryHandle;
  #list: KeptList;

  constructor(folder: FileSystemDirectoryHandle, list: KeptList) {
    this.model = list.model;
    this.#folder = folder;
    this.#list = list;
  }

  get list(): KeptList {
    return this.#list;
  }

  get partial(): boolean {
    const { files, whole } = this.#list;
    return files.length === 0 || files.some(({ path }) => !whole.includes(path));
  }

  async #save(list: KeptList): Promise<void> {
    this.#list = list;
    await writeText(this.#folder, LIST, JSON.stringify(list));
  }

  /** What is to be there; what is whole of it already stays so. */
  async expect(files: readonly KeptFile[], commit: string | null): Promise<void> {
    const before = new Map(this.#list.files.map((file) => [file.path, file]));
    const same = ({ path, size, etag }: KeptFile) =>
      before.get(path)?.size === size && before.get(path)?.etag === etag;
    const whole = files.filter((file) => same(file) && this.#list.whole.includes(file.path));
    // Of another content, what is there is of no use.
    for (const file of files) if (!same(file)) await this.#drop(file.path);
    await this.#save({ ...this.#list, commit, files, whole: whole.map(({ path }) => path) });
  }

  async #drop(path: string): Promise<void> {
    await this.#folder.removeEntry(nameOf(path)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }

  async finished(path: string): Promise<void> {
    await this.#save({ ...this.#list, whole: [...this.#list.whole, path] });
  }

  isWhole(path: string): boolean {
    return this.#list.whole.includes(path);
  }

  /** Bytes that are there of a file. */
  async sizeOf(path: string): Promise<number> {
    try {
      return (await (await this.#folder.getFileHandle(nameOf(path))).getFile()).size;
    } catch (error) {
      if (isMissing(error)) return 0;
      throw error;
    }
  }

  async size(): Promise<number> {
    let sum = 0;
    for (const { path } of this.#list.files) sum += await this.sizeOf(path);
    return sum;
  }

  /** The files that are whole. */
  async files(): Promise<PickedFile[]> {
    return await Promise.all(
      this.#list.whole.map(async (path) => ({
        path,
        file: await (await this.#folder.getFileHandle(nameOf(path))).getFile(),
      })),
    );
  }

  /** Refuses what there is no room for. @throws ConfigError with the figures */
  async checkRoom(): Promise<void> {
    let missing = 0;
    for (const { path, size } of this.#list.files) missing += Math.max(0, size - (await this.sizeOf(path)));
    const { quota = 0, usage = 0 } = await navigator.storage.estimate();
    if (missing > quota - usage) throw await noRoom(this.model, missing);
  }

  /** @throws ConfigError if another tab writes it, or the storage is full */
  async writer(path: string): Promise<KeptWriter> {
    const { model } = this;
    try {
      const handle = await this.#folder.getFileHandle(nameOf(path), { create: true });
      const access = await accessTo(handle);
      let size = access.getSize();
      return {
        get size() {
          return size;
        },
        write(bytes) {
          for (let at = 0; at < bytes.length; ) {
            const written = access.write(bytes.subarray(at), { at: size });
            if (written === 0)
              throw new DOMException(`${model}: nothing could be written`, "QuotaExceededError");
            at += written;
            size += written;
          }
        },
        read: (offset, into) => access.read(into, { at: offset }),
        truncate() {
          access.truncate(0);
          size = 0;
        },
        close() {
          access.flush();
          access.close();
        },
      };
    } catch (error) {
      throw await explained(error, this.model);
    }
  }

  /** Runs what writes; a full storage is told in words. */
  async explaining<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      throw await explained(error, this.model);
    }
  }
}

async function writeText(folder: FileSystemDirectoryHandle, name: string, text: string): Promise<void> {
  const handle = await folder.getFileHandle(name, { create: true });
  const access = await accessTo(handle);
  try {
    access.truncate(0);
    access.write(new TextEncoder().encode(text), { at: 0 });
    access.flush();
  } finally {
    access.close();
  }
}

function isList(value: unknown): value is KeptList {
  const list = value as Partial<KeptList> | null;
  return (
    list?.format === FORMAT &&
    typeof list.model === "string" &&
    Array.isArray(list.files) &&
    Array.isArray(list.whole)
  );
}

export class KeptModels {
  async #root(): Promise<FileSystemDirectoryHandle> {
    const root = await navigator.storage.getDirectory();
    return await root.getDirectoryHandle(FOLDER, { create: true });
  }

  async #open(folder: FileSystemDirectoryHandle): Promise<KeptModel | null> {
    try {
      const file = await (await folder.getFileHandle(LIST)).getFile();
      if (file.size > MOST_LIST) return null;
      const list: unknown = JSON.parse(await file.text());
      return isList(list) ? new KeptModel(folder, list) : null;
    } catch {
      // Ended before its list was written, or while it was.
      return null;
    }
  }

  async list(): Promise<KeptModel[]> {
    const found: KeptModel[] = [];
    for await (const handle of (await this.#root()).values()) {
      if (handle.kind !== "directory") continue;
      const model = await this.#open(handle as FileSystemDirectoryHandle);
      if (model !== null) found.push(model);
      if (found.length >= MOST_MODELS) break;
    }
    return found.sort((a, b) => (a.model < b.model ? -1 : 1));
  }

  /** Null for one that is not there. */
  async find(model: string): Promise<KeptModel | null> {
    try {
      return await this.#open(await (await this.#root()).getDirectoryHandle(nameOf(model)));
    } catch (error) {
      if (isMissing(error)) return null;
      throw error;
    }
  }

  /** The model of this name, made without files where it is not there. */
  async make(model: string, from: KeptList["from"]): Promise<KeptModel> {
    const before = await this.find(model);
    if (before !== null) return before;
    const folder = await (await this.#root()).getDirectoryHandle(nameOf(model), { create: true });
    const list: KeptList = { format: FORMAT, model, from, commit: null, files: [], whole: [] };
    await writeText(folder, LIST, JSON.stringify(list));
    return new KeptModel(folder, list);
  }

  async remove(model: string): Promise<void> {
    await (await this.#root()).removeEntry(nameOf(model), { recursive: true });
  }
}
