/**
 * Where the time of a CPU device goes: every kernel call timed by name, shape and phase. Calls of the CPU backend
 * return when the work is done, so the clock around a call is the call; what is left of a phase is TypeScript.
 */
import type { Kernel } from "../../src/tensor/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { table } from "./numbers.ts";

interface Sum {
  ms: number;
  calls: number;
}

/** Kernels whose calls are also listed by shape, with their multiply-adds. */
const products: Record<string, (s: Record<string, number>) => { shape: string; amount: number }> = {
  gemm: (s) => {
    const form = s.columnA !== 1 ? "dW" : s.rowB === 1 ? "x Wt" : "dy W";
    const batch = s.batch > 1 ? `${s.batch} x ` : "";
    return { shape: `gemm ${form} ${batch}${s.m}x${s.n}x${s.k}`, amount: s.batch * s.m * s.n * s.k };
  },
  grouped_gemm: (s) => ({
    shape: `grouped ${s.rowB === 1 ? "x Wt" : "dy W"} ${s.rows}x${s.n}x${s.k} in ${s.groups}`,
    amount: s.rows * s.n * s.k,
  }),
  grouped_outer: (s) => ({
    shape: `grouped dW ${s.m}x${s.n}x${s.rows} in ${s.groups}`,
    amount: s.m * s.n * s.rows,
  }),
};

export class Profile implements Disposable {
  readonly #device: Device;
  readonly #kernels = new Map<string, Map<string, Sum>>();
  readonly #shapes = new Map<string, Sum & { amount: number }>();
  readonly #phases = new Map<string, { wall: number; kernels: number }>();
  /** Where the next calls belong. */
  #phase = "";
  #since = 0;

  /** Times all kernel calls of `device` until disposed. */
  constructor(device: Device) {
    this.#device = device;
    const { backend } = device;
    const run = backend.run;
    backend.run = (kernel, operands, ints, floats) => {
      const start = performance.now();
      run.call(backend, kernel, operands, ints, floats);
      this.#count(kernel, ints, performance.now() - start);
    };
  }

  /** Ends the phase before and starts `phase`; the empty name counts nothing. */
  enter(phase: string): void {
    const now = performance.now();
    if (this.#phase !== "") this.#of(this.#phase).wall += now - this.#since;
    this.#phase = phase;
    this.#since = now;
  }

  #of(phase: string): { wall: number; kernels: number } {
    const found = this.#phases.get(phase) ?? { wall: 0, kernels: 0 };
    this.#phases.set(phase, found);
    return found;
  }

  #count(kernel: Kernel, ints: readonly number[], ms: number): void {
    if (this.#phase === "") return;
    this.#of(this.#phase).kernels += ms;
    const phases = this.#kernels.get(kernel.name) ?? new Map<string, Sum>();
    this.#kernels.set(kernel.name, phases);
    const sum = phases.get(this.#phase) ?? { ms: 0, calls: 0 };
    phases.set(this.#phase, sum);
    sum.ms += ms;
    sum.calls++;
    const describe = products[kernel.name];
    if (!describe) return;
    const named = Object.fromEntries(kernel.intNames.map((name, i) => [name, ints[i]]));
    const { shape, amount } = describe(named);
    const each = this.#shapes.get(shape) ?? { ms: 0, calls: 0, amount: 0 };
    this.#shapes.set(shape, each);
    each.ms += ms;
    each.calls++;
    each.amount += amount;
  }

  /** Tables of milliseconds per step: by kernel and phase, then products by shape with GFLOP/s. */
  report(steps: number, log: (line: string) => void): void {
    const phases = [...this.#phases.keys()];
    const wall = phases.reduce((sum, phase) => sum + this.#of(phase).wall, 0);
    const ms = (value: number) => (value / steps).toFixed(1);
    const share = (value: number) => `${((100 * value) / wall).toFixed(1)} %`;
    const total = (sums: Iterable<Sum>) =>
      [...sums].reduce((a, b) => ({ ms: a.ms + b.ms, calls: a.calls + b.calls }), { ms: 0, calls: 0 });
    const rows = [...this.#kernels]
      .map(([name, byPhase]) => ({ name, byPhase, ...total(byPhase.values()) }))
      .sort((a, b) => b.ms - a.ms)
      .map(({ name, byPhase, ms: sum, calls }) => [
        name,
        share(sum),
        ms(sum),
        (calls / steps).toFixed(0),
        ...phases.map((phase) => ms(byPhase.get(phase)?.ms ?? 0)),
      ]);
    const outside = phases.map((phase) => this.#of(phase).wall - this.#of(phase).kernels);
    const rest = outside.reduce((a, b) => a + b, 0);
    rows.push(["outside kernels", share(rest), ms(rest), "", ...outside.map(ms)]);
    rows.push(["all", share(wall), ms(wall), "", ...phases.map((phase) => ms(this.#of(phase).wall))]);
    for (const line of table([["ms per step", "share", "ms", "calls", ...phases], ...rows])) log(line);
    log("");
    const shapes = [...this.#shapes]
      .sort(([, a], [, b]) => b.ms - a.ms)
      .map(([shape, each]) => [
        shape,
        share(each.ms),
        ms(each.ms),
        (each.calls / steps).toFixed(0),
        ((2 * each.amount) / each.ms / 1e6).toFixed(0),
      ]);
    for (const line of table([["products by shape", "share", "ms", "calls", "GFLOP/s"], ...shapes]))
      log(line);
  }

  [Symbol.dispose](): void {
    this.enter("");
    // The method of the class, hidden by the timed one.
    Reflect.deleteProperty(this.#device.backend, "run");
  }
}
