/**
 * Reader of `torch.save` files: ZIP archives, and the older stream. The pickle inside is read by a machine that runs
 * nothing (pickle.ts); opening reads it and the directory, no data. Tensors stay in the file until asked for and come
 * contiguous and little-endian, as from safetensors. Left out: TorchScript, whole pickled modules, complex and
 * quantized tensors, compressed archives, tar files of torch before 0.2.
 */
import { FormatError } from "../../tensor/errors.ts";
import { type ByteSource, checkRange, readExactly } from "../byte-source.ts";
import { safetensorsDtypes } from "../safetensors-dtype.ts";
import type { TensorFile, TensorInfo } from "../tensor-file.ts";
import { unpickle } from "./pickle.ts";
import { MAX_PICKLE, readStream, streamedData } from "./stream.ts";
import { gather, hold, isContiguous, mustHold, type StridedView, stridedView } from "./strided.ts";
import { Dict, PickledTensor, type PickleValue, type StorageRef } from "./values.ts";
import { entryData, readZipDirectory, type ZipDirectory } from "./zip.ts";

/** Keys under which training programs keep the weights in addition to other things. */
const NESTED = ["state_dict", "model_state_dict", "model", "module"];
/** Tensors may share storages, as tied weights do; together they are at most this many times the file. */
const MOST_SHARED = 64;
const OBJECT = "data.pkl";

/** A file's object and where the bytes of its storages are. */
interface Opened {
  readonly object: PickleValue;
  readonly bigEndian: boolean;
  /** Checks what stands before a storage; gives the offset of its bytes. */
  locate(storage: StorageRef): Promise<number>;
}

/** Whether a file that begins so is one of torch.save's, by its first bytes. */
function formatOf(where: string, start: Uint8Array): "zip" | "stream" {
  if (start[0] === 0x50 && start[1] === 0x4b) return "zip";
  if (start[0] === 0x80 && start[1] >= 2 && start[1] <= 5) return "stream";
  const text = String.fromCharCode(...start);
  if (text.startsWith("version ")) {
    throw new FormatError("this is a Git LFS pointer, not the file itself", {
      where,
      hint: "Run `git lfs pull` in the repository, or download the file again",
    });
  }
  throw new FormatError(start.length === 0 ? "the file is empty" : "not a file of torch.save", {
    where,
    expected: "a ZIP archive or a pickle",
    ...(start.length > 0 && { found: `bytes ${[...start.slice(0, 4)].join(" ")}` }),
  });
}

async function readEntry(
  source: ByteSource,
  zip: ZipDirectory,
  path: string,
  most: number,
): Promise<Uint8Array> {
  const entry = zip.entries.get(path)!;
  if (entry.size > most) {
    throw new FormatError("an entry of the archive is too large", {
      where: source.name,
      name: `${zip.folder}/${path}`,
      expected: `at most ${most} bytes`,
      found: entry.size,
    });
  }
  return readExactly(source, await entryData(source, entry), entry.size, undefined, path);
}

