/** `deepseek-ts verify`: checks Lean files and proofs, and says of each whether it is proved. */
import { Command, Option } from "commander";
import { readTextFile } from "../../files/text-file.ts";
import { withoutMark } from "../../files/utf8.ts";
import { readLeanFile } from "../../prove/lean/lean-file.ts";
import { readProofLines } from "../../prove/lean/proof-lines.ts";
import type { LeanAuditor, LeanSession, Verdict } from "../../prove/lean/session.ts";
import { formatDuration, plural } from "../../text/units.ts";
import { flowing } from "../help.ts";
import { listenForInterrupt } from "../interrupt.ts";
import { chosenLean, type LeanFlags, openChosenLean, orNoLean, withLean } from "../lean-session.ts";
import { ProgressLine } from "../progress-line.ts";
import { faultsOutside } from "../verify-faults.ts";
import { positiveInteger, readStdin, secondsLimit, usageError } from "./options.ts";

const help = `
A line of PROOFS.jsonl has "statement" (one theorem, := sorry) and "proof" (the whole declaration), and may have "name",
"preamble" and "imports"; "formal_statement", "formal_proof" and "header" are read too. "proved" means: exactly this
theorem, no error, no sorry, no axioms but propext, Classical.choice and Quot.sound, accepted by the kernel. All else says why
not. Of FILE.lean, every theorem is checked; errors, and sorries of examples and definitions, count for the file.

Without --project, Lean 4 runs as WebAssembly, with its core library (Init, Std): nothing needs to be installed. The first
use prepares it: 360 MB in the user's cache (DEEPSEEK_TS_CACHE names another folder).

Examples:
  deepseek-ts verify Basic.lean                                   every theorem of a file
  deepseek-ts verify proofs.jsonl --json                          one line for each proof
  deepseek-ts verify answers.jsonl --against statements.jsonl     statements from a file that you trust
  echo '{"statement": "theorem t : 1 + 1 = 2 := sorry", "proof": "theorem t : 1 + 1 = 2 := rfl"}' | deepseek-ts verify -
  deepseek-ts verify proofs.jsonl --project ~/my-mathlib-project

Exit status: 0 all proved, 1 something is not, 2 usage error, 3 no Lean can be had, 130 interrupted by Ctrl-C.`;

interface Flags extends LeanFlags {
  readonly against?: string;
  readonly timeout?: number;
  readonly heartbeats?: number;
  readonly trust?: boolean;
  readonly json?: boolean;
}

/** What is said of one theorem. */
interface Line {
  readonly name: string;
  readonly verdict: Verdict;
  readonly axioms: readonly string[];
  readonly detail: string;
}

/** Characters of Lean's words that a line shows; --json has all. */
const SHOWN = 200;

function textOf({ name, verdict, axioms, detail }: Line): string {
  if (verdict === "proved") return `proved   ${name}${axioms.length > 0 ? `  (${axioms.join(", ")})` : ""}`;
  const words = detail.replace(/\s*\n\s*/g, " ");
  const shown = words.length > SHOWN ? `${words.slice(0, SHOWN)} ..` : words;
  return `${verdict}   ${name}${shown === "" ? "" : `: ${shown}`}`;
}

class Report {
  readonly #json: boolean;
  readonly #line: ProgressLine;
  readonly #began = performance.now();
  #proved = 0;
  #count = 0;
  #faults = 0;

  constructor(json: boolean, line: ProgressLine) {
    this.#json = json;
    this.#line = line;
  }

  /** Tells of one theorem. */
  add(line: Line, extra: Readonly<Record<string, unknown>> = {}): void {
    this.#count++;
    if (line.verdict === "proved") this.#proved++;
    this.#tell(line, extra);
  }

  /** Tells of something that is wrong outside all theorems. */
  fault(line: Line, extra: Readonly<Record<string, unknown>> = {}): void {
    this.#faults++;
    this.#tell(line, extra);
  }

  #tell(line: Line, extra: Readonly<Record<string, unknown>>): void {
    this.#line.clear();
    const { name, verdict, axioms, detail } = line;
    const text = this.#json
      ? JSON.stringify({ type: "verdict", name, verdict, axioms, detail, ...extra })
      : textOf(line);
    process.stdout.write(`${text}\n`);
  }

  progress(total: number): void {
    this.#line.tell(`checking  ${this.#count} of ${plural(total, "proof")}, ${this.#proved} proved`);
  }

  /** Says how many were proved, and sets the exit status. */
  end(): void {
    this.#line.clear();
    const seconds = (performance.now() - this.#began) / 1000;
    if (!this.#json || process.stderr.isTTY) {
      const of = `${this.#proved} of ${plural(this.#count, "theorem")} proved`;
      process.stderr.write(`${of} in ${formatDuration(seconds)}\n`);
    }
    process.exitCode = this.#proved === this.#count && this.#faults === 0 ? 0 : 1;
  }
}

