/** The command line in processes of its own, which end at once where they are asked to wait for input. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../src/cli/main.ts", import.meta.url));

export interface EndedCommand {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Starts commands in a folder, with more environment variables. */
export function commandsIn(work: string, more: Readonly<Record<string, string>> = {}) {
  function start(args: readonly string[]) {
    const env = { ...process.env, NODE_COMPILE_CACHE: join(work, "cache"), ...more };
    const child = spawn(process.execPath, [main, ...args], { cwd: work, env });
    let [out, err] = ["", ""];
    child.stdout.setEncoding("utf8").on("data", (text: string) => (out += text));
    child.stderr.setEncoding("utf8").on("data", (text: string) => (err += text));
    child.stdin.end();
    const ended = async (): Promise<EndedCommand> => {
      const [code] = await once(child, "close");
      return { code, out, err };
    };
    return { child, ended };
  }
  return { start, run: (...args: readonly string[]) => start(args).ended() };
}
