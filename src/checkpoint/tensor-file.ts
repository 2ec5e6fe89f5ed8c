/** What files of tensors have in common, regardless of their format: names, shapes, dtypes, and bytes on demand. */
import type { ByteSource } from "./byte-source.ts";
import type { SafetensorsDtype } from "./safetensors-dtype.ts";

export interface TensorInfo {
  readonly name: string;
  /** As safetensors names it, or what a file says if this package does not know the dtype. */
  readonly dtype: SafetensorsDtype | (string & {});
  readonly shape: readonly number[];
  /** Size of the values, one after another in the order of the shape. */
  readonly bytes: number;
}

export interface TensorFile {
  readonly source: ByteSource;
  readonly metadata: Record<string, string>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** The bytes of one tensor, little-endian. @throws FormatError if the file has no such tensor. */
  read(name: string): Promise<Uint8Array>;
  /** `byteLength` bytes of one tensor from `byteOffset` within it; ShapeError when outside. */
  readRange(name: string, byteOffset: number, byteLength: number, into?: Uint8Array): Promise<Uint8Array>;
}
