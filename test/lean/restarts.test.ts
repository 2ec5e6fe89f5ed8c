/** Two Leans one of which restarts, and a proof that takes all memory that Lean may have. */
import { describe, expect, it } from "vitest";
import { leanHost } from "../../src/prove/lean/wasm/node-hosts.ts";
import { LeanPool } from "../../src/prove/lean/wasm/pool.ts";
import { prepareLean } from "../../src/prove/lean/wasm/prepare.ts";
import type { Connect } from "../../src/prove/lean/wasm/server.ts";
import { WasmLean } from "../../src/prove/lean/wasm/wasm-lean.ts";
import { cache, LIMIT, leanChildren, missing, openLean } from "./embedded-lean.ts";

const sum = { statement: "theorem t (n : Nat) : n + 0 = n := sorry" };
const proof = "theorem t (n : Nat) : n + 0 = n := by simp";

describe.skipIf(missing !== null || process.platform !== "linux")(`two Leans ${missing ?? ""}`, () => {
  it("let no check wait for one that restarts", { timeout: 10 * LIMIT }, async () => {
    const prepared = await prepareLean({ cache });
    const start = leanHost(prepared, "process");
    let started = 0;
    /** Lets the third one be ready, which replaces one of the first two. */
    let release = () => {};
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    const connect: Connect = (events) => {
      if (++started <= 2) return start(events);
      const held = (line: string) =>
        line.includes('"ready"') ? void released.then(() => events.receive(line)) : events.receive(line);
      return start({ ...events, receive: held });
    };
    await using lean = new WasmLean(
      prepared.version,
      new LeanPool(connect, { size: 2, startLimit: 600_000, grace: 60_000 }),
    );
    await lean.ready();
    const ask = (count: number) =>
      Promise.all(
        Array.from({ length: count }, (_, i) =>
          lean.verify(
            { statement: `theorem t : ${i} + ${i} = ${2 * i} := sorry` },
            `theorem t : ${i} + ${i} = ${2 * i} := by decide`,
            { timeout: LIMIT },
          ),
        ),
      );
    while (started < 2) await ask(8);
    const asked = ask(12);
    process.kill(leanChildren()[0], "SIGKILL");
    const cut = (await asked).map(({ verdict }) => verdict);
    const later = (await ask(12)).map(({ verdict }) => verdict);
    expect([...cut, ...later]).toEqual(new Array(24).fill("proved"));
    expect(started).toBe(3);
    release();
    expect((await ask(4)).map(({ verdict }) => verdict)).toEqual(new Array(4).fill("proved"));
  });
});

describe.skipIf(missing !== null)(`more memory than Lean may have ${missing ?? ""}`, () => {
  it.each(["process", "thread"] as const)(
    "is the verdict of that proof alone, in a %s",
    { timeout: 10 * LIMIT },
    async (host) => {
      await using lean = await openLean({ host });
      // Each number is 2 MB longer than the one before, and the kernel keeps all of them.
      const statement = `theorem t : (1${" <<< 16777000".repeat(80)}) % 2 = 0`;
      const options = { timeout: LIMIT, heartbeats: 10_000_000 };
      const large = lean.verify(
        { statement: `${statement} := sorry` },
        `${statement} := by decide +kernel`,
        options,
      );
      const next = lean.verify(sum, proof, { timeout: LIMIT });
      expect(await large).toMatchObject({
        ...{ verdict: "memory", failure: "memory" },
        detail: expect.stringContaining("out of memory: Lean needs"),
      });
      expect((await next).verdict).toBe("proved");
    },
  );
});
