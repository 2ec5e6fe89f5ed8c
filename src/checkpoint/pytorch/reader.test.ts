/** Files of torch.save: every layout bit for bit, hostile ones refused without effect, damage, and reading in pieces. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { type ByteSource, bytesSource } from "../byte-source.ts";
import { openCheckpoint } from "../folder.ts";
import { nodeFolder } from "../node-files.ts";
import { openSafetensors } from "../safetensors.ts";
import type { TensorFile } from "../tensor-file.ts";
import { opcodes as op } from "./opcodes.ts";
import { openPytorch } from "./reader.ts";
import { pickled, pickledDict, pickledTensor, type TestTensor, torchFile, torchZip } from "./testing.ts";

const root = resolve("test/fixtures/pytorch");
const json = (path: string) => JSON.parse(readFileSync(join(root, path), "utf8"));
const bytesOf = (path: string) => new Uint8Array(readFileSync(join(root, path)));
const open = (path: string) => openPytorch(bytesSource(bytesOf(path), path));

/** A source that counts what is read, and fails if that lies outside. */
function counting(bytes: Uint8Array, name = "test.bin"): ByteSource & { total: number } {
  const inner = bytesSource(bytes, name);
  return {
    ...inner,
    total: 0,
    async read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) throw new Error("read outside");
      this.total += length;
      return inner.read(offset, length);
    },
  };
}

async function all(file: TensorFile): Promise<Map<string, Uint8Array>> {
  const found = new Map<string, Uint8Array>();
  for (const name of file.tensors.keys()) found.set(name, await file.read(name));
  return found;
}

interface Case {
  readonly case: string;
  readonly files: readonly string[];
  readonly expected: string;
}

describe("files that torch.save wrote", () => {
  const cases = json("index.json").cases as Case[];

  it.each(cases.map((c) => [c.case, c] as const))("%s, bit for bit", async (folder, { files, expected }) => {
    const wanted = await openSafetensors(bytesSource(bytesOf(`${folder}/${expected}`)));
    let tensors = 0;
    for (const path of files.filter((file) => /\.bin$/.test(file))) {
      const file = await open(`${folder}/${path}`);
      for (const [name, { dtype, shape, bytes }] of file.tensors) {
        const info = wanted.tensors.get(name);
        expect({ name, dtype, shape, bytes }).toEqual({
          name,
          dtype: info?.dtype,
          shape: info?.shape,
          bytes: info?.bytes,
        });
        const whole = await file.read(name);
        expect(Buffer.compare(whole, await wanted.read(name)), name).toBe(0);
        // Pieces that begin and end inside elements, into memory of the caller and not.
        for (let at = 0; at < bytes; at += 7) {
          const length = Math.min(7, bytes - at);
          const piece = await file.readRange(name, at, length, at % 2 ? new Uint8Array(9) : undefined);
          expect([...piece]).toEqual([...whole.subarray(at, at + length)]);
        }
        tensors++;
      }
    }
    expect(tensors).toBe(wanted.tensors.size);
  });

  it("opens shards by their index, tied weights under both names", async () => {
    const checkpoint = await openCheckpoint(nodeFolder(join(root, "sharded")));
    const wanted = await openSafetensors(bytesSource(bytesOf("sharded/expected.safetensors")));
    expect(checkpoint.format).toBe("pytorch");
    expect([...checkpoint.names()].sort()).toEqual([...wanted.tensors.keys()].sort());
    for (const name of checkpoint.names()) {
      expect(Buffer.compare(await checkpoint.readRaw(name), await wanted.read(name)), name).toBe(0);
    }
    await checkpoint.close();
    const tied = await openCheckpoint(nodeFolder(join(root, "zip-module-tied")));
    expect([...tied.names()]).toHaveLength(9);
    await tied.close();
  });
});

interface Hostile {
  readonly file: string;
  readonly may_read?: string;
}

