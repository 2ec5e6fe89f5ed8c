/** What commands that need a Lean share: the options that choose one, its preparation on a terminal, exit status 3. */
import { type Command, Option } from "commander";
import { LeanError } from "../prove/lean/lean-error.ts";
import { leanChoice, type OpenLeanOptions, openLean } from "../prove/lean/open.ts";
import type { LeanAuditor, LeanSession } from "../prove/lean/session.ts";
import { openWasmLean } from "../prove/lean/wasm/open.ts";
import { type PreparedLean, prepareLean } from "../prove/lean/wasm/prepare.ts";
import { ConfigError } from "../tensor/errors.ts";
import { formatPercent } from "../text/units.ts";
import { positiveInteger, usageError } from "./commands/options.ts";
import type { ProgressLine } from "./progress-line.ts";
import { errorText } from "./report-error.ts";

/** Exit status if no Lean can be had. */
export const NO_LEAN = 3;

export interface LeanFlags {
  /** Commander's name for `--no-download`. */
  readonly download?: boolean;
  readonly lean?: string;
  readonly project?: string;
  readonly parallel?: number;
}

/** Adds `--lean`, `--project`, `--parallel` and `--no-download`. @param what `--lean` is for, where there is none by default */
export function withLean(command: Command, what?: string): Command {
  const kinds = "native (with --project), or kimina=URL";
  return command
    .option(
      "--lean <lean>",
      what === undefined ? `wasm (the embedded one, default), ${kinds}` : `${what}: wasm, ${kinds}`,
    )
    .option("--project <dir>", "use the Lean and the libraries of this project, through its REPL")
    .addOption(
      new Option("--parallel <n>", "checks at a time (default: one per core, as memory allows)").argParser(
        positiveInteger,
      ),
    )
    .option("--no-download", "never download the embedded Lean (once, 122 MB)");
}

/** What `withLean` adds, as commander names it. */
export const LEAN_OPTIONS = ["lean", "project", "parallel", "download"];

const STAGES = {
  download: "downloading Lean",
  unpack: "unpacking Lean",
  patch: "unpacking Lean",
  compile: "compiling the proof server",
};

/** What `--lean` and `--project` choose; ends with a usage error if they contradict each other. */
export function chosenLean(command: Command, { lean, project }: LeanFlags): OpenLeanOptions {
  try {
    return leanChoice(lean, project);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return usageError(command, error.message);
  }
}

/** The embedded Lean, made ready with progress on a terminal. */
export function prepareEmbedded(
  { download = true }: LeanFlags,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<PreparedLean> {
  return prepareLean({
    ...{ download, signal, onNotice: line.note },
    onProgress: ({ stage, fraction }) =>
      line.tell(
        stage === "download" ? `${STAGES[stage]} ..` : `${STAGES[stage]}  ${formatPercent(fraction, 0)}`,
      ),
  });
}

/** Opens the Lean that was chosen. The embedded one looks through whole files too. */
export async function openChosenLean(
  choice: OpenLeanOptions,
  flags: LeanFlags,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<LeanSession & Partial<LeanAuditor>> {
  const { parallel } = flags;
  switch (choice.kind) {
    case "kimina":
      return await openLean({ ...choice, slots: parallel });
    case "native":
      return await openLean({ ...choice, processes: parallel });
    case "wasm": {
      const prepared = await prepareEmbedded(flags, line, signal);
      line.clear();
      return await openWasmLean({ prepared, size: parallel });
    }
  }
}

/**
 * Runs `work` with a Lean that starts while the rest is opened, so that it is warm before the first proof is written. Lean is closed at
 * the end, also where the rest cannot be opened: one that runs keeps the process alive.
 * @throws as both, errors of `openRest` first
 */
export async function withLeanBeside<L extends AsyncDisposable, T, R>(
  openLean: () => Promise<L>,
  openRest: () => Promise<T>,
  work: (lean: L, rest: T) => Promise<R>,
): Promise<R> {
  const starting = openLean();
  starting.catch(() => {});
  await using _closing = {
    [Symbol.asyncDispose]: async () => {
      const lean = await starting.catch(() => null);
      await lean?.[Symbol.asyncDispose]();
    },
  };
  const rest = await openRest();
  return await work(await starting, rest);
}

/** Runs `work`; where no Lean can be had, says so and sets exit status 3. */
export async function orNoLean(work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof LeanError)) throw error;
    process.stderr.write(`${errorText(error, process.env.DEBUG === "1")}\n`);
    process.exitCode = NO_LEAN;
  }
}
