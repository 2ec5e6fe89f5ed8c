/**
 * Views of a storage brought into the order of their shape. Where the order in memory is that of the shape, a window
 * moves over the storage; a transposed view, which jumps, is taken from a copy of the part it covers, kept until the
 * tensor has been read.
 */
import { FormatError } from "../../tensor/errors.ts";

/** One axis, its stride in elements. */
interface Axis {
  readonly size: number;
  readonly stride: number;
}

/** A view as its elements lie: offset and strides in elements of `width` bytes. */
export interface StridedView {
  readonly offset: number;
  readonly axes: readonly Axis[];
  readonly width: number;
  /** Elements from the first to the last that it touches. */
  readonly span: number;
}

/** Reads `length` bytes of a storage from byte `offset` on. */
export type StorageReader = (offset: number, length: number) => Promise<Uint8Array>;

/** Bytes read ahead of what is needed. */
const WINDOW = 1 << 22;
/** Distance from row to row up to which the bytes between them are read along. */
const NEAR = 1 << 16;
/** Largest part of a storage that is held to turn a view around. */
const MOST_HELD = 2 ** 31;

/** The axes without those of one element, neighbors joined if they are one run. */
export function stridedView(
  shape: readonly number[],
  strides: readonly number[],
  offset: number,
  width: number,
): StridedView {
  const axes: Axis[] = [];
  let span = 1;
  for (const [i, size] of shape.entries()) {
    if (size === 1) continue;
    const stride = strides[i];
    span += (size - 1) * stride;
    const outer = axes.at(-1);
    if (outer && outer.stride === stride * size) {
      axes[axes.length - 1] = { size: outer.size * size, stride };
    } else axes.push({ size, stride });
  }
  return { offset, axes, width, span };
}

/** Whether the elements lie one after another. */
export function isContiguous({ axes }: StridedView): boolean {
  return axes.length === 0 || (axes.length === 1 && axes[0].stride === 1);
}

/** Whether no element lies before an earlier one: no axis repeats, or steps back into what the inner ones cover. */
function isOrdered({ axes }: StridedView): boolean {
  let inner = 1;
  for (let i = axes.length - 1; i >= 0; i--) {
    const { size, stride } = axes[i];
    if (stride < inner) return false;
    inner += (size - 1) * stride;
  }
  return true;
}

/** Whether a view has to be held in memory to be read in order. */
export function mustHold(view: StridedView): boolean {
  return view.span * view.width > WINDOW && !isOrdered(view);
}

/** Copies `count` elements, `stride` apart, to consecutive places. */
function copyStrided(
  from: Uint8Array,
  at: number,
  stride: number,
  to: Uint8Array,
  place: number,
  count: number,
  width: number,
): void {
  if (stride === 1 || count === 1) {
    to.set(from.subarray(at, at + count * width), place);
    return;
  }
  for (let i = 0; i < count; i++) {
    const source = at + i * stride * width;
    for (let b = 0; b < width; b++) to[place + i * width + b] = from[source + b];
  }
}

/** The part of the storage that a view covers, whole. @throws FormatError if that is too large */
export async function hold(
  view: StridedView,
  read: StorageReader,
  where: string,
  name: string,
): Promise<Uint8Array> {
  const { offset, span, width } = view;
  if (span * width <= MOST_HELD) return read(offset * width, span * width);
  throw new FormatError("a tensor of this size must be saved contiguously", {
    where,
    name,
    expected: `at most ${MOST_HELD} bytes`,
    found: span * width,
    hint: "Save it again after .contiguous().",
  });
}

/**
 * Elements `first` to `first + count - 1` of a view in the order of its shape. `held` is what `hold` gave, for views
 * that need it.
 */
export async function gather(
  view: StridedView,
  first: number,
  count: number,
  read: StorageReader,
  held: Uint8Array | null = null,
): Promise<Uint8Array> {
  const { axes, width, offset, span } = view;
  const inner = axes.at(-1) ?? { size: 1, stride: 1 };
  const outer = axes.slice(0, -1);
  const place = (element: number): { index: number[]; column: number } => {
    const index = new Array<number>(outer.length).fill(0);
    let rest = Math.floor(element / inner.size);
    for (let i = outer.length - 1; i >= 0; i--) {
      index[i] = rest % outer[i].size;
      rest = Math.floor(rest / outer[i].size);
    }
    return { index, column: element % inner.size };
  };
  const rowOf = (index: readonly number[]) => index.reduce((sum, n, i) => sum + n * outer[i].stride, offset);

  const last = place(first + count - 1);
  const end = isOrdered(view) ? rowOf(last.index) + last.column * inner.stride + 1 : offset + span;
  const next = outer.findLast(({ stride }) => stride > 0)?.stride ?? 0;
  const ahead = (next - inner.size * inner.stride) * width <= NEAR;
  // Longest piece of the inner axis that a window holds.
  const piece = held ? inner.size : Math.max(1, Math.floor(WINDOW / width / Math.max(1, inner.stride)));

  // The window in elements of the storage.
  let window = held ?? new Uint8Array(0);
  let windowBegin = offset;
  let windowEnd = offset + window.length / width;
  const move = async (begin: number, needed: number): Promise<void> => {
    const most = Math.min(begin + Math.floor(WINDOW / width), end);
    windowBegin = begin;
    windowEnd = ahead ? Math.max(needed, most) : needed;
    window = await read(begin * width, (windowEnd - begin) * width);
  };

  const out = new Uint8Array(count * width);
  const { index, column: start } = place(first);
  let column = start;
  for (let done = 0; done < count; ) {
    const n = Math.min(count - done, inner.size - column, piece);
    const begin = rowOf(index) + column * inner.stride;
    const needed = begin + (n - 1) * inner.stride + 1;
    if (begin < windowBegin || needed > windowEnd) await move(begin, needed);
    copyStrided(window, (begin - windowBegin) * width, inner.stride, out, done * width, n, width);
    done += n;
    column += n;
    if (column < inner.size) continue;
    column = 0;
    for (let i = outer.length - 1; i >= 0; i--) {
      if (++index[i] < outer[i].size) break;
      index[i] = 0;
    }
  }
  return out;
}