describe("hostile files", () => {
  const here = process.cwd();
  let scratch = "";
  beforeAll(() => {
    scratch = mkdtempSync(join(tmpdir(), "hostile-"));
    process.chdir(scratch);
  });
  afterAll(() => {
    process.chdir(here);
    rmSync(scratch, { recursive: true });
  });

  it.each((json("hostile/index.json").files as Hostile[]).map((entry) => [entry.file, entry] as const))(
    "%s",
    async (path, { may_read: mayRead }) => {
      const attempt = async () => {
        if (!path.endsWith(".bin")) return openCheckpoint(nodeFolder(join(root, "hostile", path)));
        const bytes = bytesOf(`hostile/${path}`);
        const source = counting(bytes, path);
        try {
          await all(await openPytorch(source));
        } finally {
          expect(source.total).toBeLessThanOrEqual(3 * bytes.length + 64);
        }
      };
      const error = await attempt().then(
        () => undefined,
        (e: unknown) => e,
      );
      if (error !== undefined || !mayRead) {
        expect(error).toBeInstanceOf(FormatError);
        expect((error as Error).message).toContain(path);
      }
      expect(readdirSync(scratch)).toEqual([]);
      expect(Object.keys(Object.prototype)).toEqual([]);
    },
  );
});

const w: TestTensor = { name: "w", dtype: "F32", shape: [2, 3], key: "0" };
const data = { "0": new Uint8Array(new Float32Array([1, 2, 3, 4, 5, 6]).buffer) };
const widths = { "0": 4 };

describe("openPytorch", () => {
  it("refuses ranges outside a tensor, unknown names, and a file that shrank", async () => {
    const bytes = torchFile([w], data, widths);
    const file = await openPytorch(bytesSource(bytes, "a.bin"));
    await expect(file.readRange("w", 20, 8)).rejects.toThrow(ShapeError);
    await expect(file.read("v")).rejects.toThrow(/a\.bin: no such tensor; name: v; found: 1 other/);
    expect((await file.readRange("w", 24, 0)).length).toBe(0);
    const source = bytesSource(bytes, "shrinking");
    let cut = false;
    const shrinking = await openPytorch({
      ...source,
      read: async (at, length) => (await source.read(at, length)).subarray(0, cut ? 3 : length),
    });
    cut = true;
    await expect(shrinking.read("w")).rejects.toThrow(/short read/);
    cut = false;
    expect((await shrinking.read("w")).length).toBe(24);
  });

  it("reads a transposed tensor that is larger than a window in few reads", async () => {
    const [rows, columns] = [1100, 1300];
    const values = Float32Array.from({ length: rows * columns }, (_, i) => i);
    const turned: TestTensor = {
      name: "turned",
      dtype: "F32",
      shape: [columns, rows],
      strides: [1, columns],
      key: "0",
    };
    const bytes = torchFile([turned], { "0": new Uint8Array(values.buffer) }, widths);
    const source = counting(bytes);
    const file = await openPytorch(source);
    const opened = source.total;
    const size = 4 * rows * columns;
    let at = 0;
    for (const piece = 1 << 20; at < size; at += piece) {
      const found = new Float32Array((await file.readRange("turned", at, Math.min(piece, size - at))).buffer);
      for (let i = 0; i < found.length; i += 997) {
        const element = at / 4 + i;
        const expected = (element % rows) * columns + Math.floor(element / rows);
        if (found[i] !== expected) expect(found[i], `element ${element}`).toBe(expected);
      }
    }
    expect(source.total - opened).toBeLessThan(size + 200);
  });

  it("finds the weights under the key that training programs use, and refuses a choice", async () => {
    const inner = [...pickled.text("w"), ...pickledTensor(w, 6), op.SETITEM];
    const nest = (...keys: string[]) =>
      pickled.whole([
        op.EMPTY_DICT,
        ...keys.flatMap((key) => [...pickled.text(key), op.EMPTY_DICT, ...inner, op.SETITEM]),
      ]);
    const file = (pickle: Uint8Array) =>
      openPytorch(bytesSource(torchZip({ pickle, storages: data }), "n.bin"));
    for (const key of ["state_dict", "model_state_dict", "model", "module"]) {
      expect([...(await file(nest("other", key))).tensors.keys()]).toEqual(["w"]);
    }
    await expect(file(nest("model", "state_dict"))).rejects.toThrow(/several dicts.*state_dict, model/);
    await expect(file(nest("weights"))).rejects.toThrow(/n\.bin: no dict of tensors.*found: keys weights/);
  });

  it("refuses tensors that together are far larger than the file", async () => {
    const many = Array.from({ length: 400 }, (_, i): TestTensor => {
      return { name: `t${i}`, dtype: "F32", shape: [5000], strides: [1], key: "0" };
    });
    const bytes = torchFile(many, { "0": new Uint8Array(20_000) }, widths);
    await expect(openPytorch(bytesSource(bytes))).rejects.toThrow(/together are far larger/);
    expect(
      (await openPytorch(bytesSource(torchFile(many.slice(0, 60), { "0": new Uint8Array(20_000) }, widths))))
        .tensors.size,
    ).toBe(60);
  });

  const archive = { pickle: pickledDict([w], { "0": 6 }), storages: data };
  const bad: [string, Uint8Array, RegExp][] = [
    [
      "a storage of another size",
      torchZip({ ...archive, storages: { "0": new Uint8Array(28) } }),
      /another size/,
    ],
    ["no storage", torchZip({ ...archive, storages: { "1": data["0"] } }), /storage is missing.*data\/0/],
    ["a third order of bytes", torchZip({ ...archive, byteorder: "middle" }), /byteorder.*little or big/],
    [
      "bytes after the pickle",
      torchZip({ ...archive, pickle: Uint8Array.of(...archive.pickle, 0) }),
      /after the end/,
    ],
    [
      "a program",
      torchZip({ ...archive, storages: { ...data, "../constants.pkl": new Uint8Array(4) } }),
      /leaves the archive/,
    ],
    [
      "a name that is no text",
      torchZip({
        ...archive,
        pickle: pickled.whole([op.EMPTY_DICT, op.BININT1, 1, ...pickledTensor(w, 6), op.SETITEM]),
      }),
      /tensor without a name/,
    ],
    [
      "a Git LFS pointer",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1"),
      /git lfs pull/,
    ],
    ["other bytes", new TextEncoder().encode("GGUF and so on"), /not a file of torch.save.*71 71 85 70/],
  ];
  it.each(bad)("refuses %s", async (_, bytes, message) => {
    await expect(openPytorch(bytesSource(bytes, "x.bin"))).rejects.toThrow(message);
    await expect(openPytorch(bytesSource(bytes, "x.bin"))).rejects.toThrow(/^x\.bin: /);
  });
});

