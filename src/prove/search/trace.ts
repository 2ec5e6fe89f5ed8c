/**
 * A search as a tree for people, whichever kind it is: its generations, taken in the order in which they were counted, give the nodes
 * that are new, what failed behind them, and how often the search came by. Texts are cut, so that what is told of a generation is
 * bounded by its number of tactics.
 */
import { answerOf, withoutEnd } from "../text/prompts.ts";
import { NO_GOALS } from "../text/states.ts";
import type { Attempt } from "./attempt.ts";
import { policyOf } from "./search.ts";
import type { SearchOptions } from "./search-options.ts";
import { searchSettings } from "./search-options.ts";
import { ProofTree } from "./tree.ts";

/** Characters of a tactic, of a state, of Lean's message. */
const MOST_TACTIC = 1000;
const MOST_STATE = 4000;
const MOST_DETAIL = 2000;

/** A state that was reached for the first time. */
export interface TracedNode {
  readonly node: number;
  readonly parent: number;
  /** The text that led to it from its parent. */
  readonly tactic: string;
  readonly state: string;
}

/** What came of one generation. */
export interface TracedSample {
  readonly seq: number;
  /** The node that it went on from, and the last one that Lean accepted. */
  readonly from: number;
  readonly to: number;
  readonly nodes: readonly TracedNode[];
  /** Other texts that led to known nodes. */
  readonly same: readonly { readonly node: number; readonly parent: number; readonly tactic: string }[];
  /** What stands behind `to`: the first tactic of it failed, unless the verdict says otherwise. */
  readonly rest: string;
  readonly verdict: Attempt["verdict"];
  readonly detail: string;
  /** Whether it proved the statement, perhaps without its rest. */
  readonly proved: boolean;
  /**
   * Nodes whose counts have changed, up to the root: generations that went on from there or below, and what the search makes of
   * them (`rmaxts`; null for the others). Of whole proofs: those that pass through it.
   */
  readonly visited: readonly {
    readonly node: number;
    readonly visits: number;
    readonly value: number | null;
  }[];
}

const cut = (text: string, most: number) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export class SearchTrace {
  readonly #kind: "sample" | "resume" | "rmaxts";
  readonly #policy: ReturnType<typeof policyOf>;
  /** All verified states; of `rmaxts` the search's own tree. */
  readonly #tree: ProofTree;
  readonly #visits = new Map<number, number>();
  /** Tactics that are known, by the node before them. */
  readonly #tactics = new Set<string>();

  /** @param root state of the statement @param options those of the search, which has one tree */
  constructor(root: string, options: SearchOptions) {
    const settings = searchSettings(options, 1);
    this.#kind = settings.search;
    this.#policy = policyOf(settings, root);
    this.#tree =
      this.#policy instanceof ProofTree ? this.#policy : new ProofTree({ root, keys: settings.keys });
  }

  /** @throws ConfigError for a generation that does not follow those before it */
  take({ seq, node, entry, text, segments, verdict, detail, proof }: Attempt): TracedSample {
    const lease = this.#policy.lease(node, entry);
    const known = this.#tree.size;
    this.#policy.complete(lease, segments, proof !== null);
    if (this.#tree !== this.#policy) this.#tree.insert(segments);
    const nodes: TracedNode[] = [];
    const same: TracedSample["same"][number][] = [];
    let from = 0;
    let to = 0;
    let length = 0;
    for (const step of this.#tree.steps(segments)) {
      const tactic = cut(step.code.trim(), MOST_TACTIC);
      length += step.code.length;
      to = step.node;
      if (length <= lease.code.length) from = step.node;
      const key = `${step.parent} ${tactic}`;
      const news = !this.#tactics.has(key);
      this.#tactics.add(key);
      const { state } = this.#tree.node(step.node);
      if (step.node >= known)
        nodes.push({ node: to, parent: step.parent, tactic, state: cut(state, MOST_STATE) });
      else if (news) same.push({ node: to, parent: step.parent, tactic });
      if (proof !== null && state === NO_GOALS) break;
    }
    if (this.#kind === "rmaxts") from = node;
    const verified = segments.reduce((sum, { code }) => sum + code.length, 0);
    const rest =
      proof === null
        ? withoutEnd(lease.code + answerOf(text))
            .slice(verified)
            .trim()
        : "";
    return {
      ...{ seq, from, to, nodes, same, rest: cut(rest, MOST_TACTIC), verdict },
      ...{ detail: cut(detail, MOST_DETAIL), proved: proof !== null },
      visited: this.#visit(this.#kind === "sample" ? to : from),
    };
  }

  #visit(node: number): TracedSample["visited"] {
    const visited: TracedSample["visited"][number][] = [];
    for (let at: number | null = node; at !== null; ) {
      const { parent, value } = this.#tree.node(at);
      const visits = (this.#visits.get(at) ?? 0) + 1;
      this.#visits.set(at, visits);
      visited.push({ node: at, visits, value: this.#kind === "rmaxts" ? value : null });
      at = parent;
    }
    return visited;
  }
}
