/**
 * Multi-head latent attention (DeepSeek-V2 section 2.1): keys and values of all heads come from one latent per token
 * and one rotated key shared by the heads. The expanded form rebuilds keys and values (training, long inputs); the
 * absorbed form moves the up-projections to the queries and outputs and attends over the latents themselves, as in
 * inference/model.py (`attn_impl = "absorb"`). The cache holds `[latent after its norm; rotated key]`, adjacent
 * channels being a rotary pair. The down-projections of queries and latents are one matrix.
 */
import { attention } from "../../../tensor/ops/attention.ts";
import { AttentionState, finishAttention, foldAttention } from "../../../tensor/ops/attention-fold.ts";
import { attentionIsolated } from "../../../tensor/ops/attention-isolated.ts";
import { attentionSequences } from "../../../tensor/ops/attention-sequences.ts";
import { copyRows } from "../../../tensor/ops/memory.ts";
import { mlaExpand } from "../../../tensor/ops/mla.ts";
import { reshape, split } from "../../../tensor/ops/reshape.ts";
import { rotary } from "../../../tensor/ops/rotary.ts";
import type { Tensor } from "../../../tensor/tensor.ts";
import { writeCaches } from "../../cache.ts";
import type { ForwardContext, MlaForm, PlacedSegment } from "../../context.ts";
import { Linear } from "../../linear.ts";
import { RmsNorm } from "../../norm.ts";
import { mlaSoftmaxScale, type RopeConfig } from "../../rotary.ts";
import type { ParameterScope } from "../../scope.ts";
import { attendSegments, rowsOf } from "../../segments.ts";
import type { MlaConfig } from "./config.ts";
import { type LatentUp, latentUp } from "./up.ts";

/** The latent norms are built with this epsilon whatever `rms_norm_eps` says. */
const latentEpsilon = 1e-6;

/** Cached tokens whose keys and values exist at one time: a long past rebuilt at once would not fit the memory. */
const foldedKeys = 2048;

/**
 * What a multiply-add of the absorbed form costs in those of the expanded one: both took equal time where the counts
 * stood 1 to 1.2, for 512 latent channels, 4 and 16 heads and 2000 to 8000 tokens on the CPU.
 */
const absorbedCost = 1.2;

/**
 * Whether `tokens` new ones at the end of `length` cost less over the latents than over keys and values rebuilt from
 * all latents, in multiply-adds. One or two always take the absorbed form, so that a draft verified by two gets the
 * bits of one after the other.
 */
