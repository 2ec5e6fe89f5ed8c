import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { Tape } from "../tape.ts";
import { type Device, Scope, type Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice, doubles, relativeError } from "../testing.ts";
import { attention } from "./attention.ts";
import { copyRows } from "./memory.ts";

interface Case {
  B: number;
  T: number;
  S: number;
  H: number;
  kv: number;
  D: number;
  Dv: number;
}

const shapes = ({ B, T, S, H, kv, D, Dv }: Case) => [
  [B, T, H, D],
  [B, S, kv, D],
  [B, S, kv, Dv],
];

const name = (c: Case) => `B=${c.B} T=${c.T} S=${c.S} H=${c.H} Hkv=${c.kv} D=${c.D} Dv=${c.Dv}`;

const op = ([q, k, v]: Tensor[]) => attention(q, k, v, { scale: 0.3 });

const cases: Case[] = [
  { B: 1, T: 1, S: 1, H: 1, kv: 1, D: 1, Dv: 1 },
  { B: 2, T: 3, S: 3, H: 2, kv: 2, D: 3, Dv: 5 },
  { B: 1, T: 5, S: 7, H: 4, kv: 2, D: 28, Dv: 10 },
  { B: 3, T: 33, S: 33, H: 3, kv: 1, D: 7, Dv: 2 },
  { B: 1, T: 130, S: 130, H: 2, kv: 2, D: 12, Dv: 8 },
  { B: 2, T: 65, S: 97, H: 4, kv: 4, D: 20, Dv: 13 },
  { B: 1, T: 50, S: 300, H: 6, kv: 2, D: 9, Dv: 18 },
  { B: 1, T: 600, S: 600, H: 2, kv: 1, D: 16, Dv: 4 },
  { B: 2, T: 1, S: 700, H: 4, kv: 4, D: 16, Dv: 16 },
  { B: 1, T: 2, S: 530, H: 6, kv: 2, D: 10, Dv: 7 },
  { B: 2, T: 1, S: 555, H: 2, kv: 1, D: 7, Dv: 5 },
  { B: 1, T: 1, S: 1100, H: 8, kv: 1, D: 12, Dv: 8 },
  { B: 0, T: 4, S: 4, H: 2, kv: 1, D: 4, Dv: 4 },
  { B: 2, T: 0, S: 4, H: 2, kv: 1, D: 4, Dv: 4 },
];

describe("attention on every backend", () => {
  for (const c of cases) it(name(c), () => checkBackends(op, shapes(c)));

  it("adds to gradients that are already there", async () => {
    const twice = ([q, k, v]: Tensor[]) => {
      return [attention(q, k, v, { scale: 0.3 }), attention(q, k, v, { scale: -0.1 })];
    };
    await checkBackends(twice, shapes({ B: 1, T: 40, S: 530, H: 2, kv: 1, D: 9, Dv: 6 }));
  });

  it("keeps large scores apart without overflow", async () => {
    const scaled = ([q, k, v]: Tensor[]) => attention(q, k, v, { scale: 300 });
    await checkBackends(scaled, shapes({ B: 1, T: 40, S: 90, H: 2, kv: 1, D: 8, Dv: 4 }), {
      tolerance: 2e-3,
    });
  });

  for (const T of [1, 3, 20]) {
    it(`reads values out of the keys where v is null (T=${T})`, async () => {
      for (const [D, valueWidth] of [
        [20, 16],
        [11, 6],
        [80, 64],
      ]) {
        const absorbed = ([q, k, lengths]: Tensor[]) =>
          attention(q, k, null, { scale: 0.2, valueWidth, lengths });
        await checkBackends(absorbed, [
          { shape: [2, T, 16, D], gradient: false },
          { shape: [2, 600, 1, D], gradient: false },
          { shape: [2], dtype: "i32", values: [T + 5, 590] },
        ]);
      }
    });
  }
});

describe("gradients of attention", () => {
  for (const c of [...cases.slice(0, 3), { B: 2, T: 9, S: 11, H: 3, kv: 1, D: 3, Dv: 2 }]) {
    it(`agree with finite differences at ${name(c)}`, () => checkGradients(op, shapes(c)));
  }
});

