/** Reader and writer of safetensors: what the format forbids, seeded corruption, round trips, the official bytes. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FormatError, ShapeError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { type ByteSource, blobSource, bytesSource, memorySink } from "./byte-source.ts";
import { openSafetensors } from "./safetensors.ts";
import { type SafetensorsDtype, safetensorsDtypes } from "./safetensors-dtype.ts";
import { f32Entry, type SafetensorsEntry, writeSafetensors } from "./safetensors-writer.ts";

const encoder = new TextEncoder();

/** A file with this header text, or object, and `data` bytes of data. */
function build(header: unknown, data = 0, length?: bigint): Uint8Array {
  const json = encoder.encode(typeof header === "string" ? header : JSON.stringify(header));
  const bytes = new Uint8Array(8 + json.length + data);
  new DataView(bytes.buffer).setBigUint64(0, length ?? BigInt(json.length), true);
  bytes.set(json, 8);
  return bytes;
}

const open = (bytes: Uint8Array, name = "x.safetensors") => openSafetensors(bytesSource(bytes, name));
const f32 = (begin: number, end: number, shape: unknown = [(end - begin) / 4]) => ({
  dtype: "F32",
  shape,
  data_offsets: [begin, end],
});

async function write(entries: SafetensorsEntry[], metadata?: Record<string, string>): Promise<Uint8Array> {
  let out = new Uint8Array(0);
  const size = await writeSafetensors(
    memorySink("out", (bytes) => {
      out = bytes.slice();
    }),
    entries,
    metadata,
  );
  expect(size).toBe(out.length);
  return out;
}

const entry = (
  name: string,
  dtype: SafetensorsDtype,
  shape: number[],
  bytes: Uint8Array,
): SafetensorsEntry => ({
  name,
  dtype,
  shape,
  data: async () => bytes,
});