export function absorbs(config: MlaConfig, tokens: number, length: number): boolean {
  // Nothing is rebuilt for a sequence that begins: every key is needed by its own pass anyway.
  if (tokens === length) return false;
  if (tokens <= 2) return true;
  const { latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = config;
  // Of one head; both forms multiply the latents' up-projection, one with the past, the other with the new tokens.
  const absorbed = tokens * (C * (N + V) + length * (2 * C + R));
  const expanded = length * (C * (N + V) + tokens * (N + R + V));
  return absorbedCost * absorbed < expanded;
}

/** Latent attention of one layer over `x: [B, T, d]` (already normed), with the residual left to the caller. */
export class MlaAttention {
  /** Width of what a token leaves in the cache: its latent and its rotated key. */
  readonly cacheWidths: readonly number[];
  readonly #config: MlaConfig;
  readonly #scale: number;
  readonly #down: Linear;
  /** Null if queries are not compressed. */
  readonly #queryUp: { readonly norm: RmsNorm; readonly projection: Linear } | null;
  readonly #latentNorm: RmsNorm;
  readonly #up: LatentUp;
  readonly #output: Linear;

  /** @param hidden width of `x` and of the result */
  constructor(scope: ParameterScope, config: MlaConfig, rope: RopeConfig, hidden: number) {
    const { heads, queryRank, latentRank, nopeDim, ropeDim, valueDim } = config;
    this.#config = config;
    this.cacheWidths = [latentRank + ropeDim];
    this.#scale = mlaSoftmaxScale(rope, nopeDim + ropeDim);
    const role = "latent" as const;
    const queryRows = heads * (nopeDim + ropeDim);
    const queries =
      queryRank === null ? { name: "q_proj", rows: queryRows } : { name: "q_a_proj", rows: queryRank };
    const parts = [queries, { name: "kv_a_proj_with_mqa", rows: latentRank + ropeDim }];
    this.#down = new Linear(scope, hidden, { key: "down", parts }, { role });
    this.#queryUp =
      queryRank === null
        ? null
        : {
            norm: new RmsNorm(scope.child("q_a_layernorm"), queryRank, latentEpsilon),
            projection: new Linear(scope.child("q_b_proj"), queryRank, queryRows, { role }),
          };
    this.#latentNorm = new RmsNorm(scope.child("kv_a_layernorm"), latentRank, latentEpsilon);
    this.#up = latentUp(scope, config);
    this.#output = new Linear(scope.child("o_proj"), heads * valueDim, hidden);
  }

  /** @param layer index of the layer in the caches */
  forward(x: Tensor, context: ForwardContext, layer: number): Tensor {
    const { heads: H, queryRank, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const { batch: B, tokens: T, tables, positions, segments, documents, mlaForm } = context;
    const width = queryRank ?? H * (N + R);
    const [down, compressed, shared] = split(this.#down.forward(x), [width, C, R]); // [B, T, (width | C | R)]
    const up = this.#queryUp;
    const flat = up === null ? down : up.projection.forward(up.norm.forward(down)); // [B, T, H (N + R)]
    const pairing = "interleaved" as const;
    const q = rotary(reshape(flat, [B, T, H, N + R]), tables, positions, { start: N, pairing }); // [B, T, H, N + R]
    const turned = rotary(reshape(shared, [B, T, 1, R]), tables, positions, { start: 0, pairing });
    const kRope = reshape(turned, [B, T, R]); // [B, T, R]
    const latent = this.#latentNorm.forward(compressed); // [B, T, C]
    let mixed: Tensor; // [B, T, H, V]
    if (segments !== null) mixed = this.#overCaches(q, latent, kRope, segments, layer, mlaForm);
    else if (mlaForm === "absorbed") mixed = this.#overLatents(q, latent, kRope);
    else mixed = this.#expanded(q, latent, kRope, documents);
    return this.#output.forward(reshape(mixed, [B, T, H * V])); // [B, T, d]
  }

  /** Keys and values rebuilt: queries `[B, T, H, N + R]` over latents `[B, S, C]` and keys `[B, S, R]`. */
  #expanded(q: Tensor, latents: Tensor, ropes: Tensor, documents: readonly number[] | null = null): Tensor {
    const [k, v] = mlaExpand(this.#up.expand(latents), ropes, this.#config.nopeDim); // [B, S, H, N + R], [B, S, H, V]
    const options = { scale: this.#scale };
    if (documents !== null) return attentionIsolated(q, k, v, documents, options); // [B, T, H, V]
    return attention(q, k, v, options); // [B, T, H, V]
  }

  /** The absorbed form without a cache; no gradients. */
  #overLatents(q: Tensor, latent: Tensor, kRope: Tensor): Tensor {
    const { latentRank: C, ropeDim: R } = this.#config;
    const [B, T] = latent.shape;
    const keys = q.device.empty([B, T, 1, C + R]);
    copyRows(latent, keys, B * T, C, C, C + R);
    copyRows(kRope, keys, B * T, R, R, C + R, 0, C);
    return this.#absorb(q, (query) => attention(query, keys, null, { scale: this.#scale, valueWidth: C }));
  }

  /** Every sequence over its cache, which the new tokens join; sequences in the absorbed form share its products. */
  #overCaches(
    q: Tensor,
    latent: Tensor,
    kRope: Tensor,
    segments: readonly PlacedSegment[],
    layer: number,
    form: MlaForm,
  ): Tensor {
    const { latentRank: C } = this.#config;
    writeCaches(latent, layer, 0, segments);
    writeCaches(kRope, layer, 0, segments, C);
    const scale = this.#scale;
    const inLatents = ({ tokens, length }: PlacedSegment) =>
      form === "absorbed" || (form === "auto" && absorbs(this.#config, tokens, length));
    const together = (rows: Tensor, run: readonly PlacedSegment[]) =>
      this.#absorb(rows, (query) => {
        const caches = run.map(({ cache, tokens, length }) => {
          return { runs: cache.runs(layer, length), rows: tokens, length };
        });
        const options = { scale, keyValueHeads: 1, valueWidth: C };
        const mixed = attentionSequences(query.view(query.shape.slice(1)), caches, options); // [n, H, C]
        return mixed.view([1, ...mixed.shape]);
      });
    const each = (rows: Tensor, segment: PlacedSegment) => {
      const { row, start, length } = segment;
      if (start === 0)
        return this.#expanded(rows, rowsOf(latent, row, row + length), rowsOf(kRope, row, row + length));
      return this.#overPast(rows, layer, segment);
    };
    return attendSegments(q, segments, inLatents, together, each);
  }

  /** The expanded form over a cache, whose keys and values are rebuilt a block at a time. */
  #overPast(q: Tensor, layer: number, { cache, start, length }: PlacedSegment): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const block = (begin: number, end: number) => {
      const part = (channel: number, n: number) => cache.read(layer, 0, begin, end - begin, channel, n);
      return [part(0, C), part(C, R)] as const;
    };
    if (length <= foldedKeys) return this.#expanded(q, ...block(0, length));
    using state = new AttentionState(q.device, 1, q.shape[1], H, V);
    for (let begin = 0; begin < length; begin += foldedKeys) {
      q.device.tidy(() => {
        const [latents, ropes] = block(begin, Math.min(length, begin + foldedKeys));
        const [k, v] = mlaExpand(this.#up.expand(latents), ropes, N); // [1, S, H, N + R], [1, S, H, V]
        foldAttention(state, q, k, v, { scale: this.#scale, firstKey: begin, firstQuery: start });
      });
    }
    return finishAttention(state); // [1, T, H, V]
  }

  /**
   * The absorbed form of queries `[B, T, H, N + R]` around `attend`, which takes queries `[B, T, H, C + R]` over
   * latents with their rotated keys to mixed latents `[B, T, H, C]`. No gradients: training takes the expanded form.
   */
  #absorb(q: Tensor, attend: (query: Tensor) => Tensor): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R } = this.#config;
    const [B, T] = q.shape;
    const W = C + R;
    const query = q.device.empty([B, T, H, W]);
    this.#up.absorbQueries(q, query);
    copyRows(q, query, B * T * H, R, N + R, W, N, C);
    return this.#up.values(attend(query)); // [B, T, H, V]
  }
}
