/** Requests to stop, as the process gets them. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { listenForInterrupt, tellReaderGone } from "./interrupt.ts";

afterEach(() => vi.useRealTimers());

function listening() {
  vi.useFakeTimers({ toFake: ["performance"] });
  const first = vi.fn();
  const end = vi.fn();
  const interrupt = listenForInterrupt(first, { end });
  const later = (ms: number, act: () => void) => {
    vi.advanceTimersByTime(ms);
    act();
  };
  return { first, end, interrupt, later };
}

describe("listenForInterrupt", () => {
  it.each([
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)("answers %s at once and aborts", (name, code) => {
    const { first, end, interrupt } = listening();
    using listener = interrupt;
    expect(listener.exitCode).toBe(0);
    process.emit(name);
    expect(listener.signal.aborted).toBe(true);
    expect(listener.exitCode).toBe(code);
    expect(first).toHaveBeenCalledTimes(1);
    expect(end).not.toHaveBeenCalled();
  });

  it("takes requests that come together as one, and a later one at its word", () => {
    const { first, end, interrupt, later } = listening();
    using _listener = interrupt;
    process.emit("SIGINT");
    process.emit("SIGINT");
    later(300, () => process.emit("SIGINT"));
    later(600, () => process.emit("SIGTERM"));
    expect(end).not.toHaveBeenCalled();
    later(200, () => process.emit("SIGTERM"));
    expect(end.mock.calls).toEqual([[143]]);
    expect(first).toHaveBeenCalledTimes(1);
  });

  it("counts from when the answer was given, not from when the signal came", () => {
    vi.useFakeTimers({ toFake: ["performance"] });
    const end = vi.fn();
    using _listener = listenForInterrupt(() => vi.advanceTimersByTime(5000), { end });
    process.emit("SIGINT");
    process.emit("SIGINT");
    expect(end).not.toHaveBeenCalled();
  });

  it("stops for a reader that is gone, which never counts as a second request", () => {
    expect(tellReaderGone()).toBe(false);
    const { first, end, interrupt, later } = listening();
    {
      using listener = interrupt;
      expect(tellReaderGone()).toBe(true);
      later(5000, () => expect(tellReaderGone()).toBe(true));
      expect(listener.signal.aborted).toBe(true);
      expect(first).toHaveBeenCalledTimes(1);
      expect(end).not.toHaveBeenCalled();
    }
    expect(tellReaderGone()).toBe(false);
  });

  it("leaves the signals alone once it is disposed", () => {
    const before = process.listenerCount("SIGINT");
    {
      using _listener = listenForInterrupt(() => {});
      expect(process.listenerCount("SIGINT")).toBe(before + 1);
    }
    expect(process.listenerCount("SIGINT")).toBe(before);
  });
});

describe("endOnSignalWhile", () => {
  const program = `
    import { mkdirSync } from "node:fs";
    import { settled, unsettled, watchUnsettled } from ${JSON.stringify(new URL("../files/temporary.ts", import.meta.url).href)};
    import { endOnSignalWhile, listenForInterrupt } from ${JSON.stringify(new URL("./interrupt.ts", import.meta.url).href)};
    endOnSignalWhile(watchUnsettled);
    const [path, how] = process.argv.slice(2);
    mkdirSync(path);
    unsettled(path);
    unsettled(path);
    if (how === "done") settled(path);
    if (how === "listened") listenForInterrupt(() => setTimeout(() => process.exit(7), 50));
    setInterval(() => {}, 1000);
    console.log("ready");
  `;
  it.each([
    ["writing", "SIGINT", { code: 130, signal: null }, false],
    ["writing", "SIGHUP", { code: 129, signal: null }, false],
    // The system's own answer, which also comes while a computation keeps the thread.
    ["done", "SIGINT", { code: null, signal: "SIGINT" }, true],
    ["listened", "SIGTERM", { code: 7, signal: null }, false],
  ] as const)("%s, %s ends with %j", async (how, signal, expected, left) => {
    const root = mkdtempSync(join(tmpdir(), "interrupt-"));
    const [file, path] = [join(root, "program.ts"), join(root, "half")];
    writeFileSync(file, program);
    const child = spawn(process.execPath, [file, path, how], { stdio: ["ignore", "pipe", "inherit"] });
    await once(child.stdout, "data");
    child.kill(signal);
    const [code, ended] = await once(child, "exit");
    expect({ code, signal: ended }).toEqual(expected);
    expect(existsSync(path)).toBe(left);
    rmSync(root, { recursive: true });
  });
});
