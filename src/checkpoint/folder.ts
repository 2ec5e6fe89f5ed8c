/**
 * Reads a checkpoint folder in the Hugging Face layout: `config.json` and `model.safetensors`, or
 * `model.safetensors.index.json` with shards; if there are none, `pytorch_model.bin` or its index, which older
 * releases ship alone. Weights are decoded to float32 in bounded chunks, FP8 ones together with their block scales.
 * Saving is in save.ts; names are not mapped here.
 */
import { ConfigError, FormatError, ShapeError } from "../tensor/errors.ts";
import { bf16ToF32, e8m0ToF32, f16ToF32 } from "../tensor/float-formats.ts";
import { type ByteSource, checkInnerPath, type FileTree } from "./byte-source.ts";
import { type BlockSize, defaultBlock, dequantizeBlocks, scaleShape } from "./fp8.ts";
import { openPytorch } from "./pytorch/reader.ts";
import { openSafetensors } from "./safetensors.ts";
import { isKnownDtype, safetensorsDtypes } from "./safetensors-dtype.ts";
import { excerpt, isObject, type JsonObject, parseJsonObject } from "./strict-json.ts";
import type { TensorFile, TensorInfo } from "./tensor-file.ts";

/** Consecutive elements of a tensor, from flat index `offset`; the receiver owns `values`. */
export interface F32Chunk {
  readonly offset: number;
  readonly values: Float32Array;
}

/** Formats of weight files in a folder. */
export type WeightFormat = "safetensors" | "pytorch";

export interface Checkpoint {
  readonly tree: FileTree;
  /** `config.json`, or null when the folder has none. */
  readonly config: JsonObject | null;
  /** What the weight files are. */
  readonly format: WeightFormat;
  /** Metadata of the first weight file. */
  readonly metadata: Record<string, string>;
  /** Names of the weights, without the `_scale_inv` companions of FP8 weights. */
  names(): Iterable<string>;
  /** Whether the tensor exists; companions too. */
  has(name: string): boolean;
  /** Stored dtype, shape and place; FormatError when missing. */
  info(name: string): TensorInfo;
  /**
   * The tensor as float32 in chunks of at most 4 MiB, in order. F32, F16, BF16, F64 and F8_E4M3 with `<name>_scale_inv`;
   * FormatError for other dtypes and for a scale that is missing or of the wrong shape.
   */
  readF32(name: string): AsyncGenerator<F32Chunk>;
  /** The stored bytes of the tensor. */
  readRaw(name: string): Promise<Uint8Array>;
  /** `length` of those bytes from `offset`; ShapeError when outside. */
  readRange(name: string, offset: number, length: number, into?: Uint8Array): Promise<Uint8Array>;
  close(): Promise<void>;
}

export interface OpenOptions {
  /** Called with metadata that contradict the tensors without hiding any of them, in one line each. */
  readonly onNotice?: (text: string) => void;
}

/** How weights lie in a folder: one file, or an index of several. */
export interface WeightLayout {
  readonly format: WeightFormat;
  readonly single: string;
  readonly index: string;
  /** Names of weight files of this format. */
  readonly files: RegExp;
  readonly open: (source: ByteSource) => Promise<TensorFile>;
}

/** In the order in which they are looked for. */
export const weightLayouts: readonly WeightLayout[] = [
  {
    format: "safetensors",
    single: "model.safetensors",
    index: "model.safetensors.index.json",
    files: /\.safetensors$/i,
    open: openSafetensors,
  },
  {
    format: "pytorch",
    single: "pytorch_model.bin",
    index: "pytorch_model.bin.index.json",
    files: /\.(bin|pt|pth)$/i,
    open: openPytorch,
  },
];

const CHUNK_ELEMENTS = 1 << 20;
const SCALE_SUFFIX = "_scale_inv";
/** Weight files of an index, all of which are open at once; the largest models have some 160. */
const MOST_SHARDS = 4096;
/** Dtypes that are read as float32. */
const DECODED: ReadonlySet<string> = new Set(["F32", "F16", "BF16", "F64", "F8_E4M3"]);

