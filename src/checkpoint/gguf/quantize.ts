/**
 * Encoding of float32 to ggml's storage types F32, F16, BF16, Q8_0 and Q4_0. Q8_0 gives the bytes of ggml's reference
 * code. Q4_0 searches for the scale with the smallest squared error among a few near ggml's choice (the least-squares
 * search of its k-quants, without importance weights). Left out: encoding to other types.
 */
import { FormatError, ShapeError } from "../../tensor/errors.ts";
import { f32ToBf16, f32ToF16 } from "../../tensor/float-formats.ts";
import { ggmlBytes, ggmlTypes } from "./types.ts";

/** Types that can be written from float32. */
export type WritableType = "F32" | "F16" | "BF16" | "Q8_0" | "Q4_0";

const one = new Float32Array(1);
const oneHalf = new Uint16Array(1);

/** `value` rounded to half precision: its bits. */
function halfBits(value: number): number {
  one[0] = value;
  return f32ToF16(one, oneHalf)[0];
}

function refuse(name: string, type: WritableType, found: number): never {
  throw new FormatError(`a weight has no place in ${type}`, {
    where: "quantize",
    name,
    expected: type === "F16" ? "at most 65504 in size" : "finite values with a scale of at most 65504",
    found,
    hint: "Store the tensor as F32 or BF16",
  });
}

function q8_0(values: Float32Array, out: Uint8Array, name: string): void {
  const signed = new Int8Array(out.buffer, out.byteOffset, out.byteLength);
  for (let from = 0, to = 0; from < values.length; from += 32, to += 34) {
    let largest = 0;
    for (let i = 0; i < 32; i++) {
      const size = Math.abs(values[from + i]);
      // Also false for NaN, which must not get lost in comparisons.
      if (!(size <= 3.4028234663852886e38)) refuse(name, "Q8_0", values[from + i]);
      if (size > largest) largest = size;
    }
    const d = Math.fround(largest / 127);
    const inverse = d === 0 ? 0 : Math.fround(1 / d);
    const bits = halfBits(d);
    if (bits === 0x7c00) refuse(name, "Q8_0", largest);
    out[to] = bits & 255;
    out[to + 1] = bits >> 8;
    for (let i = 0; i < 32; i++) {
      const scaled = Math.fround(values[from + i] * inverse);
      // Halves away from zero, as C's roundf.
      signed[to + 2 + i] = scaled < 0 ? -Math.floor(0.5 - scaled) : Math.floor(scaled + 0.5);
    }
  }
}

/** Offsets from ggml's divisor -8 that are tried. */
const SEARCH = [-1, -0.6, -0.3, 0, 0.3, 0.6, 1];

function q4_0(values: Float32Array, out: Uint8Array, name: string): void {
  const block = new Float64Array(32);
  for (let from = 0, to = 0; from < values.length; from += 32, to += 18) {
    let extreme = 0;
    for (let i = 0; i < 32; i++) {
      const value = values[from + i];
      if (!(Math.abs(value) <= 3.4028234663852886e38)) refuse(name, "Q4_0", value);
      if (Math.abs(value) > Math.abs(extreme)) extreme = value;
      block[i] = value;
    }
    let inverse = 0;
    let scale = 0;
    let most = 0;
    for (let s = 0; s < SEARCH.length && extreme !== 0; s++) {
      const tried = (SEARCH[s] - 8) / extreme;
      let products = 0;
      let squares = 0;
      for (let i = 0; i < 32; i++) {
        const code = Math.min(15, (block[i] * tried + 8.5) | 0) - 8;
        products += block[i] * code;
        squares += code * code;
      }
      // With the best scale for its codes, products / squares, a candidate lowers the error by this much.
      const gain = squares === 0 ? 0 : (products * products) / squares;
      if (gain > most) {
        most = gain;
        inverse = tried;
        scale = products / squares;
      }
    }
    const bits = halfBits(scale);
    if ((bits & 0x7fff) === 0x7c00) refuse(name, "Q4_0", extreme);
    out[to] = bits & 255;
    out[to + 1] = bits >> 8;
    for (let i = 0; i < 16; i++) {
      const low = Math.min(15, (block[i] * inverse + 8.5) | 0);
      const high = Math.min(15, (block[i + 16] * inverse + 8.5) | 0);
      out[to + 2 + i] = low | (high << 4);
    }
  }
}

/**
 * The bytes of `values` in `type`. @throws ShapeError for part of a block, FormatError naming the tensor for a value
 * that the type cannot hold (F16 beyond 65504; not finite in Q8_0 and Q4_0)
 */
export function quantize(type: WritableType, values: Float32Array, name = "values"): Uint8Array {
  const block = ggmlTypes[type].values;
  if (values.length % block !== 0) {
    throw new ShapeError("columns do not form whole blocks", {
      where: "quantize",
      name,
      expected: `a multiple of ${block}`,
      found: values.length,
    });
  }
  if (type === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (type === "BF16") return new Uint8Array(f32ToBf16(values).buffer);
  if (type === "F16") {
    const halves = f32ToF16(values);
    for (let i = 0; i < halves.length; i++) {
      if ((halves[i] & 0x7fff) === 0x7c00 && Number.isFinite(values[i])) refuse(name, type, values[i]);
    }
    return new Uint8Array(halves.buffer);
  }
  const out = new Uint8Array(ggmlBytes(type, values.length));
  (type === "Q8_0" ? q8_0 : q4_0)(values, out, name);
  return out;
}
