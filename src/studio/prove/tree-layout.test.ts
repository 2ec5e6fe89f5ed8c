import { describe, expect, it } from "vitest";
import { ProofTree } from "./search-model.ts";
import { NODE, neighbor, placeTree } from "./tree-layout.ts";

/** A tree of so many levels, each node with so many children. */
function grown(levels: number, children: number): ProofTree {
  const tree = new ProofTree("⊢ root");
  let [id, above] = [0, ["0"]];
  for (let level = 0; level < levels; level++) {
    const next: string[] = [];
    for (const parent of above) {
      for (let i = 0; i < children; i++) {
        const node = ++id;
        tree.take({
          nodes: [{ node, parent, tactic: `t${node}`, state: `⊢ ${node}` }],
          visited: [{ node, visits: id % 7, value: 0 }],
        });
        next.push(String(node));
      }
    }
    above = next;
  }
  return tree;
}

describe("the drawn tree", () => {
  it("has every node once, none over another, children below their parent", () => {
    const { nodes, width, cut } = placeTree(grown(3, 3).root, new Set(), []);
    expect([nodes.length, cut]).toEqual([40, 0]);
    const rows = [...new Set(nodes.map(({ y }) => y))];
    expect(rows).toHaveLength(4);
    for (const row of rows) {
      const places = nodes
        .filter(({ y }) => y === row)
        .map(({ x }) => x)
        .sort((a, b) => a - b);
      for (let i = 1; i < places.length; i++)
        expect(places[i] - places[i - 1]).toBeGreaterThanOrEqual(NODE.width);
    }
    expect(Math.max(...nodes.map(({ x }) => x)) + NODE.width).toBe(width);
    expect(Math.min(...nodes.map(({ x }) => x))).toBe(0);
  });

  it("is cut where it is large, by visits, but for what is kept, and says how much is hidden", () => {
    const tree = grown(4, 6);
    const last = tree.get("1554")!;
    const { nodes, cut } = placeTree(tree.root, new Set(), [last], 100);
    expect(nodes).toHaveLength(100);
    expect(nodes.length + cut).toBe(tree.size);
    const keys = new Set(nodes.map(({ node }) => node.key));
    for (let at: typeof last | null = last; at !== null; at = at.parent) expect(keys.has(at.key)).toBe(true);
    for (const { node, shown, hidden } of nodes) expect(shown + hidden).toBe(node.children.length);
  });

  it("takes those that were visited most, and states before what failed", () => {
    const tree = new ProofTree("⊢ root");
    const visits = Array.from({ length: 500 }, (_, i) => (i * 271) % 509);
    for (const [i, count] of visits.entries()) {
      const node = i + 1;
      tree.take({
        nodes: [{ node, parent: 0, tactic: `t${i}`, state: `⊢ ${i}` }],
        ...{ to: 0, rest: `fails ${i}`, visited: [{ node, visits: count, value: null }] },
      });
    }
    const { nodes, cut } = placeTree(tree.root, new Set(), [], 100);
    expect(cut).toBe(901);
    const drawn = nodes.slice(1).map(({ node }) => node.visits);
    expect(drawn.sort((a, b) => b - a)).toEqual(visits.sort((a, b) => b - a).slice(0, 99));
  });

  it("leaves out what is below a closed node", () => {
    const tree = grown(2, 2);
    const { nodes } = placeTree(tree.root, new Set(["1"]), []);
    expect(nodes.map(({ node }) => node.key)).toEqual(["0", "1", "2", "5", "6"]);
    expect(nodes[1]).toMatchObject({ shown: 0, hidden: 2 });
  });

  it("is walked by arrows", () => {
    const { nodes } = placeTree(grown(2, 2).root, new Set(), []);
    const to = (arrow: Parameters<typeof neighbor>[2], from: string) => neighbor(nodes, from, arrow);
    expect([to("ArrowRight", "0"), to("ArrowDown", "1"), to("ArrowUp", "2")]).toEqual(["1", "3", "4"]);
    expect([to("ArrowLeft", "5"), to("ArrowLeft", "0"), to("ArrowRight", "3")]).toEqual(["2", null, null]);
    expect([to("Home", "5"), to("End", "0"), to("ArrowDown", "gone")]).toEqual(["0", "6", "0"]);
  });
});
