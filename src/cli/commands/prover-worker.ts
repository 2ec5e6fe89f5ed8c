/** `deepseek-ts prover-worker KIND`: a process that does one kind of a prover's jobs until it is stopped. */
import { Argument, Command } from "commander";
import { WORKER_KINDS, type WorkerKind } from "../../prove/workers/jobs.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import {
  chosenLean,
  LEAN_OPTIONS,
  type LeanFlags,
  openChosenLean,
  orNoLean,
  withLean,
} from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { runWorker, TOOL_OPTIONS, type WorkerFlags } from "../prover-worker.ts";
import { MODEL_OPTIONS, withModel } from "./open-model.ts";
import { givenOptions, positiveInteger, usageError, withThreads } from "./options.ts";

const help = `
Works for deepseek-ts prove --queue until it is stopped: generate writes with the model, verify asks Lean, search proves theorems
with both, which are elsewhere. All share the store; a worker that dies loses nothing: its job goes to another one.

Examples:
  deepseek-ts prover-worker generate --queue redis://127.0.0.1:6379 --store proofs.sqlite --model ./my-prover
  deepseek-ts prover-worker verify --queue redis://127.0.0.1:6379 --store proofs.sqlite --project ~/my-mathlib-project
  deepseek-ts prover-worker search --queue redis://127.0.0.1:6379 --store proofs.sqlite --model ./my-prover

Exit status: 1 error, 2 usage error, 3 no Lean can be had, 130 stopped by Ctrl-C.`;

/** Options of the other kinds. */
const UNUSED: Readonly<Record<WorkerKind, readonly string[]>> = {
  generate: LEAN_OPTIONS,
  verify: [...MODEL_OPTIONS, "model", "concurrency", "threads"],
  search: TOOL_OPTIONS,
};

export function proverWorkerCommand(): Command {
  const command = new Command("prover-worker")
    .summary("do one kind of the jobs of prove --queue")
    .description("Works for provers of other processes, which meet in a Redis or Valkey and share a store.")
    .addArgument(new Argument("<kind>", "what to do").choices(WORKER_KINDS))
    .requiredOption("--queue <url>", "redis://host:port of a Redis or Valkey")
    .requiredOption("--store <file>", "SQLite file that is shared with those that ask")
    .option(
      "--model <model>",
      "generate: the model; search: whose tokenizer counts (default: the small prover of the package)",
    )
    .option("--concurrency <n>", "generate, search: jobs at the same time", positiveInteger);
  return withThreads(withModel(withLean(command)))
    .addHelpText("after", flowing(help))
    .action(async (kind: WorkerKind, flags: WorkerFlags & LeanFlags) => {
      const others = givenOptions(command, UNUSED[kind]);
      if (others.length > 0) usageError(command, `${others.join(", ")}: not for workers of kind ${kind}`);
      const choice = chosenLean(command, flags);
      const line = new ProgressLine(process.stderr);
      using interrupt = listenForInterrupt(() => line.note("stopping …"));
      const { signal } = interrupt;
      const openLean = () => openChosenLean(choice, flags, line, signal);
      await orNoLean(async () => {
        try {
          await runWorker(kind, flags, openLean, signal, line.note);
        } catch (error) {
          if (!signal.aborted) throw error;
        }
        process.exitCode = interrupt.exitCode;
      });
    });
}
