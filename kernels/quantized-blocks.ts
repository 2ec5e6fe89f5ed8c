/**
 * Quantized weights from GGUF's blocks and back, which moves bytes only: a tile at a time, as transposes of its 8
 * rows in registers. A unit is a row group. Rows beyond the matrix are zero bytes.
 */
import { storeTransposed } from "./packing";
import { groupSize, tileSize } from "./quantized-lanes";
import { nextUnit } from "./runtime";

/** Bytes of a GGUF block of 32: an f16 and the values. */
// @ts-ignore: decorator
@inline
function blockSize(format: i32): usize {
  return format == 0 ? 18 : 34;
}

/** Moves one block between GGUF's order and row `r` of a tile. */
// @ts-ignore: decorator
@inline
function moveBlock(format: i32, block: usize, tile: usize, r: usize, back: bool): void {
  const scale = tile + (r << 1);
  if (back) store<u16>(block, load<u16>(scale));
  else store<u16>(scale, load<u16>(block));
  if (format == 0) {
    const to = tile + 16 + (r << 2);
    for (let p: usize = 0; p < 4; p++) {
      if (back) store<u32>(block + (p << 2), load<u32>(to + (p << 5)), 2);
      else store<u32>(to + (p << 5), load<u32>(block + (p << 2), 2));
    }
    return;
  }
  const to = tile + 16 + (r << 1);
  for (let p: usize = 0; p < 16; p++) {
    if (back) store<u16>(block + (p << 1), load<u16>(to + (p << 4)), 2);
    else store<u16>(to + (p << 4), load<u16>(block + (p << 1), 2));
  }
}

/** Sixteen bytes each from four rows, as 4 by 4 words with rows and columns exchanged. */
// @ts-ignore: decorator
@inline
function turnWords(from: usize, fromStep: usize, to: usize, toStep: usize): void {
  const r0 = v128.load(from);
  const r1 = v128.load(from + fromStep);
  const r2 = v128.load(from + 2 * fromStep);
  const r3 = v128.load(from + 3 * fromStep);
  storeTransposed(to, toStep, r0, r1, r2, r3);
}

// @ts-ignore: decorator
@inline
function lowPairs(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
}

// @ts-ignore: decorator
@inline
function highPairs(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
}

/** Sixteen bytes each from eight rows, as 8 by 8 halves of words with rows and columns exchanged. */
// @ts-ignore: decorator
@inline
function turnPairs(from: usize, fromStep: usize, to: usize, toStep: usize): void {
  const r0 = v128.load(from);
  const r1 = v128.load(from + fromStep);
  const r2 = v128.load(from + 2 * fromStep);
  const r3 = v128.load(from + 3 * fromStep);
  const r4 = v128.load(from + 4 * fromStep);
  const r5 = v128.load(from + 5 * fromStep);
  const r6 = v128.load(from + 6 * fromStep);
  const r7 = v128.load(from + 7 * fromStep);
  // Interleaving rows that lie four apart, three times, exchanges rows and columns.
  const a0 = lowPairs(r0, r4);
  const a1 = highPairs(r0, r4);
  const a2 = lowPairs(r1, r5);
  const a3 = highPairs(r1, r5);
  const a4 = lowPairs(r2, r6);
  const a5 = highPairs(r2, r6);
  const a6 = lowPairs(r3, r7);
  const a7 = highPairs(r3, r7);
  const b0 = lowPairs(a0, a4);
  const b1 = highPairs(a0, a4);
  const b2 = lowPairs(a1, a5);
  const b3 = highPairs(a1, a5);
  const b4 = lowPairs(a2, a6);
  const b5 = highPairs(a2, a6);
  const b6 = lowPairs(a3, a7);
  const b7 = highPairs(a3, a7);
  v128.store(to, lowPairs(b0, b4));
  v128.store(to + toStep, highPairs(b0, b4));
  v128.store(to + 2 * toStep, lowPairs(b1, b5));
  v128.store(to + 3 * toStep, highPairs(b1, b5));
  v128.store(to + 4 * toStep, lowPairs(b2, b6));
  v128.store(to + 5 * toStep, highPairs(b2, b6));
  v128.store(to + 6 * toStep, lowPairs(b3, b7));
  v128.store(to + 7 * toStep, highPairs(b3, b7));
}

/** Moves a whole tile between its 8 rows of blocks, `row` bytes apart, and the order of tiles. */
// @ts-ignore: decorator
@inline
function moveTile(format: i32, blocks: usize, row: usize, tile: usize, back: bool): void {
  let block = blocks;
  for (let r: usize = 0; r < 16; r += 2) {
    if (back) store<u16>(block, load<u16>(tile + r));
    else store<u16>(tile + r, load<u16>(block));
    block += row;
  }
  const values = blocks + 2;
  const pieces = tile + 16;
  if (format == 0) {
    if (back) {
      turnWords(pieces, 32, values, row);
      turnWords(pieces + 16, 32, values + 4 * row, row);
    } else {
      turnWords(values, row, pieces, 32);
      turnWords(values + 4 * row, row, pieces + 16, 32);
    }
    return;
  }
  if (back) {
    turnPairs(pieces, 16, values, row);
    turnPairs(pieces + 128, 16, values + 16, row);
  } else {
    turnPairs(values, row, pieces, 16);
    turnPairs(values + 16, row, pieces + 128, 16);
  }
}

// @ts-ignore: decorator
@inline
function moveBlocks(a: usize, back: bool): void {
  const blocks = load<usize>(a);
  const w = load<usize>(a, 4);
  const format = load<i32>(a, 8);
  const rows = load<i32>(a, 12);
  const k = load<i32>(a, 16);
  const groupBytes = groupSize(format, k);
  const tileBytes = tileSize(format);
  const step = blockSize(format);
  const rowBytes = <usize>(k >> 5) * step;
  for (let u = nextUnit(); u < (rows + 7) >> 3; u = nextUnit()) {
    const group = w + <usize>u * groupBytes;
    const count = min(8, rows - (u << 3));
    const first = blocks + <usize>(u << 3) * rowBytes;
    let tile = group;
    if (count == 8) {
      for (let b: usize = 0; b < rowBytes; b += step) {
        moveTile(format, first + b, rowBytes, tile, back);
        tile += tileBytes;
      }
      continue;
    }
    if (!back) memory.fill(group, 0, groupBytes);
    for (let b: usize = 0; b < rowBytes; b += step) {
      for (let r = 0; r < count; r++) {
        moveBlock(format, first + <usize>r * rowBytes + b, tile, <usize>r, back);
      }
      tile += tileBytes;
    }
  }
}

/** Arguments: blocks (GGUF's, [rows, k / 32]), w (tiles from the first row's group on); format, rows, k. */
export function repack_tiles(a: usize): void {
  moveBlocks(a, false);
}

/** The way back, with the same arguments. */
export function unpack_tiles(a: usize): void {
  moveBlocks(a, true);
}
