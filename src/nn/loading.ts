/**
 * Fills parameter groups from a checkpoint, chunk by chunk: floats are converted, quantized groups take tiles as they
 * are, blocks of the same format without loss, and quantize everything else while it streams by. Never more than a
 * few chunks of rows are held beside the group itself.
 */
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { quantizeInto, repackInto } from "../tensor/ops/quantize.ts";
import { isQuantized, type QuantizedTensor, quantizedBytes, TILE_ROWS } from "../tensor/quantized.ts";
import { type Shape, sizeOf, type Tensor } from "../tensor/tensor.ts";
import { withPieces } from "./layouts.ts";
import type { GroupSpec, ParameterGroup } from "./parameter-group.ts";
import type { RowReader, TileSource, WeightSource } from "./weight-source.ts";

/** Values quantized at once, about. */
const CHUNK = 1 << 20;

/** Bytes of a piece that is read in place, about, and pieces at a time. */
const PIECE = 1 << 22;
const READS = 4;

/** Block type and bytes of one block of 32 values of each format. */
const blocksOf = { q4: { type: "Q4_0", bytes: 18 }, q8: { type: "Q8_0", bytes: 34 } } as const;

/** Reads one group. @throws FormatError, also for NaN in a router, norm or bias, and ShapeError, naming the tensor */
export async function loadGroup(group: ParameterGroup, source: WeightSource): Promise<void> {
  const { weight, key } = group;
  if (isQuantized(weight)) {
    if (source.tiles?.tileFormat(key) === weight.format) await loadTiles(key, weight, source);
    else if (group.parts.every(({ name }) => source.blocks?.blockType(name) === blocksOf[weight.format].type))
      await loadBlocks(group, weight, source);
    else await quantizeRows(group, weight, source);
    return;
  }
  for (const part of storedParts(group, source)) await loadFloats(part, group.alwaysF32, weight, source);
}

interface StoredPart {
  readonly name: string;
  readonly shape: Shape;
  readonly offset: number;
}

/** The tensors of the checkpoint that make up a group, in order: one stacked tensor or the official ones. */
function storedParts({ stackedName, shape, parts }: GroupSpec, source: WeightSource): readonly StoredPart[] {
  if (stackedName !== undefined && source.has(stackedName)) return [{ name: stackedName, shape, offset: 0 }];
  return parts;
}

/**
 * Compares groups with what the source holds, before memory is taken for them: a configuration may claim any size.
 * @throws FormatError for a tensor that is missing, ShapeError for one of another size
 */
export function checkGroups(groups: readonly GroupSpec[], source: WeightSource): void {
  const stored = withPieces(source, groups);
  for (const group of groups) checkGroup(group, stored);
}

function checkGroup(spec: GroupSpec, source: WeightSource): void {
  const { key, shape } = spec;
  const format = source.tiles?.tileFormat(key);
  if (!format) {
    for (const part of storedParts(spec, source)) check(part.name, part.shape, source);
    return;
  }
  const [rows, columns] = shape.slice(-2);
  const count = shape.length === 3 ? shape[0] : 1;
  checkTiles(key, shape, format, count * quantizedBytes(format, rows, columns), source);
}

function checkTiles(
  name: string,
  shape: Shape,
  format: string,
  bytes: number,
  { tiles, where = "load" }: WeightSource,
): void {
  const found = tiles!.tileBytes(name);
  if (found === bytes) return;
  throw new ShapeError("tiles have the wrong size", {
    where,
    name,
    expected: `${bytes} bytes for [${shape}] in ${format}`,
    found: `${found} bytes`,
  });
}

function check(name: string, expected: Shape, source: WeightSource): void {
  const where = source.where ?? "load";
  if (!source.has(name)) {
    throw new FormatError("the checkpoint lacks a tensor", { where, name, expected });
  }
  const found = source.shape(name);
  if (found.length !== expected.length || found.some((n, i) => n !== expected[i])) {
    throw new ShapeError("a tensor of the checkpoint has the wrong shape", {
      where,
      name,
      expected,
      found,
    });
  }
}

