/** The exports of `kernels/runtime.ts` as seen from JavaScript, and how a thread makes an instance. */

export interface KernelInstance {
  init_thread(index: number, scratch: number, scratchBytes: number, wide: number, sums: number): void;
  forbid_sleep(): void;
  prepare(threads: number): void;
  post(kernel: number, args: number, threads: number, arena: number): void;
  /** 0 if a worker does not answer. */
  join(workers: number): number;
  set_patience(naps: number): void;
  fail(): number;
  failed(): number;
  recover(): void;
  await_call(seen: number): number;
  enter(threads: number): void;
  finish(): void;
  call_kernel(): number;
  call_args(): number;
  call_threads(): number;
  call_arena(): number;
  execute(kernel: number, args: number): void;
}

/** Kernel number that sends workers back to their event loop. */
export const LEAVE = -1;

/** What `failed` returns if a thread does not answer. */
export const STALLED = 2;

/** Where the first thread that fails leaves its error's text, behind its length in bytes. */
const FAILURE_TEXT = 2048;
const FAILURE_BYTES = 1024;

/** Marks the call in progress as failed by `error`, so that no thread waits for this one at a barrier. */
export function reportFailure(kernels: KernelInstance, memory: WebAssembly.Memory, error: unknown): void {
  if (kernels.fail() === 0) return;
  const text = error instanceof Error ? error.message : String(error);
  const bytes = new TextEncoder().encode(text).subarray(0, FAILURE_BYTES);
  new Uint8Array(memory.buffer, FAILURE_TEXT + 4, bytes.length).set(bytes);
  new Int32Array(memory.buffer, FAILURE_TEXT, 1)[0] = bytes.length;
}

/** The text that `reportFailure` left, once all threads are out of the call. */
export function failureText(memory: WebAssembly.Memory): string {
  const length = new Int32Array(memory.buffer, FAILURE_TEXT, 1)[0];
  // Decoders of browsers refuse shared memory.
  return new TextDecoder().decode(new Uint8Array(memory.buffer, FAILURE_TEXT + 4, length).slice());
}

/** Sent to a worker: its index, and the memories that it has no instance of yet. */
export interface WorkerMessage {
  readonly module: WebAssembly.Module;
  readonly thread: number;
  readonly arenas: readonly { memory: WebAssembly.Memory; scratch: number; scratchBytes: number }[];
  /** Whether the engine joins pairs of vectors into one of 256 bits. */
  readonly wide: boolean;
  /** Whether sums of 4-bit products stay in 16 bits for a block; null for whichever is faster. */
  readonly pairSums: boolean | null;
  /** Naps after which a thread that is waited for counts as dead. */
  readonly timeoutNaps: number;
  /** Number of the last call that this worker must not take part in. */
  readonly seen: number;
}

export function instantiate(
  module: WebAssembly.Module,
  memory: WebAssembly.Memory,
  thread: number,
  scratch: number,
  scratchBytes: number,
  wide: boolean,
  pairSums: boolean | null,
  timeoutNaps: number,
): KernelInstance {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = instance.exports as unknown as KernelInstance;
  kernels.init_thread(thread, scratch, scratchBytes, wide ? 1 : 0, pairSums === null ? -1 : pairSums ? 1 : 0);
  kernels.set_patience(timeoutNaps);
  return kernels;
}