/** Softmax attention written down once more, plainly, in doubles. */
function naive(q: Float64Array, k: Float64Array, v: Float64Array, c: Case, scale: number): Float64Array {
  const y = new Float64Array(c.B * c.T * c.H * c.Dv);
  for (let b = 0; b < c.B; b++) {
    for (let t = 0; t < c.T; t++) {
      for (let h = 0; h < c.H; h++) {
        const g = Math.floor((h * c.kv) / c.H);
        const position = c.S - c.T + t;
        const weights: number[] = [];
        for (let j = 0; j <= position; j++) {
          let score = 0;
          for (let i = 0; i < c.D; i++) {
            score += q[((b * c.T + t) * c.H + h) * c.D + i] * k[((b * c.S + j) * c.kv + g) * c.D + i];
          }
          weights.push(Math.exp(scale * score));
        }
        const total = weights.reduce((a, w) => a + w, 0);
        weights.forEach((w, j) => {
          for (let i = 0; i < c.Dv; i++) {
            y[((b * c.T + t) * c.H + h) * c.Dv + i] += (w / total) * v[((b * c.S + j) * c.kv + g) * c.Dv + i];
          }
        });
      }
    }
  }
  return y;
}

const normals = (device: Device, shape: readonly number[], seed: number) => {
  const random = new Random(seed);
  const size = shape.reduce((a, n) => a * n, 1);
  return device.tensor(
    Float64Array.from({ length: size }, () => random.normal()),
    shape,
  );
};

