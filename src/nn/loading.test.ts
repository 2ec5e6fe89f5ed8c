/** Blocks read in place: the bytes of the way by whole chunks, whatever arrives first; failures end everything. */
import { describe, expect, it } from "vitest";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { ShapeError } from "../tensor/errors.ts";
import { isQuantized, type QuantFormat } from "../tensor/quantized.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import type { Parameters } from "./parameters.ts";
import { allocateModule, alone, type Declaration } from "./scope.ts";
import type { RowReader, WeightSource } from "./weight-source.ts";

const blockBytes = { q4: 18, q8: 34 };
/** Bytes of one chunk at most, and chunks at a time. */
const [CHUNK, READS] = [1 << 22, 4];

/** Matrices `[.., columns]` of these rows end to end, as the group `key` of `shape`. */
const group = (key: string, shape: readonly number[], rows: readonly number[], letters = ""): Declaration => {
  const columns = shape.at(-1)!;
  let offset = 0;
  const parts = rows.map((count, i) => {
    const part = { name: `${key}.${letters[i] ?? i}`, shape: [count, columns], offset };
    offset += count * columns;
    return part;
  });
  return { key, shape, parts };
};

const specs: readonly Declaration[] = [
  alone("odd", [13, 64]),
  alone("row", [1, 32]),
  // Parts that end within a group of rows.
  group("joined", [40, 96], [13, 3, 24], "abc"),
  group("experts", [3, 40, 64], [20, 20, 20, 20, 20, 20]),
  group("odd.experts", [2, 11, 32], [11, 11]),
  // Halves of latent attention: the matrices of all heads are one tensor.
  { ...alone("k", [4, 24, 32]), key: "latent" },
  // Several chunks, of which one holds rows of both parts.
  group("large", [2501, 4096], [1201, 1300], "ab"),
];

const make = (device: Device, format: QuantFormat, declared = specs): Parameters =>
  allocateModule(device, format, (scope) => {
    for (const declaration of declared) scope.declare(declaration);
    return scope.parameters;
  });

/** Blocks of some bytes under the names of the parts; `wrap` changes how they are read in place. */
function sourceOf(
  format: QuantFormat,
  wrap: ((name: string, read: RowReader) => RowReader | null) | null,
): WeightSource {
  const tensors = new Map<string, { shape: readonly number[]; rowBytes: number; bytes: Uint8Array }>();
  const random = new Random(7);
  for (const { parts } of specs) {
    for (const { name, shape } of parts) {
      const rowBytes = (shape.at(-1)! / 32) * blockBytes[format];
      const rows = shape.slice(0, -1).reduce((a, b) => a * b, 1);
      const start = random.int(256);
      const bytes = new Uint8Array(rows * rowBytes);
      for (let i = 0; i < bytes.length; i++) bytes[i] = start + i * 37 + (i >> 7);
      tensors.set(name, { shape, rowBytes, bytes });
    }
  }
  return {
    names: () => tensors.keys(),
    has: (name) => tensors.has(name),
    shape: (name) => tensors.get(name)!.shape,
    readF32: () => {
      throw new Error("not to be read");
    },
    blocks: {
      blockType: () => (format === "q4" ? "Q4_0" : "Q8_0"),
      async *readBlocks(name) {
        const { rowBytes, bytes } = tensors.get(name)!;
        for (let row = 0; row * rowBytes < bytes.length; row += 107) {
          const chunk = bytes.slice(row * rowBytes, (row + 107) * rowBytes);
          yield { row, rows: chunk.length / rowBytes, bytes: chunk };
        }
      },
      ...(wrap && {
        rowReader: (name: string) =>
          wrap(name, async (row, target) => {
            const { rowBytes, bytes } = tensors.get(name)!;
            expect(target.length % rowBytes).toBe(0);
            expect(row * rowBytes + target.length).toBeLessThanOrEqual(bytes.length);
            target.set(bytes.subarray(row * rowBytes, row * rowBytes + target.length));
          }),
      }),
    },
  };
}

async function tiles(device: Device, format: QuantFormat, source: WeightSource): Promise<Uint8Array[]> {
  using parameters = make(device, format);
  await parameters.load(source);
  const found: Uint8Array[] = [];
  for (const { weight } of parameters.groups()) {
    if (!isQuantized(weight)) throw new Error("quantized");
    for (const shard of weight.shards) found.push((await shard.tiles.data()) as Uint8Array);
  }
  return found;
}

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const same = (a: readonly Uint8Array[], b: readonly Uint8Array[]) =>
  a.length === b.length && a.every((bytes, i) => Buffer.from(bytes).equals(Buffer.from(b[i])));

describe("floats", () => {
  /** A source of one tensor in chunks of three values. */
  const floats = (name: string, shape: readonly number[], values: readonly number[]): WeightSource => ({
    where: "model.safetensors",
    names: () => [name],
    has: (asked) => asked === name,
    shape: () => shape,
    async *readF32() {
      for (let offset = 0; offset < values.length; offset += 3)
        yield { offset, values: Float32Array.from(values.slice(offset, offset + 3)) };
    },
  });

  it("of routers, norms and biases are numbers, or refused by name and place; others are taken as they are", async () => {
    const device = createReferenceDevice();
    const module = () =>
      allocateModule(device, "f32", (scope) => {
        const gate = scope.child("model.layers.3.mlp");
        gate.matrix("gate.weight", 2, 4, { alwaysF32: true });
        return scope.parameters;
      });
    const values = [1, 2, 3, 4, 5, 6, 7, 8];
    const broken = values.with(4, Number.NaN);
    const name = "model.layers.3.mlp.gate.weight";
    using sound = module();
    await sound.load(floats(name, [2, 4], values.with(4, Number.POSITIVE_INFINITY)));
    using damaged = module();
    await expect(damaged.load(floats(name, [2, 4], broken))).rejects.toThrow(
      /model\.safetensors: a weight is not a number; name: model\.layers\.3\.mlp\.gate\.weight.*NaN at index 4/,
    );
    using other = allocateModule(device, "f32", (scope) => {
      scope.matrix("proj.weight", 2, 4);
      return scope.parameters;
    });
    await other.load(floats("proj.weight", [2, 4], broken));
    expect((await other.get("proj.weight").data())[4]).toBeNaN();
  });
});

