/**
 * The search tree of RMaxTS (DeepSeek-Prover-V1.5, sections 3.2 to 3.4; `prover/algorithms/rmax_tree_search.py`) as a pure state
 * machine: no I/O, no clock, random numbers passed in. A node is a place in a proof, the edge to it the tactic state there.
 * Each node has an arm of its own ("expand here") beside its children. Nodes are numbered in order of appearance, the root is 0.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { NO_GOALS, normalizeState } from "../text/states.ts";
import { ArmGroups, type GroupedArm } from "./arm-groups.ts";
import { type Counts, discounted, score } from "./bandit.ts";
import type { Lease, Progress, ProofPlace, SearchPolicy, SearchSegment } from "./policy.ts";
import { checkedTree, type TreeJson } from "./tree-json.ts";
import { type TreeOptions, treeOptions } from "./tree-options.ts";

interface Node extends GroupedArm {
  readonly id: number;
  readonly parent: Node | null;
  readonly depth: number;
  readonly state: string;
  readonly key: string;
  readonly children: Node[];
  readonly byKey: Map<string, Node>;
  /** Texts that lead here, and their set. */
  readonly places: ProofPlace[];
  readonly codes: Set<string>;
  readonly groups: ArmGroups;
  /** Expansions of the node itself; `subtree` counts those of the node with all below it. */
  readonly own: Counts;
}

/** One choice at a node, with all that decides about it. */
export interface Arm {
  /** The child; null for the node itself. */
  readonly node: number | null;
  readonly state: string;
  readonly value: number;
  readonly visits: number;
  readonly score: number;
}

/** What can be read of a node. */
export interface TreeNode {
  readonly id: number;
  readonly parent: number | null;
  readonly depth: number;
  readonly state: string;
  readonly children: readonly number[];
  readonly places: readonly ProofPlace[];
  /** What the search makes of the node with all below it, from 0 to 1. */
  readonly value: number;
}

/** A move of a proof in the tree. */
export interface TreeStep {
  readonly node: number;
  readonly parent: number;
  /** The text of the proof since the move before. */
  readonly code: string;
}

const counts = (): Counts => ({ reward: 0, visits: 0, running: 0, value: 0, weight: 0 });

export class ProofTree implements SearchPolicy {
  readonly #options: Required<TreeOptions>;
  readonly #gamma: number;
  readonly #nodes: Node[] = [];
  readonly #leases = new Set<Lease>();
  #best: Node;

  /** @throws ConfigError for an option out of range, by name */
  constructor(options: TreeOptions = {}) {
    this.#options = treeOptions(options);
    const { bandit, gamma, root } = this.#options;
    this.#gamma = bandit === "ucb1" ? 1 : gamma;
    this.#best = this.#add(null, root, this.#key(root));
    this.#best.places.push({ code: "", comment: "" });
    this.#best.codes.add("");
  }

  /** Number of nodes. */
  get size(): number {
    return this.#nodes.length;
  }

  /** Expansions that have begun and not ended. */
  get running(): number {
    return this.#leases.size;
  }

  /** @throws ConfigError for a number that no node has */
  node(id: number): TreeNode {
    const { parent, depth, state, children, places, subtree } = this.#at(id);
    return {
      id,
      parent: parent?.id ?? null,
      depth,
      state,
      children: children.map((child) => child.id),
      places,
      value: subtree.value,
    };
  }

  /** The way of a proof through the tree, as far as its states are in it. */
  steps(segments: readonly SearchSegment[]): TreeStep[] {
    const steps: TreeStep[] = [];
    let node = this.#nodes[0];
    let code = "";
    for (const segment of segments) {
      code += segment.code;
      const next = segment.tooLong ? undefined : node.byKey.get(this.#key(segment.state));
      if (next === undefined) continue;
      steps.push({ node: next.id, parent: node.id, code });
      [node, code] = [next, ""];
    }
    return steps;
  }

  /** States from below the root down to a node. */
  path(id: number): string[] {
    const states: string[] = [];
    for (let node = this.#at(id); node.parent !== null; node = node.parent) states.push(node.state);
    return states.reverse();
  }

  /**
   * Walks from the root to the node to expand next and begins an expansion there, from one of its texts.
   * @param random a number from 0 to below 1, which chooses the text
   */
  select(random: number): Lease {
    let node = this.#nodes[0];
    for (;;) {
      const next = this.#choose(node);
      if (next === node) break;
      node = next;
    }
    return this.#begin(node, Math.floor(random * node.places.length));
  }

  /** Begins an expansion at a known place, as a log tells it. @throws ConfigError for a place that there is not */
  lease(node: number, entry: number): Lease {
    const at = this.#at(node);
    if (at.places[entry] === undefined) {
      throw new ConfigError("no such text at this node", {
        where: `node ${node}`,
        ...{ name: "entry", expected: `below ${at.places.length}`, found: entry },
      });
    }
    return this.#begin(at, entry);
  }

  /**
   * Ends an expansion: what was proved is inserted from the root on, and the node that was selected gets the reward, wherever
   * new nodes are. A state equal to the one before it adds no node, one equal to an existing child leads to it.
   * @param segments of the whole proof, the text of the lease included
   */
  complete(lease: Lease, segments: readonly SearchSegment[], proved = false): Progress {
    this.#end(lease);
    const created = this.insert(segments);
    const { reward: rule } = this.#options;
    const earned = created.length > 0 || (rule === "intrinsic+extrinsic" && proved);
    const reward = rule !== "none" && earned ? 1 : 0;
    this.#reward(this.#at(lease.node), reward);
    return { newNodes: created.length, reward, created };
  }

  /** Ends an expansion as if it had never begun. */
  release(lease: Lease): void {
    this.#end(lease);
  }

  /** Adds the nodes of a proof without counting a visit; returns the new ones. */
  insert(segments: readonly SearchSegment[]): number[] {
    const created: number[] = [];
    let node = this.#nodes[0];
    let code = "";
    for (const segment of segments) {
      code += segment.code;
      if (segment.tooLong) continue;
      const key = this.#key(segment.state);
      if (key === node.key) continue;
      let child = node.byKey.get(key);
      if (child === undefined) {
        child = this.#add(node, segment.state, key);
        created.push(child.id);
      }
      node = child;
      if (!node.codes.has(code)) {
        node.codes.add(code);
        node.places.push({ code, comment: segment.comment });
      }
    }
    return created;
  }

  /** The place with the most steps that leaves goals open. */
  best(): { readonly code: string; readonly state: string } {
    return { code: this.#best.places[0].code, state: this.#best.state };
  }

  /** The choices at a node: itself first, then its children by age. The first of those with the highest score is taken. */
  arms(id: number): Arm[] {
    const { own, children } = this.#at(id);
    const all = [own, ...children.map(({ subtree }) => subtree)];
    const total = all.reduce((sum, { weight }) => sum + weight, 0);
    return all.map((arm, i) => ({
      node: i === 0 ? null : children[i - 1].id,
      state: i === 0 ? "" : children[i - 1].state,
      value: arm.value,
      visits: arm.weight,
      score: score(arm, total),
    }));
  }

  /** All that has been learned; expansions that have begun and not ended are left out. */
  toJSON(): TreeJson {
    return {
      version: 1,
      options: this.#options,
      nodes: this.#nodes.map(({ parent, state, places, own, subtree }) => ({
        parent: parent?.id ?? null,
        state,
        counts: [own.reward, own.visits, subtree.reward, subtree.visits],
        places: places.map(({ code, comment }) => [code, comment]),
      })),
    };
  }

