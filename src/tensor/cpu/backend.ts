/**
 * The CPU backend: WebAssembly SIMD kernels on all cores over shared memory.
 *
 * Tensors go to the first memory while they fit. Weights leave a part of each memory free for activations and spill
 * over into further memories of up to 4 GiB each. A kernel runs where most of its operands are (see `placement.ts`).
 *
 * A kernel that traps fails its call with an error on all threads, and the device goes on. A thread that stops
 * makes the device unusable: every later call fails, but its tensors can still be read.
 */
import type { Backend, Buffer, Kernel, MemoryUse, Operand } from "../backend.ts";
import { bytesPerElement, type DType, type RawArray, rawView } from "../dtype.ts";
import { ConfigError, DeepseekError, DisposedError } from "../errors.ts";
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
import {
  failureText,
  instantiate,
  type KernelInstance,
  LEAVE,
  reportFailure,
  STALLED,
  type WorkerMessage,
} from "./instance.ts";
import { type Placement, place, type Span } from "./placement.ts";

/** Where the arguments of the call in progress lie, in every memory. */
const ARGS = 4096;
/** Up to the kernels' own data, which begin at the memory base of scripts/build-kernels.js. */
const ARGS_WORDS = (65536 - ARGS) >> 2;
const SCRATCH_BYTES = 4 * 1024 * 1024;
/** Calls cheaper than this many element visits stay on one thread: waking the others would cost more. */
const PARALLEL_WORK = 60_000;
/** Part of each memory that weights leave free for activations. */
const RESERVE = 1 / 4;
const NAPS_PER_SECOND = 20_000;
/** Threads beyond the cores only wait for each other, and each costs the memory of a JavaScript engine. */
const MOST_THREADS = 64;
/** Upper bound on any machine: the scratch memory of more threads would leave too little of the first memory. */
const MOST_CORES = 256;

export interface CpuOptions {
  /** Threads including the caller's, 1 to 64 or one per core; default: the machine's cores. */
  readonly threads?: number;
  /** Relaxed SIMD kernels (fused multiply-add); default: if the engine supports them. */
  readonly relaxed?: boolean;
  /**
   * Let the engine join pairs of 128-bit vectors into one of 256 bits, with the same results; default: if Node
   * is known to do it well (`joinVectors`). Only with relaxed kernels.
   */
  readonly wide?: boolean;
  /**
   * Keep sums of 4-bit products in 16 bits for a block of 32 columns, with the same results; default: where the processor has no
   * single instruction for sums of four products. Only with relaxed kernels.
   */
  readonly pairSums?: boolean;
  /** Bytes of one memory, for tests of models that need several; default 4 GiB. */
  readonly arenaBytes?: number;
  /** Calls cheaper than this many element visits stay on one thread; default 60,000. */
  readonly parallelWork?: number;
  /** Seconds without an answer (at least) after which a kernel thread counts as dead; default 30. */
  readonly timeout?: number;
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

/** One WebAssembly memory with its kernels, and its argument block as integers and as floats. */
interface Memory {
  readonly arena: Arena;
  readonly kernels: KernelInstance;
  integers: Int32Array;
  reals: Float32Array;
}

function argumentViews({ memory: { buffer } }: Arena): Pick<Memory, "integers" | "reals"> {
  return {
    integers: new Int32Array(buffer, ARGS, ARGS_WORDS),
    reals: new Float32Array(buffer, ARGS, ARGS_WORDS),
  };
}

class CpuBackend implements Backend {
  readonly name = "cpu";
  readonly threads: number;
  /** Whether the relaxed SIMD kernels run. */
  readonly relaxed: boolean;
  /** Whether the engine joins pairs of vectors; see `joinVectors`. */
  readonly wide: boolean;
  readonly #pairSums: boolean | null;
  #module: WebAssembly.Module;
  #numbers: Readonly<Record<string, number>>;
  #workers: WorkerHandle[] = [];
  #arenas: Memory[] = [];
  #arenaBytes: number | undefined;
  #parallelWork: number;
  #timeoutNaps: number;
  /** Why no kernel can run any more. */
  #broken: Error | null = null;
  #disposal: Promise<void> | null = null;
  #calls = 0;
  #buffers = 0;
  #bytes = 0;
  #peakBytes = 0;

