/** Three processes that prepare the embedded Lean at once, one of which is killed in the middle: the others end with whole folders. */
import { type ChildProcessByStdio, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { afterAll, describe, expect, it } from "vitest";
import { leanHost } from "../../src/prove/lean/wasm/node-hosts.ts";
import { findPackage } from "../../src/prove/lean/wasm/package.ts";
import { preparedLean } from "../../src/prove/lean/wasm/prepare.ts";
import { LeanServer } from "../../src/prove/lean/wasm/server.ts";
import { LIMIT } from "./embedded-lean.ts";

const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-preparing-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const cache = join(folder, "cache");
const module = new URL("../../src/prove/lean/wasm/prepare.ts", import.meta.url).href;
const program = join(folder, "prepare.mjs");

/** A process that prepares, and what it has said. */
class Preparing {
  readonly child: ChildProcessByStdio<null, Readable, null> = spawn(process.execPath, [program], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  readonly said: string[] = [];
  readonly #hearers = new Set<() => void>();
  readonly ended = once(this.child, "close");

  constructor() {
    let rest = "";
    this.child.stdout.setEncoding("utf8").on("data", (text: string) => {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.said.push(...lines);
      for (const hear of this.#hearers) hear();
    });
  }

  async until(words: string): Promise<this> {
    await new Promise<void>((resolve) => {
      const hear = () => this.said.some((line) => line.includes(words)) && resolve();
      this.#hearers.add(hear);
      hear();
    });
    return this;
  }
}

describe.skipIf(findPackage().folder === null)("the embedded Lean", () => {
  it("is prepared once by processes that begin together, also if one is killed", {
    timeout: 20 * LIMIT,
  }, async () => {
    writeFileSync(
      program,
      `import { prepareLean } from ${JSON.stringify(module)};
      let half = false;
      const { base, server } = await prepareLean({
        cache: ${JSON.stringify(cache)},
        onNotice: console.log,
        onProgress({ stage, fraction }) {
          if (stage === "unpack" && fraction > 0.2 && !half) console.log("half unpacked");
          half ||= fraction > 0.2;
        },
      });
      console.log("done", JSON.stringify([base, server]));`,
    );
    const all = [new Preparing(), new Preparing(), new Preparing()];
    const first = await Promise.race(all.map((one) => one.until("half unpacked")));
    const others = all.filter((one) => one !== first);
    await Promise.all(others.map((one) => one.until("Waiting for another process")));
    first.child.kill("SIGKILL");
    await Promise.all(all.map(({ ended }) => ended));
    expect(others.map(({ child }) => child.exitCode)).toEqual([0, 0]);
    const done = others.map(({ said }) => said.at(-1));
    expect(done[0]).toMatch(/^done /);
    expect(done[1]).toBe(done[0]);
    expect(others.flatMap(({ said }) => said).filter((line) => line.startsWith("Preparing"))).toHaveLength(1);
    // Nothing is left of the killed one, and no lock.
    const left = readdirSync(join(cache, "lean")).map((name) => name.replace(/-[0-9a-f]{12}$/, ""));
    expect(left.sort()).toEqual(["base", "server"]);
    const lean = await preparedLean({ cache });
    const server = new LeanServer(leanHost(lean!, "process"));
    await server.ready;
    expect(await server.ask({ op: "ping" })).toMatchObject({ answer: { pong: true } });
    server.kill();
    await server.ended;
  });
});
