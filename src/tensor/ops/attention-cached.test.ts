import { describe, expect, it } from "vitest";
import { createCpuDevice } from "../cpu/backend.ts";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope, type Tensor } from "../tensor.ts";
import { checkBackends, cpuDevice, relativeError } from "../testing.ts";
import { attention, keyParts } from "./attention.ts";
import { AttentionState, finishAttention, foldAttention } from "./attention-fold.ts";
import { attentionSequences, type KeyRun, RUN_KEYS, type SequenceCache } from "./attention-sequences.ts";
import { copyRows } from "./memory.ts";

type Narrow = "f32" | "f16" | "bf16";

function normals(device: Device, shape: readonly number[], seed: number, dtype: Narrow = "f32"): Tensor {
  const random = new Random(seed);
  const size = shape.reduce((a, n) => a * n, 1);
  return device.tensor(
    Float32Array.from({ length: size }, () => random.normal()),
    shape,
    dtype,
  );
}

/** The same numbers in f32. */
async function widened(x: Tensor): Promise<Tensor> {
  return x.device.tensor((await x.data()) as Float32Array, x.shape);
}

const allDevices = async () => [
  createReferenceDevice(),
  ...(await Promise.all([cpuDevice(1, false), cpuDevice(2, false), cpuDevice(1, true), cpuDevice(3, true)])),
];

// Tokens, keys, query heads, key heads, width, width of values; 0 if the keys hold them.
const cases = [
  [1, 1, 1, 1, 3, 2],
  [1, 300, 2, 2, 12, 8],
  [2, 101, 4, 2, 9, 7],
  [1, 250, 8, 2, 20, 12],
  [3, 97, 6, 1, 11, 5],
  [20, 130, 3, 3, 14, 10],
  [1, 2000, 16, 1, 40, 0],
  [2, 500, 33, 1, 23, 0],
  [5, 200, 20, 1, 600, 0],
] as const;

describe("attention over caches in narrow types", () => {
  for (const dtype of ["f16", "bf16"] as const) {
    it(`agrees with the reference and gives the bits of the same values in f32 (${dtype})`, async () => {
      for (const [T, S, H, G, D, Dv] of cases) {
        const valueWidth = Dv === 0 ? D - 3 : Dv;
        const op = ([q, k, v, lengths]: Tensor[]) =>
          attention(q, k, Dv === 0 ? null : v, { scale: 0.3, lengths, valueWidth });
        await checkBackends(op, [
          { shape: [2, T, H, D], gradient: false },
          { shape: [2, S, G, D], dtype },
          { shape: [2, S, G, valueWidth], dtype },
          { shape: [2], dtype: "i32", values: [S, Math.max(T, S - 60)] },
        ]);
        for (const relaxed of [false, true]) {
          const device = await cpuDevice(2, relaxed);
          using _scope = new Scope(device);
          const q = normals(device, [1, T, H, D], 1);
          const k = normals(device, [1, S, G, D], 2, dtype);
          const v = Dv === 0 ? null : normals(device, [1, S, G, valueWidth], 3, dtype);
          const options = { scale: 0.3, valueWidth };
          const narrow = await attention(q, k, v, options).data();
          const wide = await attention(q, await widened(k), v && (await widened(v)), options).data();
          expect(narrow).toEqual(wide);
        }
      }
    });
  }

  it("gives the same bits whether the engine joins vectors or not", async () => {
    const results: unknown[] = [];
    for (const wide of [false, true]) {
      await using device = await createCpuDevice({ threads: 1, wide });
      using _scope = new Scope(device);
      for (const [T, S, H, G, D, Dv] of cases) {
        const valueWidth = Dv === 0 ? D - 3 : Dv;
        const q = normals(device, [1, T, H, D], 1);
        const k = normals(device, [1, S, G, D], 2, "f16");
        const v = Dv === 0 ? null : normals(device, [1, S, G, valueWidth], 3, "f16");
        results.push(await attention(q, k, v, { scale: 0.3, valueWidth }).data());
      }
    }
    expect(results.slice(cases.length)).toEqual(results.slice(0, cases.length));
  });

  it("reads subnormal halves as what they are", async () => {
    const device = await cpuDevice(1, true);
    using _scope = new Scope(device);
    for (const [H, D] of [
      [1, 4],
      [16, 9],
    ]) {
      const v = device.tensor(new Float32Array(D).fill(2 ** -24 * 3), [1, 1, 1, D], "f16");
      const q = normals(device, [1, 1, H, D], 1);
      const y = await attention(q, v, v, { scale: 1 }).data();
      expect(y).toEqual(new Float32Array(H * D).fill(2 ** -24 * 3));
    }
  });

  it("refuses gradients and mixed types", () => {
    const device = createReferenceDevice();
    const q = device.zeros([1, 1, 1, 4]);
    const half = device.zeros([1, 1, 1, 4], "f16");
    expect(() => attention(q, half, q, { scale: 1 })).toThrow(/different dtypes.*f16.*f32/);
    q.requiresGrad = true;
    using _tape = new Tape(device);
    expect(() => attention(q, half, half, { scale: 1 })).toThrow(/gradients need keys and values in f32/);
  });

  it("needs little memory for long caches and many heads", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    for (const [B, T, H, S] of [
      [1, 2, 128, 65_536],
      [3, 1, 128, 40_000],
    ]) {
      const [width, valueWidth] = [8, 4];
      const q = normals(device, [B, T, H, width], 1);
      const k = device.zeros([B, S, 1, width], "f16");
      const before = device.backend.memory().bytes;
      const y = attention(q, k, null, { scale: 1, valueWidth });
      const used = device.backend.memory().peakBytes - before;
      expect(used).toBeLessThan(4 * B * T * H * S);
      expect(await y.data()).toEqual(new Float32Array(B * T * H * valueWidth));
    }
    // The sizes of DeepSeek-V3: what one call takes for its parts.
    const { parts } = keyParts({ tokens: 2, keys: 65_536, heads: 128, kvHeads: 1 });
    expect(parts * 2 * 128 * (512 + 4) * 4).toBeLessThan(64e6);
  });
});

