/**
 * The CPU backend: WebAssembly SIMD kernels on all cores over shared memory.
 *
 * Activations live in the first memory ("home"). Weights fill it first and then further memories of up to 4 GiB
 * each; a kernel runs where its weights are, with its activations copied there and its results back.
 */
import type { Backend, Buffer, MemoryUse, Operand } from "../backend.ts";
import { bytesPerElement, type DType, type RawArray, rawView } from "../dtype.ts";
import { DeepseekError } from "../errors.ts";
import type { Kernel } from "../kernel.ts";
import { Device } from "../tensor.ts";
import { Arena } from "./arena.ts";
import {
  availableThreads,
  isPage,
  joinVectors,
  readKernelFile,
  startWorker,
  type WorkerHandle,
} from "./host.ts";
import { instantiate, type KernelInstance, LEAVE, type WorkerMessage } from "./instance.ts";

/** Where the arguments of the call in progress lie, in every memory. */
const ARGS = 4096;
const SCRATCH_BYTES = 4 * 1024 * 1024;
/** Calls cheaper than this many element visits stay on one thread: waking the others would cost more. */
const PARALLEL_WORK = 60_000;

export interface CpuOptions {
  /** Threads including the caller's; default: the machine's cores. */
  readonly threads?: number;
  /** Relaxed SIMD kernels (fused multiply-add); default: where the engine has them. */
  readonly relaxed?: boolean;
  /**
   * Let the engine join pairs of 128-bit vectors into one of 256 bits, with the same results; default: where Node
   * is known to do it well (`joinVectors`). Only with relaxed kernels.
   */
  readonly wide?: boolean;
  /** Bytes of one memory, for tests of models that need several; default 4 GiB. */
  readonly arenaBytes?: number;
  /** Calls cheaper than this many element visits stay on one thread; default 60,000. */
  readonly parallelWork?: number;
}

class CpuBuffer implements Buffer {
  readonly dtype: DType;
  readonly length: number;
  readonly arena: number;
  readonly address: number;
  alive = true;

  constructor(dtype: DType, length: number, arena: number, address: number) {
    this.dtype = dtype;
    this.length = length;
    this.arena = arena;
    this.address = address;
  }

  get bytes(): number {
    return this.length * bytesPerElement[this.dtype];
  }
}

class CpuBackend implements Backend {
  readonly name = "cpu";
  readonly threads: number;
  /** Whether the relaxed SIMD kernels run. */
  readonly relaxed: boolean;
  /** Whether the engine joins pairs of vectors; see `joinVectors`. */
  readonly wide: boolean;
  #module: WebAssembly.Module;
  #numbers: Readonly<Record<string, number>>;
  #workers: WorkerHandle[] = [];
  #arenas: { arena: Arena; kernels: KernelInstance }[] = [];
  #arenaBytes: number | undefined;
  #parallelWork: number;
  #calls = 0;
  #buffers = 0;
  #bytes = 0;
  #peakBytes = 0;

  constructor(
    module: WebAssembly.Module,
    numbers: Readonly<Record<string, number>>,
    threads: number,
    relaxed: boolean,
    wide: boolean,
    options: CpuOptions,
  ) {
    this.threads = threads;
    this.relaxed = relaxed;
    this.wide = wide;
    this.#module = module;
    this.#numbers = numbers;
    this.#arenaBytes = options.arenaBytes;
    this.#parallelWork = options.parallelWork ?? PARALLEL_WORK;
  }

  async start(): Promise<void> {
    this.#workers = await Promise.all(Array.from({ length: this.threads - 1 }, () => startWorker()));
    const ready = this.#workers.map((worker) => worker.next());
    this.#addArena();
    await Promise.all(ready);
  }

