/**
 * The oracle: every float is a double, every kernel its plain reference. bf16 and f16 buffers hold values that
 * were rounded on the way in. Slow and obvious on purpose.
 */
import type { Backend, Buffer, Kernel, MemoryUse, Operand } from "../backend.ts";
import { bytesPerElement, type DType, fromRaw, isFloat, type RawArray, rawArray, toRaw } from "../dtype.ts";
import { Device } from "../tensor.ts";

type Values = Float64Array | Int32Array | Uint8Array;

class ReferenceBuffer implements Buffer {
  readonly dtype: DType;
  readonly length: number;
  readonly values: Values;

  constructor(dtype: DType, length: number) {
    this.dtype = dtype;
    this.length = length;
    this.values = isFloat(dtype) ? new Float64Array(length) : (rawArray(dtype, length) as Values);
    // Reading what nothing wrote must show.
    if (isFloat(dtype)) this.values.fill(Number.NaN);
  }
}

class ReferenceBackend implements Backend {
  readonly name = "reference";
  readonly threads = 1;
  #live = new Set<ReferenceBuffer>();
  #bytes = 0;
  #peakBytes = 0;

  alloc(dtype: DType, length: number): Buffer {
    const buffer = new ReferenceBuffer(dtype, length);
    this.#live.add(buffer);
    this.#bytes += length * bytesPerElement[dtype];
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return buffer;
  }

  free(buffer: Buffer): void {
    if (this.#live.delete(buffer as ReferenceBuffer))
      this.#bytes -= buffer.length * bytesPerElement[buffer.dtype];
  }

  write(buffer: Buffer, offset: number, data: RawArray): void {
    (buffer as ReferenceBuffer).values.set(fromRaw(buffer.dtype, data), offset);
  }

  async read(buffer: Buffer, offset: number, length: number): Promise<RawArray> {
    const values = (buffer as ReferenceBuffer).values.slice(offset, offset + length);
    return toRaw(buffer.dtype, isFloat(buffer.dtype) ? Float32Array.from(values) : values);
  }

  /** The doubles behind an operand, for tests that need more than f32 shows. */
  values(operand: Operand, length: number): Values {
    return (operand.buffer as ReferenceBuffer).values.subarray(operand.offset, operand.offset + length);
  }

  run(
    kernel: Kernel,
    operands: readonly (Operand | null)[],
    ints: readonly number[],
    floats: readonly number[],
  ): void {
    const arrays = operands.map((o) => o && (o.buffer as ReferenceBuffer).values.subarray(o.offset));
    kernel.reference(arrays, ints, floats);
  }

  memory(): MemoryUse {
    return { buffers: this.#live.size, bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  async dispose(): Promise<void> {
    this.#live.clear();
  }
}

/** A device that computes in double precision with the plain reference of every kernel. */
export function createReferenceDevice(): Device {
  return new Device(new ReferenceBackend());
}

export type { ReferenceBackend };
