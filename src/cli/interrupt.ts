/**
 * Requests to stop: Ctrl-C, SIGTERM, a terminal that is closed, a reader of the output that is gone. The first asks to
 * finish and is answered at once; another one ends the process without more, once the user can have read the
 * answer. Several that come together are one: npx and shells pass on a Ctrl-C that the program got already.
 */

/** Milliseconds from the answer to the first request in which further ones count as the same. */
const TOGETHER = 1000;

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
  /** 130 after Ctrl-C, 143 after a request to terminate, 129 after a hang-up, 0 before. */
  readonly exitCode: number;
}

/** Listeners for a reader of standard output or standard error that is gone, the newest last. */
const readerGone: (() => void)[] = [];

/** Reports to running work that its output is no longer read; false if no work handles that. */
export function tellReaderGone(): boolean {
  const newest = readerGone.at(-1);
  newest?.();
  return newest !== undefined;
}

/**
 * Listens for requests to stop until disposed. `onFirst` is called at the first one and says so; the process ends at a
 * later one with the signal's status.
 * @param options `end`: what a second request does, for tests; `outlivesReader`: whether a reader of the output that is
 * gone is a request too (default), so that the process does not end at once
 */
export function listenForInterrupt(
  onFirst: () => void,
  {
    end = (code) => process.exit(code),
    outlivesReader = true,
  }: { end?: (code: number) => void; outlivesReader?: boolean } = {},
): Interrupt {
  const controller = new AbortController();
  let exitCode = 0;
  let answered = Number.POSITIVE_INFINITY;
  const handle = (code: number, counts = true) => {
    if (exitCode !== 0) {
      if (counts && performance.now() - answered > TOGETHER) end(code);
      return;
    }
    exitCode = code;
    controller.abort();
    onFirst();
    answered = performance.now();
  };
  const handlers = Object.entries(SIGNALS).map(([name, code]) => ({ name, handler: () => handle(code) }));
  for (const { name, handler } of handlers) process.on(name, handler);
  // As a shell has it for a program whose reader is gone. It comes again with every write, so it never counts twice.
  const gone = () => handle(141, false);
  if (outlivesReader) readerGone.push(gone);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]() {
      for (const { name, handler } of handlers) process.off(name, handler);
      const at = readerGone.indexOf(gone);
      if (at >= 0) readerGone.splice(at, 1);
    },
  };
}

/**
 * Ends the process at a signal while something is being written that must not outlive it: the end clears it. Without
 * this, the system ends the process at once and leaves it. Where something else listens, that decides.
 */
export function endOnSignalWhile(watch: (onChange: (writing: boolean) => void) => void): void {
  const handlers = Object.entries(SIGNALS).map(([name, code]) => ({
    name,
    handler: () => {
      if (process.listenerCount(name) === 1) process.exit(code);
    },
  }));
  watch((writing) => {
    for (const { name, handler } of handlers) {
      if (writing) process.on(name, handler);
      else process.off(name, handler);
    }
  });
}
