import { expect, it } from "vitest";
import { hash128 } from "../../data/hash.ts";
import { ProofStore } from "../store/store.ts";
import { funnelOf, funnelText, type Truth } from "./funnel.ts";
import { type RoundEvent, type RoundOptions, runRound } from "./round.ts";
import { TableGenerator, TableLean } from "./testing.ts";

/** Problem in words → what the model translates it to, its grade, and which side it can prove (all lower-case words). */
interface World {
  readonly informal: string;
  readonly statement: string;
  readonly grade?: string;
  readonly side?: "statement" | "negation" | "vacuous";
  /** One sample in so many proves it. */
  readonly odds?: number;
  readonly truth?: Truth;
}

const WORLD: readonly World[] = [
  { informal: "p1", statement: "theorem a (n : Nat) : n + 0 = n := by", side: "statement", truth: "true" },
  { informal: "p2", statement: "example (m : Nat) : m + 0 = m := by sorry", truth: "true" },
  { informal: "p3", statement: "theorem b (n : Nat) : n < 5 :=", side: "negation", odds: 3, truth: "false" },
  { informal: "p4", statement: "theorem c (n : Nat) (h : n < n) : n = 7", side: "vacuous", truth: "vacuous" },
  { informal: "p5", statement: "theorem d : unknown = 1", truth: "true" },
  { informal: "p6", statement: "I cannot.", truth: "true" },
  { informal: "p7", statement: "theorem e (n : Nat) : n = n", grade: "poor", truth: "true" },
  { informal: "p8", statement: "theorem f (n : Nat) : n * n ≤ n * n * n", truth: "true" },
  { informal: "p9", statement: "theorem g (n : Nat) : n + sorry = n", truth: "true" },
  { informal: "p10", statement: "theorem i (n : Nat) : 1 * n = n", grade: "hard to say", truth: "true" },
];

const nameOf = (statement: string) => /(?:theorem|example) (\w*)/.exec(statement)?.[1] ?? "";

function world() {
  const bySuffix = { statement: "", negation: "_not", vacuous: "_false" } as const;
  const generator = new TableGenerator((prompt, seed) => {
    const problem = WORLD.find(({ informal }) => prompt.includes(`\n${informal}\n`));
    if (problem !== undefined) return `${problem.statement}\n`;
    if (prompt.startsWith("Grade")) {
      const of = WORLD.find(({ statement }) =>
        prompt.includes(`theorem ${nameOf(statement) || "statement"} `),
      );
      return ` words\nAnalysis: words\nAssessment: ${of?.grade ?? "good"}\n`;
    }
    const [, name, suffix] = /theorem (\w+?)((?:_not|_false)?)(?= )/.exec(prompt)!;
    const of = WORLD.find(({ statement }) => nameOf(statement) === name);
    const meant = of?.side !== undefined && bySuffix[of.side] === suffix;
    return meant && seed % (of.odds ?? 1) === 0 ? "  right -- because\n" : `  wrong ${seed % 3}\n`;
  });
  const lean = new TableLean((_, proof) => proof.startsWith("  right"));
  return { generator, lean };
}

async function filled(path = ":memory:", truths: (world: World) => Truth | undefined = ({ truth }) => truth) {
  const store = await ProofStore.open(path);
  for (const each of WORLD) {
    const { informal } = each;
    const { id } = store.pipeline.addProblem({ source: "test", informal, preamble: "" }, informal);
    const truth = truths(each);
    if (truth !== undefined) store.pipeline.setTruth(id, truth);
  }
  return store;
}

const options: RoundOptions = {
  ...{ round: 0, seed: 5, perStatement: 8, negation: "universal", batch: 4 },
  ...{ sampling: { maxTokens: 64, temperature: 1, topP: 0.95 }, prompt: { style: "short" } },
};

async function read(events: AsyncIterable<RoundEvent>): Promise<RoundEvent[]> {
  const found: RoundEvent[] = [];
  for await (const event of events) found.push(event);
  return found;
}

const outcomes = (store: ProofStore) =>
  Object.fromEntries(
    store.pipeline.statements().map(({ id, problem }) => [
      problem.informal,
      store.pipeline
        .verdicts(id)
        .map(({ outcome }) => outcome)
        .at(-1),
    ]),
  );

const ENDS = {
  ...{ p1: "proved", p2: "duplicate", p3: "refuted", p4: "vacuous", p5: "does-not-elaborate" },
  ...{ p6: "unparsable", p7: "graded out", p8: "open", p9: "does-not-elaborate", p10: "ungraded" },
};

it("passes over a problem that the model has no room for", async () => {
  using store = await filled();
  const informal = "very ".repeat(5000);
  store.pipeline.addProblem({ source: "long", informal, preamble: "" }, informal);
  const { generator, lean } = world();
  const limited = Object.assign(generator, { contextTokens: 4096 });
  await read(runRound({ generator: limited, lean, store }, options));
  expect(outcomes(store)).toEqual({ ...ENDS, [informal]: "unparsable" });
  expect(generator.asked.filter(({ prompt }) => prompt.includes("very very"))).toEqual([]);
});

