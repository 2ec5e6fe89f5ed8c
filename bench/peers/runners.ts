/** Programs that take turns in rounds, and how long each took. */

/** What runs of a program took. */
export interface Times {
  readonly ms: readonly number[];
  /** Processor time of all threads and runs together. */
  readonly cpuMs: number;
  /** Most memory beyond what weights take. */
  readonly peakMb?: number;
}

/** A program with the least time of each round, in milliseconds: of the wall, and of the processor a run. */
export interface Runner {
  readonly label: string;
  run(): Promise<Times>;
  readonly wall: number[];
  readonly cpu: number[];
  peakMb: number;
}

export const runner = (label: string, run: () => Promise<Times>): Runner => ({
  ...{ label, run, wall: [], cpu: [], peakMb: 0 },
});

/** What `count` runs in this program take. */
export async function timed(work: () => unknown, count = 1): Promise<Times> {
  const used = process.cpuUsage();
  const ms: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    await work();
    ms.push(performance.now() - start);
  }
  const { user, system } = process.cpuUsage(used);
  return { ms, cpuMs: (user + system) / 1e3 };
}

/** Runs each program once in every round. */
export async function takeTurns(runners: readonly Runner[], rounds: number): Promise<void> {
  for (let i = 0; i < rounds; i++) {
    for (const each of runners) {
      const { ms, cpuMs, peakMb = 0 } = await each.run();
      each.wall.push(Math.min(...ms));
      each.cpu.push(cpuMs / ms.length);
      each.peakMb = Math.max(each.peakMb, peakMb);
    }
  }
}

export const least = (values: readonly number[]): number => Math.min(...values);
