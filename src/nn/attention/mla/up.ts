/**
 * The up-projections of latent attention, from latents to the keys and values of all heads (`W_UK` and `W_UV` of
 * arXiv 2405.04434 section 2.1), in either storage: the official matrix, or the two halves per head that quantized
 * models hold. Both rebuild keys and values (expanded form) and move to queries and outputs (absorbed form).
 */

import { ConfigError } from "../../../tensor/errors.ts";
import { scale } from "../../../tensor/ops/elementwise.ts";
import { linear } from "../../../tensor/ops/linear.ts";
import { type Adapter, addLowRank } from "../../../tensor/ops/low-rank.ts";
import { matmulInto } from "../../../tensor/ops/matmul.ts";
import { copyRows } from "../../../tensor/ops/memory.ts";
import { dequantizeRows } from "../../../tensor/ops/quantize.ts";
import { quantizedMatmulInto } from "../../../tensor/ops/quantized-linear.ts";
import { reshape } from "../../../tensor/ops/reshape.ts";
import { roundedLinear } from "../../../tensor/ops/rounded.ts";
import { isQuantized, type QuantizedTensor } from "../../../tensor/quantized.ts";
import type { Shape, Tensor } from "../../../tensor/tensor.ts";
import type { ParameterGroup } from "../../parameter-group.ts";
import type { ParameterScope } from "../../scope.ts";
import type { MlaConfig } from "./config.ts";
import { latentLayout } from "./layout.ts";

export interface LatentUp {
  /** Latents `[B, S, C]` to keys beside values `[B, S, H, N + V]`. */
  expand(latents: Tensor): Tensor;
  /** Queries `[B, T, H, N + R]` times `W_UK`, into the first C channels of `target: [B, T, H, C + R]`. */
  absorbQueries(q: Tensor, target: Tensor): void;
  /** Mixed latents `[B, T, H, C]` times `W_UV`: `[B, T, H, V]`. */
  values(mixed: Tensor): Tensor;
}

/** Declares the up-projections of a layer: one matrix, or the two halves if they are quantized. */
export function latentUp(scope: ParameterScope, config: MlaConfig): LatentUp {
  const [first, values] = scope.layout(latentLayout(config));
  return values === undefined ? new OfficialUp(first, config) : new HalvedUp(first, values, config);
}

function quantized({ weight, key }: ParameterGroup): QuantizedTensor {
  if (isQuantized(weight)) return weight;
  throw new ConfigError("the halves of the latent projection are not quantized", {
    where: "latentUp",
    name: key,
  });
}

/** Latents times the official matrix `[H (N + V), C]`, with what its adapter adds, as `shape`. */
function expanded(latents: Tensor, weight: Tensor, adapter: Adapter | null, shape: Shape): Tensor {
  const y = linear(latents, weight);
  return reshape(adapter === null ? y : addLowRank(y, latents, adapter), shape); // [B, S, H, N + V]
}

