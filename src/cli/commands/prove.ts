/** `deepseek-ts prove`: fills the `sorry`s of Lean files with proofs that Lean accepts. */
import { Command, Option } from "commander";
import { writeTextFile } from "../../files/file-sink.ts";
import type { FillEvent } from "../../prove/fill/fill.ts";
import type { OpenLeanOptions } from "../../prove/lean/open.ts";
import type { FilledFile } from "../../prove/prover/filled-file.ts";
import { createProver, type Prover, type ProveSettings } from "../../prove/prover/prover.ts";
import { defaultProver } from "../../prove/prover/settings.ts";
import type { SearchKind } from "../../prove/search/search-options.ts";
import { formatCount } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import {
  chosenLean,
  type LeanFlags,
  openChosenLean,
  orNoLean,
  withLean,
  withLeanBeside,
} from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { isBenchmark, openBenchmark, proveBenchmark } from "../prove-benchmark.ts";
import { type FailedFile, isFilesFault, type PlannedFile, planFiles } from "../prove-plans.ts";
import { endText, SearchProgress } from "../prove-progress.ts";
import { openQueuedProver, TOOL_OPTIONS } from "../prover-worker.ts";
import { errorText } from "../report-error.ts";
import { type ModelFlags, openModel, withModel } from "./open-model.ts";
import {
  collect,
  givenOptions,
  naturalNumber,
  openDevice,
  positiveInteger,
  secondsLimit,
  usageError,
  withThreads,
} from "./options.ts";
import { type SamplingFlags, withSampling } from "./prover-sampling.ts";

interface ProveFlags extends ModelFlags, LeanFlags, SamplingFlags {
  readonly model?: string;
  readonly theorem?: readonly string[];
  readonly search?: SearchKind;
  readonly samples: number;
  readonly trees: number;
  readonly batch?: number;
  readonly timeout: number;
  readonly heartbeats: number;
  readonly mode: "cot" | "non-cot" | "mix";
  readonly seed: number;
  readonly split?: string;
  readonly trust?: boolean;
  readonly write?: boolean;
  readonly patch?: string;
  readonly store?: string;
  readonly queue: string;
  readonly fresh?: boolean;
  readonly json?: boolean;
  readonly threads?: number;
}

const examples = `
Examples:
  deepseek-ts prove examples/prove/basics.lean                    the small prover that comes with the package
  deepseek-ts prove Foo.lean --theorem add_zero --samples 256 --write
  deepseek-ts prove Foo.lean --model deepseek-ai/DeepSeek-Prover-V1.5-RL --dtype q4 --search rmaxts --trees 4
  deepseek-ts prove src/Foo.lean --lean native --project . --patch foo.patch
  deepseek-ts prove minif2f.jsonl --split test --samples 32 --project ~/mathlib-project --store minif2f.sqlite
  deepseek-ts prove Foo.lean --queue redis://127.0.0.1:6379 --store proofs.sqlite --write
  deepseek-ts prove Foo.lean --json | jq -r 'select(.type == "ended") | .title + ": " + .outcome'

Without --write and --patch the changes are printed as a patch. Each proof has passed Lean's kernel as a proof of exactly the
statement in the file, from propext, Classical.choice and Quot.sound alone; everything else in the file stays byte for byte.

A benchmark (.jsonl, fields of miniF2F: name, split, header, formal_statement) is named by its hash. Statements that Lean does not
accept, or whose hypotheses contradict each other, are named and left out. --search sample draws all samples and reports pass@k;
the others report what is solved within k. With --store a run that was stopped goes on.

A file that cannot be read, or that Lean does not accept as it is, is named, and the others are worked on.

Exit status: 0 everything is proved, 1 something is open or a file failed, 2 usage error, 3 Lean cannot run, 130 interrupted.`;

const say = (flags: ProveFlags, value: object) =>
  flags.json && process.stdout.write(`${JSON.stringify(value)}\n`);

/** The options of a search that the command line has. */
const searchFlags = (flags: ProveFlags, signal: AbortSignal): ProveSettings => ({
  ...{ search: flags.search, samples: flags.samples, trees: flags.trees, parallel: flags.batch },
  ...{ mode: flags.mode, temperature: flags.temperature, topP: flags.topP, maxTokens: flags.maxTokens },
  ...{ seed: flags.seed, timeout: flags.timeout * 1000, heartbeats: flags.heartbeats, signal },
});

function tellPlan({ path, units, left }: PlannedFile, flags: ProveFlags, note: (line: string) => void): void {
  if (units.length === 0) note(`${path}: nothing to prove`);
  for (const { title, reason } of left) note(`left    ${title}: ${reason}`);
  say(flags, { type: "plan", file: path, units: units.map(({ title }) => title) });
}

function tellFailed({ path, error }: FailedFile, flags: ProveFlags): void {
  process.stderr.write(`${errorText(error, process.env.DEBUG === "1")}\n`);
  say(flags, { type: "failed", file: path, reason: error instanceof Error ? error.message : String(error) });
}