describe("openSafetensors", () => {
  it("gives metadata, absolute offsets and ranges", async () => {
    const bytes = build(
      { __metadata__: { format: "pt" }, b: f32(0, 8), a: f32(8, 12, []), e: f32(12, 12, [0, 3]) },
      12,
    );
    bytes.set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], bytes.length - 12);
    const file = await open(bytes);
    expect(file.metadata).toEqual({ format: "pt" });
    expect([...file.tensors.keys()]).toEqual(["b", "a", "e"]);
    const start = bytes.length - 12;
    expect(file.tensors.get("a")).toEqual({
      name: "a",
      dtype: "F32",
      shape: [],
      begin: start + 8,
      end: start + 12,
      bytes: 4,
    });
    expect([...(await file.read("a"))]).toEqual([9, 10, 11, 12]);
    expect([...(await file.readRange("b", 3, 4))]).toEqual([4, 5, 6, 7]);
    expect((await file.read("e")).length).toBe(0);
    await expect(file.readRange("b", 5, 4)).rejects.toThrow(ShapeError);
    await expect(file.readRange("b", -1, 2)).rejects.toThrow(ShapeError);
    await expect(file.read("c")).rejects.toThrow(/no such tensor; name: c/);
    const viaBlob = await openSafetensors(blobSource(new Blob([bytes.slice().buffer])));
    expect([...(await viaBlob.readRange("b", 3, 4))]).toEqual([4, 5, 6, 7]);
  });

  it("takes an empty file of no tensors, and a header padded with spaces", async () => {
    expect((await open(build("{}"))).tensors.size).toBe(0);
    expect((await open(build("{}      "))).tensors.size).toBe(0);
  });

  const bad: [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(0), /too short.*found: 0/],
    ["a header length beyond the file", build("{}", 0, 99n), /header length.*expected: 2 to 2; found: 99/],
    ["a header length of 2^64-1", build("{}", 0, 0xffff_ffff_ffff_ffffn), /header length/],
    ["a header length of 0", build("{}", 4, 0n), /header length/],
    ["a header that is not JSON", build("{abc}"), /not valid JSON/],
    ["a header that is no object", build("[1,2]"), /does not begin with '\{'/],
    ["a header that begins with a space", build(" {}"), /does not begin with '\{'/],
    ["invalid UTF-8", build("{}").fill(0xff, 9, 10), /not valid UTF-8/],
    [
      "duplicate tensors",
      build('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]},"a":{}}'),
      /duplicate.*name: a/,
    ],
    ["duplicates hidden by escapes", build('{"a":{},"\\u0061":{}}'), /duplicate key.*name: a/],
    [
      "duplicate keys in an entry",
      build('{"w":{"dtype":"U8","dtype":"I8"}}'),
      /duplicate key.*name: w.dtype/,
    ],
    ["duplicate metadata keys", build('{"__metadata__":{"k":"1","k":"2"}}'), /name: __metadata__.k/],
    ["metadata of numbers", build({ __metadata__: { n: 1 } }), /not a string.*__metadata__.n/],
    ["metadata that is a list", build({ __metadata__: [] }), /metadata is not an object/],
    [
      "a tensor named __proto__",
      build('{"__proto__":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'),
      /__proto__/,
    ],
    ["an entry that is no object", build({ w: 3 }), /not an object.*name: w/],
    ["an entry without dtype", build({ w: { shape: [], data_offsets: [0, 0] } }), /invalid dtype/],
    [
      "a dtype of Object.prototype",
      build({ w: { dtype: "toString", shape: [0], data_offsets: [0, 0] } }),
      /invalid dtype; name: w.*"toString"/,
    ],
    ["a negative size", build({ w: f32(0, 4, [-1]) }, 4), /invalid shape.*found: \[-1\]/],
    ["a fractional size", build({ w: f32(0, 4, [1.5]) }, 4), /invalid shape/],
    [
      "an unsafe size",
      build(`{"w":{"dtype":"U8","shape":[9007199254740993],"data_offsets":[0,0]}}`),
      /invalid shape/,
    ],
    ["a size of 1e400", build('{"w":{"dtype":"U8","shape":[1e400],"data_offsets":[0,0]}}'), /invalid shape/],
    ["a product overflow", build({ w: f32(0, 0, [2 ** 40, 2 ** 40]) }), /invalid shape/],
    ["a product overflow before a zero", build({ w: f32(0, 0, [2 ** 40, 2 ** 40, 0]) }), /invalid shape/],
    ["a shape that is a string", build({ w: f32(0, 4, "4") }, 4), /invalid shape/],
    [
      "three offsets",
      build({ w: { dtype: "U8", shape: [1], data_offsets: [0, 1, 2] } }, 1),
      /invalid data_offsets/,
    ],
    [
      "negative offsets",
      build({ w: { dtype: "U8", shape: [1], data_offsets: [-1, 0] } }, 1),
      /invalid data_offsets/,
    ],
    [
      "offsets run backwards",
      build({ w: { dtype: "U8", shape: [1], data_offsets: [1, 0] } }, 1),
      /end before they begin/,
    ],
    ["a tensor beyond the file", build({ w: f32(0, 8) }, 4), /beyond the file.*name: w.*end <= 4; found: 8/],
    [
      "a size unlike the shape",
      build({ w: f32(0, 8, [3]) }, 8),
      /does not match F32 \[3\].*expected: 12; found: 8/,
    ],
    ["overlap", build({ a: f32(0, 8), b: f32(4, 12) }, 12), /overlap.*name: b/],
    ["a shared range", build({ a: f32(0, 8), b: f32(0, 8) }, 8), /overlap/],
    ["a hole", build({ a: f32(0, 4), b: f32(8, 12) }, 12), /hole.*name: b/],
    ["a hole at the start", build({ a: f32(4, 8) }, 8), /hole/],
    ["trailing bytes", build({ a: f32(0, 4) }, 5), /after the last tensor/],
    ["a pickle", Uint8Array.of(0x80, 2, 0x63, 0, 0, 0, 0, 1, 2, 3, 4, 5), /torch\.save.*openPytorch/],
    ["a ZIP archive", encoder.encode("PK\x03\x04 and so on"), /torch\.save.*ZIP/],
    ["a Git LFS pointer", encoder.encode("version https://git-lfs.github.com/spec/v1\n"), /git lfs pull/],
    ["nesting", build(`{"a":${"[".repeat(50000)}${"]".repeat(50000)}}`), /nested too deeply|not valid JSON/],
  ];
  it.each(bad)("refuses %s", async (_, bytes, message) => {
    const error = await open(bytes).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(error).toBeInstanceOf(FormatError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/^x\.safetensors: /);
  });

  it("refuses headers over 100 MB before reading them", async () => {
    let read = 0;
    const big: ByteSource = {
      name: "big",
      size: 3e8,
      async read(_, length) {
        read += length;
        const bytes = new Uint8Array(length);
        new DataView(bytes.buffer).setBigUint64(0, 100_000_001n, true);
        return bytes;
      },
    };
    await expect(openSafetensors(big)).rejects.toThrow(/header is too long/);
    expect(read).toBeLessThan(20);
  });

  it("opens headers with dtypes that are not known here, checking where their bytes lie", async () => {
    const codes = { dtype: "F4", shape: [3, 3], data_offsets: [4, 9] };
    const bytes = build({ w: f32(0, 4), codes }, 9);
    bytes.set([1, 2, 3, 4, 5], bytes.length - 5);
    const file = await open(bytes);
    expect(file.tensors.get("codes")).toMatchObject({ dtype: "F4", shape: [3, 3], bytes: 5 });
    expect([...(await file.read("codes"))]).toEqual([1, 2, 3, 4, 5]);
    await expect(open(build({ w: f32(0, 4), codes: { ...codes, data_offsets: [3, 9] } }, 9))).rejects.toThrow(
      /overlap/,
    );
    await expect(open(build({ codes: { ...codes, data_offsets: [0, 9] } }, 8))).rejects.toThrow(
      /beyond the file/,
    );
  });

  it("reads a file whose header length looks like a pickle's magic", async () => {
    const bytes = build(`{}${" ".repeat(0x280 - 2)}`);
    expect([bytes[0], bytes[1]]).toEqual([0x80, 2]);
    expect((await open(bytes)).tensors.size).toBe(0);
  });

  it("reports a file that shrank after opening", async () => {
    const bytes = build({ a: f32(0, 8) }, 8);
    const source = bytesSource(bytes, "shrinking");
    const file = await openSafetensors({
      ...source,
      read: async (offset, length) =>
        (await source.read(offset, length)).subarray(0, offset < 9 ? length : 3),
    });
    await expect(file.read("a")).rejects.toThrow(/short read.*expected: 8; found: 3/);
  });
});

