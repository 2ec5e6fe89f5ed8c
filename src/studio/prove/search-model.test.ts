import { describe, expect, it } from "vitest";
import { pathTo, SearchModel } from "./search-model.ts";

const title = "theorem swap, line 1";
const sample = (more: object) => ({
  ...{
    type: "sample",
    title,
    seq: 0,
    from: 0,
    to: 0,
    nodes: [],
    same: [],
    rest: "",
    verdict: "error",
    detail: "",
  },
  ...{ proved: false, visited: [], checks: 1, ...more },
});

function searched() {
  const model = new SearchModel();
  model.take({
    type: "plan",
    units: [title, "example, line 9"],
    left: [{ title: "line 20", reason: "no declaration" }],
  });
  model.take({ type: "unit", title });
  model.take({ type: "root", title, state: "⊢ a = b" });
  model.take(
    sample({
      nodes: [
        { node: 1, parent: 0, tactic: "intro h", state: "h : P\n⊢ Q" },
        { node: 2, parent: 1, tactic: "simp at h", state: "h : P'\n⊢ Q" },
      ],
      ...{ to: 2, rest: "omega", detail: "omega could not", checks: 3 },
      visited: [{ node: 0, visits: 1, value: 1 }],
    }),
  );
  return model;
}

describe("a search of its events", () => {
  it("has its sorries with their states, and counts", () => {
    const model = searched();
    expect(model.units.map(({ state }) => state)).toEqual(["searched", "waits"]);
    expect(model.left).toEqual([{ title: "line 20", reason: "no declaration" }]);
    model.take({ type: "ended", title, outcome: "open", best: "x", state: "⊢ Q", cost: {} });
    expect(model.units[0]).toMatchObject({ state: "open", reason: "⊢ Q", inner: false });
    model.take({ type: "unit", title: "example, line 9" });
    model.take({ type: "tried", title: "example, line 9", seq: 0, text: "rfl", fault: "no", checks: 5 });
    model.take({ type: "tried", title: "example, line 9", seq: 1, text: "simp", fault: "", checks: 6 });
    model.take({
      type: "ended",
      title: "example, line 9",
      outcome: "proved",
      proof: "simp",
      axioms: ["propext"],
    });
    const ends = [{ title, outcome: "failed", reason: "the file with this proof: no" }];
    model.take({ type: "filled", text: "filled", fault: "", ends });
    expect([model.samples, model.checks, model.filled]).toEqual([3, 6, { text: "filled", fault: "" }]);
    const [first, second] = model.units;
    expect([first.state, first.reason, first.samples]).toEqual(["failed", "the file with this proof: no", 1]);
    expect(second).toMatchObject({
      state: "proved",
      proof: "simp",
      axioms: ["propext"],
      samples: 2,
      inner: true,
    });
    expect(second.tree!.root.children.map(({ kind, tactic }) => [kind, tactic])).toEqual([
      ["failed", "rfl"],
      ["proved", "simp"],
    ]);
  });

  it("is a tree of what Lean accepted, with what failed and what was known as leaves", () => {
    const { tree } = searched().units[0];
    tree!.take(sample({ to: 2, rest: "omega", detail: "omega could not" }));
    tree!.take(
      sample({
        to: 1,
        same: [{ node: 2, parent: 1, tactic: "simp_all" }],
        visited: [{ node: 1, visits: 2, value: 0.5 }],
      }),
    );
    const [one] = tree!.root.children;
    expect(one).toMatchObject({ tactic: "intro h", says: "h : P\n⊢ Q", visits: 2, value: 0.5, kind: "open" });
    expect(one.children.map(({ kind, tactic }) => [kind, tactic])).toEqual([
      ["open", "simp at h"],
      ["same", "simp_all"],
    ]);
    const [failed] = one.children[0].children;
    expect(failed).toMatchObject({ kind: "failed", tactic: "omega", says: "omega could not", visits: 2 });
    expect(tree!.best).toBe(one.children[0]);
    tree!.take(
      sample({ to: 3, nodes: [{ node: 3, parent: 1, tactic: "exact h", state: "no goals" }], proved: true }),
    );
    expect(pathTo(tree!.best).map(({ kind, key }) => `${key} ${kind}`)).toEqual([
      "0 proved",
      "1 proved",
      "3 proved",
    ]);
  });

  it("takes what does not fit without harm", () => {
    const model = searched();
    for (const news of [{}, { type: "sample" }, { type: "plan", units: 3 }, { type: "ended", title: 4 }])
      model.take(news);
    const { tree } = model.units[0];
    tree!.take({
      nodes: [{ node: 9, parent: 77 }, null],
      same: [{ node: 1, parent: 55 }],
      visited: "x",
      to: {},
    });
    expect(tree!.get("9")!.parent).toBe(tree!.root);
    expect(tree!.size).toBe(5);
  });
});