  #addArena(): void {
    const arena = new Arena(this.#arenaBytes);
    const scratch = Array.from({ length: this.threads }, () => arena.alloc(SCRATCH_BYTES));
    if (this.#arenas.length > 0) this.#post(0, LEAVE, this.threads);
    const kernels = instantiate(this.#module, arena.memory, 0, scratch[0], SCRATCH_BYTES, this.wide);
    if (isPage()) kernels.forbid_sleep();
    this.#arenas.push({ arena, kernels });
    this.#workers.forEach((worker, i) => {
      const message: WorkerMessage = {
        module: this.#module,
        thread: i + 1,
        arenas: [{ memory: arena.memory, scratch: scratch[i + 1], scratchBytes: SCRATCH_BYTES }],
        wide: this.wide,
        seen: this.#calls,
      };
      worker.post(message);
    });
  }

  alloc(dtype: DType, length: number, weights = false): Buffer {
    const bytes = length * bytesPerElement[dtype];
    let index = 0;
    let address = this.#arenas[0].arena.alloc(bytes);
    if (address === 0 && weights) {
      for (index = 1; address === 0; index++) {
        if (index === this.#arenas.length) {
          this.#addArena();
          if (this.#arenas[index].arena.room < bytes) break;
        }
        address = this.#arenas[index].arena.alloc(bytes);
      }
      index--;
    }
    if (address === 0) {
      throw new DeepseekError("a buffer does not fit in one WebAssembly memory", {
        where: "cpu",
        expected: `at most ${this.#arenas[0].arena.room} bytes`,
        found: `${bytes} bytes`,
        hint: "Use a smaller batch, context or weight dtype.",
      });
    }
    this.#buffers++;
    this.#bytes += bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return new CpuBuffer(dtype, length, index, address);
  }

  free(buffer: Buffer): void {
    const owned = buffer as CpuBuffer;
    if (!owned.alive) return;
    owned.alive = false;
    this.#buffers--;
    this.#bytes -= owned.bytes;
    this.#arenas[owned.arena]?.arena.free(owned.address, owned.bytes);
  }

  #view(buffer: Buffer, offset: number, length: number): RawArray {
    const { arena, address, dtype } = buffer as CpuBuffer;
    return rawView(
      dtype,
      this.#arenas[arena].arena.memory.buffer,
      address + offset * bytesPerElement[dtype],
      length,
    );
  }

  write(buffer: Buffer, offset: number, data: RawArray): void {
    this.#view(buffer, offset, data.length).set(data);
  }

  async read(buffer: Buffer, offset: number, length: number): Promise<RawArray> {
    return this.#view(buffer, offset, length).slice();
  }

  run(
    kernel: Kernel,
    operands: readonly (Operand | null)[],
    ints: readonly number[],
    floats: readonly number[],
  ): void {
    const number = this.#numbers[kernel.name];
    if (number === undefined) {
      throw new DeepseekError("no such kernel in this build", {
        where: "cpu",
        name: kernel.name,
        hint: "Run `npm run build:kernels`.",
      });
    }
    let index = 0;
    for (const operand of operands) {
      const arena = operand ? (operand.buffer as CpuBuffer).arena : 0;
      if (arena !== 0 && index !== 0 && arena !== index) {
        throw new DeepseekError("operands in two weight memories", { where: "cpu", name: kernel.name });
      }
      index = Math.max(index, arena);
    }
    const visits = index === 0 ? [] : this.#visit(kernel, operands, index);
    const { arena, kernels } = this.#arenas[index];
    const words = operands.length + ints.length + floats.length;
    const integers = new Int32Array(arena.memory.buffer, ARGS, words);
    const reals = new Float32Array(arena.memory.buffer, ARGS, words);
    let at = 0;
    for (let i = 0; i < operands.length; i++) {
      const operand = operands[i];
      if (operand === null) integers[at++] = 0;
      else {
        const { address, dtype } = operand.buffer as CpuBuffer;
        integers[at++] = visits[i]?.address ?? address + operand.offset * bytesPerElement[dtype];
      }
    }
    for (const value of ints) integers[at++] = value;
    for (const value of floats) reals[at++] = value;
    const threads = this.threads > 1 && kernel.work(ints) >= this.#parallelWork ? this.threads : 1;
    kernels.prepare(threads);
    if (threads > 1) this.#post(index, number, threads);
    kernels.execute(number, ARGS);
    if (threads > 1) this.#arenas[0].kernels.join(threads - 1);
    for (const visit of visits) visit?.leave();
  }

