/**
 * Multi-head latent attention (DeepSeek-V2 section 2.1): keys and values of all heads come from one latent per token
 * and one rotated key shared by the heads. The expanded form rebuilds keys and values (training, long inputs); the
 * absorbed form moves the up-projections to the queries and outputs and attends over the latents themselves, as in
 * inference/model.py (`attn_impl = "absorb"`). The cache holds `[latent after its norm; rotated key]`, adjacent
 * channels being a rotary pair. The down-projections of queries and latents are one matrix.
 */
import { attention } from "../tensor/ops/attention.ts";
import { linear } from "../tensor/ops/linear.ts";
import { matmulInto } from "../tensor/ops/matmul.ts";
import { copyRows } from "../tensor/ops/memory.ts";
import { mlaExpand } from "../tensor/ops/mla.ts";
import { reshape, split } from "../tensor/ops/reshape.ts";
import { rmsNorm } from "../tensor/ops/rms-norm.ts";
import { rotary } from "../tensor/ops/rotary.ts";
import type { Tensor } from "../tensor/tensor.ts";
import type { LayerCache } from "./cache.ts";
import type { ForwardContext } from "./context.ts";
import { fused, type GroupSpec, matrix, type Parameters, vector } from "./parameters.ts";
import { mlaSoftmaxScale, type RopeConfig } from "./rotary.ts";

export interface MlaConfig {
  readonly kind: "mla";
  readonly heads: number;
  /** Width of the compressed queries; null where queries are not compressed (V2-Lite). */
  readonly queryRank: number | null;
  readonly latentRank: number;
  readonly nopeDim: number;
  readonly ropeDim: number;
  readonly valueDim: number;
}

/** The latent norms are built with this epsilon whatever `rms_norm_eps` says. */
const latentEpsilon = 1e-6;

/** Up to this many new tokens `auto` attends over the latents instead of expanding the whole cache. */
const absorbedTokens = 16;

/** Parameters of one layer; `prefix` ends with `self_attn.`. */
export function mlaSpecs(prefix: string, config: MlaConfig, hidden: number): GroupSpec[] {
  const { heads, queryRank, latentRank, nopeDim, ropeDim, valueDim } = config;
  const latent = [`${prefix}kv_a_proj_with_mqa.weight`, latentRank + ropeDim] as const;
  const queryRows = heads * (nopeDim + ropeDim);
  const key = `${prefix}down_proj`;
  const queries: GroupSpec[] =
    queryRank === null
      ? [fused(key, hidden, [[`${prefix}q_proj.weight`, queryRows], latent])]
      : [
          fused(key, hidden, [[`${prefix}q_a_proj.weight`, queryRank], latent]),
          vector(`${prefix}q_a_layernorm.weight`, queryRank),
          matrix(`${prefix}q_b_proj.weight`, queryRows, queryRank),
        ];
  return [
    ...queries,
    vector(`${prefix}kv_a_layernorm.weight`, latentRank),
    matrix(`${prefix}kv_b_proj.weight`, heads * (nopeDim + valueDim), latentRank),
    matrix(`${prefix}o_proj.weight`, hidden, heads * valueDim),
  ];
}

/** Latent attention of one layer over `x: [B, T, d]` (already normed), with the residual left to the caller. */
export class MlaAttention {
  readonly #config: MlaConfig;
  readonly #scale: number;
  readonly #down: Tensor;
  readonly #queryNorm: Tensor | null = null;
  readonly #queryUp: Tensor | null = null;
  readonly #latentNorm: Tensor;
  readonly #latentUp: Tensor;
  readonly #output: Tensor;

  constructor(parameters: Parameters, prefix: string, config: MlaConfig, rope: RopeConfig) {
    this.#config = config;
    this.#scale = mlaSoftmaxScale(rope, config.nopeDim + config.ropeDim);
    const stored = (name: string) => parameters.group(prefix + name).tensor;
    this.#down = stored("down_proj");
    if (config.queryRank !== null) {
      this.#queryNorm = stored("q_a_layernorm.weight");
      this.#queryUp = stored("q_b_proj.weight");
    }
    this.#latentNorm = stored("kv_a_layernorm.weight");
    this.#latentUp = stored("kv_b_proj.weight");
    this.#output = stored("o_proj.weight");
  }