it("ends every statement where it belongs, and counts what was spent", async () => {
  using store = await filled();
  const events = await read(runRound({ ...world(), store }, options));
  expect(outcomes(store)).toEqual(ENDS);
  const spent = (informal: string, stage: string) =>
    events.find((event) => event.stage === stage && event.statement.problem.informal === informal)?.spent;
  expect(spent("p1", "prove 0")).toBe(1);
  expect(spent("p8", "prove 0")).toBe(16);
  expect(spent("p8", "vacuity")).toBe(4);
  const proofs = store.pipeline
    .proofs()
    .map(({ side, statement, text }) => [statement.problem.informal, side, text]);
  expect(proofs).toEqual([
    ["p1", "statement", "  right -- because"],
    ["p3", "negation", "  right -- because"],
    ["p4", "vacuous", "  right -- because"],
  ]);
  const { filters, lines } = funnelOf(store);
  expect(filters).toEqual([
    { filter: "vacuity", caught: 1, wanted: 1, precision: 1, recall: 1 },
    { filter: "refutation", caught: 1, wanted: 1, precision: 1, recall: 1 },
  ]);
  expect(lines).toContainEqual({ stage: "elaborate", outcome: "does-not-elaborate", count: 2, share: 2 / 9 });
  expect(funnelText(funnelOf(store))).toMatch(/refutation: 1 caught of 1, precision 100.0 %/);
});

it("is the same whatever is known of the truth", async () => {
  const run = async (truths: (world: World) => Truth | undefined) => {
    using store = await filled(":memory:", truths);
    const parts = world();
    const events = await read(runRound({ ...parts, store }, options));
    return { events, asked: parts.generator.asked };
  };
  const known = await run(({ truth }) => truth);
  expect(await run(() => undefined)).toEqual(known);
  expect(await run(() => "vacuous")).toEqual(known);
});

it("goes on where it was stopped, at whatever generation, and asks nothing twice", async () => {
  using whole = await filled();
  const reference = world();
  const expected = await read(runRound({ ...reference, store: whole }, options));
  for (let stopAt = 1; stopAt <= 12; stopAt++) {
    using store = await filled();
    const parts = world();
    let generations = 0;
    const stop = new AbortController();
    parts.generator.before = () => {
      if (++generations === stopAt) throw new Error("stopped");
    };
    const found: RoundEvent[] = [];
    await expect(
      (async () => {
        for await (const event of runRound({ ...parts, store }, { ...options, signal: stop.signal }))
          found.push(event);
      })(),
    ).rejects.toThrow("stopped");
    parts.generator.before = () => {};
    found.push(...(await read(runRound({ ...parts, store }, options))));
    expect(
      found.map(({ stage, outcome, statement, spent }) => [stage, outcome, statement.id, spent]),
    ).toEqual(expected.map(({ stage, outcome, statement, spent }) => [stage, outcome, statement.id, spent]));
    expect(parts.generator.asked).toEqual(reference.generator.asked);
    expect(await read(runRound({ ...parts, store }, options))).toEqual([]);
  }
});

it("tries open statements and lost problems again in the next round, with other seeds, and nothing else", async () => {
  using store = await filled();
  const parts = world();
  await read(runRound({ ...parts, store }, options));
  const before = parts.generator.asked.length;
  const events = await read(runRound({ ...parts, store }, { ...options, round: 1 }));
  const again = new Set(events.map(({ statement }) => statement.problem.informal));
  // p5, p6, p7, p9 and p10 are translated anew; p2 stands for p1, p8 is searched again.
  expect([...again].sort()).toEqual(["p10", "p2", "p4", "p5", "p6", "p7", "p8", "p9"]);
  const prompts = parts.generator.asked.slice(before);
  const searched = prompts.filter(({ prompt }) => prompt.includes("theorem f "));
  expect(searched.length).toBe(8);
  const seeds = new Set(parts.generator.asked.slice(0, before).map(({ seed }) => seed));
  expect(prompts.every(({ seed }) => !seeds.has(seed) || hash128("")[0] === seed)).toBe(true);
});

it("asks Lean again where the machine had failed", async () => {
  using store = await filled();
  const parts = world();
  parts.lean.crashes = 2;
  await read(runRound({ ...parts, store }, options));
  expect(Object.values(outcomes(store)).filter((outcome) => outcome === "formalized").length).toBe(2);
  await read(runRound({ ...parts, store }, options));
  expect(Object.values(outcomes(store)).sort()).toEqual(Object.values(ENDS).sort());
});

it("keeps what was found first where both sides of one wave are proved, and counts no more", async () => {
  using store = await ProofStore.open(":memory:");
  store.pipeline.addProblem({ source: "test", informal: "p1", preamble: "" }, "p1");
  const { generator } = world();
  const parts = { generator, lean: new TableLean(() => true), store };
  const events = await read(runRound(parts, { ...options, perVacuity: 0 }));
  expect(events.at(-1)).toMatchObject({ outcome: "proved", spent: 1 });
  expect(store.pipeline.proofs().map(({ side }) => side)).toEqual(["statement"]);
});

it("goes on where it was killed, in the middle of a wave too, and spends the same", async () => {
  using whole = await filled();
  await read(runRound({ ...world(), store: whole }, options));
  const proofs = (store: ProofStore) =>
    store.pipeline.proofs().map(({ statement, side, text, cost }) => [statement.id, side, text, cost]);
  for (let killAt = 1; killAt <= 24; killAt++) {
    using store = await filled();
    const parts = world();
    const complete = store.completeAttempt.bind(store);
    let attempts = 0;
    store.completeAttempt = (...args) => {
      if (++attempts === killAt) throw new Error("killed");
      return complete(...args);
    };
    await expect(read(runRound({ ...parts, store }, options))).rejects.toThrow("killed");
    store.completeAttempt = complete;
    await read(runRound({ ...parts, store }, options));
    expect([outcomes(store), proofs(store)]).toEqual([outcomes(whole), proofs(whole)]);
  }
});
