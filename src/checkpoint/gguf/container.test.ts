/** The container: what is written is read back, by this package and by another, and damage is refused by name. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gguf, serializeGgufMetadata } from "@huggingface/gguf";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { type ByteSource, bytesSource, memoryFolder, memorySink } from "../byte-source.ts";
import { openGguf, openGgufFiles } from "./reader.ts";
import { bool, f32, type GgufValue, i32s, storedTypes, strings, text, u32 } from "./types.ts";
import { type GgufEntry, writeGguf } from "./writer.ts";

function entry(name: string, shape: number[], type: GgufEntry["type"], fill: number): GgufEntry {
  const { values, bytes } = storedTypes[type];
  const size = (shape.reduce((a, b) => a * b, 1) / values) * bytes;
  return {
    name,
    shape,
    type,
    async *data() {
      // In pieces that end anywhere.
      for (let at = 0; at < size; at += 7) yield new Uint8Array(Math.min(7, size - at)).fill(fill);
    },
  };
}

async function write(metadata: Map<string, GgufValue>, tensors: GgufEntry[]): Promise<Uint8Array> {
  let bytes = new Uint8Array(0);
  const sink = memorySink("test.gguf", (whole) => {
    bytes = new Uint8Array(whole);
  });
  expect(await writeGguf(sink, { metadata, tensors })).toBe(bytes.length);
  return bytes;
}

const everything = new Map<string, GgufValue>([
  ["general.architecture", text("llama")],
  ["a.u8", { type: "u8", value: 255 }],
  ["a.i8", { type: "i8", value: -128 }],
  ["a.u16", { type: "u16", value: 65535 }],
  ["a.i16", { type: "i16", value: -32768 }],
  ["a.u32", u32(4294967295)],
  ["a.i32", { type: "i32", value: -2147483648 }],
  ["a.f32", f32(1e-6)],
  ["a.f64", { type: "f64", value: Math.PI }],
  ["a.u64", { type: "u64", value: 2n ** 64n - 1n }],
  ["a.i64", { type: "i64", value: -5 }],
  ["a.bool", bool(true)],
  ["a.text", text("Grüße 你好 🚀\uFEFF")],
  ["a.words", strings(["", "a", "ĠĊ", "x".repeat(100)])],
  ["a.ids", i32s(Int32Array.of(1, -2, 3))],
  ["a.flags", { type: "array", of: "bool", items: Uint8Array.of(1, 0) }],
  ["a.long", { type: "array", of: "u64", items: BigUint64Array.of(7n) }],
  [
    "a.nested",
    { type: "array", of: "array", items: [{ type: "array", of: "f32", items: Float32Array.of(0.5) }] },
  ],
]);
const tensors = [
  entry("token_embd.weight", [5, 32], "Q4_0", 17),
  entry("norm.weight", [3], "F32", 2),
  entry("stack.weight", [2, 3, 64], "Q8_0", 1),
];

/** A source that counts what it hands out. */
function counting(bytes: Uint8Array, name = "test.gguf"): ByteSource & { largest: number; total: number } {
  const inner = bytesSource(bytes, name);
  const source = {
    ...inner,
    largest: 0,
    total: 0,
    read(offset: number, length: number) {
      source.largest = Math.max(source.largest, length);
      source.total += length;
      return inner.read(offset, length);
    },
  };
  return source;
}

