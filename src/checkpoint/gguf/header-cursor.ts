/** Sequential reading of a GGUF header: a window over the file, moved as needed, and lengths checked before use. */
import { FormatError } from "../../tensor/errors.ts";
import { type ByteSource, readExactly } from "../byte-source.ts";
import {
  type GgufArray,
  type GgufItems,
  type GgufValue,
  type ValueType,
  valueBytes,
  valueTypes,
} from "./types.ts";

const WINDOW = 1 << 18;
/** Far above any real header, whose bulk is the vocabulary. */
const MAX_HEADER = 1 << 28;
const MAX_DEPTH = 4;
/** Arrays inside arrays, of which real files have none: each costs many times its bytes. */
const MAX_NESTED = 1 << 16;

type Packed = Exclude<GgufItems, readonly string[] | readonly GgufArray[]>;
type Integer = { readonly BYTES_PER_ELEMENT: number; new (buffer: ArrayBuffer): Packed };

const packed: Partial<Record<ValueType, Integer>> = {
  u8: Uint8Array,
  i8: Int8Array,
  u16: Uint16Array,
  i16: Int16Array,
  u32: Uint32Array,
  i32: Int32Array,
  f32: Float32Array,
  bool: Uint8Array,
  u64: BigUint64Array,
  i64: BigInt64Array,
  f64: Float64Array,
};