  /** @internal */
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
    this.#pairSums = relaxed ? (options.pairSums ?? null) : false;
    this.#module = module;
    this.#numbers = numbers;
    this.#arenaBytes = options.arenaBytes;
    this.#parallelWork = options.parallelWork ?? PARALLEL_WORK;
    this.#timeoutNaps = Math.ceil((options.timeout ?? 30) * NAPS_PER_SECOND);
  }

  /** @throws DeepseekError if a thread does not start */
  async start(): Promise<void> {
    this.#workers = await Promise.all(Array.from({ length: this.threads - 1 }, () => startWorker()));
    try {
      const ready = Promise.all(this.#workers.map((worker) => worker.next()));
      this.#addArena();
      await ready;
    } catch (cause) {
      this.#broken = cause as Error;
      await this.dispose();
      if (cause instanceof DeepseekError) throw cause;
      throw new DeepseekError("a kernel thread did not start", {
        where: "cpu",
        found: (cause as Error).message,
        cause,
      });
    }
  }

  /** @throws DisposedError, DeepseekError if a thread has stopped */
  #check(running: boolean): void {
    if (this.#disposal !== null) {
      throw new DisposedError("device was already disposed", {
        where: "cpu",
        hint: "Dispose a device after everything that uses it.",
      });
    }
    if (!running) return;
    for (const worker of this.#workers) this.#broken ??= worker.failure;
    if (this.#broken === null) return;
    throw new DeepseekError("device is unusable: one of its threads has stopped", {
      where: "cpu",
      found: this.#broken.message,
      hint: "Its tensors can still be read; create another device to compute.",
      cause: this.#broken,
    });
  }

  /** Bytes of the largest buffer in a new memory. */
  get #freshRoom(): number {
    return Arena.capacity(this.#arenaBytes) - this.threads * SCRATCH_BYTES;
  }

  #addArena(): void {
    const arena = new Arena(this.#arenaBytes);
    const scratch = Array.from({ length: this.threads }, () => arena.alloc(SCRATCH_BYTES));
    if (this.#arenas.length > 0) this.#recall();
    const kernels = instantiate(
      this.#module,
      arena.memory,
      0,
      scratch[0],
      SCRATCH_BYTES,
      this.wide,
      this.#pairSums,
      this.#timeoutNaps,
    );
    if (isPage()) kernels.forbid_sleep();
    this.#arenas.push({ arena, kernels, ...argumentViews(arena) });
    this.#workers.forEach((worker, i) => {
      const message: WorkerMessage = {
        module: this.#module,
        thread: i + 1,
        arenas: [{ memory: arena.memory, scratch: scratch[i + 1], scratchBytes: SCRATCH_BYTES }],
        wide: this.wide,
        pairSums: this.#pairSums,
        timeoutNaps: this.#timeoutNaps,
        seen: this.#calls,
      };
      worker.post(message);
    });
  }

  alloc(dtype: DType, length: number, weights = false, near?: Buffer): Buffer {
    const bytes = length * bytesPerElement[dtype];
    this.#check(false);
    let address = 0;
    let index = -1;
    if (near) {
      const wanted = (near as CpuBuffer).arena;
      address = this.#arenas[wanted].arena.alloc(bytes);
      if (address !== 0) return this.#buffer(dtype, length, wanted, address);
    }
    while (address === 0 && ++index < this.#arenas.length) {
      const { arena } = this.#arenas[index];
      if (weights && arena.room < bytes + this.#freshRoom * RESERVE) continue;
      address = arena.alloc(bytes);
    }
    if (address === 0 && bytes <= this.#freshRoom) {
      this.#check(true);
      this.#addArena();
      address = this.#arenas[index].arena.alloc(bytes);
    }
    if (address === 0) {
      throw new DeepseekError("a buffer does not fit in one WebAssembly memory", {
        where: "cpu",
        expected: `at most ${this.#freshRoom} bytes`,
        found: `${bytes} bytes`,
        hint: "Use a smaller batch, context or weight dtype.",
      });
    }
    return this.#buffer(dtype, length, index, address);
  }

  #buffer(dtype: DType, length: number, arena: number, address: number): CpuBuffer {
    const buffer = new CpuBuffer(dtype, length, arena, address);
    this.#buffers++;
    this.#bytes += buffer.bytes;
    this.#peakBytes = Math.max(this.#peakBytes, this.#bytes);
    return buffer;
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
    this.#check(false);
    this.#view(buffer, offset, data.length).set(data);
  }

  mappedView(buffer: Buffer, offset: number, length: number): Uint8Array {
    this.#check(false);
    const { buffer: memory, byteOffset, byteLength } = this.#view(buffer, offset, length);
    return new Uint8Array(memory, byteOffset, byteLength);
  }

  memoryIndex(buffer: Buffer): number {
    return (buffer as CpuBuffer).arena;
  }

  async read(buffer: Buffer, offset: number, length: number): Promise<RawArray> {
    this.#check(false);
    return this.#view(buffer, offset, length).slice();
  }

  run(
    kernel: Kernel,
    operands: readonly (Operand | null)[],
    ints: readonly number[],
    floats: readonly number[],
  ): void {
    this.#check(true);
    const number = this.#numbers[kernel.name];
    if (number === undefined) {
      throw new DeepseekError("unknown kernel", {
        where: "cpu",
        name: kernel.name,
        hint: "Run `npm run build:kernels`.",
      });
    }
    const placement = this.#place(kernel, operands);
    const memory = this.#arenas[placement.arena];
    const { arena, kernels } = memory;
    // Memory that has grown shows as another buffer.
    if (memory.integers.buffer !== arena.memory.buffer) Object.assign(memory, argumentViews(arena));
    const { integers, reals } = memory;
    let at = 0;
    for (const address of placement.addresses) integers[at++] = address;
    for (const value of ints) integers[at++] = value;
    for (const value of floats) reals[at++] = value;
    const threads = this.threads > 1 && kernel.work(ints) >= this.#parallelWork ? this.threads : 1;
    kernels.prepare(threads);
    if (threads > 1) this.#post(placement.arena, number, threads);
    try {
      kernels.execute(number, ARGS);
    } catch (error) {
      reportFailure(kernels, arena.memory, error);
    }
    const stalled =
      threads > 1 && (kernels.failed() === STALLED || this.#arenas[0].kernels.join(threads - 1) === 0);
    if (stalled || kernels.failed() !== 0) this.#fail(kernel, placement, stalled);
    placement.leave(true);
  }

  /** Ends a failed call. @throws DeepseekError always */
  #fail(kernel: Kernel, placement: Placement, stalled: boolean): never {
    const { arena, kernels } = this.#arenas[placement.arena];
    if (stalled) {
      this.#broken = new Error(`no answer in kernel ${kernel.name}`);
      this.#check(true);
    }
    const text = failureText(arena.memory);
    kernels.recover();
    placement.leave(false);
    throw new DeepseekError("a kernel failed", {
      where: "cpu",
      name: kernel.name,
      found: text,
      hint: "This can be caused by an index out of range. The output of the call is undefined.",
    });
  }

  /** The memory in which a call runs and where its operands are there. @throws DeepseekError */
  #place(kernel: Kernel, operands: readonly (Operand | null)[]): Placement {
    const first = (operands.find((operand) => operand !== null)?.buffer as CpuBuffer | undefined)?.arena ?? 0;
    const addresses = operands.map((operand) => {
      if (operand === null) return 0;
      const { address, dtype } = operand.buffer as CpuBuffer;
      return address + operand.offset * bytesPerElement[dtype];
    });
    if (operands.every((operand) => operand === null || (operand.buffer as CpuBuffer).arena === first)) {
      return { arena: first, addresses, leave: () => {} };
    }
    const spans = operands.map((operand, i): Span | null => {
      if (operand === null) return null;
      const owner = operand.buffer as CpuBuffer;
      const written = !kernel.operandKinds[i].startsWith("in ");
      return { arena: owner.arena, begin: addresses[i], end: owner.address + owner.bytes, owner, written };
    });
    const arenas = () => this.#arenas.map(({ arena }) => arena);
    let placement = place(arenas(), spans);
    if (placement === null) {
      this.#addArena();
      placement = place(arenas(), spans);
    }
    if (placement === null) {
      const bytes = spans.reduce((sum, span) => sum + (span ? span.end - span.begin : 0), 0);
      throw new DeepseekError("the operands of a call do not fit in one WebAssembly memory", {
        where: "cpu",
        name: kernel.name,
        expected: `at most ${this.#freshRoom} bytes`,
        found: `${bytes} bytes`,
        hint: "Use a smaller batch, context or weight dtype.",
      });
    }
    return placement;
  }