type Files = Map<string, TensorFile>;

/** Typed view of bytes read from a file; copies when they do not start on an element. */
function aligned<T>(
  bytes: Uint8Array,
  Kind: { new (buffer: ArrayBufferLike, offset: number, length: number): T; BYTES_PER_ELEMENT: number },
): T {
  const own = bytes.byteOffset % Kind.BYTES_PER_ELEMENT === 0 ? bytes : bytes.slice();
  return new Kind(own.buffer, own.byteOffset, own.byteLength / Kind.BYTES_PER_ELEMENT);
}

/** Float32 values of stored bytes, or undefined for dtypes that are not plain floats. */
export function decodeFloats(dtype: string, bytes: Uint8Array): Float32Array | undefined {
  if (dtype === "F32") return aligned(bytes, Float32Array);
  if (dtype === "BF16") return bf16ToF32(aligned(bytes, Uint16Array));
  if (dtype === "F16") return f16ToF32(aligned(bytes, Uint16Array));
  if (dtype === "F64") return Float32Array.from(aligned(bytes, Float64Array));
  return undefined;
}

async function openShard(
  tree: FileTree,
  path: string,
  { open }: WeightLayout,
  files: Files,
): Promise<TensorFile> {
  const source = await tree.open(path);
  try {
    const file = await open(source);
    files.set(path, file);
    return file;
  } catch (error) {
    await source.close?.();
    throw error;
  }
}

/** The file of every tensor. @throws FormatError if a tensor is in two shards. */
function locate(where: string, files: Files): Map<string, string> {
  const home = new Map<string, string>();
  for (const [path, file] of files) {
    for (const name of file.tensors.keys()) {
      const other = home.get(name);
      if (other) {
        throw new FormatError("tensor is in two shards", { where, name, found: `${other} and ${path}` });
      }
      home.set(name, path);
    }
  }
  return home;
}

/** The weight files that an index names, each with the first tensor in it. @throws FormatError */
export function shardsOf(
  where: string,
  index: JsonObject,
  { format, files }: WeightLayout,
): Map<string, string> {
  const map = index.weight_map;
  if (!isObject(map))
    throw new FormatError("index has no weight_map", { where, expected: "object", found: excerpt(map) });
  const shards = new Map<string, string>();
  for (const [name, shard] of Object.entries(map)) {
    if (typeof shard !== "string") {
      throw new FormatError("shard name is not a string", { where, name, found: excerpt(shard) });
    }
    if (shards.has(shard)) continue;
    checkInnerPath(where, shard);
    if (!files.test(shard)) {
      const expected = format === "pytorch" ? "a file of torch.save (.bin, .pt, .pth)" : "safetensors";
      throw new FormatError("the index lists a file of another format", {
        where,
        name,
        expected,
        found: shard,
      });
    }
    shards.set(shard, name);
    if (shards.size > MOST_SHARDS) {
      throw new FormatError("the index lists too many files", {
        where,
        expected: `at most ${MOST_SHARDS}`,
      });
    }
  }
  return shards;
}

async function openShards(
  tree: FileTree,
  layout: WeightLayout,
  files: Files,
  onNotice: OpenOptions["onNotice"],
): Promise<Map<string, string>> {
  const where = `${tree.name}/${layout.index}`;
  const index = parseJsonObject(await tree.readText(layout.index), where);
  for (const [shard, name] of shardsOf(where, index, layout)) {
    if (!(await tree.has(shard))) {
      throw new FormatError(`shard ${shard} is missing`, {
        where,
        name,
        hint: "Download it again; every shard of the index is needed",
      });
    }
    await openShard(tree, shard, layout, files);
  }
  const home = locate(where, files);
  for (const [name, shard] of Object.entries(index.weight_map as JsonObject)) {
    if (home.get(name) !== shard) {
      const found = home.get(name) ?? "in no shard";
      throw new FormatError("tensor is not in its shard", { where, name, expected: shard, found });
    }
  }
  const { metadata } = index;
  const declared = isObject(metadata) ? metadata.total_size : undefined;
  // Torch's files hold tied weights once and count them twice, or once.
  if (declared !== undefined && layout.format === "safetensors") {
    // Some programs count the files, headers included; that the shards are whole their own headers prove.
    let total = 0;
    for (const file of files.values()) for (const info of file.tensors.values()) total += info.bytes;
    if (declared !== total) {
      onNotice?.(
        `${where}: total_size is ${excerpt(declared)}, the tensors have ${total} bytes; read as it is`,
      );
    }
  }
  return home;
}