  /** Tells the workers of a call; for `LEAVE`, waits until all have left. */
  #post(arena: number, kernel: number, threads: number): void {
    const home = this.#arenas[0].kernels;
    this.#calls++;
    home.post(kernel, ARGS, threads, arena);
    if (kernel === LEAVE) home.join(this.#workers.length);
  }

  /** Copies operands of other memories into memory `index` and the results back. */
  #visit(
    kernel: Kernel,
    operands: readonly (Operand | null)[],
    index: number,
  ): ({ address: number; leave: () => void } | null)[] {
    const host = this.#arenas[index].arena;
    return operands.map((operand, i) => {
      if (operand === null) return null;
      const buffer = operand.buffer as CpuBuffer;
      if (buffer.arena === index) return null;
      const size = bytesPerElement[buffer.dtype];
      const bytes = (buffer.length - operand.offset) * size;
      const address = host.alloc(bytes);
      if (address === 0) {
        throw new DeepseekError("no room for activations beside the weights", {
          where: "cpu",
          name: kernel.name,
          found: `${bytes} bytes`,
        });
      }
      const kind = kernel.operandKinds[i];
      const there = () => new Uint8Array(host.memory.buffer, address, bytes);
      const here = () =>
        new Uint8Array(
          this.#arenas[buffer.arena].arena.memory.buffer,
          buffer.address + operand.offset * size,
          bytes,
        );
      // An output may be written in part only, so its old content comes along.
      there().set(here());
      return {
        address,
        leave: () => {
          if (!kind.startsWith("in ")) here().set(there());
          host.free(address, bytes);
        },
      };
    });
  }

  memory(): MemoryUse {
    return { buffers: this.#buffers, bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  async dispose(): Promise<void> {
    if (this.#arenas.length === 0) return;
    if (this.#workers.length > 0) this.#post(0, LEAVE, this.threads);
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
    this.#workers = [];
    this.#arenas = [];
  }
}

/** Whether this engine runs relaxed SIMD: a function that swizzles is valid. */
function hasRelaxedSimd(): boolean {
  // biome-ignore format: one module
  return WebAssembly.validate(new Uint8Array([
    0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, 65, 1, 253, 15, 65, 2, 253, 15,
    253, 128, 2, 11,
  ]));
}

/**
 * Starts the CPU backend. @throws DeepseekError where the page is not cross-origin isolated and therefore has no
 * shared memory
 */
export async function createCpuDevice(options: CpuOptions = {}): Promise<Device> {
  if (typeof SharedArrayBuffer === "undefined") {
    throw new DeepseekError("this page has no shared memory", {
      where: "cpu",
      hint: "Serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp.",
    });
  }
  const relaxed = options.relaxed ?? hasRelaxedSimd();
  const wide = relaxed && (options.wide ?? true) && (await joinVectors(options.wide === true));
  const [bytes, table] = await Promise.all([
    readKernelFile(relaxed ? "relaxed.wasm" : "baseline.wasm"),
    readKernelFile("kernels.json"),
  ]);
  const module = await WebAssembly.compile(bytes);
  const numbers = JSON.parse(new TextDecoder().decode(table)) as Record<string, number>;
  const threads = Math.max(1, options.threads ?? (await availableThreads()));
  const backend = new CpuBackend(module, numbers, threads, relaxed, wide, options);
  await backend.start();
  return new Device(backend);
}

export type { CpuBackend };
