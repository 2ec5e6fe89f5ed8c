import { describe, expect, it } from "vitest";
import { search } from "./search.ts";
import type { SearchOptions } from "./search-options.ts";
import { corridor, corridorTactics, drawing, ToyGenerator, ToyLean, toyTask } from "./testing-world.ts";
import { SearchTrace, type TracedSample } from "./trace.ts";

async function traced(options: SearchOptions) {
  const tools = { lean: new ToyLean(corridor(3)), generator: new ToyGenerator(drawing(corridorTactics(3))) };
  let trace: SearchTrace | null = null;
  const samples: TracedSample[] = [];
  const created: { node: number; path: readonly string[] }[] = [];
  /** Of each generation, the state that its chain had reached. */
  const reached: (string | undefined)[] = [];
  for await (const event of search(toyTask(), tools, options)) {
    if (event.type === "root") trace = new SearchTrace(event.state, options);
    else if (event.type === "sample") {
      samples.push(trace!.take(event));
      reached.push(created.findLast(({ node }) => node === event.node)?.path.at(-1));
    } else if (event.type === "node") created.push(event);
  }
  return { samples, created, reached };
}

describe("the tree of a search for people", () => {
  it.each(["sample", "resume", "rmaxts"] as const)(
    "of %s has each state once, under a known one",
    async (kind) => {
      const { samples, reached } = await traced({
        search: kind,
        samples: 1500,
        cutProofs: true,
        parallel: 3,
        seed: 5,
        stop: "never",
      });
      const states = new Map([[0, "root"]]);
      const visits = new Map<number, number>();
      for (const [i, { nodes, same, from, to, visited, proved }] of samples.entries()) {
        // A chain goes on from where it was, or starts again.
        if (kind === "resume") expect(["root", reached[i]]).toContain(states.get(from));
        for (const { node, parent, tactic, state } of nodes) {
          expect(states.has(parent)).toBe(true);
          expect(states.has(node)).toBe(false);
          expect(tactic).toMatch(/^(right \d|aside|back|skip\n *)/);
          states.set(node, state);
        }
        for (const { node, parent } of same)
          expect([states.has(node), states.has(parent)]).toEqual([true, true]);
        expect([states.has(from), states.has(to)]).toEqual([true, true]);
        expect(visited.at(-1)!.node).toBe(0);
        for (const { node, visits: count } of visited) {
          expect(count).toBe((visits.get(node) ?? 0) + 1);
          visits.set(node, count);
        }
        if (proved) expect(states.get(to)).toBe("no goals");
      }
      expect(visits.get(0)).toBe(1500);
      expect(samples.some(({ proved }) => proved)).toBe(true);
      const failed = samples.filter(({ verdict, rest }) => verdict === "error" && rest.startsWith("wrong"));
      expect(failed.length).toBeGreaterThan(0);
      expect(failed[0].detail).toBe("wrong failed");
    },
  );

  it("of rmaxts has the numbers and values of the search's own", async () => {
    const { samples, created } = await traced({
      search: "rmaxts",
      samples: 60,
      parallel: 2,
      seed: 2,
      stop: "never",
    });
    const nodes = samples.flatMap((sample) => sample.nodes);
    expect(nodes.map(({ node }) => node)).toEqual(created.map(({ node }) => node));
    expect(nodes.map(({ state }) => state)).toEqual(created.map(({ path }) => path.at(-1)));
    const values = samples.flatMap(({ visited }) => visited.map(({ value }) => value!));
    expect(Math.max(...values)).toBeLessThanOrEqual(1);
    expect(values.some((value) => value > 0 && value < 1)).toBe(true);
  });
});
