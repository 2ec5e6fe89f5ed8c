/** Runs a command again and again, and kills it at random moments, until it ends by itself. */
import type { ChildProcess } from "node:child_process";
import type { Random } from "../../src/tensor/random.ts";
import type { commandsIn, EndedCommand } from "../command-process.ts";

export interface KillsOptions {
  /** How often it is killed before it may go on to its end. */
  readonly kills: number;
  readonly random: Random;
  /** Called before each start: what is kept must be whole at any moment. */
  readonly look?: () => Promise<void>;
  /** Lines of output between which most kills fall. */
  readonly lines: number;
}

export interface Killed {
  readonly end: EndedCommand;
  /** Kills that met a running process. */
  readonly kills: number;
  /** Of those, the ones that came before anything was said: while it opened its parts. */
  readonly early: number;
  readonly starts: number;
}

/**
 * Every fourth kill comes at any time from the start on, the others at a random moment behind one of the next lines of output, so that
 * they fall among the work and not only into the opening of models.
 */
export async function runKilled(
  { start }: ReturnType<typeof commandsIn>,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  { kills, random, look, lines }: KillsOptions,
): Promise<Killed> {
  let [killed, early, starts] = [0, 0, 0];
  for (;;) {
    await look?.();
    const { child, ended } = start(args, { env });
    starts++;
    let said = 0;
    child.stdout?.on("data", (text: string) => (said += text.split("\n").length - 1));
    if (killed < kills) arm(child, random, lines);
    const end = await ended();
    if (end.signal !== "SIGKILL") return { end, kills: killed, early, starts };
    killed++;
    if (said === 0) early++;
  }
}

function arm(child: ChildProcess, random: Random, lines: number): void {
  const kill = () => void child.kill("SIGKILL");
  if (random.int(4) === 0) {
    const timer = setTimeout(kill, random.uniform() * 4000);
    child.once("close", () => clearTimeout(timer));
    return;
  }
  let left = random.int(lines) + 1;
  child.stdout?.on("data", (text: string) => {
    left -= text.split("\n").length - 1;
    if (left > 0) return;
    left = Number.POSITIVE_INFINITY;
    setTimeout(kill, random.uniform() * 20);
  });
}
