/**
 * The embedded Lean: seconds and CPU of its start, memory, checks a second with and without tactic states, CPU per check, hits
 * of the proof cache, the tree's own milliseconds; and plain `lean` of the same package, one process for each check, as what the session is compared with.
 * The checks are the honest proofs of test/fixtures/lean, in rounds over all of them.
 * Options: --parallel N (servers; 1), --rounds N (3), --checks N (the first proofs; all), --plain N (checks by plain lean; 3), --threads (servers as threads).
 */
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { withTemporaryFolder } from "../src/files/temporary.ts";
import { readProofLines } from "../src/prove/lean/proof-lines.ts";
import type { LeanSession } from "../src/prove/lean/session.ts";
import { openWasmLean } from "../src/prove/lean/wasm/open.ts";
import { type PreparedLean, prepareLean, runLean } from "../src/prove/lean/wasm/prepare.ts";
import { ProofTree } from "../src/prove/search/tree.ts";
import { CheckedLean } from "../src/prove/store/checked-lean.ts";
import { ProofStore } from "../src/prove/store/store.ts";
import { Random } from "../src/tensor/random.ts";
import type { BenchmarkResult } from "./run.ts";
import { median, round, spread } from "./support/numbers.ts";

export const name = "prove";

const list = fileURLToPath(new URL("../test/fixtures/lean/genuine.jsonl", import.meta.url));
/** The system's unit of CPU time in /proc. */
const TICKS = 100;

interface Used {
  /** Seconds of CPU of this process and of all Leans that it started. */
  readonly cpu: number;
  /** Resident bytes of the Leans. */
  readonly memory: number;
}

/** What Leans in processes of their own use, as Linux tells; of threads, this process. */
function usage(threads: boolean): Used {
  const own = process.cpuUsage();
  let cpu = (own.user + own.system) / 1e6;
  if (threads || process.platform !== "linux")
    return { cpu, memory: threads ? process.memoryUsage.rss() : 0 };
  let memory = 0;
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("lean-process")) continue;
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(fields[1]) !== process.pid) continue;
      cpu += (Number(fields[11]) + Number(fields[12])) / TICKS;
      memory += 1024 * Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0);
    } catch {
      // Ended meanwhile.
    }
  }
  return { cpu, memory };
}

interface Phase {
  readonly rates: number[];
  readonly cpu: number[];
}

/** Rates (a second) and milliseconds of CPU per check, of rounds over all lines. */
async function measure(
  rounds: number,
  count: number,
  threads: boolean,
  round: () => Promise<unknown>,
): Promise<Phase> {
  const phase: Phase = { rates: [], cpu: [] };
  for (let i = 0; i < rounds; i++) {
    const [began, before] = [performance.now(), usage(threads).cpu];
    await round();
    phase.rates.push((1000 * count) / (performance.now() - began));
    phase.cpu.push((1000 * (usage(threads).cpu - before)) / count);
  }
  return phase;
}

/** Milliseconds of one check by plain lean, which starts, imports and checks. */
async function plainLean(lean: PreparedLean, codes: readonly string[]): Promise<number[]> {
  return await withTemporaryFolder("deepseek-ts-plain-lean-", async (folder) => {
    const times: number[] = [];
    for (const code of codes) {
      writeFileSync(join(folder, "Check.lean"), code);
      const began = performance.now();
      const said = await runLean({ base: lean.base, server: folder }, ["-j1", "/srv/Check.lean"]);
      times.push(performance.now() - began);
      if (/error/.test(said)) throw new Error(`plain lean does not accept a proof: ${said}`);
    }
    return times;
  });
}

/** Expansions of the tree that is timed: as many as a tree of DeepSeek-Prover-V1.5 has. */
const EXPANSIONS = 6400;

/**
 * Milliseconds of CPU of the tree itself for each expansion: a place is chosen, and a proof of one to eight tactics is put in, whose states
 * are met again now and then.
 */
function treeCost(): number {
  const random = new Random(7);
  const before = process.cpuUsage();
  const tree = new ProofTree({ root: "n m : Nat\n⊢ goal" });
  for (let i = 0; i < EXPANSIONS; i++) {
    const lease = tree.select(random.uniform());
    const known = lease.code.split("\n").length - 1;
    const segments = Array.from({ length: known + 1 + random.int(8) }, (_, depth) => {
      const way =
        depth < known ? lease.code.split("\n")[depth] : `  simp only [lemma_${random.int(5)}, h${depth}]`;
      return { code: `${way}\n`, state: `n m : Nat\nh${depth} : ${way}\n⊢ n + ${depth} = m`, comment: "" };
    });
    tree.complete(lease, segments, false);
  }
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1000 / EXPANSIONS;
}