describe("foldAttention", () => {
  const fold = (
    q: Tensor,
    k: Tensor,
    v: Tensor | null,
    past: number,
    sizes: number[],
    valueWidth: number,
  ) => {
    const { device } = q;
    const [B, T, H, D] = q.shape;
    const [, S, G] = k.shape;
    using state = new AttentionState(device, B, T, H, valueWidth);
    // Last blocks first: the order is free.
    let end = S;
    for (const size of sizes) {
      const from = Math.max(0, end - size);
      using kBlock = k.view([S, G, D]).slice(from, end);
      using vBlock = v?.view([S, G, valueWidth]).slice(from, end);
      const [kPart, vPart] = [
        kBlock.view([1, end - from, G, D]),
        vBlock?.view([1, end - from, G, valueWidth]),
      ];
      foldAttention(state, q, kPart, vPart ?? null, { scale: 0.4, firstKey: from, firstQuery: past });
      end = from;
    }
    expect(end).toBe(0);
    return finishAttention(state);
  };

  it("equals attention over all keys at once, however they are cut", async () => {
    for (const [T, S, H, G, D, Dv] of cases) {
      const valueWidth = Dv === 0 ? D - 3 : Dv;
      for (const sizes of [[S], [1, 7, 50, S], [0, 64, 0, S]]) {
        const results: Float32Array[] = [];
        for (const device of await allDevices()) {
          using _scope = new Scope(device);
          const [q, k] = [normals(device, [1, T, H, D], 1), normals(device, [1, S, G, D], 2)];
          const v = Dv === 0 ? null : normals(device, [1, S, G, valueWidth], 3);
          const whole = (await attention(q, k, v, { scale: 0.4, valueWidth }).data()) as Float32Array;
          const parts = (await fold(q, k, v, S - T, sizes, valueWidth).data()) as Float32Array;
          expect(relativeError(parts, whole)).toBeLessThan(2e-5);
          results.push(parts);
        }
        for (const result of results) expect(relativeError(result, results[0])).toBeLessThan(2e-5);
        // Baseline and relaxed kernels, each on one thread and on several.
        expect(results[2]).toEqual(results[1]);
        expect(results[4]).toEqual(results[3]);
      }
    }
  });

  it("reads narrow keys, several rows, and leaves alone what comes later", async () => {
    for (const device of await allDevices()) {
      using _scope = new Scope(device);
      const [B, T, H, D, Dv] = [2, 4, 6, 10, 6];
      const q = normals(device, [B, T, H, D], 1);
      const [k, v] = [normals(device, [B, 9, 2, D], 2, "f16"), normals(device, [B, 9, 2, Dv], 3, "f16")];
      const expected = await attention(q, k, v, { scale: 0.4 }).data();
      const state = new AttentionState(device, B, T, H, Dv);
      foldAttention(state, q, k, v, { scale: 0.4, firstKey: 10, firstQuery: 15 });
      const later = normals(device, [B, 5, 2, D], 4, "f16");
      const values = normals(device, [B, 5, 2, Dv], 5, "f16");
      foldAttention(state, q, later, values, { scale: 0.4, firstKey: 19, firstQuery: 15 });
      expect(relativeError(await finishAttention(state).data(), expected)).toBeLessThan(2e-6);
    }
  });

  it("gives 0 to queries that met no key, and refuses a state that met none", async () => {
    for (const device of await allDevices()) {
      using _scope = new Scope(device);
      const state = new AttentionState(device, 1, 3, 2, 4);
      expect(() => finishAttention(state)).toThrow(/foldAttention first/);
      const [q, k, v] = [
        normals(device, [1, 3, 2, 5], 1),
        normals(device, [1, 2, 1, 5], 2),
        normals(device, [1, 2, 1, 4], 3),
      ];
      foldAttention(state, q, k, v, { scale: 1, firstKey: 1, firstQuery: 0 });
      const y = await finishAttention(state).data();
      expect([...y.subarray(0, 8)]).toEqual(new Array(8).fill(0));
      const first = (await v.data()).subarray(0, 4);
      expect(relativeError(y.subarray(8, 12), first)).toBeLessThan(1e-6);
    }
  });

  it("refuses what does not fit", () => {
    const device = createReferenceDevice();
    const z = (...shape: number[]) => device.zeros(shape);
    const state = new AttentionState(device, 1, 2, 4, 3);
    const at = { scale: 1, firstKey: 0, firstQuery: 0 };
    expect(() => foldAttention(state, z(1, 3, 4, 5), z(1, 2, 1, 5), null, at)).toThrow(/the state's queries/);
    expect(() => foldAttention(state, z(1, 2, 4, 5), z(1, 2, 3, 5), null, at)).toThrow(
      /a divisor of 4; found: 3/,
    );
    expect(() => foldAttention(state, z(1, 2, 4, 2), z(1, 2, 1, 2), null, at)).toThrow(
      /at least 3; found: 2/,
    );
    expect(() => foldAttention(state, z(1, 2, 4, 5), z(1, 2, 1, 5), z(1, 2, 1, 4), at)).toThrow(
      /the state in width/,
    );
    const late = { ...at, firstKey: 2 ** 31 };
    expect(() => foldAttention(state, z(1, 2, 4, 5), z(1, 2, 1, 5), null, late)).toThrow(/below 2\^31/);
  });
});

describe("attentionSequences", () => {
  /** Sequences with [rows, length, room], each in one run. */
  const make = (
    device: Device,
    sizes: readonly (readonly [number, number, number])[],
    [H, G, D, Dv]: readonly number[],
    dtype: Narrow,
    shared: boolean,
  ) => {
    const sequences = sizes.map(([rows, length, room], i): SequenceCache => {
      // Room beyond the length is never read.
      const fill = (width: number, seed: number) => {
        const random = new Random(seed, i);
        const values = Float32Array.from({ length: room * width }, (_, at) =>
          at < length * width ? random.normal() : Number.NaN,
        );
        return device.tensor(values, [room, width], dtype);
      };
      const run = { keys: fill(G * D, 5), values: shared ? null : fill(G * Dv, 6), row: 0, count: room };
      return { runs: [run], rows, length };
    });
    const queries = sizes.map(([rows], i) => normals(device, [rows, H, D], 100 + i));
    return { sequences, queries };
  };
  const join = async (queries: Tensor[]) => {
    const all = await Promise.all(queries.map(async (q) => [...(await q.data())]));
    const rows = queries.reduce((n, q) => n + q.shape[0], 0);
    return queries[0].device.tensor(all.flat(), [rows, ...queries[0].shape.slice(1)]);
  };
  const sizes = [
    [1, 700, 800],
    [1, 1, 4],
    [2, 97, 97],
    [0, 5, 9],
    [1, 193, 200],
    [5, 60, 64],
    [1, 300, 300],
    [1, 40, 41],
    [70, 400, 512],
    [1, 2, 2],
    [1, 96, 96],
  ] as const;
  const forms = [
    { heads: [4, 4, 8, 6], dtype: "f32", shared: false },
    { heads: [6, 2, 9, 7], dtype: "f16", shared: false },
    // Few rows of several heads of keys at a time, which do not divide these.
    { heads: [10, 5, 19, 11], dtype: "f32", shared: false },
    { heads: [33, 1, 20, 16], dtype: "f16", shared: true },
    { heads: [16, 1, 12, 8], dtype: "bf16", shared: true },
  ] as const;

  for (const { heads, dtype, shared } of forms) {
    it(`has for each sequence the bits of attention alone, ${dtype}, heads ${heads}`, async () => {
      const [H, G, D, Dv] = heads;
      for (const device of await allDevices()) {
        using _scope = new Scope(device);
        const { sequences, queries } = make(device, sizes, heads, dtype, shared);
        const options = { scale: 0.4, keyValueHeads: G, ...(shared ? { valueWidth: Dv } : {}) };
        const alone: number[] = [];
        for (const [i, { runs, rows, length }] of sequences.entries()) {
          const [{ keys, values }] = runs;
          if (rows === 0) continue;
          const y = attention(
            queries[i].view([1, rows, H, D]),
            keys.view([1, -1, G, D]),
            values?.view([1, -1, G, Dv]) ?? null,
            { scale: 0.4, valueWidth: Dv, lengths: device.tensor([length], [1], "i32") },
          );
          alone.push(...(await y.data()));
        }
        const together = attentionSequences(await join(queries), sequences, options);
        expect(together.shape).toEqual([84, H, Dv]);
        if (device.backend.name === "cpu") expect([...(await together.data())]).toEqual(alone);
        else expect(relativeError(await together.data(), alone)).toBeLessThan(1e-6);
        // Other company, the same bits.
        const some = [2, 0, 8];
        const few = attentionSequences(
          await join(some.map((i) => queries[i])),
          some.map((i) => sequences[i]),
          options,
        );
        const rowsBefore = (i: number) => sizes.slice(0, i).reduce((n, [rows]) => n + rows, 0) * H * Dv;
        const picked = some.flatMap((i) => alone.slice(rowsBefore(i), rowsBefore(i) + sizes[i][0] * H * Dv));
        if (device.backend.name === "cpu") expect([...(await few.data())]).toEqual(picked);
      }
    });

    it(`has the same bits wherever keys lie, ${dtype}, heads ${heads}`, async () => {
      const [, G, , Dv] = heads;
      for (const device of await allDevices()) {
        using _scope = new Scope(device);
        const { sequences, queries } = make(device, sizes, heads, dtype, shared);
        const options = { scale: 0.4, keyValueHeads: G, ...(shared ? { valueWidth: Dv } : {}) };
        const q = await join(queries);
        const expected = await attentionSequences(q, sequences, options).data();
        for (const tensors of [1, 3]) {
          const scattered = scatter(sequences, tensors);
          expect(await attentionSequences(q, scattered, options).data()).toEqual(expected);
        }
        // A beginning that several have in common.
        const long = sequences[8];
        const [{ keys, values }] = long.runs;
        const common = { keys, values, row: 0, count: 2 * RUN_KEYS };
        const forks = scatter([long, long, long], 1).map(({ runs, ...rest }) => {
          return { ...rest, runs: [common, ...runs.slice(2)] };
        });
        const three = await join([queries[8], queries[8], queries[8]]);
        const y = [...(await attentionSequences(three, forks, options).data())];
        const one = [...(await attentionSequences(queries[8], [long], options).data())];
        expect(y).toEqual([...one, ...one, ...one]);
      }
    });
  }

  /** The same keys in pages here and there in so many tensors, shared by all sequences. */
  function scatter(sequences: readonly SequenceCache[], tensors: number): SequenceCache[] {
    const [{ keys, values }] = sequences[0].runs;
    const { device, dtype } = keys;
    const pages = sequences.reduce((sum, { length }) => sum + Math.ceil(length / RUN_KEYS), 0);
    const each = Math.ceil(pages / tensors);
    const random = new Random(pages);
    const order = random.shuffle(Array.from({ length: each * tensors }, (_, i) => i));
    const pool = Array.from({ length: tensors }, () => ({
      keys: device.zeros([each * RUN_KEYS, keys.shape[1]], dtype),
      values: values && device.zeros([each * RUN_KEYS, values.shape[1]], dtype),
    }));
    const copyPage = (from: Tensor, at: number, n: number, to: Tensor, row: number) => {
      const width = from.shape[1];
      copyRows(from, to, 1, n * width, n * width, n * width, at * width, row * width);
    };
    return sequences.map(({ runs: [whole], rows, length }) => {
      const runs: KeyRun[] = [];
      for (let at = 0; at < length; at += RUN_KEYS) {
        const page = order.pop()!;
        const home = pool[Math.floor(page / each)];
        const row = (page % each) * RUN_KEYS;
        const n = Math.min(RUN_KEYS, length - at);
        copyPage(whole.keys, at, n, home.keys, row);
        if (home.values) copyPage(whole.values!, at, n, home.values, row);
        runs.push({ ...home, row, count: RUN_KEYS });
      }
      return { runs, rows, length };
    });
  }

  it("equals the reference", async () => {
    const [H, G, D, Dv] = [6, 2, 9, 7];
    const results: Float32Array[] = [];
    for (const device of await allDevices()) {
      using _scope = new Scope(device);
      const { sequences, queries } = make(device, sizes, [H, G, D, Dv], "f16", false);
      const y = attentionSequences(await join(queries), sequences, { scale: 0.4, keyValueHeads: G });
      results.push((await y.data()) as Float32Array);
    }
    for (const result of results) expect(relativeError(result, results[0])).toBeLessThan(2e-5);
  });

  it("takes no rows at all, and refuses what does not fit", () => {
    const device = createReferenceDevice();
    const z = (...shape: number[]) => device.zeros(shape);
    const options = { scale: 1, keyValueHeads: 2 };
    expect(attentionSequences(z(0, 4, 3), [], options).shape).toEqual([0, 4, 3]);
    const run = { keys: z(8, 6), values: z(8, 10) as Tensor | null, row: 0, count: 8 };
    const cache = { runs: [run], rows: 1, length: 3 };
    expect(attentionSequences(z(1, 4, 3), [cache], options).shape).toEqual([1, 4, 5]);
    const refused = (change: Partial<SequenceCache>, q = z(1, 4, 3)) =>
      expect(() => attentionSequences(q, [{ ...cache, ...change }], options));
    refused({ length: 9 }).toThrow(/sequence 0; expected: 1 to 8; found: 9/);
    refused({ rows: 2 }).toThrow(
      /q has a different number of rows than the sequences; expected: 1; found: 2/,
    );
    const only = (change: Partial<KeyRun>) => ({ runs: [{ ...run, ...change }] });
    refused(only({ values: device.zeros([8, 10], "f16") })).toThrow(/dtype or capacity/);
    refused(only({ row: 1 })).toThrow(/outside its tensor.*within 8; found: 1 to 9/);
    refused({ runs: [run, run] }).toThrow(/ends within a block.*a multiple of 96; found: 8/);
    const apart = Array.from({ length: 9 }, () => ({ ...run, keys: z(96, 6), values: z(96, 10), count: 96 }));
    refused({ runs: apart }).toThrow(/too many tensors of keys; name: sequence 0; expected: 8; found: 9/);
    refused({}, z(1, 3, 4)).toThrow(/a divisor of 3; found: 2/);
    const second = { ...cache, ...only({ values: null }) };
    expect(() => attentionSequences(z(2, 4, 3), [cache, second], options)).toThrow(
      /caches differ in dtype or layout/,
    );
  });
});