function incomplete(name: string, expected: number, found: number): FormatError {
  return new FormatError("a tensor was read incompletely", { where: "load", name, expected, found });
}

/**
 * Refuses NaN among the weights of routers and norms and among biases: few values, so that it costs nothing to look, which
 * decide about all others.
 */
function checkNumbers(
  name: string,
  start: number,
  values: Float32Array,
  { where = "load" }: WeightSource,
): void {
  for (let i = 0; i < values.length; i++) {
    if (!Number.isNaN(values[i])) continue;
    throw new FormatError("a weight is not a number", {
      where,
      name,
      expected: "numbers",
      found: `NaN at index ${start + i}`,
      hint: "The file is damaged, or the training that wrote it failed; download it again, or take an earlier one.",
    });
  }
}

async function loadFloats(
  part: StoredPart,
  checked: boolean,
  tensor: Tensor,
  source: WeightSource,
): Promise<void> {
  const { name, shape, offset: start } = part;
  check(name, shape, source);
  let read = 0;
  for await (const { offset, values } of source.readF32(name)) {
    if (checked) checkNumbers(name, offset, values, source);
    tensor.set(values, start + offset);
    read += values.length;
  }
  if (read !== sizeOf(shape)) throw incomplete(name, sizeOf(shape), read);
}

async function loadTiles(key: string, weight: QuantizedTensor, source: WeightSource): Promise<void> {
  const tiles = source.tiles!;
  checkTiles(key, weight.shape, weight.format, weight.bytes, source);
  if (tiles.readInto && (await readInPlace(key, weight, tiles))) return;
  let read = 0;
  for await (const { offset, bytes } of ahead(tiles.readTiles(key))) {
    writeTiles(weight, offset, bytes);
    read += bytes.length;
  }
  if (read !== weight.bytes) throw incomplete(key, weight.bytes, read);
}

/** Reads tiles straight into the device's memory, several pieces at a time; false if the device allows no such thing. */
async function readInPlace(key: string, weight: QuantizedTensor, tiles: TileSource): Promise<boolean> {
  const pieces: { readonly offset: number; readonly target: Uint8Array }[] = [];
  for (const shard of weight.shards) {
    const { size } = shard.tiles;
    for (let offset = 0; offset < size; offset += PIECE) {
      const target = shard.tiles.mappedView(offset, Math.min(PIECE, size - offset));
      if (target === null) return false;
      pieces.push({ offset: shard.begin * weight.matrixBytes + offset, target });
    }
  }
  const read = ({ offset, target }: (typeof pieces)[number]) => tiles.readInto!(key, offset, target);
  await shareOut(
    pieces,
    Array.from({ length: READS }, () => read),
  );
  return true;
}

/**
 * Hands the items to the workers, each the next one when it is done with the last. After a failure nothing more is
 * begun, and it is thrown when nothing is under way any more: no read fills memory that has been freed.
 */
async function shareOut<T>(
  items: Iterable<T>,
  workers: readonly ((item: T) => Promise<void>)[],
): Promise<void> {
  const waiting = items[Symbol.iterator]();
  const errors: unknown[] = [];
  const run = async (work: (item: T) => Promise<void>) => {
    try {
      for (let next = waiting.next(); !next.done && errors.length === 0; next = waiting.next()) {
        await work(next.value);
      }
    } catch (error) {
      errors.push(error);
    }
  };
  await Promise.all(workers.map(run));
  if (errors.length > 0) throw errors[0];
}

/** Writes bytes of the whole stack at `offset`, across shards. */
function writeTiles(weight: QuantizedTensor, offset: number, bytes: Uint8Array): void {
  for (const { begin, end, tiles } of weight.shards) {
    const from = Math.max(offset, begin * weight.matrixBytes);
    const to = Math.min(offset + bytes.length, end * weight.matrixBytes);
    if (from >= to) continue;
    tiles.set(bytes.subarray(from - offset, to - offset), from - begin * weight.matrixBytes);
  }
}

