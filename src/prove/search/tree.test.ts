import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Random } from "../../tensor/random.ts";
import { proverFixture } from "../text/testing.ts";
import type { Lease, SearchSegment } from "./policy.ts";
import { ProofTree } from "./tree.ts";
import type { TreeOptions } from "./tree-options.ts";

type Step =
  | { op: ["add", string[], string] }
  | { op: ["start", string[]] }
  | { op: ["done", string[], number] }
  | {
      op: ["look", string[]];
      total: number;
      arms: { arm: string; Q: number; N: number; ucb: number }[];
      picked: string;
    };
const updates = proverFixture<{ cases: { name: string; gamma: number; steps: Step[] }[] }>(
  "tree-updates.json",
);

interface Entry {
  node: string;
  returned: string[];
  newNodes: number;
  reward: number;
  treeSize: number;
}
const searches = proverFixture<{
  world: Record<string, string[][]>;
  searches: {
    name: string;
    gamma: number;
    samples: number;
    parallel: number;
    intrinsic: boolean;
    log: Entry[];
  }[];
}>("tree-search.json");

const segments = (states: readonly string[]): SearchSegment[] =>
  states.map((state, i) => ({ code: `t${i} -- ${state}\n`, state, comment: `/- ${state} -/\n` }));

/** Number of the node at a path. */
function find(tree: ProofTree, path: readonly string[]): number {
  return path.reduce(
    (node, state) => tree.node(node).children.find((id) => tree.node(id).state === state)!,
    0,
  );
}

/** An expansion at `path` that earns a reward without adding to the tree. */
class Driver {
  readonly tree: ProofTree;
  readonly #running = new Map<string, Lease[]>();

  constructor(options: TreeOptions) {
    this.tree = new ProofTree({ ...options, reward: "intrinsic+extrinsic" });
  }

  start(path: readonly string[]): void {
    const key = path.join("/");
    const lease = this.tree.lease(find(this.tree, path), 0);
    this.#running.set(key, [...(this.#running.get(key) ?? []), lease]);
  }

  done(path: readonly string[], reward: number): void {
    const lease = this.#running.get(path.join("/"))!.shift()!;
    expect(this.tree.complete(lease, [], reward === 1).reward).toBe(reward);
  }
}

function expectArms(tree: ProofTree, step: Extract<Step, { total: number }>): void {
  const node = find(tree, step.op[1]);
  const arms = tree.arms(node);
  expect(arms.map((arm) => (arm.node === null ? "self" : arm.state))).toEqual(
    step.arms.map(({ arm }) => arm),
  );
  expect(arms.reduce((sum, { visits }) => sum + visits, 0)).toBeCloseTo(step.total, 10);
  for (const [i, { Q, N, ucb }] of step.arms.entries()) {
    expect(Math.abs(arms[i].value - Q)).toBeLessThan(1e-12);
    expect(Math.abs(arms[i].visits - N)).toBeLessThan(1e-12);
    expect(Math.abs(arms[i].score - ucb)).toBeLessThan(1e-12);
  }
  const best = arms.reduce((a, b) => (b.score > a.score ? b : a));
  expect(best.node === null ? "self" : best.state).toBe(step.picked);
  if (node === 0) {
    const lease = tree.select(0);
    expect(tree.path(lease.node)[0] ?? "self").toBe(step.picked);
    tree.release(lease);
  }
}

