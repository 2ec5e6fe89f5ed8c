/**
 * Random quantized weights at memory speed, for models of billions of weights that are made only to be measured: one
 * pool of tiles with normal values, repeated from random places.
 */
import { f32ToF16 } from "../tensor/float-formats.ts";
import { type QuantFormat, type QuantizedTensor, TILE_ROWS, tileBytes } from "../tensor/quantized.ts";
import type { Random } from "../tensor/random.ts";

const POOL_TILES = 4096;
const SCALE_BYTES = 2 * TILE_ROWS;
/** Deviations that the largest stored value stands for. */
const REACH: Readonly<Record<QuantFormat, number>> = { q4: 2.7, q8: 4 };
const LARGEST: Readonly<Record<QuantFormat, number>> = { q4: 7, q8: 127 };

/** A pool of tiles whose values have standard deviation `std`, about. */
export function tilePool(format: QuantFormat, random: Random, std: number): Uint8Array {
  const largest = LARGEST[format];
  const step = REACH[format] / largest;
  const [scale] = f32ToF16(Float32Array.of(std * step));
  const draw = () => Math.max(-largest, Math.min(largest, Math.round(random.normal() / step)));
  const size = tileBytes[format];
  const pool = new Uint8Array(POOL_TILES * size);
  for (let tile = 0; tile < POOL_TILES; tile++) {
    for (let row = 0; row < TILE_ROWS; row++) {
      pool[tile * size + 2 * row] = scale & 255;
      pool[tile * size + 2 * row + 1] = scale >> 8;
    }
    for (let at = tile * size + SCALE_BYTES; at < (tile + 1) * size; at++) {
      pool[at] = format === "q8" ? draw() & 255 : (draw() + 8) | ((draw() + 8) << 4);
    }
  }
  return pool;
}

/** Fills `weight` with tiles of `pool`. */
export function fillTiles(weight: QuantizedTensor, pool: Uint8Array, random: Random): void {
  const size = tileBytes[weight.format];
  for (const { tiles } of weight.shards) {
    for (let at = 0; at < tiles.size; ) {
      const from = Math.floor(random.uniform() * POOL_TILES) * size;
      const run = pool.subarray(from, Math.min(pool.length, from + tiles.size - at));
      tiles.set(run, at);
      at += run.length;
    }
  }
}
