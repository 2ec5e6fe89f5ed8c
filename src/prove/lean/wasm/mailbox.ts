/**
 * Lines on their way to a thread that waits for them instead of running its event loop: a ring of bytes in shared
 * memory, `[written, read]` counters before it.
 */

const COUNTERS = 8;
/** Bytes under way at a time; longer lines go through in pieces. */
const CAPACITY = 1 << 16;
const WRITTEN = 0;
const READ = 1;

export function createMailbox(): SharedArrayBuffer {
  return new SharedArrayBuffer(COUNTERS + CAPACITY);
}

/** The side that sends. */
export class MailboxSender {
  readonly #counters: Int32Array;
  readonly #ring: Uint8Array;
  #sending: Promise<void> = Promise.resolve();

  constructor(mailbox: SharedArrayBuffer) {
    this.#counters = new Int32Array(mailbox, 0, 2);
    this.#ring = new Uint8Array(mailbox, COUNTERS);
  }

  /** Sends the bytes after those of earlier calls, as fast as they are read. */
  send(bytes: Uint8Array): void {
    // A full ring is rare, and its reader may have ended: nobody waits for this.
    this.#sending = this.#sending.then(() => this.#write(bytes));
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      const written = Atomics.load(this.#counters, WRITTEN);
      const free = CAPACITY - ((written - Atomics.load(this.#counters, READ)) | 0);
      if (free === 0) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        continue;
      }
      const count = Math.min(free, bytes.length - at);
      for (let i = 0; i < count; i++) this.#ring[((written + i) >>> 0) % CAPACITY] = bytes[at + i];
      Atomics.store(this.#counters, WRITTEN, (written + count) | 0);
      Atomics.notify(this.#counters, WRITTEN);
      at += count;
    }
  }
}

/** The side that waits. */
export class MailboxReceiver {
  readonly #counters: Int32Array;
  readonly #ring: Uint8Array;

  constructor(mailbox: SharedArrayBuffer) {
    this.#counters = new Int32Array(mailbox, 0, 2);
    this.#ring = new Uint8Array(mailbox, COUNTERS);
  }

  /** Blocks this thread until there are bytes, and moves some of them to `target`. Returns how many. */
  receive(target: Uint8Array): number {
    const read = Atomics.load(this.#counters, READ);
    let written = Atomics.load(this.#counters, WRITTEN);
    while (written === read) {
      Atomics.wait(this.#counters, WRITTEN, written);
      written = Atomics.load(this.#counters, WRITTEN);
    }
    const count = Math.min((written - read) | 0, target.length);
    for (let i = 0; i < count; i++) target[i] = this.#ring[((read + i) >>> 0) % CAPACITY];
    Atomics.store(this.#counters, READ, (read + count) | 0);
    return count;
  }
}