async function openZip(source: ByteSource): Promise<Opened> {
  const where = source.name;
  const zip = await readZipDirectory(source);
  if (!zip.entries.has(OBJECT)) {
    throw new FormatError("not a ZIP archive of torch.save", {
      where,
      expected: `${zip.folder}/${OBJECT}`,
      found: [...zip.entries.keys()].slice(0, 4).join(", "),
    });
  }
  if (zip.entries.has("constants.pkl")) {
    throw new FormatError("TorchScript archives contain programs and are not supported", {
      where,
      hint: "Save its state dict: torch.save(module.state_dict(), ..)",
    });
  }
  let bigEndian = false;
  if (zip.entries.has("byteorder")) {
    const order = String.fromCharCode(...(await readEntry(source, zip, "byteorder", 16)));
    if (order !== "little" && order !== "big") {
      throw new FormatError("order of bytes", {
        where,
        name: "byteorder",
        expected: "little or big",
        found: JSON.stringify(order),
      });
    }
    bigEndian = order === "big";
  }
  const pickle = await readEntry(source, zip, OBJECT, MAX_PICKLE);
  const { value, length, storages } = unpickle(pickle, where, `${zip.folder}/${OBJECT}`, source.size);
  if (length !== pickle.length) {
    throw new FormatError("bytes after the end of the pickle", {
      where,
      name: `${zip.folder}/${OBJECT}`,
      expected: `${length} bytes`,
      found: pickle.length,
    });
  }
  const entryOf = ({ key, bytes }: StorageRef) => {
    const entry = zip.entries.get(`data/${key}`);
    if (entry?.size === bytes) return entry;
    throw new FormatError(
      entry ? "a storage has another size than its tensors say" : "a storage is missing",
      {
        where,
        name: `${zip.folder}/data/${key.slice(0, 80)}`,
        expected: bytes,
        found: entry?.size ?? "no entry",
      },
    );
  };
  for (const storage of storages.values()) entryOf(storage);
  return { object: value, bigEndian, locate: async (storage) => entryData(source, entryOf(storage)) };
}

async function openStream(source: ByteSource): Promise<Opened> {
  const { object, storages } = await readStream(source);
  return { object, bigEndian: false, locate: ({ key }) => streamedData(source, storages.get(key)!) };
}

function holdsTensors(value: PickleValue | undefined): boolean {
  if (!(value instanceof Dict)) return false;
  for (const [, item] of value.entries()) if (item instanceof PickledTensor) return true;
  return false;
}

/** The dict of weights: the file's object, or the one that a training program keeps under a known key. */
function stateDict(where: string, object: PickleValue): Dict {
  const expected = `a dict of tensors, or one under ${NESTED.join(", ")}`;
  if (!(object instanceof Dict)) throw new FormatError("no dict of tensors in the file", { where, expected });
  const nested = NESTED.filter((key) => holdsTensors(object.get(key)));
  if (nested.length > 1) {
    throw new FormatError("several dicts of tensors in the file", {
      where,
      expected: "one",
      found: nested.join(", "),
      hint: "Save the wanted one to a separate file.",
    });
  }
  if (nested.length === 1) return object.get(nested[0]) as Dict;
  if (holdsTensors(object)) return object;
  const keys = [...object.entries()].slice(0, 8).map(([key]) => (typeof key === "string" ? key : typeof key));
  throw new FormatError("no dict of tensors in the file", {
    where,
    expected,
    found: keys.length === 0 ? "an empty dict" : `keys ${keys.join(", ").slice(0, 200)}`,
  });
}

function collect(where: string, dict: Dict, fileSize: number): Map<string, PickledTensor> {
  const tensors = new Map<string, PickledTensor>();
  let total = 0;
  for (const [name, value] of dict.entries()) {
    if (!(value instanceof PickledTensor)) continue;
    if (typeof name !== "string") {
      throw new FormatError("tensor without a name", { where, expected: "text", found: typeof name });
    }
    tensors.set(name, value);
    total += value.count * safetensorsDtypes[value.dtype];
    if (total > MOST_SHARED * fileSize) {
      throw new FormatError("the tensors together are far larger than the file", {
        where,
        name,
        expected: `at most ${MOST_SHARED} times its ${fileSize} bytes`,
      });
    }
  }
  return tensors;
}

/** Turns every element of `width` bytes around, in place. */
function swapBytes(bytes: Uint8Array, width: number): void {
  for (let at = 0; at < bytes.length; at += width) bytes.subarray(at, at + width).reverse();
}

/** Reads tensors of one file. */
class TensorReader {
  readonly #source: ByteSource;
  readonly #opened: Opened;
  readonly #places = new WeakMap<StorageRef, Promise<number>>();
  /** The part of a storage that the transposed tensor read last covers. */
  #held: { readonly tensor: PickledTensor; readonly bytes: Promise<Uint8Array> } | null = null;

  constructor(source: ByteSource, opened: Opened) {
    this.#source = source;
    this.#opened = opened;
  }

