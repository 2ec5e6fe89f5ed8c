/**
 * The interface between the tensor layer and what computes. A backend allocates buffers, moves data in and out and
 * runs kernels by name; everything else (shapes, gradients, memory scopes) is above it and the same for all.
 *
 * There are two backends: `reference` (plain double precision, the oracle) and `cpu` (WebAssembly). Calls
 * return at once; work runs in the order of the calls; only `read` waits.
 */
import type { DType, RawArray } from "./dtype.ts";

/** Memory owned by a backend, which may keep further fields here. */
export interface Buffer {
  readonly dtype: DType;
  /** Elements. */
  readonly length: number;
}

/** A buffer and the element at which an operand starts in it. */
export interface Operand {
  readonly buffer: Buffer;
  readonly offset: number;
}

export interface MemoryUse {
  /** Buffers alive. */
  readonly buffers: number;
  /** Bytes in those buffers. */
  readonly bytes: number;
  /** Largest `bytes` so far. */
  readonly peakBytes: number;
}

/** `in` is read, `out` is overwritten, `inout` both. `float` is f32, bf16 or f16. A trailing `?` may be absent. */
export type OperandKind = `${"in" | "out" | "inout"} ${"f32" | "i32" | "u8" | "float"}${"" | "?"}`;

/** A kernel as backends see it, without the types of its arguments. */
export interface Kernel {
  readonly name: string;
  readonly operandNames: readonly string[];
  readonly operandKinds: readonly OperandKind[];
  readonly intNames: readonly string[];
  readonly floatNames: readonly string[];
  work(ints: readonly number[]): number;
  reference(
    operands: readonly (Float64Array | Int32Array | Uint8Array | null)[],
    ints: readonly number[],
    floats: readonly number[],
  ): void;
}

export interface Backend {
  readonly name: string;
  /** Threads that share one kernel. Results do not depend on it. */
  readonly threads: number;
  /**
   * Uninitialized memory. `weights` marks long-lived storage, which may be placed in another arena. `near` names a
   * buffer that will be used together with this one: a hint, followed if there is room.
   */
  alloc(dtype: DType, length: number, weights?: boolean, near?: Buffer): Buffer;
  free(buffer: Buffer): void;
  /** Copies raw elements in; `data` has the raw type of the buffer's dtype. */
  write(buffer: Buffer, offset: number, data: RawArray): void;
  /**
   * The bytes of elements if the host can write them in place, so that files are read without a copy; null
   * elsewhere. No queued work may use them at that time.
   */
  mappedView?(buffer: Buffer, offset: number, length: number): Uint8Array | null;
  /** Number of the memory that holds the buffer, if a backend has several: one call for each spares copies. */
  memoryIndex?(buffer: Buffer): number;
  /** Copies raw elements out, after all work queued so far. */
  read(buffer: Buffer, offset: number, length: number): Promise<RawArray>;
  /** Queues a kernel: operands, integers and floats in the order of its definition; a null operand is absent. */
  run(
    kernel: Kernel,
    operands: readonly (Operand | null)[],
    ints: readonly number[],
    floats: readonly number[],
  ): void;
  memory(): MemoryUse;
  dispose(): Promise<void>;
}
