/**
 * One WebAssembly memory (at most 4 GiB) and the allocator of its heap: best fit with coalescing, 64-byte
 * alignment, deterministic. The memory grows as the heap does and is never given back to the system.
 */
import { DeepseekError } from "../errors.ts";

const PAGE = 65536;
const ALIGN = 64;
/** Below it lie the control block, the argument block and what the compiler placed. */
const HEAP_BASE = 2 * PAGE;
const GROW = 256 * PAGE;
/** The last page stays unused, so that an address past the end of a buffer never wraps. */
const MAX_PAGES = 65535;

interface Block {
  begin: number;
  end: number;
}

export class Arena {
  readonly memory: WebAssembly.Memory;
  #free: Block[] = [];
  #top = HEAP_BASE;
  #limit: number;

  constructor(maxBytes?: number) {
    this.#limit = HEAP_BASE + Arena.capacity(maxBytes);
    this.memory = new WebAssembly.Memory({ initial: 64, maximum: 65536, shared: true });
  }

  /** Bytes of the heap of a memory of at most `maxBytes` bytes. */
  static capacity(maxBytes = MAX_PAGES * PAGE): number {
    return Math.min(MAX_PAGES, Math.ceil(maxBytes / PAGE)) * PAGE - HEAP_BASE;
  }

  /** Bytes of the largest buffer that `alloc` could still place. */
  get room(): number {
    return this.#free.reduce((most, b) => Math.max(most, b.end - b.begin), this.#limit - this.#top);
  }

  /** Address of `bytes` bytes, or 0 if they do not fit. @throws DeepseekError if the system gives no memory */
  alloc(bytes: number): number {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    let best = -1;
    for (let i = 0; i < this.#free.length; i++) {
      const room = this.#free[i].end - this.#free[i].begin;
      if (room >= size && (best < 0 || room < this.#free[best].end - this.#free[best].begin)) best = i;
    }
    if (best >= 0) {
      const block = this.#free[best];
      const address = block.begin;
      block.begin += size;
      if (block.begin === block.end) this.#free.splice(best, 1);
      return address;
    }
    // The last free block may reach the top: extend it.
    const last = this.#free.at(-1);
    const begin = last && last.end === this.#top ? last.begin : this.#top;
    if (begin + size > this.#limit) return 0;
    this.#reserve(begin + size);
    if (begin !== this.#top) this.#free.pop();
    this.#top = begin + size;
    return begin;
  }

  free(address: number, bytes: number): void {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    const end = address + size;
    // Blocks are sorted by address; find the first one behind this.
    let low = 0;
    let high = this.#free.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#free[middle].begin < address) low = middle + 1;
      else high = middle;
    }
    const before = this.#free[low - 1];
    const after = this.#free[low];
    const joinsBefore = before && before.end === address;
    const joinsAfter = after && after.begin === end;
    if (joinsBefore && joinsAfter) {
      before.end = after.end;
      this.#free.splice(low, 1);
    } else if (joinsBefore) before.end = end;
    else if (joinsAfter) after.begin = address;
    else this.#free.splice(low, 0, { begin: address, end });
  }

  #reserve(end: number): void {
    const have = this.memory.buffer.byteLength;
    if (end <= have) return;
    const wanted = Math.min(this.#limit, Math.max(end, Math.min(have + GROW, have * 2)));
    try {
      this.memory.grow(Math.ceil((wanted - have) / PAGE));
    } catch (cause) {
      throw new DeepseekError("out of memory", {
        where: "cpu",
        expected: `${wanted} bytes in one WebAssembly memory`,
        found: `${have} bytes`,
        hint: "Use a smaller model, batch or context, or close other programs.",
        cause,
      });
    }
  }
}
