/** The exports of `kernels/runtime.ts` as seen from JavaScript, and how a thread makes an instance. */

export interface KernelInstance {
  init_thread(index: number, scratch: number, scratchBytes: number, wide: number): void;
  forbid_sleep(): void;
  prepare(threads: number): void;
  post(kernel: number, args: number, threads: number, arena: number): void;
  join(workers: number): void;
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

/** Sent to a worker: its index, and the memories that it has no instance of yet. */
export interface WorkerMessage {
  readonly module: WebAssembly.Module;
  readonly thread: number;
  readonly arenas: readonly { memory: WebAssembly.Memory; scratch: number; scratchBytes: number }[];
  /** Whether the engine joins pairs of vectors into one of 256 bits. */
  readonly wide: boolean;
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
): KernelInstance {
  const instance = new WebAssembly.Instance(module, { env: { memory } });
  const kernels = instance.exports as unknown as KernelInstance;
  kernels.init_thread(thread, scratch, scratchBytes, wide ? 1 : 0);
  return kernels;
}
