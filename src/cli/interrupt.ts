/** Ctrl-C: the first asks to finish, the second ends at once. */

export interface Interrupt extends Disposable {
  readonly signal: AbortSignal;
  /** 130 after Ctrl-C, 143 after a request to terminate, 0 before. */
  readonly exitCode: number;
}

/** Listens for SIGINT and SIGTERM until disposed; `onFirst` is called at the first one. */
export function listenForInterrupt(onFirst: () => void): Interrupt {
  const controller = new AbortController();
  let exitCode = 0;
  const handle = (code: number) => () => {
    if (exitCode !== 0) process.exit(code);
    exitCode = code;
    controller.abort();
    onFirst();
  };
  const handlers = [
    ["SIGINT", handle(130)],
    ["SIGTERM", handle(143)],
  ] as const;
  for (const [name, handler] of handlers) process.on(name, handler);
  return {
    signal: controller.signal,
    get exitCode() {
      return exitCode;
    },
    [Symbol.dispose]() {
      for (const [name, handler] of handlers) process.off(name, handler);
    },
  };
}