  /** Tells the workers of a call. */
  #post(arena: number, kernel: number, threads: number): void {
    this.#calls++;
    this.#arenas[0].kernels.post(kernel, ARGS, threads, arena);
  }

  /** Sends the workers back to their event loops. @throws DeepseekError if one does not answer */
  #recall(): void {
    if (this.#workers.length === 0) return;
    this.#post(0, LEAVE, this.threads);
    if (this.#arenas[0].kernels.join(this.#workers.length) === 1) return;
    this.#broken = new Error("no answer while waiting for calls");
    this.#check(true);
  }

  memory(): MemoryUse {
    return { buffers: this.#buffers, bytes: this.#bytes, peakBytes: this.#peakBytes };
  }

  dispose(): Promise<void> {
    this.#disposal ??= this.#end();
    return this.#disposal;
  }

  async #end(): Promise<void> {
    const gone = this.#broken !== null || this.#workers.some((worker) => worker.failure !== null);
    // A thread that waits in WebAssembly does not receive messages.
    if (!gone && this.#workers.length > 0) {
      this.#post(0, LEAVE, this.threads);
      this.#arenas[0].kernels.join(this.#workers.length);
    }
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

/** The number of threads that is asked for. @throws ConfigError outside what a machine can use */
function threadCount(asked: number | undefined, cores: number): number {
  const usable = Math.min(Math.max(1, cores), MOST_CORES);
  const most = Math.max(MOST_THREADS, usable);
  const threads = asked ?? usable;
  if (Number.isInteger(threads) && threads >= 1 && threads <= most) return threads;
  throw new ConfigError("invalid number of threads", {
    where: "cpu",
    name: "threads",
    expected: `an integer from 1 to ${most}`,
    found: threads,
    hint: `One per core, ${usable} here, is fastest.`,
  });
}

/**
 * Starts the CPU backend. @throws ConfigError for a number of threads out of range, DeepseekError if the page is
 * not cross-origin isolated and therefore has no shared memory
 */
export async function createCpuDevice(options: CpuOptions = {}): Promise<Device> {
  if (typeof SharedArrayBuffer === "undefined") {
    throw new DeepseekError("SharedArrayBuffer is not available on this page", {
      where: "cpu",
      hint: "Serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp.",
    });
  }
  const threads = threadCount(options.threads, await availableThreads());
  const relaxed = options.relaxed ?? hasRelaxedSimd();
  const wide = relaxed && (options.wide ?? true) && (await joinVectors(options.wide === true));
  const [bytes, table] = await Promise.all([
    readKernelFile(relaxed ? "relaxed.wasm" : "baseline.wasm"),
    readKernelFile("kernels.json"),
  ]);
  const module = await WebAssembly.compile(bytes);
  const numbers = JSON.parse(new TextDecoder().decode(table)) as Record<string, number>;
  const backend = new CpuBackend(module, numbers, threads, relaxed, wide, options);
  await backend.start();
  return new Device(backend);
}

export type { CpuBackend };
