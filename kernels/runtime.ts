/**
 * What every kernel stands on: work sharing between threads without locks.
 *
 * All threads of a call run the same kernel function on the same argument block. Work is cut into units whose
 * extent depends on the problem only, never on the number of threads, and each thread takes the next free unit;
 * so any number of threads gives the same bits. Kernels with phases that depend on each other put `barrier()`
 * between them and count units with another counter.
 *
 * Control block (one per memory, at address CONTROL; 64-byte lines so that threads do not fight over them):
 *   +0    epoch     number of the call in progress; workers wait on it
 *   +64   done      workers that finished the call
 *   +128  arrived   threads waiting at the barrier
 *   +192  phase     number of barriers passed
 *   +256  units     four unit counters, 64 bytes apart
 *   +512  call      kernel id, argument block, threads, arena
 *   +576  sleepers  workers asleep on `epoch`
 *   +640  failed    a thread of the call trapped (1) or one does not answer (2)
 */

export const CONTROL: usize = 1024;
const EPOCH: usize = CONTROL;
const DONE: usize = CONTROL + 64;
const ARRIVED: usize = CONTROL + 128;
const PHASE: usize = CONTROL + 192;
const UNITS: usize = CONTROL + 256;
const CALL: usize = CONTROL + 512;
const SLEEPERS: usize = CONTROL + 576;
const FAILED: usize = CONTROL + 640;

/**
 * Turns of the waiting loop before a thread sleeps: about 150 microseconds. A nap takes 100 or more whatever is asked
 * for, so that threads which miss each other by less wait awake.
 */
const SPINS: i32 = 100000;
/**
 * The same for a worker without a call, about half a millisecond: to wake it takes longer than what the caller does
 * between most calls.
 */
const IDLE_SPINS: i32 = 400000;
/** Nanoseconds of one nap of a thread that waits for a slower one: on a busy machine that one may need its core. */
const NAP: i64 = 50_000;

// Globals belong to an instance, and every thread has its own.
let thread: i32 = 0;
let threadCount: i32 = 1;
let scratchBase: usize = 0;
let scratchSize: usize = 0;
let wide: i32 = 0;
let productSums: i32 = -1;
let maySleep: bool = true;
/** Turns of a waiting loop after which a thread that is waited for counts as dead. */
let patience: i64 = SPINS + 600_000;

/** Index of this thread in [0, threads()). */
export function threadIndex(): i32 {
  return thread;
}

/** Threads that run the current call. */
export function threads(): i32 {
  return threadCount;
}

/** Private memory of this thread, 64-byte aligned; contents do not survive the call. */
export function scratch(): usize {
  return scratchBase;
}

export function scratchBytes(): usize {
  return scratchSize;
}

/** Whether the engine joins pairs of adjacent vectors into one of eight lanes. Results do not depend on it. */
export function wideVectors(): bool {
  return wide != 0;
}

/** 1 or 0 if sums of two 4-bit products are to stay in 16 bits or not, -1 for whichever is faster here. */
export function requestedSums(): i32 {
  return productSums;
}

/** Called once per instance. `joins` is 1 if the engine joins pairs of vectors; `sums` as `requestedSums`. */
export function init_thread(index: i32, base: usize, size: usize, joins: i32, sums: i32): void {
  thread = index;
  scratchBase = base;
  scratchSize = size;
  wide = joins;
  productSums = sums;
}

/** Forbids naps: the main thread of a page may not sleep. */
export function forbid_sleep(): void {
  maySleep = false;
  // Turns take a nanosecond or more instead of a nap.
  patience *= NAP;
}

/** Naps (of 50 microseconds at least) after which a thread that is waited for counts as dead. */
export function set_patience(naps: i32): void {
  patience = SPINS + <i64>naps;
}