async function proveFile(
  path: string,
  prover: Prover,
  flags: ProveFlags,
  signal: AbortSignal,
): Promise<FilledFile> {
  const line = new ProgressLine(process.stderr, 0);
  let progress: SearchProgress | null = null;
  const onEvent = (event: FillEvent) => {
    if (event.type === "plan") {
      tellPlan({ path, ...event.plan }, flags, line.note);
    } else if (event.type === "unit") {
      progress = new SearchProgress(event.unit.title, flags.samples * flags.trees);
    } else if (event.type === "search") {
      progress?.take(event.event);
      if (progress !== null) line.tell(progress.text());
      if (event.event.type === "sample") {
        const { segments: _segments, ...rest } = event.event;
        say(flags, { file: path, title: event.unit.title, ...rest });
      }
    } else if (event.type === "ended") line.note(endText(event.unit, event.end));
  };
  try {
    return await prover.fill(path, {
      ...searchFlags(flags, signal),
      only: flags.theorem,
      fresh: flags.fresh,
      onEvent,
    });
  } finally {
    line.clear();
  }
}

async function deliver(filled: FilledFile, flags: ProveFlags): Promise<void> {
  if (!filled.changed) return;
  if (flags.write) await filled.apply();
  else if (flags.patch !== undefined) await writeTextFile(flags.patch, filled.patch());
  else if (!flags.json) process.stdout.write(filled.patch());
}

export function proveCommand(): Command {
  const command = new Command("prove")
    .summary("fill the sorries of Lean files with verified proofs, or run a benchmark")
    .description(
      "Searches proofs for the sorries of Lean 4 files with a prover model. Real Lean checks every proof: the one in the package " +
        "(Init and Std), or one of your own with Mathlib.",
    )
    .argument("<file...>", "Lean files, or a benchmark (.jsonl)")
    .option(
      "--model <model>",
      "prover: a folder, a .gguf file, or a name on the hub (default: the small prover of the package)",
    )
    .option("--theorem <name>", "work on this theorem only; may be repeated", collect)
    .addOption(
      new Option(
        "--search <kind>",
        "whole proofs; on from the last verified step; or a tree of states (default: the model's, else rmaxts)",
      ).choices(["sample", "resume", "rmaxts"]),
    )
    .option("--samples <n>", "generations of each search", positiveInteger, 64)
    .option("--trees <n>", "searches from nothing, one after the other", positiveInteger, 1)
    .option(
      "--batch <n>",
      "generations at the same time (default: twice the checks at the same time)",
      positiveInteger,
    )
    .option("--timeout <seconds>", "wall-clock limit of a check", secondsLimit, 60)
    .option(
      "--heartbeats <n>",
      "Lean's own limit of a check, which every machine keeps alike",
      positiveInteger,
      200_000,
    )
    .addOption(
      new Option("--mode <mode>", "proofs with explanations, without, or both")
        .choices(["cot", "non-cot", "mix"])
        .default("non-cot"),
    );
  withSampling(command)
    .option("--seed <n>", "seed of all random choices", naturalNumber, 0)
    .option("--split <name>", "of a benchmark: only rows of this split")
    .option(
      "--trust",
      "of a benchmark: its headers may hold macros and other code that runs while Lean reads it",
    )
    .option("--write", "put the proofs into the files")
    .option("--patch <file>", "write the changes as a unified patch")
    .option(
      "--store <file>",
      "SQLite file that keeps verdicts and searches: a search that was stopped goes on, and no question is asked twice",
    )
    .option(
      "--queue <queue>",
      "memory, this process alone; or redis://host:port, for workers (prover-worker) that share --store",
      "memory",
    )
    .option("--fresh", "begin searches anew that --store keeps")
    .option("--json", "one JSON object a line");
  return withThreads(withModel(withLean(command)))
    .addHelpText("after", flowing(examples))
    .action(async (paths: string[], flags: ProveFlags) => {
      if (flags.write && flags.patch !== undefined)
        usageError(command, "--write and --patch exclude each other");
      if (flags.patch !== undefined && paths.length > 1) usageError(command, "--patch takes one file");
      checkKinds(command, paths, flags);
      const choice = chosenLean(command, flags);
      await orNoLean(async () => {
        process.exitCode = await proveAll(paths, choice, flags);
      });
    });
}

