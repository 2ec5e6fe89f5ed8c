/** Conversations and their images on disk. Node only. */
import { realpath, stat } from "node:fs/promises";
import { dirname, isAbsolute, join, sep } from "node:path";
import { readExactly } from "../../checkpoint/byte-source.ts";
import { nodeFileSource } from "../../checkpoint/node-files.ts";
import { explained, isMissing } from "../../files/file-error.ts";
import { FormatError } from "../../tensor/errors.ts";
import type { ImageSource } from "./messages.ts";
import { type ConversationOptions, type ConversationStore, readConversations } from "./store.ts";

export interface ImageFolderOptions {
  /** Whether absolute paths, and links that lead out of the folder, are followed; default false. */
  readonly allowAbsolute?: boolean;
  /** Largest file of an image in bytes; default 256 MiB. */
  readonly maxImageBytes?: number;
}

const MAX_IMAGE_BYTES = 256 << 20;

/** The images of a data folder: finds and reads them, and decodes nothing. */
export class ImageFolder {
  readonly folder: string;
  readonly #allowAbsolute: boolean;
  readonly #maxBytes: number;
  /** The folder without links. */
  #real: Promise<string> | null = null;

  constructor(folder: string, options: ImageFolderOptions = {}) {
    this.folder = folder;
    this.#allowAbsolute = options.allowAbsolute ?? false;
    this.#maxBytes = options.maxImageBytes ?? MAX_IMAGE_BYTES;
  }

  /** @throws FormatError for an image that is missing, no file, too large, or outside the folder */
  async check(image: ImageSource): Promise<void> {
    if ("path" in image) await this.#find(image.path);
  }

  /** The bytes of an image file, or the data URL as it is: what `decodeImage` takes. @throws as `check` */
  async read(image: ImageSource): Promise<Uint8Array | string> {
    if ("dataUrl" in image) return image.dataUrl;
    const source = await nodeFileSource(await this.#find(image.path));
    try {
      // The file may have grown since it was looked at.
      if (source.size > this.#maxBytes) this.#refuseSize(source.name, source.size);
      return await readExactly(source, 0, source.size);
    } finally {
      await source.close?.();
    }
  }

  #refuseSize(path: string, found: number): never {
    throw new FormatError("the image file is too large", {
      where: path,
      expected: `at most ${this.#maxBytes} bytes`,
      found,
    });
  }

  async #find(path: string): Promise<string> {
    const absolute = isAbsolute(path);
    if (absolute && !this.#allowAbsolute) throw new FormatError("absolute path", { where: path });
    const full = absolute ? path : join(this.folder, path);
    const info = await explained(full, "read", () =>
      stat(full).catch((cause: unknown) => {
        if (!isMissing(cause)) throw cause;
        throw new FormatError("image not found", { where: full, cause });
      }),
    );
    if (!info.isFile()) throw new FormatError("not a file", { where: full });
    if (info.size > this.#maxBytes) this.#refuseSize(full, info.size);
    if (this.#allowAbsolute) return full;
    this.#real ??= realpath(this.folder);
    const [root, real] = [await this.#real, await realpath(full)];
    if (real.startsWith(root.endsWith(sep) ? root : root + sep)) return full;
    throw new FormatError("a link leads out of the data folder", {
      where: full,
      expected: `a file inside ${root}`,
      found: real,
      hint: "Copy the image into the folder, or allow absolute paths (allowAbsolute).",
    });
  }
}

export interface OpenConversationsOptions
  extends Omit<ConversationOptions, "checkImage">,
    ImageFolderOptions {
  /** What relative paths of images are relative to; default the folder of the file. */
  readonly folder?: string;
  /** Whether all image files are looked for before anything is read; default true. */
  readonly checkImages?: boolean;
}

export interface OpenedConversations {
  readonly conversations: ConversationStore;
  readonly images: ImageFolder;
}

/**
 * Opens a JSON Lines file of conversations. Close `conversations` when done.
 * @throws FormatError naming file, line and field or image; FileError
 */
export async function openConversations(
  path: string,
  options: OpenConversationsOptions = {},
): Promise<OpenedConversations> {
  const { folder = dirname(path), checkImages = true, maxImageBytes, ...rest } = options;
  const images = new ImageFolder(folder, { allowAbsolute: rest.allowAbsolute, maxImageBytes });
  const seen = new Set<string>();
  const checkImage = async (image: ImageSource) => {
    if (!("path" in image) || seen.has(image.path)) return;
    await images.check(image);
    seen.add(image.path);
  };
  const source = await nodeFileSource(path);
  try {
    const conversations = await readConversations(source, { ...rest, ...(checkImages && { checkImage }) });
    return { conversations, images };
  } catch (error) {
    await source.close?.();
    throw error;
  }
}