describe("blocks read in place", () => {
  it.each(["q4", "q8"] as const)("%s become the same tiles, whichever read ends first", async (format) => {
    const device = await cpuDevice(2, true);
    const expected = await tiles(device, format, sourceOf(format, null));
    const random = new Random(3);
    let [calls, most, current] = [0, 0, 0];
    const source = sourceOf(format, (_, read) => async (row, target) => {
      most = Math.max(most, ++current);
      calls++;
      await delay(random.int(4));
      await read(row, target);
      current--;
    });
    expect(same(await tiles(device, format, source), expected)).toBe(true);
    // 2501 rows of 2304 or 4352 bytes in 2 or 3 chunks, one of which takes two reads.
    expect(calls).toBe(1 + 1 + 3 + 6 + 2 + 4 + (format === "q4" ? 3 : 4));
    expect(most).toBeGreaterThan(1);
    expect(most).toBeLessThanOrEqual(READS);
  });

  it("hold a few chunks beside the weights, and free them", async () => {
    await using device = await createCpuDevice({ threads: 1 });
    using parameters = make(device, "q8");
    const before = device.backend.memory();
    await parameters.load(sourceOf("q8", (_, read) => read));
    const { buffers, bytes, peakBytes } = device.backend.memory();
    expect([buffers, bytes]).toEqual([before.buffers, before.bytes]);
    expect(peakBytes - before.bytes).toBeGreaterThan(0);
    expect(peakBytes - before.bytes).toBeLessThanOrEqual(READS * CHUNK);
  });

  it("are left to chunks where a part has no reader, or the device no memory to read into", async () => {
    const device = await cpuDevice(1, true);
    const expected = await tiles(device, "q4", sourceOf("q4", null));
    const seen = new Set<string>();
    const some = sourceOf("q4", (name, read) =>
      name === "joined.b" || name === "k"
        ? null
        : async (row, target) => {
            seen.add(name);
            await read(row, target);
          },
    );
    expect(same(await tiles(device, "q4", some), expected)).toBe(true);
    expect([seen.has("joined.a"), seen.has("k"), seen.has("odd"), seen.has("large.b")]).toEqual([
      ...[false, false, true, true],
    ]);
    const none = sourceOf("q4", () => () => expect.fail("read in place"));
    using parameters = make(createReferenceDevice(), "q4", specs.slice(0, 2));
    await parameters.load(none);
    const weights = [...parameters.groups()].map(({ weight }) => weight);
    for (const [i, weight] of weights.entries()) {
      if (!isQuantized(weight)) throw new Error("quantized");
      expect(await weight.shards[0].tiles.data()).toEqual(expected[i]);
    }
  });

  it("fail as the first failing read does, once no other is under way, with nothing left behind", async () => {
    await using device = await createCpuDevice({ threads: 1 });
    using parameters = make(device, "q4", [specs[3]]);
    const { buffers, bytes } = device.backend.memory();
    const reason = new Error("disk gone");
    const started: string[] = [];
    let open = 0;
    const source = sourceOf("q4", (name, read) => async (row, target) => {
      started.push(name);
      open++;
      // The second chunk fails while the first and the third are under way.
      await delay(name === "experts.2" ? 1 : 20);
      open--;
      if (name === "experts.2") throw reason;
      await read(row, target);
    });
    const failed = await parameters.load(source).catch((error: unknown) => error);
    expect(failed).toBe(reason);
    expect(open).toBe(0);
    // What had begun goes on to its end, which for the others is a second part.
    expect(started).toEqual(["experts.0", "experts.2", "experts.4", "experts.1", "experts.5"]);
    expect(device.backend.memory()).toMatchObject({ buffers, bytes });
  });

  it("refuse a part of another shape before anything is read", async () => {
    const device = await cpuDevice(1, true);
    const source = sourceOf("q4", () => () => expect.fail("read"));
    using parameters = make(device, "q4", [specs[2]]);
    const other: WeightSource = {
      ...source,
      shape: (name) => (name === "joined.c" ? [25, 96] : source.shape(name)),
    };
    await expect(parameters.load(other)).rejects.toThrow(ShapeError);
    await expect(parameters.load(other)).rejects.toThrow(/joined\.c.*25/);
  });
});

describe("tiles read in place", () => {
  it("wait for reads under way before they fail", async () => {
    await using device = await createCpuDevice({ threads: 1 });
    using parameters = make(device, "q8", [specs[6]]);
    const [{ weight }] = parameters.groups();
    let open = 0;
    const source: WeightSource = {
      ...sourceOf("q8", null),
      tiles: {
        keys: () => ["large"],
        tileFormat: () => "q8",
        tileBytes: () => (isQuantized(weight) ? weight.bytes : 0),
        readTiles: () => {
          throw new Error("not to be read");
        },
        readInto: async (_, offset) => {
          open++;
          await delay(offset === 0 ? 1 : 20);
          open--;
          if (offset === 0) throw new Error("short");
        },
      },
    };
    await expect(parameters.load(source)).rejects.toThrow("short");
    expect(open).toBe(0);
  });
});
