/**
 * The two ways in which the key-value up-projection of latent attention is stored: `kv_b_proj [H (N + V), C]` in
 * official checkpoints, and per head as `k_b_proj [H, C, N]` (transposed keys) and `v_b_proj [H, V, C]`, which is what
 * the absorbed form multiplies with, quantized models hold and GGUF files store.
 */
import type { MlaConfig } from "../nn/mla.ts";
import type { WeightSource } from "../nn/weight-source.ts";
import { FormatError, ShapeError } from "../tensor/errors.ts";

const whole = "self_attn.kv_b_proj.weight";
const keys = "self_attn.k_b_proj.weight";
const values = "self_attn.v_b_proj.weight";

async function readAll(source: WeightSource, name: string, size: number): Promise<Float32Array> {
  const all = new Float32Array(size);
  let read = 0;
  for await (const { offset, values: chunk } of source.readF32(name)) {
    all.set(chunk, offset);
    read += chunk.length;
  }
  if (read === size) return all;
  throw new FormatError("a tensor was read incompletely", {
    where: "load",
    name,
    expected: size,
    found: read,
  });
}

/** Transposes a `rows` by `columns` matrix that begins at `from`. */
export function transposed(values: Float32Array, from: number, rows: number, columns: number): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[from + r * columns + c];
  }
  return out;
}

/** Official rows to the key half (transposed) or the value half of every head. */
function splitLatent(
  official: Float32Array,
  { heads: H, nopeDim: N, valueDim: V, latentRank: C }: MlaConfig,
  half: "keys" | "values",
): Float32Array {
  if (half === "values") {
    const out = new Float32Array(H * V * C);
    for (let h = 0; h < H; h++) {
      const from = (h * (N + V) + N) * C;
      out.set(official.subarray(from, from + V * C), h * V * C);
    }
    return out;
  }
  const out = new Float32Array(H * C * N);
  for (let h = 0; h < H; h++) {
    out.set(transposed(official, h * (N + V) * C, N, C), h * C * N);
  }
  return out;
}

/** The inverse: both halves to official rows `[H (N + V), C]`. */
function joinLatent(
  keyHalf: Float32Array,
  valueHalf: Float32Array,
  { heads: H, nopeDim: N, valueDim: V, latentRank: C }: MlaConfig,
): Float32Array {
  const out = new Float32Array(H * (N + V) * C);
  for (let h = 0; h < H; h++) {
    out.set(transposed(keyHalf, h * C * N, C, N), h * (N + V) * C);
    out.set(valueHalf.subarray(h * V * C, (h + 1) * V * C), (h * (N + V) + N) * C);
  }
  return out;
}

/** `source` with the two halves in place of every `kv_b_proj`. @throws ShapeError where that has another shape */
export function withLatentHalves(source: WeightSource, config: MlaConfig): WeightSource {
  const { heads: H, nopeDim: N, valueDim: V, latentRank: C } = config;
  const official = (name: string) => name.replace(keys, whole).replace(values, whole);
  const isHalf = (name: string) => name.endsWith(keys) || name.endsWith(values);
  return {
    ...source,
    *names() {
      for (const name of source.names()) {
        if (name.endsWith(whole)) yield* [name.replace(whole, keys), name.replace(whole, values)];
        else yield name;
      }
    },
    has: (name) => source.has(name) || (isHalf(name) && source.has(official(name))),
    shape(name) {
      if (source.has(name) || !isHalf(name)) return source.shape(name);
      const found = source.shape(official(name));
      const expected = [H * (N + V), C];
      if (found.length !== 2 || found[0] !== expected[0] || found[1] !== expected[1]) {
        throw new ShapeError("a tensor of the checkpoint has another shape", {
          where: "load",
          name: official(name),
          expected,
          found,
        });
      }
      return name.endsWith(keys) ? [H, C, N] : [H, V, C];
    },
    async *readF32(name) {
      if (source.has(name) || !isHalf(name)) {
        yield* source.readF32(name);
        return;
      }
      const all = await readAll(source, official(name), H * (N + V) * C);
      yield { offset: 0, values: splitLatent(all, config, name.endsWith(keys) ? "keys" : "values") };
    },
  };
}

/** `source`, which holds the two halves, with the official `kv_b_proj` in place of them. */
export function withOfficialLatents(source: WeightSource, config: MlaConfig): WeightSource {
  const { heads: H, nopeDim: N, valueDim: V, latentRank: C } = config;
  const joined = (name: string) => name.endsWith(whole) && !source.has(name);
  return {
    ...source,
    *names() {
      for (const name of source.names()) {
        if (name.endsWith(keys)) yield name.replace(keys, whole);
        else if (!name.endsWith(values)) yield name;
      }
    },
    has: (name) => source.has(name) || (joined(name) && source.has(name.replace(whole, keys))),
    shape: (name) => (joined(name) ? [H * (N + V), C] : source.shape(name)),
    async *readF32(name) {
      if (!joined(name)) {
        yield* source.readF32(name);
        return;
      }
      const keyHalf = await readAll(source, name.replace(whole, keys), H * C * N);
      const valueHalf = await readAll(source, name.replace(whole, values), H * V * C);
      yield { offset: 0, values: joinLatent(keyHalf, valueHalf, config) };
    },
  };
}
