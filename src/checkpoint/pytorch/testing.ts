/** Writers of what `torch.save` writes, for tests: pickles opcode by opcode, archives, and the older stream. */
import type { SafetensorsDtype } from "../safetensors-dtype.ts";
import { opcodes as op } from "./opcodes.ts";

export interface TestTensor {
  readonly name: string;
  readonly dtype: SafetensorsDtype;
  readonly shape: readonly number[];
  /** Default: those of a contiguous tensor. */
  readonly strides?: readonly number[];
  readonly offset?: number;
  /** Key of its storage; tensors may share one. */
  readonly key: string;
}

const storageNames: Partial<Record<SafetensorsDtype, string>> = {
  F64: "DoubleStorage",
  F32: "FloatStorage",
  F16: "HalfStorage",
  BF16: "BFloat16Storage",
  I64: "LongStorage",
  I32: "IntStorage",
  I16: "ShortStorage",
  I8: "CharStorage",
  U8: "ByteStorage",
  BOOL: "BoolStorage",
};

const utf8 = new TextEncoder();

/** Little-endian bytes of a number. */
export function le(value: number | bigint, bytes: number): number[] {
  return Array.from({ length: bytes }, (_, i) => Number((BigInt(value) >> BigInt(8 * i)) & 0xffn));
}

/** Opcodes one after another. */
export const pickled = {
  text: (value: string) => [op.BINUNICODE, ...le(utf8.encode(value).length, 4), ...utf8.encode(value)],
  global: (module: string, name: string) => [op.GLOBAL, ...utf8.encode(`${module}\n${name}\n`)],
  integer: (value: number) =>
    value >= 0 && value < 256
      ? [op.BININT1, value]
      : [op.LONG1, 8, ...le(BigInt.asUintN(64, BigInt(value)), 8)],
  tuple: (...items: number[][]) => [op.MARK, ...items.flat(), op.TUPLE],
  whole: (...parts: number[][]) => Uint8Array.from([op.PROTO, 2, ...parts.flat(), op.STOP]),
};

/** Strides of a contiguous tensor. */
export function stridesOf(shape: readonly number[]): number[] {
  return shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
}

/** The opcodes that rebuild a tensor; `count` is that of its storage. */
export function pickledTensor(tensor: TestTensor, count: number, legacy = false): number[] {
  const { text, global, integer, tuple } = pickled;
  const { dtype, shape, strides = stridesOf(shape), offset = 0, key } = tensor;
  const type = global("torch", storageNames[dtype]!);
  const id = [text("storage"), type, text(key), text("cpu"), integer(count), ...(legacy ? [[op.NONE]] : [])];
  const hooks = [...global("collections", "OrderedDict"), op.EMPTY_TUPLE, op.REDUCE];
  const args = tuple(
    [...tuple(...id), op.BINPERSID],
    integer(offset),
    tuple(...shape.map(integer)),
    tuple(...strides.map(integer)),
    [op.NEWFALSE],
    hooks,
  );
  return [...global("torch._utils", "_rebuild_tensor_v2"), ...args, op.REDUCE];
}

/** The pickle of a dict of tensors. */
export function pickledDict(
  tensors: readonly TestTensor[],
  counts: Readonly<Record<string, number>>,
  legacy = false,
): Uint8Array {
  const items = tensors.flatMap((tensor) => [
    ...pickled.text(tensor.name),
    ...pickledTensor(tensor, counts[tensor.key], legacy),
  ]);
  return pickled.whole([op.EMPTY_DICT, op.MARK, ...items, op.SETITEMS]);
}

export interface ZipOptions {
  /** Data begin at multiples of this, by a field of padding. */
  readonly align?: number;
  /** Sizes behind the data, as torch writes them. */
  readonly streamed?: boolean;
  readonly zip64?: boolean;
}

