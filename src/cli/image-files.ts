/** Pictures that a command line names: read, checked by their headers, and told of while they are encoded. */
import { readFile, stat } from "node:fs/promises";
import type { Command } from "commander";
import { Option } from "commander";
import type { ImagePart, MessagePart } from "../chat/messages.ts";
import { ImageEncoder, type ImageProgress } from "../engine/image-encoder.ts";
import { explained } from "../files/file-error.ts";
import type { LoadedModel } from "../pretrained/load.ts";
import { ConfigError } from "../tensor/errors.ts";
import { BYTE_LIMIT } from "../vision/image/decode.ts";
import { ImageError } from "../vision/image/image.ts";
import { readImageHeader } from "../vision/image/read-header.ts";
import { positiveInteger } from "./commands/options.ts";
import { suggesting } from "./completion.ts";

/** Options of commands that read pictures. */
export interface ImageFlags {
  readonly rotate?: boolean;
  readonly maxPixels?: number;
}

/** Adds `--rotate` and `--max-pixels`. */
export function withImageOptions(command: Command): Command {
  return command
    .option("--rotate", "turn pictures as their Exif data say (default: as stored, like the reference)")
    .option("--max-pixels <n>", "refuse larger pictures (default: 89478485)", positiveInteger);
}

/** Adds `--image`, `--rotate` and `--max-pixels`. @param use what becomes of the pictures, for the help */
export function withImages(command: Command, use: string): Command {
  const image = new Option("--image <file>", `picture for ${use} (PNG, JPEG, WebP or GIF); may be repeated`)
    .argParser((path: string, all: readonly string[]) => [...all, path])
    .default([] as readonly string[]);
  return withImageOptions(command.addOption(suggesting(image, [], "files")));
}

/**
 * Reads a picture's file; its header is looked at, so that another kind of file is refused before a model is loaded.
 * @throws ImageError, FileError, ConfigError
 */
export async function readImageFile(
  path: string,
  { rotate }: Pick<ImageFlags, "rotate"> = {},
): Promise<ImagePart> {
  const info = await explained(path, "read", () => stat(path));
  if (!info.isFile()) {
    throw new ConfigError(
      info.isDirectory() ? "this is a folder, not a picture" : "this is no ordinary file",
      {
        where: path,
        hint: "Name a file; `deepseek-ts ask MODEL --folder DIR` asks about every picture of a folder.",
      },
    );
  }
  if (info.size > BYTE_LIMIT) {
    throw new ImageError(path, "byte limit", "the file is too large", {
      expected: `at most ${BYTE_LIMIT} bytes`,
      found: info.size,
    });
  }
  const image = new Uint8Array(await explained(path, "read", () => readFile(path)));
  readImageHeader(image, path);
  return { type: "image", image, name: path, ...(rotate && { rotate }) };
}

/** @throws as `readImageFile` */
export async function readImageFiles(paths: readonly string[], flags: ImageFlags): Promise<ImagePart[]> {
  const parts: ImagePart[] = [];
  for (const path of paths) parts.push(await readImageFile(path, flags));
  return parts;
}

/** What encodes a model's images; null for a model that sees none. */
export function imageEncoder({ vision }: LoadedModel, { maxPixels }: ImageFlags): ImageEncoder | null {
  if (vision === null) return null;
  return new ImageEncoder(vision.model, () => vision.imageProcessor(), { maxPixels });
}

/** @throws ConfigError if a model is given pictures and sees none */
export function refuseUnseen({ vision, name }: LoadedModel, what: string): void {
  if (vision !== null) return;
  throw new ConfigError("the model reads text only and sees no pictures", {
    where: name,
    found: what,
    hint: "Use one that sees, such as deepseek-ai/deepseek-vl2-tiny or deepseek-ai/deepseek-vl-1.3b-chat.",
  });
}

/** A message with its pictures before the text. */
export function withImageParts(images: readonly ImagePart[], text: string): string | readonly MessagePart[] {
  return images.length === 0 ? text : [...images, { type: "text", text }];
}

/** How far the pictures of a prompt are. */
export function imageProgressText({ image, images, view, views }: ImageProgress): string {
  const which = images === 1 ? "image" : `image ${image} of ${images}`;
  return views === 1 ? `seeing ${which}` : `seeing ${which}: tile ${view} of ${views}`;
}