/** Milliseconds of answers that the proof cache has. */
async function cacheHits(lean: LeanSession, lines: ReturnType<typeof readProofLines>): Promise<number[]> {
  return await withTemporaryFolder("deepseek-ts-proof-cache-", async (folder) => {
    using store = await ProofStore.open(join(folder, "proofs.sqlite"));
    const checked = new CheckedLean(lean, store);
    const times: number[] = [];
    for (const { problem, code } of [...lines, ...lines]) {
      const began = performance.now();
      await checked.verify(problem, code, { timeout: 120_000 });
      times.push(performance.now() - began);
    }
    if (checked.counts.hits !== lines.length)
      throw new Error(`${checked.counts.hits} hits of ${lines.length}`);
    return times.slice(lines.length);
  });
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      parallel: { type: "string", default: "1" },
      rounds: { type: "string", default: "3" },
      checks: { type: "string", default: "70" },
      plain: { type: "string", default: "3" },
      threads: { type: "boolean", default: false },
    },
  });
  const { threads } = values;
  const [size, rounds] = [Number(values.parallel), Number(values.rounds)];
  const lines = readProofLines(list, readFileSync(list, "utf8")).slice(0, Number(values.checks));
  const prepared = await prepareLean({ onNotice: log });
  const plain = await plainLean(
    prepared,
    lines.slice(0, Number(values.plain)).map(({ code }) => code),
  );
  log(`plain lean         ${round(median(plain), 0)} ms a check`);

  const [began, before] = [performance.now(), usage(threads)];
  await using lean = await openWasmLean({
    prepared,
    size,
    host: threads ? "thread" : "process",
    startLimit: 600_000,
  });
  await lean.ready();
  const start = (performance.now() - began) / 1000;
  const started = usage(threads);
  log(`start              ${round(start)} s, ${round(started.cpu - before.cpu)} s of CPU`);

  const limits = { timeout: 120_000 };
  const verifyAll = async () => {
    const answers = await Promise.all(lines.map(({ problem, code }) => lean.verify(problem, code, limits)));
    const wrong = answers.findIndex(({ verdict }) => verdict !== "proved");
    if (wrong >= 0) throw new Error(`${lines[wrong].name}: ${answers[wrong].verdict}`);
  };
  // Starts the other servers, and has tactics compiled.
  await verifyAll();
  const verify = await measure(rounds, lines.length, threads, verifyAll);
  const checkAll = (steps: boolean) => () =>
    Promise.all(lines.map(({ problem, code }) => lean.check({ ...problem, code }, { ...limits, steps })));
  const checks = await measure(rounds, lines.length, threads, checkAll(false));
  const withStates = await measure(rounds, lines.length, threads, checkAll(true));
  const hits = await cacheHits(lean, lines.slice(0, 20));
  const tree = treeCost();
  // A search asks Lean at least once for each expansion.
  const treeShare = tree / (tree + median(checks.cpu));
  const { memory } = usage(threads);
  const speedup = (median(plain) * median(verify.rates)) / 1000;
  log(
    `verdicts           ${round(median(verify.rates))} a second, ${round(median(verify.cpu))} ms of CPU each`,
  );
  log(
    `checks             ${round(median(checks.rates))} a second, ${round(median(checks.cpu))} ms of CPU each`,
  );
  log(
    `checks with states ${round(median(withStates.rates))} a second, ${round(median(withStates.cpu))} ms of CPU each`,
  );
  log(`proof cache        ${round(median(hits), 3)} ms a hit`);
  log(
    `tree               ${round(tree, 3)} ms an expansion, ${round(100 * treeShare, 2)} % of a search at most`,
  );
  log(`memory             ${round(memory / 1e9, 2)} GB, ${size} ${size === 1 ? "server" : "servers"}`);
  log(`session over plain ${round(speedup)}`);
  return {
    metrics: {
      ...{ servers: size, start: round(start, 2), startCpu: round(started.cpu - before.cpu, 2) },
      ...{ verdictsPerSecond: round(median(verify.rates)), verdictSpread: round(spread(verify.rates), 2) },
      ...{ verdictCpuMs: round(median(verify.cpu)), verdictsPerCpuSecond: round(1000 / median(verify.cpu)) },
      ...{ checksPerSecond: round(median(checks.rates)), checkCpuMs: round(median(checks.cpu)) },
      ...{ statesPerSecond: round(median(withStates.rates)), statesCpuMs: round(median(withStates.cpu)) },
      ...{
        cacheHitMs: round(median(hits), 3),
        treeMs: round(tree, 3),
        treePercent: round(100 * treeShare, 2),
        memoryGb: round(memory / 1e9, 2),
        plainMs: round(median(plain), 0),
      },
    },
    ratios: { "session over plain lean": round(speedup) },
  };
}
