/**
 * A reward by a command of the user's: the samples of a group go to its standard input as JSON lines, one number a line comes back.
 * It is started for each group, so that programs that buffer what they write work too, in a group of processes of its own, which
 * ends with the answer, the time limit, the run or this process.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { DeepseekError } from "../../tensor/errors.ts";
import { type Reward, type RewardSample, sampleText } from "../../train/policy/rewards.ts";

/** Characters of an answer for each sample: a number has some twenty. */
const MOST_PER_SAMPLE = 1000;
/** Characters of standard error that an error shows. */
const WORDS = 1000;

/** JSON's numbers, and what programs print of others: a sign in front, a dot at either end. */
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/** Groups of processes that must not outlive this one. */
const running = new Set<ChildProcess>();
const endAll = () => {
  for (const child of running) kill(child);
};

function kill(child: ChildProcess): void {
  try {
    if (child.pid !== undefined && process.platform !== "win32") process.kill(-child.pid, "SIGKILL");
    else child.kill("SIGKILL");
  } catch {
    // It has ended already.
  }
}

/** What a reward sees of a sample, as a module or a command gets it. */
export function plainSample({ prompt, completion, key, row }: RewardSample) {
  return { prompt, completion, key, row };
}

interface Ended {
  readonly output: string;
  readonly words: string;
  /** `status 1`, `SIGKILL`, or why it could not be started. Null: it ended well. */
  readonly fault: string | null;
}

/** Runs the command over `input`; killed as soon as `signal` aborts, or when it writes more than `most` characters. */
function runOver(command: string, input: string, most: number, signal: AbortSignal): Promise<Ended> {
  return new Promise((resolve) => {
    const child = spawn(command, { shell: true, stdio: "pipe", detached: process.platform !== "win32" });
    if (running.size === 0) process.on("exit", endAll);
    running.add(child);
    let [output, words] = ["", ""];
    let fault: string | null = null;
    const stop = (why: string) => {
      fault ??= why;
      kill(child);
    };
    const abort = () => stop("no longer needed");
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text;
      if (output.length > most) stop(`it wrote more than ${most} characters`);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      words = (words + text).slice(-WORDS);
    });
    // A command may answer without reading everything.
    child.stdin.on("error", () => {});
    child.stdin.end(input);
    child.on("error", ({ message }) => stop(message));
    child.on("close", (code, by) => {
      running.delete(child);
      if (running.size === 0) process.off("exit", endAll);
      signal.removeEventListener("abort", abort);
      // What it started in the background goes with it.
      kill(child);
      resolve({ output, words, fault: fault ?? (code === 0 ? null : (by ?? `status ${code}`)) });
    });
    signal.addEventListener("abort", abort, { once: true });
    if (signal.aborted) abort();
  });
}

/** @throws DeepseekError from the reward: for a command that fails, or answers with other lines than one number for each sample */
export function commandReward(command: string): Reward {
  const where = `reward command ${command}`;
  return async (samples, { signal }) => {
    const input = samples.map((sample) => `${JSON.stringify(plainSample(sample))}\n`).join("");
    const { output, words, fault } = await runOver(command, input, MOST_PER_SAMPLE * samples.length, signal);
    signal.throwIfAborted();
    if (fault !== null) {
      const said = words.trim();
      throw new DeepseekError("the command failed", {
        ...{ where, expected: "status 0", found: said === "" ? fault : `${fault}: ${said}` },
        hint: `The first of ${samples.length} samples: ${sampleText(samples[0])}.`,
      });
    }
    const lines = output.split("\n").filter((line) => line.trim() !== "");
    if (lines.length !== samples.length) {
      throw new DeepseekError("the command did not answer with one line for each sample", {
        ...{ where, expected: `${samples.length} lines`, found: lines.length },
      });
    }
    return lines.map((line, i) => {
      const text = line.trim();
      if (text === "null") return null;
      const value = NUMBER.test(text) ? Number(text) : Number.NaN;
      if (Number.isFinite(value)) return value;
      throw new DeepseekError("the command answered with something else than a finite number", {
        ...{
          where,
          name: `line ${i + 1}`,
          expected: "a number, or null",
          found: JSON.stringify(text.slice(0, 80)),
        },
        hint: `It is of ${sampleText(samples[i])}.`,
      });
    });
  };
}