describe("a proof tree", () => {
  it.each(updates.cases)("updates its arms as the reference does: $name", ({ name, gamma, steps }) => {
    const driver = new Driver(gamma === 1 ? { bandit: "ucb1" } : { gamma });
    if (name.startsWith("long run")) {
      driver.tree.insert(segments(["A"]));
      for (let i = 0; i < 300; i++) {
        driver.start(["A"]);
        driver.done(["A"], i < 10 ? 1 : 0);
      }
    }
    for (const step of steps) {
      const [kind, path] = step.op;
      if (kind === "add") driver.tree.insert(segments([...path, step.op[2]]));
      else if (kind === "start") driver.start(path);
      else if (kind === "done") driver.done(path, step.op[2]);
      else expectArms(driver.tree, step as Extract<Step, { total: number }>);
    }
  });

  it.each(searches.searches)(
    "searches as the reference does: $name",
    ({ gamma, samples, parallel, intrinsic, log }) => {
      const tree = new ProofTree({
        ...(gamma === 1 ? { bandit: "ucb1" as const } : { gamma }),
        reward: intrinsic ? "intrinsic" : "none",
      });
      const expansions = new Map<string, number>();
      const found: Entry[] = [];
      while (found.length < samples) {
        const leases = Array.from({ length: Math.min(parallel, samples - found.length) }, () =>
          tree.select(0),
        );
        for (const lease of leases) {
          const path = tree.path(lease.node);
          const node = path.join("/");
          const k = expansions.get(node) ?? 0;
          expansions.set(node, k + 1);
          const returned = searches.world[node]?.[k] ?? [];
          const { newNodes, reward } = tree.complete(lease, segments([...path, ...returned]));
          found.push({ node, returned, newNodes, reward, treeSize: tree.size });
        }
      }
      expect(found).toEqual(log);
      expect(tree.running).toBe(0);
    },
  );

  it("merges equal states below one parent alone, and keeps every text that leads to a node once", () => {
    const tree = new ProofTree({ root: "⊢ x" });
    const a = { code: "  a\n", state: "⊢ ?m.7", comment: "" };
    expect(tree.insert([{ code: "  skip\n", state: "⊢ x", comment: "" }, a])).toEqual([1]);
    expect(tree.insert([{ ...a, state: "⊢ ?m.8" }])).toEqual([]);
    expect(tree.insert([a])).toEqual([]);
    expect(tree.insert([a, { code: "  b\n", state: "⊢ x", comment: "" }])).toEqual([2]);
    expect(tree.node(1).places.map(({ code }) => code)).toEqual(["  skip\n  a\n", "  a\n"]);
    expect(tree.node(2)).toMatchObject({ parent: 1, depth: 2, state: "⊢ x" });
    expect(tree.best()).toEqual({ code: "  a\n  b\n", state: "⊢ x" });
    const raw = new ProofTree({ root: "⊢ x", keys: "raw" });
    raw.insert([a]);
    expect(raw.insert([{ ...a, state: "⊢ ?m.8" }])).toEqual([2]);
  });

  it("goes on behind a segment that is too long, without a node for it", () => {
    const tree = new ProofTree();
    const [a, b, c] = segments(["a", "b", "c"]);
    tree.insert([a, { ...b, tooLong: true }, c]);
    expect(tree.size).toBe(3);
    expect(tree.node(2).places).toEqual([{ code: a.code + b.code + c.code, comment: c.comment }]);
  });

  it("draws one of the texts of a node", () => {
    const tree = new ProofTree();
    for (let i = 0; i < 4; i++) tree.insert([{ code: `  t${i}\n`, state: "a", comment: "" }]);
    tree.complete(tree.select(0), []);
    const leases = [0, 0.26, 0.5, 0.99].map((random) => {
      const lease = tree.select(random);
      tree.release(lease);
      return [lease.node, lease.code];
    });
    expect(leases).toEqual([0, 1, 2, 3].map((i) => [1, `  t${i}\n`]));
  });

  it("refuses a lease twice, places that there are not, and a discount out of range", () => {
    const tree = new ProofTree();
    const lease = tree.select(0);
    tree.complete(lease, []);
    expect(() => tree.complete(lease, [])).toThrow(/has ended/);
    expect(() => tree.release(lease)).toThrow(/has ended/);
    expect(() => tree.lease(1, 0)).toThrow(/no such node/);
    expect(() => tree.lease(0, 1)).toThrow(/no such text/);
    expect(() => new ProofTree({ gamma: 0 })).toThrow(/above 0/);
    expect(() => new ProofTree({ gamma: 1.01 })).toThrow(/above 0/);
  });
});

/** Any run of a tree, by numbers that say what is done next. */
const run = fc.record({
  options: fc.record({
    gamma: fc.constantFrom(0.3, 0.9, 0.99, 1),
    bandit: fc.constantFrom("ducb" as const, "ucb1" as const),
    reward: fc.constantFrom("intrinsic" as const, "none" as const, "intrinsic+extrinsic" as const),
  }),
  steps: fc.array(
    fc.record({
      kind: fc.constantFrom("select", "select", "complete", "complete", "release"),
      pick: fc.nat(100),
      states: fc.array(fc.constantFrom("a", "b", "c", "d", "no goals"), { maxLength: 4 }),
      proved: fc.boolean(),
    }),
    { maxLength: 120 },
  ),
});

