/** Pictures that people bring: checked by their header before anything decodes them, kept by the hash of their bytes. */

import { formatBytes, formatCount } from "../../text/units.ts";
import { readImageHeader } from "../../vision/image/read-header.ts";
import type { Store, StoredPicture } from "./store.ts";

const MOST_BYTES = 20e6;
const MOST_PIXELS = 50e6;
/** Room that stays free in the browser's storage. */
const SPARE = 5e6;

class PictureError extends Error {
  override name = "PictureError";
}

const TYPES = { png: "image/png", jpeg: "image/jpeg", webp: "image/webp", gif: "image/gif" } as const;

/** @throws PictureError */
export async function readPicture(file: Blob, name: string): Promise<StoredPicture> {
  if (file.size > MOST_BYTES)
    throw new PictureError(
      `${name} has ${formatBytes(file.size)}; pictures may have ${formatBytes(MOST_BYTES)}.`,
    );
  const bytes = new Uint8Array(await file.arrayBuffer());
  let header: ReturnType<typeof readImageHeader>;
  try {
    header = readImageHeader(bytes, name);
  } catch (error) {
    throw new PictureError((error as Error).message);
  }
  const { width, height, orientation, format } = header;
  if (width * height > MOST_PIXELS)
    throw new PictureError(
      `${name} has ${formatCount(width)} x ${formatCount(height)} pixels; at most ${formatCount(MOST_PIXELS)} can be decoded.`,
    );
  const turned = orientation > 4;
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return {
    hash: [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join(""),
    blob: new Blob([bytes], { type: TYPES[format] }),
    width: turned ? height : width,
    height: turned ? width : height,
    name,
  };
}

/** Keeps pictures. @throws PictureError if the browser has no room for them */
export async function keepPictures(store: Store, pictures: readonly StoredPicture[]): Promise<void> {
  const bytes = pictures.reduce((sum, { blob }) => sum + blob.size, 0);
  const { quota = Number.POSITIVE_INFINITY, usage = 0 } = (await navigator.storage?.estimate?.()) ?? {};
  if (store.lasting && usage + bytes + SPARE > quota)
    throw new PictureError(
      `This browser has room for ${formatBytes(Math.max(0, quota - usage))} more; the pictures have ${formatBytes(bytes)}. ` +
        "Export conversations and delete some.",
    );
  for (const picture of pictures) await store.putPicture(picture);
}

/** As bodies of requests have it. */
export function dataUrl(blob: Blob): Promise<string> {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result as string);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/** Pictures among what was dropped or pasted. */
export const picturesIn = (data: DataTransfer | null): readonly File[] =>
  [...(data?.files ?? [])].filter(({ type }) => type.startsWith("image/"));