describe("attention and its twins", () => {
  it("equals softmax attention written plainly", () => {
    const device = createReferenceDevice();
    const c = { B: 2, T: 5, S: 9, H: 4, kv: 2, D: 6, Dv: 3 };
    const [q, k, v] = shapes(c).map((shape, i) => normals(device, shape, i + 1));
    const y = attention(q, k, v, { scale: 0.4 });
    const expected = naive(doubles(q), doubles(k), doubles(v), c, 0.4);
    expect(relativeError(doubles(y), expected)).toBeLessThan(1e-13);
  });

  it("gives with a growing cache what it gives at once, and never reads past the valid keys", async () => {
    const devices = [createReferenceDevice(), await cpuDevice(2, true)];
    for (const device of devices) {
      const c = { B: 2, T: 12, S: 12, H: 4, kv: 2, D: 10, Dv: 6 };
      const room = 19;
      using _scope = new Scope(device);
      const [q, k, v] = shapes(c).map((shape, i) => normals(device, shape, i + 1));
      const whole = await attention(q, k, v, { scale: 0.4 }).data();
      const [qs, ks, vs] = (await Promise.all([q.data(), k.data(), v.data()])) as Float32Array[];
      const part = (x: Float32Array, b: number, from: number, to: number) =>
        x.subarray((b * c.T + from) * (x.length / (c.B * c.T)), (b * c.T + to) * (x.length / (c.B * c.T)));
      const garbage = (width: number) => device.tensor(new Float32Array(c.B * room * width).fill(Number.NaN));
      const cacheK = garbage(c.kv * c.D).view([c.B, room, c.kv, c.D]);
      const cacheV = garbage(c.kv * c.Dv).view([c.B, room, c.kv, c.Dv]);
      const found = new Float32Array(whole.length);
      // Row 0 is one token ahead, so that lengths differ.
      const done = [1, 0];
      cacheK.set(part(ks, 0, 0, 1));
      cacheV.set(part(vs, 0, 0, 1));
      for (const step of [1, 3, 1, 2, 4]) {
        const lengths = done.map((n) => n + step);
        const queries = new Float32Array(c.B * step * c.H * c.D);
        for (let b = 0; b < c.B; b++) {
          const from = done[b];
          queries.set(part(qs, b, from, from + step), b * step * c.H * c.D);
          cacheK.set(part(ks, b, from, from + step), (b * room + from) * c.kv * c.D);
          cacheV.set(part(vs, b, from, from + step), (b * room + from) * c.kv * c.Dv);
        }
        const y = attention(device.tensor(queries, [c.B, step, c.H, c.D]), cacheK, cacheV, {
          scale: 0.4,
          lengths: device.tensor(lengths, [c.B], "i32"),
        });
        const values = await y.data();
        for (let b = 0; b < c.B; b++) {
          const n = step * c.H * c.Dv;
          found.set(values.subarray(b * n, (b + 1) * n) as Float32Array, (b * c.T + done[b]) * c.H * c.Dv);
          done[b] += step;
        }
      }
      expect(done).toEqual([12, 11]);
      const row = c.H * c.Dv;
      for (const [from, to] of [
        [row, 12 * row],
        [12 * row, 23 * row],
      ]) {
        expect(relativeError(found.subarray(from, to), whole.subarray(from, to))).toBeLessThan(1e-5);
      }
    }
  });

  it("gives a query the same bits alone and beside another, whatever the room for keys", async () => {
    const device = await cpuDevice(2, true);
    for (const [H, kv, D, Dv] of [
      [1, 1, 7, 5],
      [2, 1, 12, 8],
      [4, 2, 9, 6],
      [8, 1, 20, 16],
      [33, 1, 12, 8],
    ]) {
      for (const S of [2, 48, 97, 193, 300]) {
        using _scope = new Scope(device);
        const [q, k, v] = [
          [1, 2, H, D],
          [1, S, kv, D],
          [1, S, kv, Dv],
        ].map((shape, i) => normals(device, shape, i + S));
        const run = async (queries: Tensor, keys: number, room: number) => {
          const grown = (x: Tensor) => {
            const y = device.tensor(new Float32Array(room * kv * x.shape[3]), [1, room, kv, x.shape[3]]);
            copyRows(x, y, 1, x.size, x.size, y.size);
            return y;
          };
          const lengths = device.tensor([keys], [1], "i32");
          const y = attention(queries, grown(k), grown(v), { scale: 0.4, lengths });
          return [...((await y.data()) as Float32Array)];
        };
        const flat = q.view([2, 1, H, D]);
        const both = await run(q, S, S);
        const first = await run(flat.slice(0, 1), S - 1, S + 1000);
        const second = await run(flat.slice(1, 2), S, S + 5);
        expect([...first, ...second]).toEqual(both);
      }
    }
  });

  it("gives 0 to a query that sees no key", async () => {
    for (const device of [createReferenceDevice(), await cpuDevice(2, false)]) {
      using _scope = new Scope(device);
      const c = { B: 2, T: 3, S: 4, H: 2, kv: 1, D: 5, Dv: 3 };
      const [q, k, v] = shapes(c).map((shape, i) => normals(device, shape, i + 1));
      const lengths = device.tensor([0, 2], [2], "i32");
      const y = await attention(q, k, v, { scale: 1, lengths }).data();
      expect(Array.from(y.subarray(0, 24))).toEqual(new Array(24).fill(0));
      expect(y.subarray(24).every((x) => x !== 0)).toBe(true);
    }
  });

  it("needs no memory that grows with queries times keys", async () => {
    const device = await cpuDevice(2, true);
    using _scope = new Scope(device);
    const S = 65_536;
    const [q, k, v] = [
      normals(device, [1, 3, 2, 8], 1),
      normals(device, [1, S, 1, 8], 2),
      normals(device, [1, S, 1, 4], 3),
    ];
    const before = device.backend.memory().bytes;
    const y = await attention(q, k, v, { scale: 0.3 }).data();
    expect(device.backend.memory().peakBytes - before).toBeLessThan(S);
    const c = { B: 1, T: 3, S, H: 2, kv: 1, D: 8, Dv: 4 };
    const [qs, ks, vs] = await Promise.all([q, k, v].map(async (t) => Float64Array.from(await t.data())));
    expect(relativeError(y, naive(qs, ks, vs, c, 0.3))).toBeLessThan(1e-5);
  });

  it("equals naive latent attention in its absorbed form", () => {
    const device = createReferenceDevice();
    const [B, S, H, nope, rope, value, rank] = [2, 6, 3, 4, 2, 5, 7];
    const random = new Random(11);
    const fill = (n: number) => Float64Array.from({ length: n }, () => random.normal());
    const qn = fill(B * S * H * nope);
    const qr = fill(B * S * H * rope);
    const c = fill(B * S * rank);
    const kr = fill(B * S * rope);
    const w = fill(H * (nope + value) * rank);
    const rows = B * S;
    const q = new Float64Array(rows * H * (nope + rope));
    const k = new Float64Array(q.length);
    const v = new Float64Array(rows * H * value);
    const absorbed = new Float64Array(rows * H * (rank + rope));
    const cache = new Float64Array(rows * (rank + rope));
    for (let r = 0; r < rows; r++) {
      for (let i = 0; i < rank; i++) cache[r * (rank + rope) + i] = c[r * rank + i];
      for (let i = 0; i < rope; i++) cache[r * (rank + rope) + rank + i] = kr[r * rope + i];
      for (let h = 0; h < H; h++) {
        const at = r * H + h;
        const up = (o: number) => {
          let sum = 0;
          for (let i = 0; i < rank; i++) sum += w[(h * (nope + value) + o) * rank + i] * c[r * rank + i];
          return sum;
        };
        for (let i = 0; i < nope; i++) {
          q[at * (nope + rope) + i] = qn[at * nope + i];
          k[at * (nope + rope) + i] = up(i);
          for (let l = 0; l < rank; l++) {
            absorbed[at * (rank + rope) + l] += w[(h * (nope + value) + i) * rank + l] * qn[at * nope + i];
          }
        }
        for (let i = 0; i < rope; i++) {
          q[at * (nope + rope) + nope + i] = qr[at * rope + i];
          k[at * (nope + rope) + nope + i] = kr[r * rope + i];
          absorbed[at * (rank + rope) + rank + i] = qr[at * rope + i];
        }
        for (let i = 0; i < value; i++) v[at * value + i] = up(nope + i);
      }
    }
    // Doubles go in behind the tensors' backs: the device rounds what it is given to f32.
    const put = (values: Float64Array, shape: number[]) => {
      const tensor = device.empty(shape);
      doubles(tensor).set(values);
      return tensor;
    };
    const scale = (nope + rope) ** -0.5;
    const plain = attention(
      put(q, [B, S, H, nope + rope]),
      put(k, [B, S, H, nope + rope]),
      put(v, [B, S, H, value]),
      {
        scale,
      },
    );
    const z = doubles(
      attention(put(absorbed, [B, S, H, rank + rope]), put(cache, [B, S, 1, rank + rope]), null, {
        scale,
        valueWidth: rank,
      }),
    );
    const y = new Float64Array(rows * H * value);
    for (let at = 0; at < rows * H; at++) {
      for (let i = 0; i < value; i++) {
        const from = ((at % H) * (nope + value) + nope + i) * rank;
        for (let l = 0; l < rank; l++) y[at * value + i] += w[from + l] * z[at * rank + l];
      }
    }
    expect(relativeError(y, doubles(plain))).toBeLessThan(1e-12);
  });
});