interface OpenFiles {
  readonly format: WeightFormat;
  /** The file of every tensor. */
  readonly home: Map<string, string>;
}

async function openFiles(tree: FileTree, files: Files, options: OpenOptions): Promise<OpenFiles> {
  for (const layout of weightLayouts) {
    const { format, single, index } = layout;
    const [hasSingle, hasIndex] = [await tree.has(single), await tree.has(index)];
    if (hasSingle && hasIndex) {
      options.onNotice?.(
        `${tree.name}: holds ${single} and ${index}; the first is read, as transformers does`,
      );
    }
    if (hasSingle) {
      await openShard(tree, single, layout, files);
      return { format, home: locate(tree.name, files) };
    }
    if (hasIndex) {
      return { format, home: await openShards(tree, layout, files, options.onNotice) };
    }
  }
  const names = await tree.list();
  throw new FormatError("no checkpoint in the folder", {
    where: tree.name,
    expected: weightLayouts.flatMap(({ single, index }) => [single, index]).join(" | "),
    found: names.length > 0 ? names.slice(0, 8) : "an empty folder",
    hint: names.includes("adapter_config.json")
      ? "This is an adapter: open its base model with --adapter, or merge both with deepseek-ts convert."
      : undefined,
  });
}

/** Block size of FP8 weights by the config; 128x128 when it says nothing. @throws ConfigError if malformed. */
function blockOf(where: string, config: JsonObject | null): BlockSize {
  const quantization = config?.quantization_config;
  const size = isObject(quantization) ? quantization.weight_block_size : undefined;
  if (size === undefined || size === null) return defaultBlock;
  const valid =
    Array.isArray(size) && size.length === 2 && size.every((n) => Number.isSafeInteger(n) && n > 0);
  if (!valid) {
    throw new ConfigError("invalid weight_block_size", {
      where,
      name: "quantization_config.weight_block_size",
      expected: "two positive integers",
      found: excerpt(size),
    });
  }
  return [size[0], size[1]];
}

/** Opens a checkpoint folder and checks its headers, no data. @throws FormatError or ConfigError. */
export async function openCheckpoint(tree: FileTree, options: OpenOptions = {}): Promise<Checkpoint> {
  const files: Files = new Map();
  const close = async () => {
    for (const file of files.values()) await file.source.close?.();
  };
  try {
    const hasConfig = await tree.has("config.json");
    const config = hasConfig
      ? parseJsonObject(await tree.readText("config.json"), `${tree.name}/config.json`)
      : null;
    const block = blockOf(`${tree.name}/config.json`, config);
    const opened = await openFiles(tree, files, options);
    return makeCheckpoint(tree, config, block, files, opened, close);
  } catch (error) {
    await close();
    throw error;
  }
}

