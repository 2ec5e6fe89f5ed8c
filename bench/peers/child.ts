/** A program beside this one that answers each line on its standard input by one line of JSON, so that rounds can alternate. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

export interface Child<Description> extends AsyncDisposable {
  /** What it said of itself at its start. */
  readonly description: Description;
  /** Sends a line and waits for the answer. @throws Error if the program ends */
  ask<Answer>(line: string): Promise<Answer>;
}

/** Starts a program, with environment variables `settings`; it is ready when this resolves. @throws Error if it ends early */
export async function startChild<Description>(
  command: string,
  args: readonly string[],
  settings: Readonly<Record<string, string>> = {},
): Promise<Child<Description>> {
  const { OPENBLAS_CORETYPE: _, OPENBLAS_L2_SIZE: __, ...env } = process.env;
  const child = spawn(command, args, { env: { ...env, ...settings }, stdio: ["pipe", "pipe", "pipe"] });
  let complaints = "";
  child.stderr.on("data", (chunk) => {
    complaints = (complaints + chunk).slice(-2000);
  });
  const closed = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("close", (code) => reject(new Error(`the peer ended with code ${code}: ${complaints}`)));
  });
  // Only a pending wait needs to be told.
  closed.catch(() => undefined);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const answer = async () => {
    const { value, done } = await Promise.race([lines.next(), closed]);
    return done ? closed : JSON.parse(value);
  };
  const description: Description = await answer();
  return {
    description,
    ask: async (line) => {
      child.stdin.write(`${line}\n`);
      return answer();
    },
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await closed.catch(() => undefined);
    },
  };
}
