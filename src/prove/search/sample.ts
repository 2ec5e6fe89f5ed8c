/** Whole proofs from the statement alone, each without regard to the others: the baseline of every search. */
import { ConfigError } from "../../tensor/errors.ts";
import type { Lease, Progress, SearchPolicy } from "./policy.ts";

const START = { node: 0, entry: 0, code: "", comment: "" } as const;

export class WholeProofs implements SearchPolicy {
  readonly #root: string;

  /** @param root state of the statement */
  constructor(root: string) {
    this.#root = root;
  }

  select(): Lease {
    return START;
  }

  lease(node: number, entry: number): Lease {
    if (node === 0 && entry === 0) return START;
    throw new ConfigError("whole proofs have no places but their start", {
      where: `node ${node}, entry ${entry}`,
    });
  }

  complete(): Progress {
    return { newNodes: 0, reward: 0, created: [] };
  }

  release(): void {}

  best(): { readonly code: string; readonly state: string } {
    return { code: "", state: this.#root };
  }

  path(): readonly string[] {
    return [];
  }
}