  forward(x: Tensor, context: ForwardContext, cache: LayerCache | null): Tensor {
    const { heads: H, queryRank, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const { batch: B, tokens: T, tables, positions, start } = context;
    const width = queryRank ?? H * (N + R);
    const [down, compressed, shared] = split(linear(x, this.#down), [width, C, R]); // [B, T, (width | C | R)]
    const flat =
      queryRank === null ? down : linear(rmsNorm(down, this.#queryNorm!, latentEpsilon), this.#queryUp!); // [B, T, H (N + R)]
    const pairing = "interleaved" as const;
    const q = rotary(reshape(flat, [B, T, H, N + R]), tables, positions, { start: N, pairing }); // [B, T, H, N + R]
    const turned = rotary(reshape(shared, [B, T, 1, R]), tables, positions, { start: 0, pairing });
    const kRope = reshape(turned, [B, T, R]); // [B, T, R]
    const latent = rmsNorm(compressed, this.#latentNorm, latentEpsilon); // [B, T, C]
    cache?.write(0, latent, start);
    cache?.write(0, kRope, start, C);
    const absorb =
      context.mlaForm === "absorbed" ||
      (context.mlaForm === "auto" && start > 0 && T <= absorbedTokens && cache !== null);
    const mixed = absorb
      ? this.#absorbed(q, latent, kRope, context, cache)
      : this.#expanded(q, latent, kRope, context, cache);
    return linear(reshape(mixed, [B, T, H * V]), this.#output); // [B, T, d]
  }

  #expanded(
    q: Tensor,
    latent: Tensor,
    kRope: Tensor,
    context: ForwardContext,
    cache: LayerCache | null,
  ): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const { batch: B, tokens: T, start } = context;
    const S = start + T;
    const past = cache !== null && start > 0;
    const latents = past ? cache.read(0, S, 0, C) : latent; // [B, S, C]
    const ropes = past ? cache.read(0, S, C, R) : kRope; // [B, S, R]
    const up = reshape(linear(latents, this.#latentUp), [B, S, H, N + V]); // [B, S, H, N + V]
    const [k, v] = mlaExpand(up, ropes, N); // [B, S, H, N + R], [B, S, H, V]
    return attention(q, k, v, { scale: this.#scale }); // [B, T, H, V]
  }

  /** No gradients: training takes the expanded form. */
  #absorbed(
    q: Tensor,
    latent: Tensor,
    kRope: Tensor,
    context: ForwardContext,
    cache: LayerCache | null,
  ): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const { batch: B, tokens: T } = context;
    const { device } = q;
    const W = C + R;
    const rows = B * T;
    const headRows = N + V;
    const up = this.#latentUp; // [H (N + V), C]
    const query = device.empty([B, T, H, W]);
    // Per head: queries [rows, N] · W_UK [N, C], straight into the latent channels.
    matmulInto(
      device,
      { m: rows, n: C, k: N, batch: H },
      { tensor: q, row: H * (N + R), batch: N + R },
      { tensor: up, row: C, batch: headRows * C },
      { tensor: query, row: H * W, batch: W },
    );
    copyRows(q, query, rows * H, R, N + R, W, N, C);
    let keys: Tensor;
    if (cache) {
      keys = cache.streams[0].view([B, -1, 1, W]); // [B, capacity, 1, W]
    } else {
      keys = device.empty([B, T, 1, W]);
      copyRows(latent, keys, rows, C, C, W);
      copyRows(kRope, keys, rows, R, R, W, 0, C);
    }
    const lengths = context.lengths ?? undefined;
    const mixed = attention(query, keys, null, { scale: this.#scale, lengths, valueWidth: C }); // [B, T, H, C]
    const values = device.empty([B, T, H, V]);
    // Per head: mixed latents [rows, C] · W_UVᵀ [C, V].
    matmulInto(
      device,
      { m: rows, n: V, k: C, batch: H },
      { tensor: mixed, row: H * C, batch: C },
      { tensor: up, offset: N * C, row: 1, column: C, batch: headRows * C },
      { tensor: values, row: H * V, batch: V },
    );
    return values;
  }
}
