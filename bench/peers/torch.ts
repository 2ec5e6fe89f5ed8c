/** Runs `train_torch.py` as a child process that trains on command, so that rounds of both sides can alternate. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

/** What the peer says of itself before its first step. */
export interface PeerDescription {
  readonly torch: string;
  readonly transformers: string;
  readonly threads: number;
  readonly parameters: number;
  readonly attention: string;
  readonly experts: string;
  readonly optimizer: string;
  /** Every variant that was tried. */
  readonly trials: readonly {
    readonly choice: Record<string, string>;
    readonly ms?: number;
    readonly error?: string;
  }[];
}

export interface PeerSteps {
  /** Milliseconds of each step. */
  readonly ms: readonly number[];
  /** Processor time of all of them together. */
  readonly cpuMs: number;
  readonly loss: number;
  readonly residentKb: number;
}

export interface Peer extends AsyncDisposable {
  readonly description: PeerDescription;
  steps(count: number): Promise<PeerSteps>;
}

/** Starts the peer with the program `python`; its warm-up is over when this resolves. @throws Error if it ends early */
export async function startPeer(python: string, options: readonly string[]): Promise<Peer> {
  const script = fileURLToPath(new URL("train_torch.py", import.meta.url));
  const { OPENBLAS_CORETYPE: _, OPENBLAS_L2_SIZE: __, ...env } = process.env;
  const child = spawn(python, [script, "--serve", ...options], { env, stdio: ["pipe", "pipe", "pipe"] });
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
  const description: PeerDescription = await answer();
  return {
    description,
    steps: async (count) => {
      child.stdin.write(`${count}\n`);
      return answer();
    },
    [Symbol.asyncDispose]: async () => {
      child.stdin.end();
      await closed.catch(() => undefined);
    },
  };
}