describe("writeGguf and openGguf", () => {
  it("keeps metadata of all types and tensors", async () => {
    const bytes = await write(everything, tensors);
    const file = await openGguf(bytesSource(bytes, "test.gguf"));
    expect(file.version).toBe(3);
    expect([...file.metadata]).toEqual([...everything]);
    expect([...file.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    const stack = file.tensor("stack.weight");
    expect(stack).toMatchObject({
      type: "Q8_0",
      shape: [2, 3, 64],
      ne: [64, 3, 2],
      rowBytes: 68,
      bytes: 408,
    });
    expect(stack.begin % 32).toBe(0);
    expect((await file.read(stack, 0, 408)).every((byte) => byte === 1)).toBe(true);
    await expect(file.read(stack, 400, 9)).rejects.toThrow(ShapeError);
    expect(() => file.tensor("other")).toThrow(/no such tensor.*other/);
  });

  it("is read alike by @huggingface/gguf, and reads what that writes", async () => {
    const folder = await mkdtemp(join(tmpdir(), "gguf-"));
    try {
      const path = join(folder, "test.gguf");
      const known = new Map([...everything].filter(([key]) => key !== "a.nested"));
      await writeFile(path, await write(known, tensors));
      const other = await gguf(path, { allowLocalFile: true, typedMetadata: true });
      const file = await openGguf(bytesSource(await write(known, tensors)));
      expect(other.tensorInfos.map(({ name, shape, dtype }) => [name, shape.map(Number), dtype])).toEqual(
        [...file.tensors.values()].map(({ name, ne, type }) => [name, ne, storedTypes[type].code]),
      );
      const first = file.tensor("token_embd.weight");
      expect(Number(other.tensorDataOffset) + Number(other.tensorInfos[0].offset)).toBe(first.begin);
      for (const [key, value] of known) {
        const found = other.typedMetadata[key].value;
        if (value.type !== "array")
          expect(found, key).toEqual(
            value.type.endsWith("64") && value.type !== "f64" ? BigInt(value.value as number) : value.value,
          );
        else expect([...(found as number[])].map(Number), key).toEqual([...value.items].map(Number));
      }
      const counts = { ...other.typedMetadata, tensor_count: { value: 0n, type: 10 } };
      const again = await openGguf(bytesSource(serializeGgufMetadata(counts as typeof other.typedMetadata)));
      expect([...again.metadata]).toEqual([...known]);
    } finally {
      await rm(folder, { recursive: true });
    }
  });

  it("reads a long header in bounded pieces", async () => {
    const words = strings(Array.from({ length: 60_000 }, (_, i) => `token ${i} ü`));
    const bytes = await write(new Map([["tokens", words]]), tensors);
    const source = counting(bytes);
    const file = await openGguf(source);
    expect(file.metadata.get("tokens")).toEqual(words);
    expect(source.largest).toBeLessThanOrEqual(1 << 18);
    expect(source.total).toBeLessThan(bytes.length + (1 << 18));
  });

  it("takes an alignment other than 32", async () => {
    const metadata = new Map([["general.alignment", u32(256)]]);
    const file = await openGguf(bytesSource(await write(metadata, tensors)));
    expect([...file.tensors.values()].every(({ begin }) => begin % 256 === 0)).toBe(true);
    for (const value of [u32(0), u32(24), text("32")]) {
      await expect(write(new Map([["general.alignment", value]]), [])).rejects.toThrow(/alignment/);
    }
  });

  it("refuses to write what does not fit, and leaves the sink alone", async () => {
    const bad: [Map<string, GgufValue>, GgufEntry[], RegExp][] = [
      [new Map([["k", { type: "u8", value: 256 }]]), [], /not a u8; name: k.*0 to 255.*256/],
      [new Map([["k", { type: "i32", value: 1.5 }]]), [], /not a i32/],
      [new Map(), [entry("a", [1], "F32", 0), entry("a", [1], "F32", 0)], /duplicate tensor name/],
      [new Map(), [entry("a", [3, 33], "Q8_0", 0)], /multiple of 32.*Q8_0 \[3, 33\]/],
      [new Map(), [entry("a".repeat(64), [1], "F32", 0)], /too long/],
      [new Map(), [{ ...entry("a", [2], "F32", 0), async *data() {} }], /do not fill.*8 bytes.*found: 0/],
      [new Map(), [{ ...entry("a", [3], "F32", 0), shape: [2] }], /12 or more/],
    ];
    for (const [metadata, list, message] of bad) {
      let committed = false;
      const sink = memorySink("x", () => {
        committed = true;
      });
      await expect(writeGguf(sink, { metadata, tensors: list })).rejects.toThrow(message);
      expect(committed).toBe(false);
    }
  });
});

describe("damaged and hostile files", () => {
  it("names the file at every truncation of the header and of the data", async () => {
    const bytes = await write(everything, tensors);
    const file = await openGguf(bytesSource(bytes));
    const header = file.tensor("token_embd.weight").begin;
    for (let length = 0; length < bytes.length; length++) {
      if (length > header && length % 13 !== 0) continue;
      const source = counting(bytes.slice(0, length));
      // Padding after the last tensor may be missing.
      if (length >= file.tensor("stack.weight").begin + 408) continue;
      await expect(openGguf(source), `${length} bytes`).rejects.toThrow(/^test\.gguf/);
      expect(source.total).toBeLessThanOrEqual(2 * length + 64);
    }
  });

  it("survives any change of bytes without reading more than the file holds", async () => {
    const bytes = await write(everything, tensors);
    const change = fc.record({
      at: fc.nat(bytes.length - 9),
      bytes: fc.oneof(
        fc.uint8Array({ minLength: 1, maxLength: 8 }),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n) => new Uint8Array(BigUint64Array.of(n).buffer)),
      ),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(change, { minLength: 1, maxLength: 3 }), async (changes) => {
        const damaged = bytes.slice();
        for (const { at, bytes: put } of changes) damaged.set(put, at);
        const source = counting(damaged);
        try {
          const file = await openGguf(source);
          for (const tensor of file.tensors.values()) await file.read(tensor, 0, tensor.bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(FormatError);
        }
        expect(source.total).toBeLessThanOrEqual(3 * bytes.length);
      }),
      { numRuns: 1500 },
    );
  });

  /** A file with `change` made to a copy of its bytes; offsets are those of a file of one key and one tensor. */
  async function changed(change: (view: DataView) => void): Promise<ByteSource> {
    const bytes = await write(new Map([["k", u32(5)]]), [entry("t", [2, 4], "F32", 1)]);
    change(new DataView(bytes.buffer));
    return bytesSource(bytes, "test.gguf");
  }
  // Magic 0, version 4, tensors 8, pairs 16, key length 24, "k" 32, type 33, value 37, name length 41, "t" 49,
  // dimensions 50, ne 54 and 62, type 70, offset 74, data 96.
  it.each([
    ["magic", (v: DataView) => v.setUint32(0, 0x46554746, true), /not a GGUF file/],
    ["version", (v: DataView) => v.setUint32(4, 1, true), /GGUF version.*2 or 3.*1/],
    ["byte order", (v: DataView) => v.setUint32(4, 3, false), /big-endian/],
    ["tensor count", (v: DataView) => v.setBigUint64(8, 1n << 62n, true), /tensor count.*expected: at most/],
    ["pair count", (v: DataView) => v.setBigUint64(16, 1n << 63n, true), /key-value count/],
    ["key length", (v: DataView) => v.setBigUint64(24, 1n << 40n, true), /key 0/],
    ["value type", (v: DataView) => v.setUint32(33, 13, true), /unknown value type; name: k.*0 to 12.*13/],
    ["dimensions", (v: DataView) => v.setUint32(50, 5, true), /dimensions; name: t.*1 to 4.*5/],
    ["no dimensions", (v: DataView) => v.setUint32(50, 0, true), /dimensions; name: t/],
    ["zero size", (v: DataView) => v.setBigUint64(54, 0n, true), /size of a dimension; name: t/],
    ["huge size", (v: DataView) => v.setBigUint64(54, 1n << 50n, true), /size of a dimension; name: t/],
    [
      "sizes too large together",
      (v: DataView) => [54, 62].forEach((at) => void v.setBigUint64(at, 200n, true)),
      /larger than the file; name: t/,
    ],
    ["type", (v: DataView) => v.setUint32(70, 9, true), /not supported; name: t.*found: type 9/],
    [
      "row of whole blocks",
      (v: DataView) => v.setUint32(70, 16, true),
      /row length of IQ2_XXS; name: t.*256/,
    ],
    ["unknown type", (v: DataView) => v.setUint32(70, 99, true), /not supported; name: t.*found: type 99/],
    ["row length", (v: DataView) => v.setUint32(70, 8, true), /row length of Q8_0; name: t.*32.*4/],
    ["odd offset", (v: DataView) => v.setBigUint64(74, 4n, true), /data offset; name: t/],
    ["hole", (v: DataView) => v.setBigUint64(74, 32n, true), /hole between tensors; name: t/],
  ])("refuses a wrong %s", async (_, change, message) => {
    await expect(openGguf(await changed(change as (view: DataView) => void))).rejects.toThrow(message);
  });

  it("refuses more nested arrays, keys and tensors than any model has, though the file has room", async () => {
    const one = await write(new Map([["k", u32(5)]]), [entry("t", [2, 4], "F32", 1)]);
    const long = new Uint8Array(16_000_000);
    long.set(one);
    const view = new DataView(long.buffer);
    const refused = (at: number, count: number, message: RegExp) => {
      view.setBigUint64(at, BigInt(count), true);
      return expect(openGguf(bytesSource(long, "x.gguf"))).rejects.toThrow(message);
    };
    await refused(8, 300_000, /more than any model has; name: tensor count.*at most 262144.*300000/);
    await refused(8, 9_000_000, /does not fit the file/);
    view.setBigUint64(8, 1n, true);
    await refused(16, 70_000, /more than any model has; name: key-value count.*65536/);
    view.setBigUint64(16, 1n, true);
    // The key's value: an array of arrays, all empty.
    view.setUint32(33, 9, true);
    view.setUint32(37, 9, true);
    long.fill(0, 49);
    await refused(41, 70_000, /more than any model has; name: k.*65536.*70000/);
  });

  it("refuses keys and tensors that occur twice, and overlapping tensors", async () => {
    const two = await write(
      new Map([
        ["k", u32(5)],
        ["m", u32(5)],
      ]),
      [entry("t", [8], "F32", 1), entry("u", [8], "F32", 1)],
    );
    const at = (byte: number) => [...two].indexOf(byte, 32);
    const twin = (from: number, to: number) => {
      const bytes = two.slice();
      bytes[from] = to;
      return openGguf(bytesSource(bytes));
    };
    await expect(twin(at(0x6d), 0x6b)).rejects.toThrow(/key occurs twice; name: k/);
    await expect(twin(at(0x75), 0x74)).rejects.toThrow(/tensor occurs twice; name: t/);
    const offset = at(0x75) + 1 + 4 + 8 + 4;
    expect(two[offset]).toBe(32);
    await expect(twin(offset, 0)).rejects.toThrow(/overlap; name: u/);
  });
});

describe("split files", () => {
  const part = (no: number, list: GgufEntry[]) =>
    write(
      new Map<string, GgufValue>([
        ["split.no", { type: "u16", value: no }],
        ["split.count", { type: "u16", value: 2 }],
        ["split.tensors.count", { type: "i32", value: 3 }],
      ]),
      list,
    );

  it("opens all parts of a folder, and refuses one alone or wrong ones", async () => {
    const first = await part(0, tensors.slice(0, 1));
    const second = await part(1, tensors.slice(1));
    const names = ["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"];
    const file = await openGgufFiles(
      memoryFolder(
        new Map([
          [names[0], first],
          [names[1], second],
        ]),
      ),
      names[0],
    );
    expect([...file.tensors.keys()]).toEqual(tensors.map(({ name }) => name));
    expect((await file.read(file.tensor("norm.weight"), 0, 12))[0]).toBe(2);
    await file.close();

    await expect(openGguf(bytesSource(first))).rejects.toThrow(
      /this is one part of a split file.*openGgufFiles/,
    );
    const open = (files: [string, Uint8Array][], path = names[0]) =>
      openGgufFiles(memoryFolder(new Map(files)), path);
    await expect(open([[names[0], first]])).rejects.toThrow(/file not found; name: m-00002-of-00002/);
    await expect(
      open([
        [names[0], first],
        [names[1], first],
      ]),
    ).rejects.toThrow(/split.no.*expected: 1.*found: 0/);
    await expect(open([["x.gguf", first]], "x.gguf")).rejects.toThrow(/not the first part/);
    const empty = await part(1, []);
    await expect(
      open([
        [names[0], first],
        [names[1], empty],
      ]),
    ).rejects.toThrow(/split.tensors.count.*3.*1/);
    await expect(
      open([
        [names[0], first],
        [names[1], await part(1, tensors.slice(0, 1))],
      ]),
    ).rejects.toThrow(/two parts|split/);
  });
});