  /** @throws FormatError or ConfigError for what `toJSON` does not write */
  static fromJSON(json: unknown): ProofTree {
    const { options, nodes } = checkedTree(json);
    const tree = new ProofTree(options);
    for (const [id, { parent, state, counts, places }] of nodes.entries()) {
      const node =
        id === 0 ? tree.#nodes[0] : tree.#add(tree.#nodes[parent as number], state, tree.#key(state));
      [node.own.reward, node.own.visits, node.subtree.reward, node.subtree.visits] = counts;
      discounted(node.own, tree.#gamma);
      tree.#update(node);
      for (const [code, comment] of id === 0 ? [] : places) {
        node.places.push({ code, comment });
        node.codes.add(code);
      }
    }
    return tree;
  }

  #at(id: number): Node {
    const node = this.#nodes[id];
    if (node === undefined) {
      throw new ConfigError("no such node", {
        where: "ProofTree",
        ...{ name: "node", expected: `below ${this.#nodes.length}`, found: id },
      });
    }
    return node;
  }

  #key(state: string): string {
    return this.#options.keys === "raw" ? state : normalizeState(state);
  }

  #add(parent: Node | null, state: string, key: string): Node {
    const node: Node = {
      ...{
        id: this.#nodes.length,
        parent,
        index: parent?.children.length ?? 0,
        depth: (parent?.depth ?? -1) + 1,
      },
      ...{ state, key, children: [], byKey: new Map(), places: [], codes: new Set() },
      ...{ own: counts(), subtree: counts(), groups: new ArmGroups(), group: null },
    };
    this.#nodes.push(node);
    parent?.children.push(node);
    parent?.byKey.set(key, node);
    parent?.groups.place(node);
    if (parent !== null && node.depth > this.#best.depth && state !== NO_GOALS) this.#best = node;
    return node;
  }

  /** The node itself, or the child to walk to: of equal scores the node's own is first. */
  #choose(node: Node): Node {
    const { own, children, groups } = node;
    if (children.length === 0) return node;
    const total = own.weight + groups.total();
    const best = groups.best(total, score(own, total));
    return best === null ? node : children[best.index];
  }

  #begin(node: Node, entry: number): Lease {
    const lease: Lease = { node: node.id, entry, ...node.places[entry] };
    this.#leases.add(lease);
    this.#run(node, 1);
    return lease;
  }

  #end(lease: Lease): void {
    if (!this.#leases.delete(lease)) {
      throw new ConfigError("an expansion that has ended, or of another tree", {
        where: `node ${lease.node}`,
      });
    }
    this.#run(this.#at(lease.node), -1);
  }

  /** Expansions that run count as visits without reward. */
  #run(node: Node, change: 1 | -1): void {
    node.own.running += change;
    discounted(node.own, this.#gamma);
    for (let at: Node | null = node; at !== null; at = at.parent) {
      at.subtree.running += change;
      this.#update(at);
    }
  }

  #reward(node: Node, reward: number): void {
    this.#visit(node.own, reward);
    discounted(node.own, this.#gamma);
    for (let at: Node | null = node; at !== null; at = at.parent) {
      this.#visit(at.subtree, reward);
      this.#update(at);
    }
  }

  #visit(arm: Counts, reward: number): void {
    arm.reward = this.#gamma * arm.reward + reward;
    arm.visits = this.#gamma * arm.visits + 1;
  }

  /** Brings what its parent sees of a node up to date. */
  #update(node: Node): void {
    discounted(node.subtree, this.#gamma);
    node.parent?.groups.place(node);
  }
}
