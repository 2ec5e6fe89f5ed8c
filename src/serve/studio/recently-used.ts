/** What was used last, as far as all of it together is small enough. */

interface Sized {
  /** What it takes of memory, about; may grow between two uses. */
  readonly bytes: number;
}

export class RecentlyUsed<T extends Sized> {
  readonly #most: number;
  readonly #mostBytes: number;
  /** By name, the one used last at the end. */
  readonly #kept = new Map<string, T>();

  constructor(most: number, mostBytes: number) {
    this.#most = most;
    this.#mostBytes = mostBytes;
  }

  /** Names, the one used last at the end. */
  get names(): readonly string[] {
    return [...this.#kept.keys()];
  }

  get(name: string): T | undefined {
    return this.#kept.get(name);
  }

  /** Keeps it as the one used last, and forgets the others, oldest first, until they are few and small enough. */
  use(name: string, thing: T): void {
    this.#kept.delete(name);
    this.#kept.set(name, thing);
    let bytes = [...this.#kept.values()].reduce((sum, each) => sum + each.bytes, 0);
    for (const [oldest, each] of this.#kept) {
      const { size } = this.#kept;
      if (oldest === name || (size <= this.#most && bytes <= this.#mostBytes)) return;
      bytes -= each.bytes;
      this.#kept.delete(oldest);
    }
  }
}