function makeCheckpoint(
  tree: FileTree,
  config: JsonObject | null,
  block: BlockSize,
  files: Files,
  { format, home }: OpenFiles,
  close: () => Promise<void>,
): Checkpoint {
  const fileOf = (name: string): TensorFile => {
    const path = home.get(name);
    if (path === undefined) {
      throw new FormatError("no such tensor in the checkpoint", {
        where: tree.name,
        name,
        found: `${home.size} others`,
      });
    }
    return files.get(path)!;
  };
  const info = (name: string): TensorInfo => fileOf(name).tensors.get(name)!;
  const isCompanion = (name: string) => {
    if (!name.endsWith(SCALE_SUFFIX)) return false;
    const weight = name.slice(0, -SCALE_SUFFIX.length);
    return home.has(weight) && info(weight).dtype === "F8_E4M3";
  };

  async function readScales(weight: TensorInfo): Promise<Float32Array> {
    const name = weight.name + SCALE_SUFFIX;
    const quantization = config?.quantization_config;
    const method = isObject(quantization) ? quantization.quant_method : undefined;
    if (method !== undefined && method !== "fp8") {
      throw new FormatError("FP8 weight with an unknown quantization method", {
        where: tree.name,
        name: weight.name,
        expected: 'quant_method "fp8"',
        found: excerpt(method),
      });
    }
    if (!home.has(name)) {
      throw new FormatError("FP8 weight without block scales", {
        where: tree.name,
        name: weight.name,
        expected: `a tensor ${name}`,
        found: "none",
      });
    }
    const found = info(name);
    const [rows, cols] = weight.shape;
    const expected = weight.shape.length === 2 ? scaleShape(rows, cols, block) : undefined;
    if (!expected || found.shape.length !== 2 || expected.some((n, i) => n !== found.shape[i])) {
      throw new FormatError(`scale shape does not fit ${weight.name} [${weight.shape.join(", ")}]`, {
        where: tree.name,
        name,
        expected: expected ? `[${expected.join(", ")}]` : "a weight of two dimensions",
        found: `[${found.shape.join(", ")}]`,
      });
    }
    const bytes = await fileOf(name).read(name);
    const values = found.dtype === "F8_E8M0" ? e8m0ToF32(bytes) : decodeFloats(found.dtype, bytes);
    if (values) return values;
    throw new FormatError("scale dtype", {
      where: tree.name,
      name,
      expected: "F32 | BF16 | F16 | F8_E8M0",
      found: found.dtype,
    });
  }

  async function* readF32(name: string): AsyncGenerator<F32Chunk> {
    const file = fileOf(name);
    const tensor = info(name);
    const { dtype } = tensor;
    if (!isKnownDtype(dtype) || !DECODED.has(dtype)) {
      throw new FormatError("dtype cannot be decoded to float32", {
        where: tree.name,
        name,
        expected: [...DECODED].join(" | "),
        found: dtype,
        hint: "Use readRaw",
      });
    }
    const scales = dtype === "F8_E4M3" ? await readScales(tensor) : undefined;
    const width = safetensorsDtypes[dtype];
    const count = tensor.bytes / width;
    for (let offset = 0; offset < count; offset += CHUNK_ELEMENTS) {
      const length = Math.min(CHUNK_ELEMENTS, count - offset);
      const bytes = await file.readRange(name, offset * width, length * width);
      const values = scales
        ? dequantizeBlocks(bytes, scales, tensor.shape[1], block, offset)
        : decodeFloats(dtype, bytes)!;
      yield { offset, values };
    }
  }

  return {
    tree,
    config,
    format,
    metadata: files.values().next().value?.metadata ?? {},
    *names() {
      for (const name of home.keys()) if (!isCompanion(name)) yield name;
    },
    has: (name) => home.has(name),
    info,
    readF32,
    readRaw: async (name) => fileOf(name).read(name),
    readRange: async (name, offset, length, into) => fileOf(name).readRange(name, offset, length, into),
    close,
  };
}

/** Collects a tensor as float32 into `dst`, or into a new array; ShapeError when `dst` has another length. */
export async function readAllF32(
  checkpoint: Checkpoint,
  name: string,
  dst?: Float32Array,
): Promise<Float32Array> {
  const count = checkpoint.info(name).shape.reduce((product, size) => product * size, 1);
  const all = dst ?? new Float32Array(count);
  if (all.length !== count) {
    throw new ShapeError("destination does not fit the tensor", {
      where: checkpoint.tree.name,
      name,
      expected: count,
      found: all.length,
    });
  }
  for await (const { offset, values } of checkpoint.readF32(name)) all.set(values, offset);
  return all;
}
