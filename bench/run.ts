/**
 * Runs one benchmark: `node bench/run.ts NAME [args]` loads `bench/NAME.ts`, prints its table and, as the last line,
 * one JSON object with hardware, runtime, commit and figures. Without a name it lists what there is.
 */
import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { availableParallelism, cpus, totalmem } from "node:os";
import { fileURLToPath } from "node:url";
import { type CpuBackend, createCpuDevice } from "../src/tensor/cpu/backend.ts";

export interface BenchmarkResult {
  readonly metrics: Record<string, number>;
  /** Against a limit or a peer measured in the same rounds: what holds on another day. */
  readonly ratios?: Record<string, number>;
}

/** What each file next to this one exports. */
export interface Benchmark {
  readonly name: string;
  run(log: (line: string) => void, args?: string[]): Promise<BenchmarkResult>;
}

const folder = fileURLToPath(new URL(".", import.meta.url));

function names(): string[] {
  return readdirSync(folder)
    .filter((file) => file.endsWith(".ts") && file !== "run.ts")
    .map((file) => file.slice(0, -3))
    .sort()
    .concat("peers/draw", "peers/llama", "peers/tuned", "peers/vision", "peers/vision-web");
}

/** Short hash of the commit, with `+changes` if files differ from it; null outside a repository. */
function commit(): string | null {
  const git = (...args: string[]) =>
    execFileSync("git", args, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).trim();
  try {
    return git("rev-parse", "--short", "HEAD") + (git("status", "--porcelain") === "" ? "" : "+changes");
  } catch {
    return null;
  }
}

/** What a device created without options runs on. */
async function runtime() {
  await using device = await createCpuDevice();
  const { threads, relaxed, wide } = device.backend as CpuBackend;
  return { node: process.version, kernels: relaxed ? "relaxed" : "baseline", threads, wideVectors: wide };
}

const [wanted, ...args] = process.argv.slice(2);
if (wanted === undefined) {
  console.log(`node bench/run.ts NAME [args]\n\n${names().join("\n")}`);
} else if (!names().includes(wanted)) {
  console.error(`no benchmark "${wanted}"; there are ${names().join(", ")}`);
  process.exitCode = 2;
} else {
  const { name, run } = (await import(`./${wanted}.ts`)) as Benchmark;
  const { metrics, ratios } = await run((line) => console.log(line), args);
  const hardware = {
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
  };
  console.log(
    JSON.stringify({
      name,
      ...(args.length > 0 ? { args } : {}),
      hardware,
      runtime: await runtime(),
      commit: commit(),
      metrics,
      ...(ratios ? { ratios } : {}),
    }),
  );
}
