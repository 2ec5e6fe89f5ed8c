/**
 * Vocabulary of the GGUF container (ggml's docs/gguf.md): value types of its metadata, storage types of its tensors,
 * and a file's metadata with checked access. Storage types that are not listed are refused by number, those whose values
 * are not read by name, if a tensor of the type is to be read.
 */
import { ConfigError, FormatError } from "../../tensor/errors.ts";

/** Storage types that are read: code in the file, values per block, bytes per block. */
export const ggmlTypes = {
  F32: { code: 0, values: 1, bytes: 4 },
  F16: { code: 1, values: 1, bytes: 2 },
  Q4_0: { code: 2, values: 32, bytes: 18 },
  Q4_1: { code: 3, values: 32, bytes: 20 },
  Q5_0: { code: 6, values: 32, bytes: 22 },
  Q5_1: { code: 7, values: 32, bytes: 24 },
  Q8_0: { code: 8, values: 32, bytes: 34 },
  Q2_K: { code: 10, values: 256, bytes: 84 },
  Q3_K: { code: 11, values: 256, bytes: 110 },
  Q4_K: { code: 12, values: 256, bytes: 144 },
  Q5_K: { code: 13, values: 256, bytes: 176 },
  Q6_K: { code: 14, values: 256, bytes: 210 },
  BF16: { code: 30, values: 1, bytes: 2 },
} as const;

export type GgmlType = keyof typeof ggmlTypes;

/** Storage types whose sizes are known but whose values are not read: files with them can be listed. */
const listedTypes = {
  Q8_K: { code: 15, values: 256, bytes: 292 },
  IQ2_XXS: { code: 16, values: 256, bytes: 66 },
  IQ2_XS: { code: 17, values: 256, bytes: 74 },
  IQ3_XXS: { code: 18, values: 256, bytes: 98 },
  IQ1_S: { code: 19, values: 256, bytes: 50 },
  IQ4_NL: { code: 20, values: 32, bytes: 18 },
  IQ3_S: { code: 21, values: 256, bytes: 110 },
  IQ2_S: { code: 22, values: 256, bytes: 82 },
  IQ4_XS: { code: 23, values: 256, bytes: 136 },
  I8: { code: 24, values: 1, bytes: 1 },
  I16: { code: 25, values: 1, bytes: 2 },
  I32: { code: 26, values: 1, bytes: 4 },
  I64: { code: 27, values: 1, bytes: 8 },
  F64: { code: 28, values: 1, bytes: 8 },
  IQ1_M: { code: 29, values: 256, bytes: 56 },
  TQ1_0: { code: 34, values: 256, bytes: 54 },
  TQ2_0: { code: 35, values: 256, bytes: 66 },
  MXFP4: { code: 39, values: 32, bytes: 17 },
  NVFP4: { code: 40, values: 64, bytes: 36 },
  Q1_0: { code: 41, values: 128, bytes: 18 },
} as const;

/** A storage type that a tensor of a file may have. */
export type StoredType = GgmlType | keyof typeof listedTypes;

/** All storage types: code in the file, values per block, bytes per block. */
export const storedTypes: Readonly<Record<StoredType, { code: number; values: number; bytes: number }>> = {
  ...ggmlTypes,
  ...listedTypes,
};

/** Most values that a byte of a file stands for, in any of them. */
export const MOST_VALUES_PER_BYTE = 8;

const byCode = new Map<number, StoredType>(
  (Object.keys(storedTypes) as StoredType[]).map((type) => [storedTypes[type].code, type]),
);

function refuseType(where: string, name: string, found: string): never {
  throw new FormatError("tensor type is not supported", {
    where,
    name,
    expected: Object.keys(ggmlTypes),
    found,
    hint: "Use a file with another quantization",
  });
}

/** The storage type of a code; FormatError naming file, tensor and type for one that is not known. */
export function storedTypeOf(where: string, name: string, code: number): StoredType {
  return byCode.get(code) ?? refuseType(where, name, `type ${code}`);
}