interface Limits {
  readonly timeout?: number;
  readonly heartbeats?: number;
  readonly signal: AbortSignal;
}

async function verifyLines(
  lean: LeanSession,
  lines: ReturnType<typeof readProofLines>,
  limits: Limits,
  report: Report,
): Promise<void> {
  // All are asked at once, and told in their order.
  const asked = lines.map(({ problem, code, timeout, heartbeats }) => {
    const own = { timeout: timeout ?? limits.timeout, heartbeats: heartbeats ?? limits.heartbeats };
    return lean.verify(problem, code, { ...own, signal: limits.signal });
  });
  for (const answer of asked) answer.catch(() => {});
  for (const [i, answer] of asked.entries()) {
    report.progress(lines.length);
    const { verdict, axioms, detail } = await answer;
    report.add({ name: lines[i].name, verdict, axioms, detail });
  }
}

async function verifyFile(
  lean: LeanAuditor,
  path: string,
  text: string,
  { trusted, ...limits }: Limits & { trusted?: boolean },
  report: Report,
): Promise<void> {
  const { imports, code } = readLeanFile(text);
  const answer = await lean.audit({ imports, code }, { ...limits, trusted });
  const place = ({ line, column }: { line: number; column: number }) => ({ line, column });
  for (const { name, verdict, axioms, detail, start } of answer.theorems) {
    report.add({ name, verdict, axioms, detail }, place(start));
  }
  for (const { at, ...fault } of faultsOutside(answer)) {
    report.fault({ ...fault, name: path, axioms: [] }, at === null ? {} : place(at));
  }
}

export function verifyCommand(): Command {
  const command = new Command("verify")
    .summary("check Lean proofs")
    .description("Checks the theorems of a Lean 4 file, or proofs in JSON lines, with Lean's kernel.")
    .argument("<file>", "FILE.lean, PROOFS.jsonl, or - for JSON lines of standard input")
    .option("--against <file>", "take the statements from this file of JSON lines, by name")
    .addOption(
      new Option(
        "--timeout <seconds>",
        "wall-clock limit of one check (default: 10; of a file: 600)",
      ).argParser(secondsLimit),
    )
    .addOption(
      new Option("--heartbeats <n>", "Lean's own limit (default: 200,000)").argParser(positiveInteger),
    )
    .option("--trust", "let FILE.lean run code of its own while it is read: macros, elaborators, #eval")
    .option("--json", "print one JSON object per line: type, name, verdict, axioms, detail");
  return withLean(command)
    .addHelpText("after", flowing(help))
    .action(async (path: string, flags: Flags) => {
      const { against, timeout: seconds, heartbeats, trust, json = false } = flags;
      const isFile = path.endsWith(".lean");
      if (isFile && against !== undefined) usageError(command, "--against goes with JSON lines");
      const choice = chosenLean(command, flags);
      if (isFile && choice.kind !== "wasm")
        usageError(command, "a whole file is checked by the embedded Lean alone");
      if (!isFile && trust) usageError(command, "--trust goes with FILE.lean");
      const text = path === "-" ? await readStdin() : withoutMark(await readTextFile(path));
      const statements =
        against === undefined
          ? undefined
          : { where: against, text: withoutMark(await readTextFile(against)) };
      const lines = isFile ? [] : readProofLines(path === "-" ? "standard input" : path, text, statements);
      const line = new ProgressLine(process.stderr);
      using interrupt = listenForInterrupt(() => line.note("Stopping."));
      const { signal } = interrupt;
      await orNoLean(async () => {
        try {
          await using lean = await openChosenLean(choice, flags, line, signal);
          const report = new Report(json, line);
          const limits = { timeout: seconds === undefined ? undefined : 1000 * seconds, heartbeats, signal };
          if (!isFile) await verifyLines(lean, lines, limits, report);
          else {
            const whole = { ...limits, timeout: limits.timeout ?? 600_000, trusted: trust };
            await verifyFile(lean as LeanAuditor, path, text, whole, report);
          }
          report.end();
        } catch (error) {
          line.clear();
          if (!signal.aborted) throw error;
          process.exitCode = interrupt.exitCode;
        }
      });
    });
}
