/**
 * The stream that `torch.save` wrote before version 1.6: five pickles (magic number, protocol, facts about the
 * machine, the object, the keys of its storages), then every storage behind its count of values in 8 bytes.
 */
import { FormatError } from "../../tensor/errors.ts";
import { type ByteSource, readExactly } from "../byte-source.ts";
import { safetensorsDtypes } from "../safetensors-dtype.ts";
import { ShortPickle, type Unpickled, unpickle } from "./pickle.ts";
import { Dict, List, type PickleValue, type StorageRef } from "./values.ts";

/** Longest pickle; the largest models take a tenth of it. */
export const MAX_PICKLE = 1 << 26;
const FIRST_READ = 1 << 16;
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;

/** A storage in the stream: its count stands at `header`, its values behind that. */
export interface StreamedStorage {
  readonly ref: StorageRef;
  readonly header: number;
}

export interface TorchStream {
  readonly object: PickleValue;
  readonly storages: ReadonlyMap<string, StreamedStorage>;
}

/** Reads pickles that follow one another, through a window that grows as they need it. */
class PickleStream {
  readonly #source: ByteSource;
  #window = new Uint8Array(0);
  #windowBegin = 0;
  /** Offset of the next pickle. */
  at = 0;

  constructor(source: ByteSource) {
    this.#source = source;
  }

  async next(part: string): Promise<Unpickled> {
    const { name, size } = this.#source;
    const most = Math.min(MAX_PICKLE, size - this.at);
    for (let needed = 0; ; ) {
      const held = this.#window.subarray(this.at - this.#windowBegin);
      if (held.length < Math.min(most, Math.max(needed, 1))) {
        const length = Math.min(most, Math.max(FIRST_READ, 4 * held.length, needed));
        this.#window = (await readExactly(this.#source, this.at, length)) as Uint8Array<ArrayBuffer>;
        this.#windowBegin = this.at;
        continue;
      }
      try {
        const found = unpickle(held, name, part, size);
        this.at += found.length;
        return found;
      } catch (error) {
        if (!(error instanceof ShortPickle) || error.needed > most) throw error;
        needed = error.needed;
      }
    }
  }
}

/** Opens a stream; reads its pickles, no data. @throws FormatError */
export async function readStream(source: ByteSource): Promise<TorchStream> {
  const where = source.name;
  const stream = new PickleStream(source);
  const magic = (await stream.next("the magic number")).value;
  if (magic !== MAGIC) {
    throw new FormatError("not a pickle of torch.save", {
      where,
      expected: "torch's magic number",
      found: typeof magic,
    });
  }
  const protocol = (await stream.next("the protocol")).value;
  if (protocol !== PROTOCOL) {
    throw new FormatError("protocol of the stream", { where, expected: PROTOCOL, found: String(protocol) });
  }
  const machine = (await stream.next("the machine's facts")).value;
  if (!(machine instanceof Dict) || machine.get("little_endian") !== true) {
    throw new FormatError("the stream was not saved on a little-endian machine", {
      where,
      name: "little_endian",
      expected: "true",
      hint: "Save it again; files of torch 1.6 and later record their byte order.",
    });
  }
  const { value: object, storages } = await stream.next("the object");
  const { value: keys } = await stream.next("the storages' keys");
  if (!(keys instanceof List))
    throw new FormatError("the keys of the storages", { where, expected: "a list" });
  let { at } = stream;
  const placed = new Map<string, StreamedStorage>();
  for (const key of keys.items) {
    const ref = typeof key === "string" ? storages.get(key) : undefined;
    if (typeof key !== "string" || !ref || placed.has(key)) {
      throw new FormatError("storage keys differ from those of the object", {
        where,
        expected: `${storages.size} keys, each once`,
        found: typeof key === "string" ? JSON.stringify(key.slice(0, 80)) : typeof key,
      });
    }
    placed.set(key, { ref, header: at });
    at += 8 + ref.bytes;
  }
  if (placed.size !== storages.size) {
    throw new FormatError("the stream lacks storages of its object", {
      where,
      expected: storages.size,
      found: placed.size,
    });
  }
  if (at !== source.size) {
    throw new FormatError("the storages do not fill the file, which is truncated or damaged", {
      where,
      expected: `${at} bytes`,
      found: source.size,
    });
  }
  return { object, storages: placed };
}

/** Checks the count before a storage; gives the offset of its values. @throws FormatError */
export async function streamedData(source: ByteSource, { ref, header }: StreamedStorage): Promise<number> {
  const bytes = await readExactly(source, header, 8);
  const found = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
  const expected = ref.bytes / (ref.dtype === null ? 1 : safetensorsDtypes[ref.dtype]);
  if (found !== BigInt(expected)) {
    throw new FormatError("size of a storage differs from its object's", {
      where: source.name,
      name: `storage ${ref.key}`,
      expected,
      found,
    });
  }
  return header + 8;
}