/** Whether the values of a type are read. */
export function isRead(type: StoredType): type is GgmlType {
  return type in ggmlTypes;
}

/** The type, whose values are read. @throws FormatError naming file, tensor and type if they are not */
export function readType(where: string, name: string, type: StoredType): GgmlType {
  return isRead(type) ? type : refuseType(where, name, type);
}

/** Bytes of `count` values, which are whole blocks. */
export function ggmlBytes(type: StoredType, count: number): number {
  const { values, bytes } = storedTypes[type];
  return (count / values) * bytes;
}

/** Value types of metadata, at the index of their code. */
export const valueTypes = [
  "u8",
  "i8",
  "u16",
  "i16",
  "u32",
  "i32",
  "f32",
  "bool",
  "string",
  "array",
  "u64",
  "i64",
  "f64",
] as const;

export type ValueType = (typeof valueTypes)[number];

/** Bytes of one value; of strings and arrays, of the shortest. */
export const valueBytes: Readonly<Record<ValueType, number>> = {
  u8: 1,
  i8: 1,
  u16: 2,
  i16: 2,
  u32: 4,
  i32: 4,
  f32: 4,
  bool: 1,
  string: 8,
  array: 12,
  u64: 8,
  i64: 8,
  f64: 8,
};

/** Elements of an array. Numbers are packed; of booleans, one byte each, 0 or 1. */
export type GgufItems =
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Int16Array
  | Uint32Array
  | Int32Array
  | Float32Array
  | Float64Array
  | BigUint64Array
  | BigInt64Array
  | readonly string[]
  | readonly GgufArray[];

export interface GgufArray {
  readonly type: "array";
  readonly of: ValueType;
  readonly items: GgufItems;
}

/** A metadata value with its type. 64-bit integers are numbers if those are exact. */
export type GgufValue =
  | { readonly type: Exclude<ValueType, "bool" | "string" | "array">; readonly value: number | bigint }
  | { readonly type: "bool"; readonly value: boolean }
  | { readonly type: "string"; readonly value: string }
  | GgufArray;

export type GgufMetadata = ReadonlyMap<string, GgufValue>;

/** What a value is, for messages. */
function shown(value: GgufValue | undefined): string {
  if (value === undefined) return "nothing";
  if (value.type === "array") return `an array of ${value.items.length} ${value.of}`;
  return `${value.type} ${String(value.value).slice(0, 60)}`;
}

/** What stands for "no token": -1, even if it was written as an unsigned number. */
const NO_TOKEN: ReadonlySet<unknown> = new Set<unknown>([-1, 2 ** 32 - 1, 2n ** 64n - 1n]);

/** Typed access to metadata; errors name the file, the key, what was expected and what was found. */
export class MetadataReader {
  readonly where: string;
  readonly metadata: GgufMetadata;

  constructor(metadata: GgufMetadata, where: string) {
    this.metadata = metadata;
    this.where = where;
  }

  has(key: string): boolean {
    return this.metadata.has(key);
  }

  /** @throws ConfigError for a value that cannot be worked with. */
  refuse(key: string, expected: unknown, hint?: string): never {
    const found = shown(this.metadata.get(key));
    throw new ConfigError("unsupported or malformed metadata", {
      where: this.where,
      name: key,
      expected,
      found,
      hint,
    });
  }

