/** The command line in processes of its own. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** The file that a command line starts. */
export const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

export interface EndedCommand {
  readonly code: number | null;
  /** What ended it, if it did not end by itself. */
  readonly signal: NodeJS.Signals | null;
  readonly out: string;
  readonly err: string;
}

export interface CommandInput {
  /** Standard input, which ends after it; default: empty. */
  readonly input?: string;
  /** Further environment variables. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Starts commands in a folder, with more environment variables. @param program what Node runs before the arguments */
export function commandsIn(
  work: string,
  more: Readonly<Record<string, string>> = {},
  program: readonly string[] = [main],
) {
  function start(args: readonly string[], { input = "", env }: CommandInput = {}) {
    const child = spawn(process.execPath, [...program, ...args], {
      cwd: work,
      env: { ...process.env, NODE_COMPILE_CACHE: join(work, "cache"), ...more, ...env },
    });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.stdin.end(input);
    const closed = once(child, "close");
    const ended = async (): Promise<EndedCommand> => {
      const [code, signal] = await closed;
      return { code, signal, out, err };
    };
    return { child, ended };
  }
  return { start, run: (...args: readonly string[]) => start(args).ended() };
}