/** A ZIP archive of stored entries. */
export function storedZip(
  entries: readonly (readonly [string, Uint8Array])[],
  { align = 64, streamed = true, zip64 = true }: ZipOptions = {},
): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  const put = (bytes: Uint8Array | number[]) => {
    parts.push(Uint8Array.from(bytes));
    at += bytes.length;
  };
  const central: number[][] = [];
  for (const [name, data] of entries) {
    const raw = [...utf8.encode(name)];
    const header = at;
    const bare = at + 30 + raw.length;
    const padding = align === 1 || bare % align === 0 ? 0 : (2 * align - (bare % align) - 4) % align;
    const extra = bare % align === 0 ? [] : [0x46, 0x42, ...le(padding, 2), ...new Array(padding).fill(0x5a)];
    const flags = streamed ? 0x808 : 0;
    const sizes = [...le(data.length, 4), ...le(data.length, 4)];
    const fixed = [...le(20, 2), ...le(flags, 2), ...le(0, 2), ...le(0, 4), ...le(0, 4)];
    const lengths = [...le(raw.length, 2)];
    put([0x50, 0x4b, 3, 4, ...fixed, ...(streamed ? le(0, 8) : sizes), ...lengths, ...le(extra.length, 2)]);
    put([...raw, ...extra]);
    put(data);
    if (streamed) put([0x50, 0x4b, 7, 8, ...le(0, 4), ...sizes]);
    const wide = zip64
      ? [1, 0, ...le(24, 2), ...le(data.length, 8), ...le(data.length, 8), ...le(header, 8)]
      : [];
    central.push([
      ...[0x50, 0x4b, 1, 2, ...le(20, 2)],
      ...fixed,
      ...(zip64 ? le(0xffffffffffffffffn, 8) : sizes),
      ...[...lengths, ...le(wide.length, 2), ...le(0, 2), ...le(0, 4), ...le(0, 4)],
      ...(zip64 ? le(0xffffffff, 4) : le(header, 4)),
      ...[...raw, ...wide],
    ]);
  }
  const directory = at;
  for (const record of central) put(record);
  const size = at - directory;
  const count = entries.length;
  if (zip64) {
    const end64 = at;
    put([0x50, 0x4b, 6, 6, ...le(44, 8), ...le(45, 2), ...le(45, 2), ...le(0, 8)]);
    put([...le(count, 8), ...le(count, 8), ...le(size, 8), ...le(directory, 8)]);
    put([0x50, 0x4b, 6, 7, ...le(0, 4), ...le(end64, 8), ...le(1, 4)]);
    put([
      0x50,
      0x4b,
      5,
      6,
      ...le(0, 4),
      ...le(0xffffffff, 4),
      ...le(0xffffffff, 4),
      ...le(0xffffffff, 4),
      0,
      0,
    ]);
  } else {
    put([
      0x50,
      0x4b,
      5,
      6,
      ...le(0, 4),
      ...le(count, 2),
      ...le(count, 2),
      ...le(size, 4),
      ...le(directory, 4),
      0,
      0,
    ]);
  }
  const whole = new Uint8Array(at);
  let place = 0;
  for (const part of parts) {
    whole.set(part, place);
    place += part.length;
  }
  return whole;
}

export interface TestArchive {
  readonly pickle: Uint8Array;
  /** Bytes of the storages by key. */
  readonly storages: Readonly<Record<string, Uint8Array>>;
  readonly folder?: string;
  readonly byteorder?: string;
}

/** An archive as torch.save writes it. */
export function torchZip(archive: TestArchive, options?: ZipOptions): Uint8Array {
  const { pickle, storages, folder = "archive", byteorder = "little" } = archive;
  return storedZip(
    [
      [`${folder}/data.pkl`, pickle],
      [`${folder}/byteorder`, utf8.encode(byteorder)],
      ...Object.entries(storages).map(([key, bytes]) => [`${folder}/data/${key}`, bytes] as const),
      [`${folder}/version`, utf8.encode("3\n")],
    ],
    options,
  );
}

/** A whole file out of tensors and the bytes of their storages. */
export function torchFile(
  tensors: readonly TestTensor[],
  storages: Readonly<Record<string, Uint8Array>>,
  widths: Readonly<Record<string, number>>,
): Uint8Array {
  const counts = Object.fromEntries(
    Object.entries(storages).map(([key, bytes]) => [key, bytes.length / widths[key]]),
  );
  return torchZip({ pickle: pickledDict(tensors, counts), storages });
}
