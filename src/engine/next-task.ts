/**
 * Lets timers, input and network have their turn. The CPU backend computes on the caller's thread and its reads
 * resolve at once, so that nothing else would run, not even an abort, until the end.
 */
export function nextTask(): Promise<void> {
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
