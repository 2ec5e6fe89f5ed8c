/**
 * Truncate and resume without a tree: go on from the last verified text that shows a new state, and from the start again after
 * some generations without one. As many chains as generations at the same time, each for itself; a chain is a node of the log.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { normalizeState } from "../text/states.ts";
import type { Lease, Progress, ProofPlace, SearchPolicy, SearchSegment } from "./policy.ts";

export interface ChainsOptions {
  /** State of the statement. */
  readonly root: string;
  /** Generations without a new state after which a chain starts again (4). */
  readonly patience?: number;
  readonly keys?: "raw" | "normalized";
}

interface Chain {
  place: ProofPlace;
  /** Keys of the states on the way, the root's included. */
  readonly seen: Set<string>;
  states: string[];
  /** Generations since the last new state. */
  stalled: number;
  lease: Lease | null;
}

/** As many as generations at the same time. */
const MOST_CHAINS = 4096;

const START: ProofPlace = { code: "", comment: "" };

export class ResumedChains implements SearchPolicy {
  readonly #root: string;
  readonly #patience: number;
  readonly #raw: boolean;
  readonly #chains: Chain[] = [];
  #best: { code: string; state: string; steps: number };

  /** @throws ConfigError for a `patience` below 1 */
  constructor({ root, patience = 4, keys = "normalized" }: ChainsOptions) {
    if (!Number.isSafeInteger(patience) || patience < 1) {
      throw new ConfigError("out of range", {
        where: "ResumedChains",
        ...{ name: "patience", expected: "a whole number, 1 or more", found: patience },
      });
    }
    this.#root = root;
    this.#patience = patience;
    this.#raw = keys === "raw";
    this.#best = { code: "", state: root, steps: 0 };
  }

  select(): Lease {
    const free = this.#chains.findIndex(({ lease }) => lease === null);
    return this.#begin(free < 0 ? this.#chains.length : free);
  }

  lease(node: number, entry: number): Lease {
    if (!(node < MOST_CHAINS) || this.#chains[node]?.lease || entry !== 0) {
      throw new ConfigError("no such free chain", { where: `node ${node}, entry ${entry}` });
    }
    // Chains before it may not have ended a generation when the log was written.
    for (let i = this.#chains.length; i < node; i++) this.#chains.push({ ...this.#started(), lease: null });
    return this.#begin(node);
  }

  complete(lease: Lease, segments: readonly SearchSegment[]): Progress {
    const chain = this.#end(lease);
    const states: string[] = [];
    let code = "";
    let reached: { place: ProofPlace; states: string[] } | null = null;
    for (const { code: piece, comment, state, tooLong } of segments) {
      code += piece;
      if (tooLong) continue;
      if (state !== (states.at(-1) ?? this.#root)) states.push(state);
      if (!chain.seen.has(this.#key(state))) reached = { place: { code, comment }, states: [...states] };
    }
    if (reached === null) {
      chain.stalled++;
      if (chain.stalled >= this.#patience) Object.assign(chain, this.#started());
      return { newNodes: 0, reward: 0, created: [] };
    }
    const fresh = reached.states.map((state) => this.#key(state)).filter((key) => !chain.seen.has(key));
    for (const key of fresh) chain.seen.add(key);
    Object.assign(chain, { ...reached, stalled: 0 });
    if (reached.states.length > this.#best.steps) {
      const { place, states } = reached;
      this.#best = { code: place.code, state: states[states.length - 1], steps: states.length };
    }
    return { newNodes: new Set(fresh).size, reward: 1, created: [lease.node] };
  }

  release(lease: Lease): void {
    this.#end(lease);
  }

  best(): { readonly code: string; readonly state: string } {
    const { code, state } = this.#best;
    return { code, state };
  }

  path(node: number): readonly string[] {
    return this.#chains[node]?.states ?? [];
  }

  #started(): Pick<Chain, "place" | "seen" | "states" | "stalled"> {
    return { place: START, seen: new Set([this.#key(this.#root)]), states: [], stalled: 0 };
  }

  #key(state: string): string {
    return this.#raw ? state : normalizeState(state);
  }

  #begin(node: number): Lease {
    this.#chains[node] ??= { ...this.#started(), lease: null };
    const chain = this.#chains[node];
    chain.lease = { node, entry: 0, ...chain.place };
    return chain.lease;
  }

  #end(lease: Lease): Chain {
    const chain = this.#chains[lease.node];
    if (chain?.lease !== lease) {
      throw new ConfigError("an expansion that has ended, or of another search", {
        where: `node ${lease.node}`,
      });
    }
    chain.lease = null;
    return chain;
  }
}