/** The same chunks, each asked for while the one before is worked on: the file is read meanwhile. */
async function* ahead<T>(chunks: AsyncIterable<T>): AsyncGenerator<T> {
  const iterator = chunks[Symbol.asyncIterator]();
  try {
    for (let next = iterator.next(); ; ) {
      const { done, value } = await next;
      if (done) return;
      next = iterator.next();
      // A failure is thrown in the order of the parts.
      next.catch(() => {});
      yield value;
    }
  } finally {
    await iterator.return?.();
  }
}

/** Collects rows that come in pieces and hands them on in whole row groups, matrix by matrix. */
class RowCollector<T extends Float32Array | Uint8Array> {
  readonly #weight: QuantizedTensor;
  readonly #perRow: number;
  readonly #buffer: T;
  readonly #flush: (matrix: number, row: number, rows: number, values: T) => void;
  #held = 0;
  /** Rows handed on, over all matrices. */
  #done = 0;

  constructor(
    weight: QuantizedTensor,
    perRow: number,
    make: (length: number) => T,
    flush: (matrix: number, row: number, rows: number, values: T) => void,
  ) {
    this.#weight = weight;
    this.#perRow = perRow;
    const rows = Math.ceil(Math.max(1, CHUNK / weight.columns) / TILE_ROWS) * TILE_ROWS;
    this.#buffer = make(Math.min(rows, Math.ceil(weight.rows / TILE_ROWS) * TILE_ROWS) * perRow);
    this.#flush = flush;
  }

  push(values: T): void {
    let at = 0;
    while (at < values.length) {
      const inMatrix = this.#done % this.#weight.rows;
      const room = Math.min(this.#buffer.length, (this.#weight.rows - inMatrix) * this.#perRow) - this.#held;
      const n = Math.min(room, values.length - at);
      this.#buffer.set(values.subarray(at, at + n) as T, this.#held);
      this.#held += n;
      at += n;
      if (n === room) this.#handOn(inMatrix);
    }
  }

  #handOn(row: number): void {
    const rows = this.#held / this.#perRow;
    const values = this.#buffer.subarray(0, this.#held) as T;
    this.#flush(Math.floor(this.#done / this.#weight.rows), row, rows, values);
    this.#done += rows;
    this.#held = 0;
  }
}

async function quantizeRows(
  group: ParameterGroup,
  weight: QuantizedTensor,
  source: WeightSource,
): Promise<void> {
  const { device, columns } = weight;
  const parts = storedParts(group, source);
  for (const { name, shape } of parts) check(name, shape, source);
  let current = "";
  const collector = new RowCollector<Float32Array>(
    weight,
    columns,
    (length) => new Float32Array(length),
    (matrix, row, rows, values) => {
      const wrong = values.findIndex((value) => !Number.isFinite(value));
      if (wrong >= 0) {
        throw new FormatError("a weight to be quantized is not finite", {
          where: "load",
          name: current,
          found: `${values[wrong]} in row ${row + Math.floor(wrong / columns)}, column ${wrong % columns}`,
        });
      }
      device.unscoped(() => {
        using staged = device.tensor(values, [rows, columns]);
        quantizeInto(weight, matrix, row, staged);
      });
    },
  );
  for (const { name, shape } of parts) {
    current = name;
    let read = 0;
    for await (const { values } of ahead(source.readF32(name))) {
      collector.push(values);
      read += values.length;
    }
    if (read !== sizeOf(shape)) throw incomplete(name, sizeOf(shape), read);
  }
}