/** Does the steps and calls `see` before each selection. */
function play(
  tree: ProofTree,
  steps: readonly { kind: string; pick: number; states: string[]; proved: boolean }[],
  see: () => void,
) {
  const leases: Lease[] = [];
  for (const { kind, pick, states, proved } of steps) {
    if (kind === "select" || leases.length === 0) {
      see();
      leases.push(tree.select(pick / 101));
    } else {
      const [lease] = leases.splice(pick % leases.length, 1);
      if (kind === "release") tree.release(lease);
      else tree.complete(lease, segments([...tree.path(lease.node), ...states]), proved);
    }
  }
  return leases;
}

/** The walk by the formula alone: all arms of every node on the way are scored. */
function plainWalk(tree: ProofTree): number {
  let node = 0;
  for (;;) {
    if (tree.node(node).children.length === 0) return node;
    const best = tree.arms(node).reduce((a, b) => (b.score > a.score ? b : a));
    if (best.node === null) return node;
    node = best.node;
  }
}

describe("any proof tree", () => {
  it("selects what scoring all arms selects", () => {
    fc.assert(
      fc.property(run, ({ options, steps }) => {
        const tree = new ProofTree(options);
        play(tree, steps, () => {
          const expected = plainWalk(tree);
          const lease = tree.select(0);
          tree.release(lease);
          expect(lease.node).toBe(expected);
        });
      }),
      { numRuns: 300 },
    );
  });

  it("is the same after it was written and read, its running expansions left out", () => {
    fc.assert(
      fc.property(run, fc.nat(), ({ options, steps }, seed) => {
        const tree = new ProofTree(options);
        for (const lease of play(tree, steps, () => {})) tree.release(lease);
        const copy = ProofTree.fromJSON(JSON.parse(JSON.stringify(tree)));
        expect(copy.toJSON()).toEqual(tree.toJSON());
        expect(copy.best()).toEqual(tree.best());
        const random = new Random(seed);
        for (let i = 0; i < 10; i++) {
          const draw = random.uniform();
          const [a, b] = [tree.select(draw), copy.select(draw)];
          expect(b).toEqual(a);
          const states = segments([...tree.path(a.node), `new ${i % 3}`]);
          expect(copy.complete(b, states)).toEqual(tree.complete(a, states));
        }
      }),
    );
  });

  it("forgets released expansions altogether", () => {
    fc.assert(
      fc.property(run, ({ options, steps }) => {
        const tree = new ProofTree(options);
        for (const lease of play(tree, steps, () => {})) tree.release(lease);
        const before = JSON.stringify(tree);
        const arms = Array.from({ length: tree.size }, (_, id) => tree.arms(id));
        const leases = Array.from({ length: 7 }, () => tree.select(0));
        for (const lease of leases) tree.release(lease);
        expect(JSON.stringify(tree)).toBe(before);
        expect(Array.from({ length: tree.size }, (_, id) => tree.arms(id))).toEqual(arms);
      }),
    );
  });
});

describe("a tree that is read", () => {
  const good = () => {
    const tree = new ProofTree({ root: "r" });
    tree.complete(tree.select(0), segments(["a", "b"]));
    return JSON.parse(JSON.stringify(tree)) as Record<string, never>;
  };
  // biome-ignore lint/suspicious/noExplicitAny: each damage sets one field of plain JSON
  const damages: [string, (json: any) => unknown, RegExp][] = [
    ["no object", () => 3, /name: version/],
    ["another version", (json) => ({ ...json, version: 2 }), /expected: 1; found: 2/],
    ["no nodes", (json) => ({ ...json, nodes: [] }), /at least the root/],
    ["an unknown bandit", (json) => void (json.options.bandit = "x"), /expected: ducb or ucb1; found: x/],
    ["a parent behind it", (json) => void (json.nodes[1].parent = 2), /nodes\[1\]\.parent.*an earlier node/],
    ["a second child of one state", (json) => void json.nodes.push(json.nodes[1]), /one child for a state/],
    ["a count below 0", (json) => void (json.nodes[1].counts[2] = -1), /nodes\[1\]\.counts/],
    ["a node without text", (json) => void (json.nodes[2].places = []), /nodes\[2\]\.places/],
    ["another root", (json) => void (json.nodes[0].state = "q"), /options\.root/],
  ];
  it.each(damages)("is refused with %s", (_, damage, message) => {
    expect(ProofTree.fromJSON(good()).size).toBe(3);
    const json = good();
    expect(() => ProofTree.fromJSON(damage(json) ?? json)).toThrow(message);
  });
});