describe("attention refuses", () => {
  const device = createReferenceDevice();
  const z = (...shape: number[]) => device.zeros(shape);
  it("shapes that do not fit", () => {
    const scale = 1;
    expect(() => attention(z(1, 2, 3, 4), z(1, 2, 2, 4), z(1, 2, 2, 4), { scale })).toThrow(
      /a divisor of 3; found: 2/,
    );
    expect(() => attention(z(1, 3, 2, 4), z(1, 2, 2, 4), z(1, 2, 2, 4), { scale })).toThrow(
      /at least 3 keys; found: 2/,
    );
    expect(() => attention(z(1, 2, 2, 4), z(1, 2, 2, 5), z(1, 2, 2, 4), { scale })).toThrow(
      /differ in batch or width/,
    );
    expect(() => attention(z(1, 2, 2, 4), z(1, 2, 2, 4), z(1, 3, 2, 4), { scale })).toThrow(/leading axes/);
    expect(() => attention(z(1, 2, 2, 4), z(1, 2, 2, 4), null, { scale, valueWidth: 5 })).toThrow(
      /at most 4; found: 5/,
    );
    expect(() => attention(z(1, 2, 2, 4), z(1, 2, 2, 4), null, { scale, lengths: z(1) })).toThrow(
      /lengths must be i32/,
    );
  });

  it("a gradient through a cache", () => {
    const q = z(1, 2, 2, 4);
    q.requiresGrad = true;
    using _tape = new Tape(device);
    expect(() => attention(q, z(1, 2, 2, 4), null, { scale: 1 })).toThrow(/no gradient through a cache/);
  });
});
