/** Which nodes of a search are drawn, and where: so many that the page stays small, those first that the search came by most. */
import { hierarchy, tree } from "d3-hierarchy";
import { pathTo, type TreeNode } from "./search-model.ts";

/** Each takes four elements of the page. */
export const MOST_SHOWN = 140;
export const NODE = { width: 168, height: 44, across: 12, down: 34 } as const;

export interface PlacedNode {
  readonly node: TreeNode;
  readonly x: number;
  readonly y: number;
  /** Children that are drawn, and those that are not. */
  readonly shown: number;
  readonly hidden: number;
}

export interface PlacedTree {
  /** In the order of the tree, from the left. */
  readonly nodes: readonly PlacedNode[];
  readonly width: number;
  readonly height: number;
  /** Nodes that there is no room for. */
  readonly cut: number;
}

/** Verified states before failures, then by visits. */
const rank = (node: TreeNode) =>
  (node.kind === "proved" ? 2e9 : node.kind === "open" ? 1e9 : 0) + node.visits;

/** A heap: the highest in rank comes first. */
class Waiting {
  readonly nodes: TreeNode[] = [];

  put(node: TreeNode): void {
    const { nodes } = this;
    let at = nodes.push(node) - 1;
    for (let above = (at - 1) >> 1; at > 0 && rank(nodes[above]) < rank(node); above = (at - 1) >> 1) {
      nodes[at] = nodes[above];
      at = above;
    }
    nodes[at] = node;
  }

  take(): TreeNode {
    const { nodes } = this;
    const [first] = nodes;
    const node = nodes.pop()!;
    if (nodes.length === 0) return first;
    let at = 0;
    for (let next = 1; next < nodes.length; next = 2 * at + 1) {
      if (next + 1 < nodes.length && rank(nodes[next + 1]) > rank(nodes[next])) next++;
      if (rank(nodes[next]) <= rank(node)) break;
      nodes[at] = nodes[next];
      at = next;
    }
    nodes[at] = node;
    return first;
  }
}

/** At most `most` nodes: those of the ways to `keep` in any case, then the highest in rank that hang on them. */
function chosen(root: TreeNode, closed: ReadonlySet<string>, keep: readonly TreeNode[], most: number) {
  const shown = new Set<TreeNode>([root]);
  for (const way of keep.map(pathTo)) for (const node of way) shown.add(node);
  const waiting = new Waiting();
  const open = (node: TreeNode) => {
    if (!closed.has(node.key)) for (const child of node.children) if (!shown.has(child)) waiting.put(child);
  };
  for (const node of [...shown]) open(node);
  while (shown.size < most && waiting.nodes.length > 0) {
    const node = waiting.take();
    shown.add(node);
    open(node);
  }
  return { shown, cut: waiting.nodes.reduce((sum, { size }) => sum + size, 0) };
}

/**
 * @param closed keys of nodes whose children are not wanted
 * @param keep nodes that are drawn in any case, with the way to them
 */
export function placeTree(
  root: TreeNode,
  closed: ReadonlySet<string>,
  keep: readonly TreeNode[],
  most = MOST_SHOWN,
): PlacedTree {
  const { shown, cut } = chosen(root, closed, keep, most);
  const placed = tree<TreeNode>().nodeSize([NODE.width + NODE.across, NODE.height + NODE.down])(
    hierarchy(root, (node) => node.children.filter((child) => shown.has(child))),
  );
  let [left, right, bottom] = [0, 0, 0];
  placed.each(({ x, y }) => {
    left = Math.min(left, x);
    right = Math.max(right, x);
    bottom = Math.max(bottom, y);
  });
  const nodes: PlacedNode[] = [];
  placed.eachBefore(({ data: node, x, y, children = [] }) => {
    nodes.push({
      node,
      x: x - left,
      y,
      shown: children.length,
      hidden: node.children.length - children.length,
    });
  });
  return { nodes, width: right - left + NODE.width, height: bottom + NODE.height, cut };
}

/** Where an arrow leads in a tree, as its pattern has it: up and down in the order of the nodes, left to the parent, right to a child. */
export function neighbor(
  nodes: readonly PlacedNode[],
  key: string,
  arrow: "ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight" | "Home" | "End",
): string | null {
  const at = nodes.findIndex(({ node }) => node.key === key);
  if (at < 0) return nodes[0]?.node.key ?? null;
  switch (arrow) {
    case "ArrowUp":
      return nodes[at - 1]?.node.key ?? null;
    case "ArrowDown":
      return nodes[at + 1]?.node.key ?? null;
    case "ArrowLeft":
      return nodes[at].node.parent?.key ?? null;
    case "ArrowRight":
      return nodes[at].shown > 0 ? nodes[at + 1].node.key : null;
    case "Home":
      return nodes[0].node.key;
    case "End":
      return nodes.at(-1)!.node.key;
  }
}
