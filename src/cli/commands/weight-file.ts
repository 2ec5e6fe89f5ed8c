/** Single files of weights, without a configuration: what tensors they hold, and PyTorch files as safetensors. */

import { stat } from "node:fs/promises";
import type { FileTree } from "../../checkpoint/byte-source.ts";
import { companions } from "../../checkpoint/companions.ts";
import { changedConfig, setDtype } from "../../checkpoint/config-text.ts";
import { type Checkpoint, type WeightFormat, weightLayouts } from "../../checkpoint/folder.ts";
import { nodeFileSource } from "../../checkpoint/node-files.ts";
import type { SafetensorsDtype } from "../../checkpoint/safetensors-dtype.ts";
import { type SafetensorsEntry, writeSafetensors } from "../../checkpoint/safetensors-writer.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import type { TensorFile, TensorInfo } from "../../checkpoint/tensor-file.ts";
import { nodeFileSink } from "../../files/file-sink.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import type { PlaceOptions } from "../../files/place.ts";
import { formatBytes, formatCount } from "../../text/units.ts";
import { ProgressLine } from "../progress-line.ts";

/** Bytes copied at once. */
const PIECE = 1 << 22;
/** The format of a file of weights by its name, or null: another name, no file, or a folder. */
export async function weightFileFormat(path: string): Promise<WeightFormat | null> {
  const layout = weightLayouts.find(({ files }) => files.test(path));
  const info = layout && (await stat(path).catch(() => null));
  return info?.isFile() ? layout!.format : null;
}

/** Opens one file of weights; close its source when done. @throws FormatError */
export async function openWeightFile(path: string, format: WeightFormat): Promise<TensorFile> {
  const source = await nodeFileSource(path);
  try {
    return await weightLayouts.find((layout) => layout.format === format)!.open(source);
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

export interface FileInspection {
  readonly file: string;
  readonly format: WeightFormat;
  readonly tensors: readonly TensorInfo[];
  readonly bytes: number;
  readonly bytesByDtype: Readonly<Record<string, number>>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** Reads the header of one file of weights, no data. @throws FormatError */
export async function inspectFile(path: string, format: WeightFormat): Promise<FileInspection> {
  const { tensors, metadata, source } = await openWeightFile(path, format);
  await source.close?.();
  const bytesByDtype = new Map<string, number>();
  let total = 0;
  for (const { dtype, bytes } of tensors.values()) {
    bytesByDtype.set(dtype, (bytesByDtype.get(dtype) ?? 0) + bytes);
    total += bytes;
  }
  return {
    file: path,
    format,
    tensors: [...tensors.values()].map(({ name, dtype, shape, bytes }) => ({ name, dtype, shape, bytes })),
    bytes: total,
    bytesByDtype: Object.fromEntries(bytesByDtype),
    metadata,
  };
}

/** A name or value of a file on one line of a terminal. */
const printable = (text: string) => (/^[\x20-\x7e]*$/.test(text) ? text : JSON.stringify(text));

/** What `inspect` prints of a file: totals, then every tensor. */
export function fileReport({ file, format, tensors, bytes, bytesByDtype, metadata }: FileInspection): string {
  const dtypes = Object.entries(bytesByDtype).map(([dtype, size]) => `${dtype} ${formatBytes(size)}`);
  const said = Object.entries(metadata).map(([key, value]) => `${printable(key)}=${printable(value)}`);
  const rows: [string, string][] = [
    ["file", file],
    ["format", format === "pytorch" ? "torch.save" : format],
    [
      "tensors",
      `${formatCount(tensors.length)}, ${formatBytes(bytes)}${dtypes.length > 0 ? `: ${dtypes.join(", ")}` : ""}`,
    ],
    ...(said.length > 0 ? [["metadata", said.join(", ").slice(0, 400)] as [string, string]] : []),
  ];
  return [...rows.map(([name, value]) => `${name.padEnd(11)} ${value}`), "", tensorTable(tensors)].join("\n");
}

/** One line for each tensor: name, type, shape, bytes. */
export function tensorTable(
  tensors: readonly {
    readonly name: string;
    readonly dtype: string;
    readonly shape: readonly number[];
    readonly bytes: number;
  }[],
): string {
  const cells = tensors.map(({ name, dtype, shape, bytes: size }) => [
    printable(name),
    dtype,
    `[${shape.join(", ")}]`,
    `${formatCount(size)} bytes`,
  ]);
  const widths = [0, 1, 2].map((i) => cells.reduce((most, row) => Math.max(most, row[i].length), 0));
  const lines = cells.map((row) => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join("  "));
  return lines.map((line) => `${line}\n`).join("");
}

/** Something that hands out stored tensors. */
interface Stored {
  readonly infos: readonly TensorInfo[];
  readRange: Checkpoint["readRange"];
}

/** The tensors as they are stored, copied piece by piece. */
function entriesOf({ infos, readRange }: Stored, line: ProgressLine): SafetensorsEntry[] {
  const total = infos.reduce((sum, { bytes }) => sum + bytes, 0);
  let done = 0;
  return infos.map(({ name, dtype, shape, bytes }) => ({
    name,
    // The writer refuses what it does not know.
    dtype: dtype as SafetensorsDtype,
    shape,
    data: async function* () {
      for (let at = 0; at < bytes; at += PIECE) {
        yield await readRange(name, at, Math.min(PIECE, bytes - at));
        done += Math.min(PIECE, bytes - at);
        line.update({ stage: "load", done, total });
      }
    },
  }));
}

/** Writes the tensors of one file of torch as a safetensors file; gives its size. @throws FormatError, FileError */
export async function torchFileToSafetensors(
  path: string,
  out: string,
  place: PlaceOptions,
): Promise<number> {
  const file = await openWeightFile(path, "pytorch");
  const line = new ProgressLine(process.stderr);
  try {
    const entries = entriesOf({ ...file, infos: [...file.tensors.values()] }, line);
    return await writeSafetensors(await nodeFileSink(out, place), entries, { format: "pt" });
  } finally {
    line.clear();
    await file.source.close?.();
  }
}

const torchDtypes = { F32: "float32", BF16: "bfloat16", F16: "float16" } as const;

/** A folder's `config.json` as it is written, but for the dtype of the weights if it is another. */
async function configText(tree: FileTree, type: keyof typeof torchDtypes | undefined): Promise<string> {
  const text = await tree.readText("config.json");
  return type === undefined ? text : changedConfig(text, (config) => setDtype(config, torchDtypes[type]));
}

/**
 * Writes a folder of PyTorch files as one of safetensors: every tensor as it is stored, floats in `type` if one is
 * given, the configuration with the digits and the order that it is written in, and the files next to them. Gives the bytes of all tensors. @throws FormatError, FileError
 */
export async function torchFolderToSafetensors(
  checkpoint: Checkpoint,
  out: string,
  type: keyof typeof torchDtypes | undefined,
  place: PlaceOptions,
): Promise<number> {
  const infos = [...checkpoint.names()].map((name) => checkpoint.info(name));
  const line = new ProgressLine(process.stderr);
  try {
    const entries = entriesOf({ infos, readRange: checkpoint.readRange }, line);
    const { totalSize } = await saveCheckpoint(await nodeFolderSink(out, place), entries, {
      config: await configText(checkpoint.tree, type),
      dtype: type,
      keepF32: type === undefined ? undefined : (name) => name.endsWith("e_score_correction_bias"),
      files: await companions(checkpoint.tree),
    });
    return totalSize;
  } finally {
    line.clear();
  }
}