async function loadBlocks(
  group: ParameterGroup,
  weight: QuantizedTensor,
  source: WeightSource,
): Promise<void> {
  const { device, columns, format } = weight;
  const rowBytes = (columns / 32) * blocksOf[format].bytes;
  for (const { name, shape } of group.parts) check(name, shape, source);
  const parts: BlockPart[] = [];
  for (const { name, shape } of group.parts) {
    const read = source.blocks!.rowReader?.(name);
    if (read) parts.push({ read, rows: sizeOf(shape) / columns });
  }
  if (parts.length === group.parts.length && (await readBlocksInPlace(parts, weight, rowBytes))) return;
  const collector = new RowCollector<Uint8Array>(
    weight,
    rowBytes,
    (length) => new Uint8Array(length),
    (matrix, row, rows, values) => {
      device.unscoped(() => {
        using staged = device.tensor(values, [values.length], "u8");
        repackInto(weight, matrix, row, staged, rows);
      });
    },
  );
  for (const { name, shape } of group.parts) {
    const expected = sizeOf(shape) / columns;
    let read = 0;
    for await (const { rows, bytes } of ahead(source.blocks!.readBlocks(name))) {
      collector.push(bytes);
      read += rows;
    }
    if (read !== expected) throw incomplete(name, expected, read);
  }
}

interface BlockPart {
  readonly read: RowReader;
  readonly rows: number;
}

/** Whole groups of rows of one matrix, or its last ones, and the reads that fill them: `at` counts rows of the chunk. */
interface BlockChunk {
  readonly matrix: number;
  readonly row: number;
  readonly rows: number;
  readonly reads: readonly { read: RowReader; row: number; at: number; rows: number }[];
}

/** Chunks of at most `most` rows. */
function* blockChunks(
  weight: QuantizedTensor,
  parts: readonly BlockPart[],
  most: number,
): Generator<BlockChunk> {
  let part = 0;
  let done = 0;
  for (let matrix = 0; matrix < weight.count; matrix++) {
    for (let row = 0; row < weight.rows; row += most) {
      const rows = Math.min(most, weight.rows - row);
      const reads = [];
      for (let at = 0; at < rows; ) {
        if (done === parts[part].rows) {
          part++;
          done = 0;
        }
        const { read, rows: all } = parts[part];
        const n = Math.min(rows - at, all - done);
        reads.push({ read, row: done, at, rows: n });
        at += n;
        done += n;
      }
      yield { matrix, row, rows, reads };
    }
  }
}

/**
 * Reads blocks into a few buffers of the device and packs each chunk into tiles when it has arrived, in whatever
 * order that is, while others are being read; false if the device allows no such thing.
 */
async function readBlocksInPlace(
  parts: readonly BlockPart[],
  weight: QuantizedTensor,
  rowBytes: number,
): Promise<boolean> {
  const { device, count, rows } = weight;
  const perMatrix = Math.ceil((rows * rowBytes) / PIECE);
  const most = Math.ceil(rows / perMatrix / TILE_ROWS) * TILE_ROWS;
  const size = Math.min(most, rows) * rowBytes;
  const buffers: Tensor[] = [];
  try {
    const workers: ((chunk: BlockChunk) => Promise<void>)[] = [];
    while (workers.length < Math.min(READS, count * perMatrix)) {
      const buffer = device.unscoped(() => device.empty([size], "u8", false, weight.shards[0].tiles));
      buffers.push(buffer);
      const memory = buffer.mappedView(0, size);
      if (memory === null) return false;
      workers.push(async ({ matrix, row, rows, reads }) => {
        for (const { read, row: first, at, rows: n } of reads) {
          await read(first, memory.subarray(at * rowBytes, (at + n) * rowBytes));
        }
        device.unscoped(() => {
          using blocks = buffer.slice(0, rows * rowBytes);
          repackInto(weight, matrix, row, blocks, rows);
        });
      });
    }
    await shareOut(blockChunks(weight, parts, most), workers);
  } finally {
    for (const buffer of buffers) buffer.dispose();
  }
  return true;
}