describe("damage", () => {
  async function survive(bytes: Uint8Array): Promise<"opened" | "refused"> {
    const source = counting(bytes);
    try {
      const file = await openPytorch(source);
      expect(source.total).toBeLessThanOrEqual(4 * bytes.length + 64);
      for (const [name, { bytes: size }] of file.tensors) {
        expect(size).toBeLessThanOrEqual(bytes.length);
        expect((await file.read(name)).length).toBe(size);
      }
      return "opened";
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return "refused";
    }
  }

  it.each(["zip-views", "zip-dtypes", "legacy", "zip-protocol4"])("every truncation of %s", async (name) => {
    const bytes = bytesOf(`${name}/pytorch_model.bin`);
    for (let length = 0; length < bytes.length; length++) {
      expect(await survive(bytes.slice(0, length)), `${length} bytes`).toBe("refused");
    }
  });

  it("bit flips, insertions and numbers of all sizes end in FormatError or a sound read", async () => {
    const random = new Random(20250711);
    const seen = { opened: 0, refused: 0 };
    const names = [
      "zip-views",
      "zip-module-tied",
      "legacy",
      "zip-protocol4",
      "zip-big-endian",
      "zip-old-archive",
    ];
    const files = names.map((name) => bytesOf(`${name}/pytorch_model.bin`));
    for (let round = 0; round < 3000; round++) {
      const valid = files[random.int(files.length)];
      let bytes = valid.slice();
      const kind = random.int(4);
      if (kind === 0) {
        for (let n = 1 + random.int(4); n > 0; n--) bytes[random.int(bytes.length)] ^= 1 << random.int(8);
      } else if (kind === 1) {
        const at = random.int(bytes.length);
        const extra = new Uint8Array(1 + random.int(9)).fill(random.int(256));
        bytes = Uint8Array.of(...bytes.slice(0, at), ...extra, ...bytes.slice(at));
      } else if (kind === 2) {
        const at = random.int(bytes.length - 8);
        new DataView(bytes.buffer).setBigUint64(
          at,
          BigInt(random.int(2 ** 31)) << BigInt(random.int(33)),
          true,
        );
      } else {
        const at = random.int(bytes.length - 4);
        bytes.fill(random.int(2) * 255, at, at + 1 + random.int(4));
      }
      seen[await survive(bytes)]++;
    }
    expect(seen.opened).toBeGreaterThan(150);
    expect(seen.refused).toBeGreaterThan(500);
  });
});