  /** An integer of at least `min` of any integer type; `fallback` if missing. @throws ConfigError */
  integer(key: string, fallback?: number, min = 0): number {
    const entry = this.metadata.get(key);
    if (entry === undefined && fallback !== undefined) return fallback;
    const value = entry && entry.type !== "array" ? entry.value : undefined;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || entry!.type[0] === "f") {
      this.refuse(key, `an integer of at least ${min}`);
    }
    return value;
  }

  /**
   * The id of a special token, or null if the key is missing or says so with the largest value or -1, as converters
   * of models without such a token write it. @throws ConfigError for what is no integer
   */
  tokenId(key: string): number | null {
    const entry = this.metadata.get(key);
    if (entry === undefined || (entry.type !== "array" && NO_TOKEN.has(entry.value))) return null;
    return this.integer(key);
  }

  /**
   * An integer that may be given once for all layers or as a list of one for each, all equal: models here have the same
   * sizes in every layer. `fallback` if missing. @throws ConfigError
   */
  layerInteger(key: string, fallback?: number, min = 0): number {
    const entry = this.metadata.get(key);
    if (entry?.type !== "array") return this.integer(key, fallback, min);
    const items = entry.items as ArrayLike<unknown>;
    const distinct = new Set<unknown>(Array.from(items));
    const [value] = distinct;
    const whole = typeof value === "bigint" ? Number(value) : value;
    if (distinct.size !== 1 || typeof whole !== "number" || !Number.isSafeInteger(whole) || whole < min) {
      throw new ConfigError("layers of different sizes are not supported", {
        where: this.where,
        name: key,
        expected: `an integer of at least ${min}, the same for all layers`,
        found: `${items.length} values: ${[...distinct].slice(0, 8).join(", ")}`,
      });
    }
    return whole;
  }

  /** A number; of an f32 the shortest decimal that it stands for. `fallback` if missing. @throws ConfigError */
  number(key: string, fallback?: number): number {
    const entry = this.metadata.get(key);
    if (entry === undefined && fallback !== undefined) return fallback;
    const value = entry && entry.type !== "array" ? entry.value : undefined;
    if (typeof value !== "number" || !Number.isFinite(value)) this.refuse(key, "a number");
    return entry!.type === "f32" ? shortestDecimal(value) : value;
  }

  /** A boolean; `fallback` if missing. @throws ConfigError */
  boolean(key: string, fallback: boolean): boolean {
    const entry = this.metadata.get(key);
    if (entry === undefined) return fallback;
    if (entry.type !== "bool") this.refuse(key, "a bool");
    return entry.value;
  }

  /** A string; `fallback` if missing. @throws ConfigError */
  text(key: string, fallback?: string): string {
    const entry = this.metadata.get(key);
    if (entry === undefined && fallback !== undefined) return fallback;
    if (entry?.type !== "string") this.refuse(key, "a string");
    return entry.value;
  }

  /** An array of strings. @throws ConfigError */
  strings(key: string): readonly string[] {
    const entry = this.metadata.get(key);
    if (entry?.type !== "array" || entry.of !== "string") this.refuse(key, "an array of strings");
    return entry.items as readonly string[];
  }

  /** An array of 32-bit integers. @throws ConfigError */
  integers(key: string): Int32Array | Uint32Array {
    const entry = this.metadata.get(key);
    if (
      entry?.type !== "array" ||
      !(entry.items instanceof Int32Array || entry.items instanceof Uint32Array)
    ) {
      this.refuse(key, "an array of i32");
    }
    return entry.items;
  }
}

/** The shortest decimal that rounds to the float32 `value`: 1e-6 for the float32 next to it. */
export function shortestDecimal(value: number): number {
  for (let digits = 1; digits < 9; digits++) {
    const decimal = Number(value.toPrecision(digits));
    if (Math.fround(decimal) === value) return decimal;
  }
  return value;
}

/** Shorthands for metadata to be written. */
export const u32 = (value: number): GgufValue => ({ type: "u32", value });
export const f32 = (value: number): GgufValue => ({ type: "f32", value: Math.fround(value) });
export const bool = (value: boolean): GgufValue => ({ type: "bool", value });
export const text = (value: string): GgufValue => ({ type: "string", value });
export const strings = (items: readonly string[]): GgufValue => ({ type: "array", of: "string", items });
export const i32s = (items: Int32Array): GgufValue => ({ type: "array", of: "i32", items });
