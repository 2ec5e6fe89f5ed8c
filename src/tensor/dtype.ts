/** Element types of tensors, their sizes and the typed arrays that hold them. */
import { bf16ToF32, f16ToF32, f32ToBf16, f32ToF16 } from "./float-formats.ts";

/** `bf16` and `f16` are storage types of weights; arithmetic is in f32. */
export type DType = "f32" | "bf16" | "f16" | "i32" | "u8";

/** How an element looks in memory: bf16 and f16 as their 16 bits. */
export type RawArray = Float32Array | Uint16Array | Int32Array | Uint8Array;

export const bytesPerElement: Readonly<Record<DType, number>> = { f32: 4, bf16: 2, f16: 2, i32: 4, u8: 1 };

/** Code of a float dtype as kernels take it in an integer argument. */
export function dtypeCode(dtype: DType): number {
  return dtype === "bf16" ? 1 : dtype === "f16" ? 2 : 0;
}

export function isFloat(dtype: DType): boolean {
  return dtype === "f32" || dtype === "bf16" || dtype === "f16";
}

export function rawArray(dtype: DType, length: number): RawArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(length);
    case "i32":
      return new Int32Array(length);
    case "u8":
      return new Uint8Array(length);
    default:
      return new Uint16Array(length);
  }
}

/** A typed view of `length` elements of `dtype` at byte `offset` of `buffer`. */
export function rawView(dtype: DType, buffer: ArrayBufferLike, offset: number, length: number): RawArray {
  switch (dtype) {
    case "f32":
      return new Float32Array(buffer, offset, length);
    case "i32":
      return new Int32Array(buffer, offset, length);
    case "u8":
      return new Uint8Array(buffer, offset, length);
    default:
      return new Uint16Array(buffer, offset, length);
  }
}

/** Numbers to the raw form of `dtype`; floats round to nearest even. A raw array of the right type passes through. */
export function toRaw(dtype: DType, values: ArrayLike<number>): RawArray {
  switch (dtype) {
    case "f32":
      return values instanceof Float32Array ? values : Float32Array.from(values);
    case "i32":
      return values instanceof Int32Array ? values : Int32Array.from(values);
    case "u8":
      return values instanceof Uint8Array ? values : Uint8Array.from(values);
    case "bf16":
      if (values instanceof Uint16Array) return values;
      return f32ToBf16(values instanceof Float32Array ? values : Float32Array.from(values));
    case "f16":
      if (values instanceof Uint16Array) return values;
      return f32ToF16(values instanceof Float32Array ? values : Float32Array.from(values));
  }
}

/** Raw bf16 and f16 to f32; other types pass through. */
export function fromRaw(dtype: DType, raw: RawArray): Float32Array | Int32Array | Uint8Array {
  if (dtype === "bf16") return bf16ToF32(raw as Uint16Array);
  if (dtype === "f16") return f16ToF32(raw as Uint16Array);
  return raw as Float32Array | Int32Array | Uint8Array;
}