describe("seeded corruption", () => {
  /** Opens and reads everything; only FormatError may come out, and no read may leave the file. */
  async function survive(bytes: Uint8Array): Promise<"opened" | "refused"> {
    const inner = bytesSource(bytes, "fuzz");
    const source: ByteSource = {
      ...inner,
      async read(offset, length) {
        if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length)) throw new Error("read outside");
        return inner.read(offset, length);
      },
    };
    try {
      const file = await openSafetensors(source);
      let total = 0;
      for (const info of file.tensors.values()) total += (await file.read(info.name)).length;
      expect(total).toBeLessThan(bytes.length);
      return "opened";
    } catch (error) {
      if (!(error instanceof FormatError)) throw error;
      return "refused";
    }
  }

  it("bit flips, truncations, insertions and header edits end in FormatError or a sound read", async () => {
    const random = new Random(20240607);
    const valid = await write(
      [
        entry("model.layers.0.weight", "BF16", [3, 5], new Uint8Array(30).fill(7)),
        entry("model.bias", "F32", [4], new Uint8Array(16).fill(1)),
        entry("codes", "F8_E4M3", [2, 3], new Uint8Array(6)),
        entry("empty", "I64", [0], new Uint8Array(0)),
      ],
      { format: "pt", note: 'with "quotes" \\ and é' },
    );
    const header = Number(new DataView(valid.buffer).getBigUint64(0, true));
    const alphabet = encoder.encode('{}[]",:0123456789-+.eE\\u nltrue_F');
    const seen = { opened: 0, refused: 0 };
    for (let round = 0; round < 6000; round++) {
      let bytes = valid.slice();
      const kind = random.int(5);
      if (kind === 0) {
        for (let n = 1 + random.int(4); n > 0; n--) bytes[random.int(bytes.length)] ^= 1 << random.int(8);
      } else if (kind === 1) {
        bytes = bytes.slice(0, random.int(bytes.length));
      } else if (kind === 2) {
        for (let n = 1 + random.int(3); n > 0; n--) {
          bytes[8 + random.int(header)] = alphabet[random.int(alphabet.length)];
        }
      } else if (kind === 3) {
        const at = random.int(bytes.length);
        const extra = new Uint8Array(1 + random.int(9)).fill(random.int(256));
        bytes = Uint8Array.of(...bytes.slice(0, at), ...extra, ...bytes.slice(at));
      } else {
        bytes[random.int(8)] = random.int(256);
      }
      seen[await survive(bytes)]++;
    }
    // Both outcomes must be exercised: flips inside the data leave a sound file.
    expect(seen.opened).toBeGreaterThan(100);
    expect(seen.refused).toBeGreaterThan(3000);
  });

  it("random bytes behind a plausible length", async () => {
    const random = new Random(5);
    for (let round = 0; round < 500; round++) {
      const bytes = Uint8Array.from({ length: random.int(300) }, () => random.int(256));
      if (bytes.length > 10) {
        new DataView(bytes.buffer).setBigUint64(0, BigInt(random.int(bytes.length)), true);
        bytes[8] = 0x7b;
      }
      await survive(bytes);
    }
  });
});

