/**
 * Yields to the event loop: timers, input and network run. The CPU backend computes on the caller's thread and its reads
 * resolve at once, so without this nothing else would run, not even an abort, until the end.
 */
export function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => {
    if (typeof setImmediate === "function") {
      setImmediate(resolve);
      return;
    }
    // Unlike nested timeouts, messages are not slowed down by browsers.
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(null);
  });
}
