/** Waiting for what other work brings. */

/** Values that arrive while one reader is busy with others. */
export class Inbox<T> {
  #values: T[] = [];
  #failed: { readonly error: unknown } | null = null;
  #wake: (() => void) | null = null;

  put(value: T): void {
    this.#values.push(value);
    this.wake();
  }

  /** The next `take` throws. */
  fail(error: unknown): void {
    this.#failed ??= { error };
    this.wake();
  }

  /** Lets the reader go on, with or without values. */
  wake(): void {
    this.#wake?.();
    this.#wake = null;
  }

  /** All values since the last call; waits until there is one, or `wake` was called. @throws what `fail` was given */
  async take(): Promise<T[]> {
    if (this.#values.length === 0 && this.#failed === null) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#failed !== null) throw this.#failed.error;
    const values = this.#values;
    this.#values = [];
    return values;
  }
}

/** A promise that is kept by others. One that fails is no unhandled rejection, even if nobody waits for it. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve!: (value: T) => void;
  reject!: (error: unknown) => void;

  constructor() {
    this.promise = new Promise<T>((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.promise.catch(() => {});
  }
}