describe("writeSafetensors", () => {
  it("orders by dtype from wide to narrow, then name, and pads the header to 8 bytes", async () => {
    const bytes = await write([
      entry("z", "U8", [1], Uint8Array.of(9)),
      f32Entry("b", [1], async () => Float32Array.of(2)),
      f32Entry("a", [2], async function* () {
        yield Float32Array.of(0);
        yield Float32Array.of(1);
      } as () => AsyncIterable<Float32Array>),
      entry("i", "I64", [1], new Uint8Array(8)),
      entry("h", "BF16", [1], new Uint8Array(2)),
    ]);
    const file = await open(bytes);
    expect([...file.tensors.values()].sort((a, b) => a.begin - b.begin).map((t) => t.name)).toEqual([
      "i",
      "a",
      "b",
      "h",
      "z",
    ]);
    expect(file.tensors.get("i")!.begin % 8).toBe(0);
    expect([...new Float32Array((await file.read("a")).buffer)]).toEqual([0, 1]);
  });

  it("round-trips names, shapes, metadata and bytes", async () => {
    const dtypes = Object.keys(safetensorsDtypes) as SafetensorsDtype[];
    const tensor = fc.record({
      name: fc.string({ unit: "binary", maxLength: 12 }),
      dtype: fc.constantFrom(...dtypes),
      shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
      seed: fc.nat(),
    });
    const reserved = new Set(["__metadata__", "__proto__"]);
    await fc.assert(
      fc.asyncProperty(
        fc.uniqueArray(tensor, { selector: (t) => t.name, maxLength: 6 }),
        fc.dictionary(fc.string(), fc.string()),
        async (list, anyMetadata) => {
          const metadata = Object.fromEntries(
            Object.entries(anyMetadata).filter(([key]) => key !== "__proto__"),
          );
          const tensors = list.filter((t) => !reserved.has(t.name));
          const data = tensors.map(({ dtype, shape, seed }) => {
            const random = new Random(seed);
            const size = shape.reduce((a, b) => a * b, 1) * safetensorsDtypes[dtype];
            return Uint8Array.from({ length: size }, () => random.int(256));
          });
          const bytes = await write(
            tensors.map((t, i) => entry(t.name, t.dtype, t.shape, data[i])),
            metadata,
          );
          const file = await open(bytes);
          expect(file.metadata).toEqual(metadata);
          expect(file.tensors.size).toBe(tensors.length);
          for (const [i, t] of tensors.entries()) {
            expect(file.tensors.get(t.name)).toMatchObject({ dtype: t.dtype, shape: t.shape });
            expect(await file.read(t.name)).toEqual(data[i]);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it("refuses duplicate and reserved names, and data that do not fill the shape, and aborts", async () => {
    let aborted = 0;
    let committed = 0;
    const sink = () => ({
      ...memorySink("out", () => committed++),
      abort: async () => void aborted++,
    });
    const a = entry("a", "U8", [2], Uint8Array.of(1, 2));
    await expect(writeSafetensors(sink(), [a, a])).rejects.toThrow(/duplicate tensor name.*name: a/);
    await expect(writeSafetensors(sink(), [{ ...a, name: "__proto__" }])).rejects.toThrow(/reserved/);
    await expect(writeSafetensors(sink(), [{ ...a, shape: [3] }])).rejects.toThrow(
      /expected: 3 bytes; found: 2/,
    );
    await expect(writeSafetensors(sink(), [{ ...a, shape: [1] }])).rejects.toThrow(
      /expected: 1 bytes; found: 2/,
    );
    await expect(writeSafetensors(sink(), [{ ...a, shape: [-1] }])).rejects.toThrow(ShapeError);
    const proto = JSON.parse('{"__proto__":"x"}');
    await expect(writeSafetensors(sink(), [a], proto)).rejects.toThrow(/metadata must be strings/);
    expect([aborted, committed]).toEqual([6, 0]);
  });

  const official = join(import.meta.dirname, "../../test/fixtures/v3/fp8/model.safetensors");
  it("writes the very bytes of the official library", async () => {
    const expected = new Uint8Array(readFileSync(official));
    const file = await open(expected);
    const entries = [...file.tensors.values()]
      .reverse()
      .map((t) => ({ ...t, dtype: t.dtype as SafetensorsDtype, data: () => file.read(t.name) }));
    const found = await write(entries, file.metadata);
    expect(Buffer.compare(found, expected)).toBe(0);
  });
});