/** What an adapter of the official matrix adds to `absorbQueries`: q B_keys A, for each head its rows of B. */
function adaptQueries(q: Tensor, target: Tensor, adapter: Adapter | null, config: MlaConfig): void {
  const { heads: H, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = config;
  const rows = q.shape[0] * q.shape[1];
  for (const { a, b } of adapter?.terms ?? []) {
    const [rank] = a.shape;
    const inner = q.device.empty([rows, H, rank]);
    matmulInto(
      q.device,
      { m: rows, n: rank, k: N, batch: H },
      { tensor: q, row: H * (N + R), batch: N + R },
      { tensor: b, row: rank, batch: (N + V) * rank },
      { tensor: inner, row: H * rank, batch: rank },
    );
    matmulInto(
      q.device,
      { m: rows, n: C, k: rank, batch: H },
      { tensor: scale(inner, adapter!.factor), row: H * rank, batch: rank },
      { tensor: a, row: C },
      { tensor: target, row: H * (C + R), batch: C + R },
      1,
    );
  }
}

/** What it adds to `values`: mixed A^T B_values^T. */
function adaptValues(mixed: Tensor, values: Tensor, adapter: Adapter | null, config: MlaConfig): void {
  const { heads: H, latentRank: C, nopeDim: N, valueDim: V } = config;
  const rows = mixed.shape[0] * mixed.shape[1];
  for (const { a, b } of adapter?.terms ?? []) {
    const [rank] = a.shape;
    const inner = mixed.device.empty([rows, H, rank]);
    matmulInto(
      mixed.device,
      { m: rows * H, n: rank, k: C },
      { tensor: mixed, row: C },
      { tensor: a, row: 1, column: C },
      { tensor: inner, row: rank },
    );
    matmulInto(
      mixed.device,
      { m: rows, n: V, k: rank, batch: H },
      { tensor: scale(inner, adapter!.factor), row: H * rank, batch: rank },
      { tensor: b, offset: N * rank, row: 1, column: rank, batch: (N + V) * rank },
      { tensor: values, row: H * V, batch: V },
      1,
    );
  }
}

/** `kv_b_proj [H (N + V), C]` in floats. */
class OfficialUp implements LatentUp {
  readonly #weight: ParameterGroup;
  readonly #config: MlaConfig;

  constructor(weight: ParameterGroup, config: MlaConfig) {
    this.#weight = weight;
    this.#config = config;
  }

  expand(latents: Tensor): Tensor {
    const { heads: H, nopeDim: N, valueDim: V } = this.#config;
    const [B, S] = latents.shape;
    const { tensor, adapter, rounding } = this.#weight;
    if (rounding !== null) return reshape(roundedLinear(latents, tensor, null, rounding), [B, S, H, N + V]);
    return expanded(latents, tensor, adapter, [B, S, H, N + V]);
  }

  absorbQueries(q: Tensor, target: Tensor): void {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R, valueDim: V } = this.#config;
    const [B, T] = q.shape;
    matmulInto(
      q.device,
      { m: B * T, n: C, k: N, batch: H },
      { tensor: q, row: H * (N + R), batch: N + R },
      { tensor: this.#weight.tensor, row: C, batch: (N + V) * C },
      { tensor: target, row: H * (C + R), batch: C + R },
    );
    adaptQueries(q, target, this.#weight.adapter, this.#config);
  }

  values(mixed: Tensor): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, valueDim: V } = this.#config;
    const [B, T] = mixed.shape;
    const values = mixed.device.empty([B, T, H, V]);
    matmulInto(
      mixed.device,
      { m: B * T, n: V, k: C, batch: H },
      { tensor: mixed, row: H * C, batch: C },
      { tensor: this.#weight.tensor, offset: N * C, row: 1, column: C, batch: (N + V) * C },
      { tensor: values, row: H * V, batch: V },
    );
    adaptValues(mixed, values, this.#weight.adapter, this.#config);
    return values;
  }
}

/** Keys `[H, C, N]` (transposed) and values `[H, V, C]`, quantized. */
class HalvedUp implements LatentUp {
  readonly #keys: ParameterGroup;
  readonly #values: ParameterGroup;
  readonly #config: MlaConfig;

  constructor(keys: ParameterGroup, values: ParameterGroup, config: MlaConfig) {
    this.#keys = keys;
    this.#values = values;
    this.#config = config;
  }

  /** Rebuilds the official matrix in f32 for the call: a product over many tokens pays for it. */
  expand(latents: Tensor): Tensor {
    const { heads: H, latentRank: C, nopeDim: N, valueDim: V } = this.#config;
    const [B, S] = latents.shape;
    const { device } = latents;
    const weight = device.empty([H * (N + V), C]);
    const [allKeys, allValues] = [quantized(this.#keys), quantized(this.#values)];
    for (let h = 0; h < H; h++) {
      using keys = dequantizeRows(allKeys, h, 0, C, { transpose: true }); // [N, C]
      using values = dequantizeRows(allValues, h, 0, V); // [V, C]
      copyRows(keys, weight, 1, N * C, N * C, N * C, 0, h * (N + V) * C);
      copyRows(values, weight, 1, V * C, V * C, V * C, 0, (h * (N + V) + N) * C);
    }
    return expanded(latents, weight, this.#keys.adapter, [B, S, H, N + V]);
  }

  absorbQueries(q: Tensor, target: Tensor): void {
    const { heads: H, latentRank: C, nopeDim: N, ropeDim: R } = this.#config;
    const [B, T] = q.shape;
    quantizedMatmulInto(
      q.device,
      { m: B * T, n: C, k: N, batch: H },
      { tensor: q, row: H * (N + R), batch: N + R },
      quantized(this.#keys),
      { tensor: target, row: H * (C + R), batch: C + R },
    );
    adaptQueries(q, target, this.#keys.adapter, this.#config);
  }

  values(mixed: Tensor): Tensor {
    const { heads: H, latentRank: C, valueDim: V } = this.#config;
    const [B, T] = mixed.shape;
    const values = mixed.device.empty([B, T, H, V]);
    quantizedMatmulInto(
      mixed.device,
      { m: B * T, n: V, k: C, batch: H },
      { tensor: mixed, row: H * C, batch: C },
      quantized(this.#values),
      { tensor: values, row: H * V, batch: V },
    );
    adaptValues(mixed, values, this.#keys.adapter, this.#config);
    return values;
  }
}
