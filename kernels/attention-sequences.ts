/**
 * Attention of the new tokens of several sequences, each over its own cache, as one call: all threads share the work of
 * all of them. A cache is a list of runs, keys that lie one after another in one of up to eight tensors; all runs but the last
 * have a multiple of 96 keys, as blocks and parts do. So a sequence's results are those that attention_forward has for it
 * alone, to the last bit, wherever its keys lie.
 */
import { emitPart } from "./attention";
import { combineRow, PART_EXTRA, partBegin, partsOf } from "./attention-parts";
import { beginRows, emit, fewRows, foldKeys, headsOfUnit, isFew, prepareUnits, ROWS } from "./attention-unit";
import { barrier, nextUnit } from "./runtime";

/** Tensors of a call, of keys and of values. */
const MOST: i32 = 8;

/** Integers per sequence: its rows, valid keys, parts, their base and count, rows of q and parts before it, its first run. */
const FIELDS: usize = 8;
/** Integers per run: its first key, the tensor, that key's row in it. Behind the last one stands the largest integer. */
const RUN_FIELDS: usize = 3;

// What all units of a call have in common; every thread has its own.
let keyTensors: usize = 0;
let valueTensors: usize = 0;
let keyRow: usize = 0;
let valueRow: usize = 0;
let keyHead: usize = 0;
let valueHead: usize = 0;

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

/** Units of a sequence if one of a few rows takes `own` heads of the keys. */
// @ts-ignore: decorator
@inline
function unitsOf(table: usize, s: i32, kvHeads: i32, group: i32, own: i32): i32 {
  const tokens = field(table, s, 0);
  const headUnits = isFew(tokens) ? (kvHeads + own - 1) / own : kvHeads;
  return headUnits * blocksOf(tokens, group) * field(table, s, 2);
}

/**
 * The rows of a unit against keys `begin` to `end` of key head `h`, run by run; with `fewHeads` all rows of `tokens` queries and of so
 * many heads from h on.
 */
function overRuns(
  run: usize,
  h: usize,
  tokens: i32,
  fewHeads: i32,
  qBase: usize,
  first: i32,
  n: i32,
  begin: i32,
  end: i32,
  past: i32,
): void {
  if (fewHeads == 0) beginRows(qBase, first, n, 0, 0, 0);
  else if (begin >= end) fewRows(qBase, tokens, fewHeads, 0, 0, begin, begin, past);
  let more = false;
  for (let key = begin; key < end; ) {
    const next = load<i32>(run + (RUN_FIELDS << 2));
    if (next > key) {
      const to = min(end, next);
      const at = (<usize>load<i32>(run, 4)) << 2;
      // Where key 0 would be.
      const row = <usize>(load<i32>(run, 8) - load<i32>(run));
      const kBase = load<usize>(keyTensors + at) + row * keyRow + h * keyHead;
      const values = load<usize>(valueTensors + at);
      const vBase = values ? values + row * valueRow + h * valueHead : kBase;
      if (fewHeads > 0) fewRows(qBase, tokens, fewHeads, kBase, vBase, key, to, past, more);
      else foldKeys(first, n, kBase, vBase, key, to, past);
      more = true;
      key = to;
    }
    run += RUN_FIELDS << 2;
  }
}

/**
 * Arguments: q, eight k?, eight v?, table, partial?, y; sequences, heads, kvHeads, width, valueWidth, dtype of the caches, a
 * measure of the work; scale. q is [rows, heads, width] with the sequences' rows one after another; the table has the integers of
 * all sequences (FIELDS), then those of the runs, which a sequence names by their place in the table; `partial` has rows of
 * [heads, valueWidth + 4], for a sequence with several parts as many as its rows times its parts.
 */
export function attention_runs(a: usize): void {
  const q = load<usize>(a);
  keyTensors = a + 4;
  valueTensors = keyTensors + ((<usize>MOST) << 2);
  const rest = valueTensors + ((<usize>MOST) << 2);
  const table = load<usize>(rest);
  const partial = load<usize>(rest, 4);
  const y = load<usize>(rest, 8);
  const sequences = load<i32>(rest, 12);
  const heads = load<i32>(rest, 16);
  const kvHeads = load<i32>(rest, 20);
  const width = load<i32>(rest, 24);
  const valueWidth = load<i32>(rest, 28);
  const dtype = load<i32>(rest, 32);
  const scale = load<f32>(rest, 40);
  prepareUnits(heads, kvHeads, width, valueWidth, load<usize>(valueTensors), dtype, scale);

  const group = heads / kvHeads;
  const shift: usize = dtype == 0 ? 2 : 1;
  keyHead = (<usize>width) << shift;
  keyRow = <usize>kvHeads * keyHead;
  valueHead = (<usize>valueWidth) << shift;
  valueRow = <usize>kvHeads * valueHead;
  const outBytes = (<usize>valueWidth) << 2;
  const partRow = outBytes + ((<usize>PART_EXTRA) << 2);
  let units = 0;
  for (let s = 0; s < sequences; s++) units += unitsOf(table, s, kvHeads, group, 1);
  const most = headsOfUnit(units);
  units = 0;
  for (let s = 0; s < sequences; s++) units += unitsOf(table, s, kvHeads, group, most);
  for (let u = nextUnit(); u < units; u = nextUnit()) {
    let s = 0;
    let at = u;
    let own = unitsOf(table, 0, kvHeads, group, most);
    while (at >= own) {
      at -= own;
      s++;
      own = unitsOf(table, s, kvHeads, group, most);
    }
    const tokens = field(table, s, 0);
    const valid = field(table, s, 1);
    const parts = field(table, s, 2);
    const base = field(table, s, 3);
    const count = field(table, s, 4);
    const rows = tokens * group;
    const blocks = blocksOf(tokens, group);
    const few = isFew(tokens);
    const heap = own / parts;
    const part = parts - 1 - at / heap;
    const h = ((at % heap) / blocks) * (few ? most : 1);
    const fewHeads = few ? min(most, kvHeads - h) : 0;
    const first = (blocks - 1 - (at % blocks)) * ROWS;
    const n = few ? tokens * group * fewHeads : min(ROWS, rows - first);
    const past = valid - tokens;
    const limit = few ? max(0, valid) : max(0, past + (first + n - 1) / group + 1);
    const begin = partBegin(part, base, count);
    if (part > 0 && begin >= limit) continue;
    const end = part + 1 < parts ? min(limit, partBegin(part + 1, base, count)) : limit;
    const head = <usize>(field(table, s, 5) * heads + h * group);
    const qBase = q + ((head * <usize>width) << 2);
    const run = table + ((<usize>field(table, s, 7)) << 2);
    overRuns(run, <usize>h, tokens, fewHeads, qBase, first, n, begin, end, past);
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