/** A number if it is exact. */
function plain(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

export class HeaderCursor {
  readonly where: string;
  readonly size: number;
  readonly #source: ByteSource;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  #bytes: Uint8Array = new Uint8Array(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  /** Offset of the window in the file, and of the next byte in the window. */
  #start = 0;
  #at = 0;
  #nested = 0;

  constructor(source: ByteSource) {
    this.#source = source;
    this.where = source.name;
    this.size = source.size;
  }

  /** Offset in the file of what is read next. */
  get position(): number {
    return this.#start + this.#at;
  }

  /** Bytes that a header may still take. */
  get #left(): number {
    return Math.min(this.size, MAX_HEADER) - this.position;
  }

  /** @throws FormatError unless `count` items of at least `shortest` bytes can follow, and at most `limit`. */
  checkCount(name: string, count: bigint, shortest: number, limit = Number.MAX_SAFE_INTEGER): number {
    const most = Math.min(limit, Math.floor(this.#left / shortest));
    if (count <= BigInt(most)) return Number(count);
    const fits = count * BigInt(shortest) <= BigInt(this.#left);
    throw new FormatError(
      fits ? "more than any model has" : "count does not fit the file, which is truncated or damaged",
      {
        where: this.where,
        name,
        expected: `at most ${most}`,
        found: count,
      },
    );
  }

  /** Makes `length` bytes available at the cursor and passes them; returns their place in the window. */
  async #take(length: number, name: string): Promise<number> {
    if (length > this.#left) {
      const long = this.position + length <= this.size;
      throw new FormatError(
        long ? "header is too long" : "header ends early: the file is truncated or damaged",
        {
          where: this.where,
          name,
          expected: `${length} bytes at byte ${this.position}`,
          found: `${this.#left} left`,
        },
      );
    }
    if (this.#at + length > this.#bytes.length) {
      this.#start = this.position;
      const window = Math.min(Math.max(length, WINDOW), this.size - this.#start);
      this.#bytes = await readExactly(this.#source, this.#start, window);
      this.#view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, window);
      this.#at = 0;
    }
    this.#at += length;
    return this.#at - length;
  }

  async u32(): Promise<number> {
    const at = await this.#take(4, "header");
    return this.#view.getUint32(at, true);
  }

  async u64(): Promise<bigint> {
    const at = await this.#take(8, "header");
    return this.#view.getBigUint64(at, true);
  }

  /** A string of at most `most` bytes. */
  async text(name: string, most = MAX_HEADER): Promise<string> {
    const length = this.checkCount(name, await this.u64(), 1);
    if (length > most) {
      const found = `${length} bytes`;
      throw new FormatError("string is too long", {
        where: this.where,
        name,
        expected: `at most ${most}`,
        found,
      });
    }
    const at = await this.#take(length, name);
    try {
      return this.#utf8.decode(this.#bytes.subarray(at, at + length));
    } catch (cause) {
      throw new FormatError("text is not valid UTF-8", { where: this.where, name, cause });
    }
  }

  /** Reads strings that lie in the window whole and are ASCII: nearly all of a vocabulary, without waiting. */
  #nearTexts(items: string[], count: number): void {
    const bytes = this.#bytes;
    while (items.length < count && this.#at + 8 <= bytes.length) {
      const length = this.#view.getUint32(this.#at, true);
      const from = this.#at + 8;
      if (this.#view.getUint32(this.#at + 4, true) !== 0 || from + length > bytes.length || length > 64)
        return;
      let text = "";
      for (let i = from; i < from + length; i++) {
        if (bytes[i] > 127) return;
        text += String.fromCharCode(bytes[i]);
      }
      items.push(text);
      this.#at = from + length;
    }
  }

  async #type(name: string): Promise<ValueType> {
    const code = await this.u32();
    if (code < valueTypes.length) return valueTypes[code];
    throw new FormatError("unknown value type", {
      where: this.where,
      name,
      expected: `0 to ${valueTypes.length - 1}`,
      found: code,
    });
  }

  /** The type and value of key `name`. */
  async value(name: string): Promise<GgufValue> {
    const type = await this.#type(name);
    if (type === "array") return this.#array(name, 1);
    if (type === "string") return { type, value: await this.text(name) };
    const at = await this.#take(valueBytes[type], name);
    const view = this.#view;
    switch (type) {
      case "u8":
        return { type, value: view.getUint8(at) };
      case "i8":
        return { type, value: view.getInt8(at) };
      case "u16":
        return { type, value: view.getUint16(at, true) };
      case "i16":
        return { type, value: view.getInt16(at, true) };
      case "u32":
        return { type, value: view.getUint32(at, true) };
      case "i32":
        return { type, value: view.getInt32(at, true) };
      case "f32":
        return { type, value: view.getFloat32(at, true) };
      case "f64":
        return { type, value: view.getFloat64(at, true) };
      case "u64":
        return { type, value: plain(view.getBigUint64(at, true)) };
      case "i64":
        return { type, value: plain(view.getBigInt64(at, true)) };
      case "bool":
        return { type, value: this.#boolean(name, view.getUint8(at)) };
    }
  }

  #boolean(name: string, byte: number): boolean {
    if (byte <= 1) return byte === 1;
    throw new FormatError("a bool must be 0 or 1", {
      where: this.where,
      name,
      expected: "0 or 1",
      found: byte,
    });
  }

  async #array(name: string, depth: number): Promise<GgufArray> {
    const of = await this.#type(name);
    const count = this.checkCount(name, await this.u64(), valueBytes[of]);
    if (of === "string") {
      const items: string[] = [];
      while (items.length < count) {
        this.#nearTexts(items, count);
        if (items.length < count) items.push(await this.text(name));
      }
      return { type: "array", of, items };
    }
    if (of === "array") {
      if (depth === MAX_DEPTH) {
        throw new FormatError("arrays are nested too deeply", {
          where: this.where,
          name,
          expected: MAX_DEPTH,
        });
      }
      this.#nested += this.checkCount(name, BigInt(count), 1, MAX_NESTED - this.#nested);
      const items: GgufArray[] = [];
      for (let i = 0; i < count; i++) items.push(await this.#array(name, depth + 1));
      return { type: "array", of, items };
    }
    const at = await this.#take(count * valueBytes[of], name);
    // A copy of exactly this size; slice() of a Node Buffer would be none.
    const bytes = new Uint8Array(this.#bytes.subarray(at, at + count * valueBytes[of]));
    if (of === "bool") for (const byte of bytes) this.#boolean(name, byte);
    const Kind = packed[of]!;
    return { type: "array", of, items: new Kind(bytes.buffer) };
  }
}