/** Next free unit of work of counter `counter` (0 to 3). */
// @ts-ignore: decorator
@inline
export function nextUnit(counter: i32 = 0): i32 {
  if (threadCount == 1) {
    const at = UNITS + ((<usize>counter) << 6);
    const unit = load<i32>(at);
    store<i32>(at, unit + 1);
    return unit;
  }
  return atomic.add<i32>(UNITS + ((<usize>counter) << 6), 1);
}

/** All threads of the call meet here. Traps if one of them will never come. */
export function barrier(): void {
  if (threadCount == 1) return;
  const phase = atomic.load<i32>(PHASE);
  if (atomic.add<i32>(ARRIVED, 1) == threadCount - 1) {
    atomic.store<i32>(ARRIVED, 0);
    atomic.add<i32>(PHASE, 1);
    return;
  }
  let turns: i64 = 0;
  while (atomic.load<i32>(PHASE) == phase) {
    if (atomic.load<i32>(FAILED) != 0) unreachable();
    if (++turns > SPINS && maySleep) atomic.wait<i32>(PHASE, phase, NAP);
    if (turns > patience) {
      atomic.cmpxchg<i32>(FAILED, 0, 2);
      unreachable();
    }
  }
}

/** Marks the call as failed, so that no thread waits at a barrier for this one. Returns 1 to the first that does. */
export function fail(): i32 {
  return i32(atomic.cmpxchg<i32>(FAILED, 0, 1) == 0);
}

/** 0, or how the call failed. */
export function failed(): i32 {
  return atomic.load<i32>(FAILED);
}

/** Makes the memory ready for the next call. Main thread only, when no other is in the call any more. */
export function recover(): void {
  atomic.store<i32>(ARRIVED, 0);
  atomic.store<i32>(FAILED, 0);
}

/** Prepares this memory's counters for a call. Main thread only, before `post`. */
export function prepare(threads: i32): void {
  threadCount = threads;
  for (let i: usize = 0; i < 4; i++) atomic.store<i32>(UNITS + (i << 6), 0);
}

/** Announces a call to the workers. Only in the memory that they wait on. */
export function post(kernel: i32, args: usize, count: i32, arena: i32): void {
  store<i32>(CALL, kernel);
  store<usize>(CALL, args, 4);
  store<i32>(CALL, count, 8);
  store<i32>(CALL, arena, 12);
  atomic.store<i32>(DONE, 0);
  atomic.add<i32>(EPOCH, 1);
  if (atomic.load<i32>(SLEEPERS) > 0) atomic.notify(EPOCH, -1);
}

/** Waits until all `workers` finished the call; returns 0 if one does not answer. */
export function join(workers: i32): i32 {
  let turns: i64 = 0;
  let done = atomic.load<i32>(DONE);
  while (done < workers) {
    if (++turns > SPINS && maySleep) atomic.wait<i32>(DONE, done, NAP);
    if (turns > patience) return 0;
    done = atomic.load<i32>(DONE);
  }
  return 1;
}

/** Worker: waits for a call after number `seen`; returns its number. */
export function await_call(seen: i32): i32 {
  let epoch = seen;
  while (true) {
    for (let spin = 0; spin < IDLE_SPINS; spin++) {
      epoch = atomic.load<i32>(EPOCH);
      if (epoch != seen) break;
    }
    if (epoch != seen) break;
    atomic.add<i32>(SLEEPERS, 1);
    atomic.wait<i32>(EPOCH, seen, -1);
    atomic.sub<i32>(SLEEPERS, 1);
  }
  return epoch;
}

/** Worker: takes part in a call with `count` threads. */
export function enter(count: i32): void {
  threadCount = count;
}

/** Worker: tells that its part is done. */
export function finish(): void {
  atomic.add<i32>(DONE, 1);
}

export function call_kernel(): i32 {
  return load<i32>(CALL);
}
export function call_args(): usize {
  return load<usize>(CALL, 4);
}
export function call_threads(): i32 {
  return load<i32>(CALL, 8);
}
export function call_arena(): i32 {
  return load<i32>(CALL, 12);
}
