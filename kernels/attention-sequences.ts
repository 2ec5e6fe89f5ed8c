/**
 * Attention of the new tokens of up to eight sequences, each over its own cache, as one call: all threads share
 * the work of all of them. A sequence's results are those that attention_forward has for it alone, to the last bit.
 */
import { emitPart } from "./attention";
import { combineRow, PART_EXTRA, partBegin, partsOf } from "./attention-parts";
import { beginRows, emit, fewRows, foldKeys, isFew, prepareUnits, ROWS } from "./attention-unit";
import { barrier, nextUnit } from "./runtime";

/** Sequences of a call. */
const MOST: i32 = 8;

/** Integers per sequence: its rows, valid keys, parts, their base and count, rows of q and parts before it. */
const FIELDS: usize = 7;

// @ts-ignore: decorator
@inline
function field(table: usize, s: i32, index: usize): i32 {
  return load<i32>(table + ((<usize>s * FIELDS + index) << 2));
}

// @ts-ignore: decorator
@inline
function blocksOf(tokens: i32, group: i32): i32 {
  return (tokens * group + ROWS - 1) / ROWS;
}

/**
 * Arguments: q, eight k?, eight v?, partial?, y; sequences, heads, kvHeads, width, valueWidth, dtype of the caches,
 * seven integers for each of eight sequences (FIELDS); scale. q is [rows, heads, width] with the sequences' rows one
 * after another; `partial` has rows of [heads, valueWidth + 4], for a sequence with several parts as many as its rows
 * times its parts.
 */
export function attention_sequences(a: usize): void {
  const q = load<usize>(a);
  const kTable = a + 4;
  const vTable = kTable + ((<usize>MOST) << 2);
  const partial = load<usize>(vTable + ((<usize>MOST) << 2));
  const y = load<usize>(vTable + ((<usize>MOST) << 2), 4);
  const ints = vTable + ((<usize>MOST) << 2) + 8;
  const sequences = load<i32>(ints);
  const heads = load<i32>(ints, 4);
  const kvHeads = load<i32>(ints, 8);
  const width = load<i32>(ints, 12);
  const valueWidth = load<i32>(ints, 16);
  const dtype = load<i32>(ints, 20);
  const table = ints + 24;
  const scale = load<f32>(table + ((<usize>MOST * FIELDS) << 2));
  prepareUnits(heads, kvHeads, width, valueWidth, load<usize>(vTable), dtype, scale);

  const group = heads / kvHeads;
  const shift: usize = dtype == 0 ? 2 : 1;
  const outBytes = (<usize>valueWidth) << 2;
  const partRow = outBytes + ((<usize>PART_EXTRA) << 2);
  let units = 0;
  for (let s = 0; s < sequences; s++) {
    units += kvHeads * blocksOf(field(table, s, 0), group) * field(table, s, 2);
  }
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    let s = 0;
    let at = u;
    let own = kvHeads * blocksOf(field(table, 0, 0), group) * field(table, 0, 2);
    while (at >= own) {
      at -= own;
      s++;
      own = kvHeads * blocksOf(field(table, s, 0), group) * field(table, s, 2);
    }
    const tokens = field(table, s, 0);
    const valid = field(table, s, 1);
    const parts = field(table, s, 2);
    const base = field(table, s, 3);
    const count = field(table, s, 4);
    const rows = tokens * group;
    const blocks = blocksOf(tokens, group);
    const heap = kvHeads * blocks;
    const part = parts - 1 - at / heap;
    const h = (at % heap) / blocks;
    const first = (blocks - 1 - (at % blocks)) * ROWS;
    const n = min(ROWS, rows - first);
    const past = valid - tokens;
    const limit = max(0, past + (first + n - 1) / group + 1);
    const begin = partBegin(part, base, count);
    if (part > 0 && begin >= limit) continue;
    const end = part + 1 < parts ? min(limit, partBegin(part + 1, base, count)) : limit;
    const head = <usize>(field(table, s, 5) * heads + h * group);
    const qBase = q + ((head * <usize>width) << 2);
    const kBase = load<usize>(kTable + ((<usize>s) << 2)) + ((<usize>h * <usize>width) << shift);
    const v = load<usize>(vTable + ((<usize>s) << 2));
    const vBase = v ? v + ((<usize>h * <usize>valueWidth) << shift) : kBase;
    if (isFew(tokens)) fewRows(qBase, first, n, kBase, vBase, begin, end, past);
    else {
      beginRows(qBase, first, n, 0, 0, 0);
      foldKeys(first, n, kBase, vBase, begin, end, past);
    }
    if (parts > 1) {
      const to = <usize>((field(table, s, 6) + part * tokens) * heads + h * group);
      emitPart(partial + to * partRow, first, n, valueWidth);
    } else emit(y + head * outBytes, outBytes, first, n, true);
  }

  barrier();
  let rows = 0;
  for (let s = 0; s < sequences; s++) rows += field(table, s, 0);
  for (let u = nextUnit(1); u < rows * kvHeads; u = nextUnit(1)) {
    const row = u / kvHeads;
    let s = 0;
    let t = row;
    while (t >= field(table, s, 0)) {
      t -= field(table, s, 0);
      s++;
    }
    const parts = field(table, s, 2);
    if (parts == 1) continue;
    const tokens = field(table, s, 0);
    const seen = max(0, field(table, s, 1) - tokens + t + 1);
    const own = min(parts, partsOf(seen, field(table, s, 3), field(table, s, 4)));
    const step = <usize>(tokens * heads) * partRow;
    for (let h = (u % kvHeads) * group; h < ((u % kvHeads) + 1) * group; h++) {
      const from = partial + <usize>((field(table, s, 6) + t) * heads + h) * partRow;
      const to = y + <usize>((field(table, s, 5) + t) * heads + h) * outBytes;
      combineRow(from, step, own, valueWidth, to);
    }
  }
}