  #place(storage: StorageRef): Promise<number> {
    let place = this.#places.get(storage);
    if (!place) {
      place = this.#opened.locate(storage);
      this.#places.set(storage, place);
      // A read that failed may be tried again.
      place.catch(() => this.#places.delete(storage));
    }
    return place;
  }

  async read(
    name: string,
    tensor: PickledTensor,
    byteOffset: number,
    byteLength: number,
    into?: Uint8Array,
  ): Promise<Uint8Array> {
    const { storage, dtype, shape, strides, offset } = tensor;
    const width = safetensorsDtypes[dtype];
    if (byteLength === 0) return into?.subarray(0, 0) ?? new Uint8Array(0);
    const begin = await this.#place(storage);
    const view = stridedView(shape, strides, offset, width);
    const direct = isContiguous(view);
    const swap = this.#opened.bigEndian && width > 1;
    if (direct && !swap) {
      return readExactly(this.#source, begin + offset * width + byteOffset, byteLength, into, name);
    }
    // Whole elements, of which the ends may not have been asked for.
    const first = Math.floor(byteOffset / width);
    const count = Math.ceil((byteOffset + byteLength) / width) - first;
    const bytes = direct
      ? await readExactly(this.#source, begin + (offset + first) * width, count * width, undefined, name)
      : await this.#gather(name, tensor, view, begin, first, count);
    if (swap) swapBytes(bytes, width);
    const part = bytes.subarray(byteOffset - first * width, byteOffset - first * width + byteLength);
    if (!into || into.length < byteLength) return part;
    into.set(part);
    return into.subarray(0, byteLength);
  }

  async #gather(
    name: string,
    tensor: PickledTensor,
    view: StridedView,
    begin: number,
    first: number,
    count: number,
  ): Promise<Uint8Array> {
    const read = (at: number, length: number) =>
      readExactly(this.#source, begin + at, length, undefined, name);
    if (!mustHold(view)) return gather(view, first, count, read);
    if (this.#held?.tensor !== tensor) {
      this.#held = { tensor, bytes: hold(view, read, this.#source.name, name) };
      this.#held.bytes.catch(() => {
        this.#held = null;
      });
    }
    const bytes = await gather(view, first, count, read, await this.#held.bytes);
    if (first + count === tensor.count) this.#held = null;
    return bytes;
  }
}

/**
 * Opens a file of `torch.save` and gives the tensors of its state dict; one that lies under `state_dict`,
 * `model_state_dict`, `model` or `module` in addition to other things is found. Nothing in the file is run. @throws FormatError
 * with the file, and the place in its pickle, on anything that rebuilds no tensor, on damage, and on tensors that
 * claim more than their storage or the file holds.
 */
export async function openPytorch(source: ByteSource): Promise<TensorFile> {
  const where = source.name;
  const format = formatOf(where, await readExactly(source, 0, Math.min(16, source.size)));
  const opened = await (format === "zip" ? openZip(source) : openStream(source));
  const stored = collect(where, stateDict(where, opened.object), source.size);
  const tensors = new Map<string, TensorInfo>();
  for (const [name, { dtype, shape, count }] of stored) {
    tensors.set(name, { name, dtype, shape, bytes: count * safetensorsDtypes[dtype] });
  }
  const reader = new TensorReader(source, { ...opened, object: null });
  const find = (name: string): PickledTensor => {
    const found = stored.get(name);
    if (found) return found;
    throw new FormatError("no such tensor", { where, name, found: `${stored.size} other tensors` });
  };
  return {
    source,
    metadata: {},
    tensors,
    read: async (name) => reader.read(name, find(name), 0, tensors.get(name)?.bytes ?? 0),
    readRange: async (name, byteOffset, byteLength, into) => {
      const tensor = find(name);
      checkRange(`${where}: ${name}`, tensors.get(name)!.bytes, byteOffset, byteLength);
      return reader.read(name, tensor, byteOffset, byteLength, into);
    },
  };
}
