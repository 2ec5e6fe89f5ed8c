/**
 * The two ways to store the key-value up-projection of latent attention: `kv_b_proj [H (N + V), C]` as in official
 * checkpoints, and per head as `k_b_proj [H, C, N]` (transposed keys) and `v_b_proj [H, V, C]`, which is what the
 * absorbed form multiplies with, quantized models hold and GGUF files store under `attn_k_b` and `attn_v_b`.
 */
import { alone, type LayoutDeclaration } from "../../scope.ts";
import type { MlaConfig } from "./config.ts";

/** Transposes a `rows` by `columns` matrix. */
function transposed(values: Float32Array, rows: number, columns: number): Float32Array {
  const out = new Float32Array(rows * columns);
  for (let r = 0; r < rows; r++) {
    for (let c = 0; c < columns; c++) out[c * rows + r] = values[r * columns + c];
  }
  return out;
}

/** The up-projection of a layer in both ways; a unit is what belongs to one head. */
export function latentLayout(config: MlaConfig): LayoutDeclaration {
  const { heads: H, nopeDim: N, valueDim: V, latentRank: C } = config;
  // All layers of a model take the same layout.
  const options = { role: "latent", alike: "latent up-projections" } as const;
  const keyValues = N * C;
  return {
    official: { ...alone("kv_b_proj.weight", [H * (N + V), C]), ...options },
    pieces: [
      { ...alone("k_b_proj.weight", [H, C, N]), ...options },
      { ...alone("v_b_proj.weight", [H, V, C]), ...options },
    ],
    units: H,
    plainRows: [null, { first: N, count: V }],
    split: (unit, piece) =>
      piece === 0 ? transposed(unit.subarray(0, keyValues), N, C) : unit.subarray(keyValues),
    join([keys, values]) {
      const unit = new Float32Array((N + V) * C);
      unit.set(transposed(keys, C, N));
      unit.set(values, keyValues);
      return unit;
    },
  };
}
