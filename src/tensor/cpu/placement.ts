/**
 * Where a kernel runs when its operands lie in several memories: where most of their bytes are, with the rest
 * copied there for the call and what it wrote copied back.
 */
import type { Arena } from "./arena.ts";

/** An operand as far as its place matters. */
export interface Span {
  /** Index of the memory. */
  readonly arena: number;
  /** First and last byte (exclusive) that the kernel may touch. */
  readonly begin: number;
  readonly end: number;
  /** Identity of the buffer: operands that share one share its copy, so that they still alias. */
  readonly owner: object;
  readonly written: boolean;
}

interface Copy {
  readonly from: number;
  begin: number;
  end: number;
  written: boolean;
  address: number;
}

export interface Placement {
  readonly arena: number;
  /** Address of each operand in that memory; 0 for absent ones. */
  readonly addresses: readonly number[];
  /** Copies results back (not after a failed call) and frees the copies. */
  leave(keepResults: boolean): void;
}

function bytesAt(arena: Arena, begin: number, end: number): Uint8Array {
  return new Uint8Array(arena.memory.buffer, begin, end - begin);
}

/** Brings all of `spans` into memory `target`; null if they do not fit in its free space. */
function bring(arenas: readonly Arena[], spans: readonly (Span | null)[], target: number): Placement | null {
  const copies = new Map<object, Copy>();
  for (const span of spans) {
    if (span === null || span.arena === target) continue;
    const copy = copies.get(span.owner);
    if (copy) {
      copy.begin = Math.min(copy.begin, span.begin);
      copy.written ||= span.written;
    } else {
      const { arena: from, begin, end, written } = span;
      copies.set(span.owner, { from, begin, end, written, address: 0 });
    }
  }
  const host = arenas[target];
  const release = () => {
    for (const { address, begin, end } of copies.values()) if (address !== 0) host.free(address, end - begin);
  };
  for (const copy of copies.values()) {
    copy.address = host.alloc(copy.end - copy.begin);
    if (copy.address === 0) {
      release();
      return null;
    }
  }
  // An output may be written in part only, so its old content comes along.
  for (const { from, begin, end, address } of copies.values()) {
    bytesAt(host, address, address + end - begin).set(bytesAt(arenas[from], begin, end));
  }
  return {
    arena: target,
    addresses: spans.map((span) => {
      if (span === null) return 0;
      const copy = copies.get(span.owner);
      return copy ? copy.address + span.begin - copy.begin : span.begin;
    }),
    leave: (keepResults) => {
      for (const { from, begin, end, written, address } of copies.values()) {
        if (!written || !keepResults) continue;
        bytesAt(arenas[from], begin, end).set(bytesAt(host, address, address + end - begin));
      }
      release();
    },
  };
}

/** Places a call in the memory that holds most of its bytes and has room for the rest; null if none has. */
export function place(arenas: readonly Arena[], spans: readonly (Span | null)[]): Placement | null {
  const held = arenas.map(() => 0);
  for (const span of spans) if (span) held[span.arena] += span.end - span.begin;
  const order = [...held.keys()].sort((a, b) => held[b] - held[a] || a - b);
  for (const index of order) {
    const placement = bring(arenas, spans, index);
    if (placement) return placement;
  }
  return null;
}
