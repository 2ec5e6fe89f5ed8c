/** Rows of a pass over several sequences: cutting them out, runs of sequences treated alike, joining the results. */
import { copyRows } from "../tensor/ops/memory.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { PlacedSegment } from "./context.ts";

/** Rows `begin` to `end` of `x: [1, N, ..]` as `[1, end - begin, ..]`, sharing memory; no gradient. */
export function rowsOf(x: Tensor, begin: number, end: number): Tensor {
  const rest = x.shape.slice(1);
  if (begin === 0 && end === rest[0]) return x;
  return x
    .view(rest)
    .slice(begin, end)
    .view([1, end - begin, ...rest.slice(1)]);
}

/** Tensors `[1, n, ..]` of equal further axes one after another, `[1, sum of n, ..]`; one alone as it is. */
export function joinRows(parts: readonly Tensor[]): Tensor {
  const [first] = parts;
  if (parts.length === 1) return first;
  const rows = parts.reduce((sum, part) => sum + part.shape[1], 0);
  const y = first.device.empty([1, rows, ...first.shape.slice(2)]);
  let at = 0;
  for (const part of parts) {
    copyRows(part, y, 1, part.size, part.size, part.size, 0, at);
    at += part.size;
  }
  return y;
}

/**
 * Attention of all sequences: `together` gets runs of those that `joins` picks, `each` one of the others at a time,
 * both with their rows of `q: [1, N, ..]`, and return as many rows. What else they make is freed.
 */
export function attendSegments(
  q: Tensor,
  segments: readonly PlacedSegment[],
  joins: (segment: PlacedSegment) => boolean,
  together: (rows: Tensor, run: readonly PlacedSegment[]) => Tensor,
  each: (rows: Tensor, segment: PlacedSegment) => Tensor,
): Tensor {
  const parts: Tensor[] = [];
  for (let begin = 0, end = 0; begin < segments.length; begin = end) {
    const [first] = segments.slice(begin);
    const joined = joins(first);
    end++;
    while (joined && end < segments.length && joins(segments[end])) end++;
    const last = segments[end - 1];
    const rows = rowsOf(q, first.row, last.row + last.tokens);
    const body = () => (joined ? together(rows, segments.slice(begin, end)) : each(rows, first));
    parts.push(q.device.tidy(body));
  }
  return joinRows(parts);
}
