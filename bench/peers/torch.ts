/** Runs `train_torch.py` as a child process that trains on command, so that rounds of both sides can alternate. */
import { fileURLToPath } from "node:url";
import { startChild } from "./child.ts";

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
  const child = await startChild<PeerDescription>(python, [script, "--serve", ...options]);
  return {
    description: child.description,
    steps: (count) => child.ask<PeerSteps>(`${count}`),
    [Symbol.asyncDispose]: () => child[Symbol.asyncDispose](),
  };
}
