/** Writes a model as one GGUF file, tensor by tensor while it is read. */
import { exportGguf } from "../checkpoint/gguf/export.ts";
import { isOwnExport } from "../checkpoint/gguf/own-export.ts";
import { nodeFileSink } from "../files/file-sink.ts";
import { checkFilePlace, realPlace } from "../files/place.ts";
import {
  GGUF_TYPES,
  ggufModelOf,
  lostInGguf,
  openFolder,
  openGgufPlace,
} from "../pretrained/model-source.ts";
import { locateModel } from "../pretrained/node-load.ts";

export interface ConvertTask {
  /** A folder in the Hugging Face layout, or a GGUF file. */
  readonly model: string;
  /** The file to write, new. */
  readonly out: string;
  readonly type: keyof typeof GGUF_TYPES;
}

export type ConvertEvent =
  | { readonly type: "progress"; readonly done: number; readonly total: number }
  | { readonly type: "notice"; readonly text: string };

export interface ConvertResult {
  /** Of the file. */
  readonly bytes: number;
  /** What GGUF has no place for, in words; null if that is nothing. */
  readonly lost: string | null;
}

/**
 * Does what `task` says. Nothing is left at `out` where it fails.
 * @throws ConfigError, FormatError, FileError, the signal's reason
 */
export async function convertModel(
  { model, out, type }: ConvertTask,
  onEvent: (event: ConvertEvent) => void = () => {},
  signal?: AbortSignal,
): Promise<ConvertResult> {
  const onNotice = (text: string) => onEvent({ type: "notice", text });
  const place = await locateModel(model, { offline: true, download: false });
  const target = { sources: [place.source.path], isOurs: isOwnExport };
  // Before the work rather than after it.
  await checkFilePlace(await realPlace(out), target);
  const source = await (place.gguf === null ? openFolder(place, undefined, onNotice) : openGgufPlace(place));
  try {
    const bytes = await exportGguf(await nodeFileSink(out, target), await ggufModelOf(source, place.name), {
      type: GGUF_TYPES[type],
      onProgress: ({ written, total }) => {
        signal?.throwIfAborted();
        onEvent({ type: "progress", done: written, total });
      },
    });
    return { bytes, lost: lostInGguf(source) };
  } finally {
    await source.close();
  }
}
