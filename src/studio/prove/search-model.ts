/**
 * A search as its events tell it: the `sorry`s with their states, and a tree for each. What comes is what any server sends: what does not
 * fit is left out.
 */
import type { PlainObject } from "../backend/wire.ts";

/** `same`: a text that leads to a known state. */
export type NodeKind = "open" | "proved" | "failed" | "same";

export interface TreeNode {
  readonly key: string;
  readonly parent: TreeNode | null;
  readonly depth: number;
  readonly tactic: string;
  /** Goals behind it; of a failed one Lean's message. */
  readonly says: string;
  kind: NodeKind;
  visits: number;
  /** What the search makes of it, from 0 to 1; null where it makes nothing. */
  value: number | null;
  readonly children: TreeNode[];
  /** Of the node with all below it. */
  size: number;
}

export type UnitState = "waits" | "searched" | "proved" | "open" | "failed";

export interface Unit {
  readonly title: string;
  state: UnitState;
  samples: number;
  /** Whether it is a place inside a proof, which is no theorem of its own. */
  inner: boolean;
  tree: ProofTree | null;
  /** Of one that was proved. */
  proof: string;
  axioms: readonly string[];
  /** Why it failed, or how far it came. */
  reason: string;
}

/** Tactics that failed, or lead to what is known: as many are kept of a tree. */
const MOST_LEAVES = 5000;

const text = (value: unknown) => (typeof value === "string" ? value : "");
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const fields = (value: unknown) =>
  typeof value === "object" && value !== null ? (value as PlainObject) : {};
const number = (value: unknown) => (typeof value === "number" && Number.isFinite(value) ? value : 0);

export class ProofTree {
  readonly root: TreeNode;
  readonly #nodes = new Map<string, TreeNode>();
  #leaves = 0;
  /** The state that came furthest, and the last step of a proof. */
  furthest: TreeNode;
  proved: TreeNode | null = null;

  constructor(goals: string) {
    const root = {
      ...{ key: "0", parent: null, depth: 0, tactic: "", says: goals, kind: "open" as const },
      ...fresh(),
    };
    this.root = root;
    this.furthest = root;
    this.#nodes.set("0", root);
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(key: string): TreeNode | null {
    return this.#nodes.get(key) ?? null;
  }

  /** The proof's end, or what came furthest. */
  get best(): TreeNode {
    return this.proved ?? this.furthest;
  }

  /** Takes a `sample`. */
  take(sample: PlainObject): void {
    for (const each of list(sample.nodes).map(fields)) {
      if (!Number.isSafeInteger(each.node)) continue;
      const parent = this.get(String(each.parent)) ?? this.root;
      this.#add(String(each.node), parent, text(each.tactic), text(each.state), "open");
    }
    for (const each of list(sample.same).map(fields)) {
      const parent = this.get(String(each.parent));
      const same = this.get(String(each.node));
      if (parent && same) this.#leaf(parent, text(each.tactic), same.says, "same");
    }
    const to = this.get(String(sample.to)) ?? this.root;
    const rest = text(sample.rest);
    if (sample.proved === true) this.#prove(to);
    else if (rest !== "") this.#leaf(to, rest, text(sample.detail) || text(sample.verdict), "failed");
    for (const { node, visits, value } of list(sample.visited).map(fields)) {
      const known = this.get(String(node));
      if (known)
        Object.assign(known, { visits: number(visits), value: typeof value === "number" ? value : null });
    }
  }

  /** Takes a `tried`: a text for a place inside a proof. */
  tried(news: PlainObject): void {
    this.root.visits++;
    const fault = text(news.fault);
    const leaf = this.#leaf(this.root, text(news.text), fault, fault === "" ? "proved" : "failed");
    if (fault === "" && leaf) this.#prove(leaf);
  }

  #add(key: string, parent: TreeNode, tactic: string, says: string, kind: NodeKind): TreeNode {
    const known = this.#nodes.get(key);
    if (known) return known;
    const node: TreeNode = { ...{ key, parent, depth: parent.depth + 1, tactic, says, kind }, ...fresh() };
    this.#nodes.set(key, node);
    parent.children.push(node);
    for (let at: TreeNode | null = parent; at !== null; at = at.parent) at.size++;
    if (kind === "open" && node.depth > this.furthest.depth) this.furthest = node;
    return node;
  }

  #leaf(parent: TreeNode, tactic: string, says: string, kind: NodeKind): TreeNode | null {
    const key = `${parent.key} ${kind} ${tactic}`;
    const known = this.#nodes.get(key);
    if (!known && this.#leaves >= MOST_LEAVES) return null;
    if (!known) this.#leaves++;
    const leaf = known ?? this.#add(key, parent, tactic, says, kind);
    leaf.visits++;
    return leaf;
  }

  #prove(node: TreeNode): void {
    this.proved ??= node;
    for (let at: TreeNode | null = node; at !== null; at = at.parent) at.kind = "proved";
  }
}

const fresh = () => ({ visits: 0, value: null, children: [] as TreeNode[], size: 1 });

/** The nodes from the root to this one. */
export function pathTo(node: TreeNode): readonly TreeNode[] {
  const path: TreeNode[] = [];
  for (let at: TreeNode | null = node; at !== null; at = at.parent) path.unshift(at);
  return path;
}

export class SearchModel {
  readonly units: Unit[] = [];
  /** `sorry`s that nothing can be done about. */
  left: readonly { readonly title: string; readonly reason: string }[] = [];
  current: Unit | null = null;
  samples = 0;
  checks = 0;
  /** The text with its proofs, and Lean's complaint about it; null before the end. */
  filled: { readonly text: string; readonly fault: string } | null = null;

  /** Takes the news of a job `prove`. */
  take(news: PlainObject): void {
    if (news.type === "plan") {
      this.units.push(...list(news.units).map((title) => unit(text(title))));
      this.left = list(news.left)
        .map(fields)
        .map(({ title, reason }) => ({ title: text(title), reason: text(reason) }));
      return;
    }
    if (news.type === "filled") {
      this.filled = { text: text(news.text), fault: text(news.fault) };
      for (const end of list(news.ends).map(fields)) this.#end(this.#unit(text(end.title)), end);
      return;
    }
    const found = this.#unit(text(news.title));
    if (news.type === "unit") {
      found.state = "searched";
      this.current = found;
    } else if (news.type === "root") found.tree = new ProofTree(text(news.state));
    else if (news.type === "sample" || news.type === "tried") {
      this.samples++;
      found.samples++;
      this.checks = Math.max(this.checks, number(news.checks));
      found.tree ??= new ProofTree("");
      if (news.type === "sample") found.tree.take(news);
      else {
        found.inner = true;
        found.tree.tried(news);
      }
    } else if (news.type === "ended") this.#end(found, news);
  }

  #end(found: Unit, { outcome, proof, axioms, reason, state }: PlainObject): void {
    found.state = outcome === "proved" || outcome === "failed" ? outcome : "open";
    found.proof = text(proof);
    found.axioms = list(axioms).map(text);
    found.reason = text(reason) || text(state);
  }

  /** A unit that the plan did not name is one of a job whose beginning is no longer kept. */
  #unit(title: string): Unit {
    const named = this.units.findLast((each) => each.title === title);
    if (named) return named;
    const added = unit(title);
    this.units.push(added);
    return added;
  }
}

const unit = (title: string): Unit => ({
  ...{ title, state: "waits", samples: 0, inner: false, tree: null, proof: "", axioms: [], reason: "" },
});