/** Ends with a usage error where flags do not belong to the kind of file. */
function checkKinds(command: Command, paths: readonly string[], flags: ProveFlags): void {
  const benchmark = isBenchmark(paths[0]);
  if (paths.some((path) => isBenchmark(path) !== benchmark)) {
    usageError(command, "Lean files and benchmarks are proved apart");
  }
  if (benchmark && paths.length > 1) usageError(command, "one benchmark at a time");
  if (flags.queue !== "memory") {
    if (flags.store === undefined) usageError(command, "--queue needs --store, which workers share");
    const theirs = givenOptions(command, TOOL_OPTIONS);
    if (theirs.length > 0)
      usageError(command, `${theirs.join(", ")}: with --queue an option of prover-worker`);
    if (flags.fresh)
      usageError(command, "--fresh: searches of workers are not begun anew; use another --seed");
  }
  const name = (flag: string) => `--${flag}`;
  const wrong = (benchmark ? (["write", "patch"] as const) : (["split", "trust"] as const)).filter(
    (flag) => flags[flag] !== undefined,
  );
  if (wrong.length === 0) return;
  usageError(command, `${wrong.map(name).join(", ")}: for ${benchmark ? "Lean files" : "benchmarks"} only`);
}

async function proveAll(
  paths: readonly string[],
  choice: OpenLeanOptions,
  flags: ProveFlags,
): Promise<number> {
  // Faults of the files are told before anything large is loaded.
  const benchmark = isBenchmark(paths[0]) ? await openBenchmark(paths[0]) : null;
  const { plans, failed } =
    benchmark === null ? await planFiles(paths, flags.theorem) : { plans: [], failed: [] };
  for (const file of failed) tellFailed(file, flags);
  using interrupt = listenForInterrupt(() => process.stderr.write("stopping …\n"));
  const { signal } = interrupt;
  try {
    const { queue, store } = flags;
    const withParts = (work: (prover: Prover) => Promise<boolean>): Promise<boolean> =>
      queue === "memory"
        ? withProver(choice, flags, signal, work)
        : withWorkers({ ...flags, store: store! }, signal, work);
    if (benchmark === null) {
      // A sorry that nothing can be done about stays open.
      const left = failed.length > 0 || plans.some((plan) => plan.left.length > 0);
      if (plans.every(({ units }) => units.length === 0)) {
        for (const plan of plans) tellPlan(plan, flags, (line) => process.stderr.write(`${line}\n`));
        return left ? 1 : 0;
      }
      const work = (prover: Prover) => proveFiles(plans, failed, prover, flags, signal);
      return (await withParts(work)) && !left ? 0 : 1;
    }
    const { split, theorem: names, trust: trusted, fresh, json = false, samples, trees } = flags;
    const options = { ...searchFlags(flags, signal), split, names, trusted, fresh };
    const all = await withParts((prover) =>
      proveBenchmark(paths[0], benchmark, prover, { ...options, json, budget: samples * trees }),
    );
    return all ? 0 : 1;
  } catch (error) {
    if (signal.aborted) return interrupt.exitCode;
    throw error;
  }
}

/** Runs `work` with a prover whose model and Lean are workers. */
async function withWorkers<R>(
  flags: ProveFlags & { readonly store: string },
  signal: AbortSignal,
  work: (prover: Prover) => Promise<R>,
): Promise<R> {
  const { prover, close } = await openQueuedProver(flags, signal);
  try {
    return await work(prover);
  } finally {
    await close();
  }
}

/** Runs `work` with a prover of this process. */
async function withProver<R>(
  choice: OpenLeanOptions,
  flags: ProveFlags,
  signal: AbortSignal,
  work: (prover: Prover) => Promise<R>,
): Promise<R> {
  const line = new ProgressLine(process.stderr);
  await using device = await openDevice(flags);
  return await withLeanBeside(
    () => openChosenLean(choice, flags, line, signal),
    () => openModel(flags.model ?? defaultProver(), device, flags, signal),
    async (lean, model) => {
      line.clear();
      await using prover = await createProver({
        ...{ model, lean, store: flags.store, style: flags.style, parallel: flags.batch },
      });
      return await work(prover);
    },
  );
}

/** @param unread files that failed before @returns whether everything is proved */
async function proveFiles(
  plans: readonly PlannedFile[],
  unread: readonly FailedFile[],
  prover: Prover,
  flags: ProveFlags,
  signal: AbortSignal,
): Promise<boolean> {
  let [proved, open] = [0, 0];
  const failed = unread.map(({ path }) => path);
  for (const { path: file } of plans) {
    try {
      const filled = await proveFile(file, prover, flags, signal);
      for (const { unit, end } of filled.units) {
        end.outcome === "proved" ? proved++ : open++;
        say(flags, { type: "ended", file, title: unit.title, ...end });
      }
      await deliver(filled, flags);
    } catch (error) {
      if (signal.aborted || !isFilesFault(error)) throw error;
      tellFailed({ path: file, error }, flags);
      failed.push(file);
    }
  }
  const all = proved + open;
  const sorries = `${proved} of ${formatCount(all)} ${all === 1 ? "sorry" : "sorries"}`;
  const files = failed.length === 0 ? "" : `; failed: ${failed.join(", ")}`;
  if (!flags.json)
    process.stderr.write(
      `${sorries} proved by ${prover.generator.model.split(" ")[0]}, ${prover.lean.version}${files}\n`,
    );
  return open === 0 && failed.length === 0;
}
