import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { passAtK } from "../../train/policy/pass-at-k.ts";
import { proverFixture } from "../text/testing.ts";
import { type Attempt, attemptSeed } from "./attempt.ts";
import { type ProofTask, type SearchEvent, search } from "./search.ts";
import { searchIdentity } from "./search-identity.ts";
import type { SearchOptions } from "./search-options.ts";
import {
  corridor,
  corridorTactics,
  drawing,
  type Rules,
  STATEMENT,
  shuffling,
  ToyGenerator,
  ToyLean,
  toyTask,
} from "./testing-world.ts";

const LENGTH = 4;
const rules = corridor(LENGTH);
const write = drawing(corridorTactics(LENGTH));

interface World {
  lean?: ToyLean;
  generator?: ToyGenerator;
  task?: ProofTask;
}

async function all(options: SearchOptions, world: World = {}): Promise<SearchEvent[]> {
  const { lean = new ToyLean(rules), generator = new ToyGenerator(write), task = toyTask() } = world;
  const events: SearchEvent[] = [];
  for await (const event of search(task, { lean, generator }, options)) events.push(event);
  return events;
}

const samples = (events: readonly SearchEvent[]) => events.filter((event) => event.type === "sample");
const attempts = (events: readonly SearchEvent[]): Attempt[] =>
  samples(events).map(({ type: _, ...attempt }) => attempt);
const proofs = (events: readonly SearchEvent[]) => events.filter((event) => event.type === "proved");

const kinds = ["sample", "resume", "rmaxts"] as const;

describe("a search", () => {
  it("spends a generation where the model has no room for the prompt, and goes on", async () => {
    const options = { search: "resume", samples: 40, seed: 3, parallel: 4, stop: "never" } as const;
    const free = new ToyGenerator(write);
    await all(options, { generator: free });
    const lengths = free.batches.flat().map(({ prompt }) => prompt.length);
    // Room for whole proofs, and not for what goes on behind all of the steps.
    const contextTokens = Math.min(...lengths) + 12;
    expect(Math.max(...lengths)).toBeGreaterThan(contextTokens);
    const tight = Object.assign(new ToyGenerator(write), { contextTokens });
    const found = samples(await all(options, { generator: tight }));
    expect(found.length).toBe(40);
    expect(found.filter(({ verdict }) => verdict === "empty").length).toBeGreaterThan(0);
    expect(Math.max(...tight.batches.flat().map(({ prompt }) => prompt.length))).toBeLessThan(contextTokens);
    const generator = Object.assign(new ToyGenerator(write), { contextTokens: 0 });
    const nothing = await all({ search: "sample", samples: 5, stop: "never" }, { generator });
    expect(samples(nothing).map(({ text, tokens, verdict }) => [text, tokens, verdict])).toEqual(
      new Array(5).fill(["", 0, "empty"]),
    );
    expect(nothing.at(-1)?.type).toBe("exhausted");
    expect(generator.batches).toEqual([]);
  });

  it.each(kinds)("finds proofs that the verifier accepts: %s", async (kind) => {
    const solved = await Promise.all(
      Array.from({ length: 6 }, async (_, seed) => {
        // Whole proofs have it easier here: one in 150 is right.
        const length = kind === "sample" ? 2 : LENGTH;
        const generator = new ToyGenerator(drawing(corridorTactics(length)));
        const lean = new ToyLean(corridor(length));
        const events = await all({ search: kind, samples: 400, seed, parallel: 3 }, { generator, lean });
        const found = proofs(events);
        for (const { code, axioms } of found) {
          expect(axioms).toEqual(["propext"]);
          expect((await lean.verify(toyTask().problem, code)).verdict).toBe("proved");
        }
        expect(events.at(-1)?.type).toBe(found.length > 0 ? "proved" : "exhausted");
        return found.length;
      }),
    );
    expect(solved.filter((count) => count === 1).length).toBeGreaterThan(3);
  });

  it.each(kinds)("spends its budget to the last generation, each number once: %s", async (kind) => {
    const options = { search: kind, samples: 21, trees: 3, parallel: 4, stop: "never" as const };
    const lean = new ToyLean(rules, { wait: shuffling(1) });
    const generator = new ToyGenerator(drawing(["skip", "aside", "wrong"]), shuffling(2));
    const events = await all(options, { lean, generator });
    const numbers = samples(events).map(({ tree, seq }) => tree * 21 + seq);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 63 }, (_, i) => i));
    const last = events.at(-1);
    expect(last).toMatchObject({ type: "exhausted", cost: { samples: 63 } });
    expect(lean.mostRunning).toBeGreaterThan(1);
    expect(lean.mostRunning).toBeLessThanOrEqual(4);
    expect(Math.max(...generator.batches.map(({ length }) => length))).toBeLessThanOrEqual(4);
    expect(
      generator.batches
        .flat()
        .map(({ seed }) => seed)
        .toSorted(),
    ).toEqual(Array.from({ length: 63 }, (_, i) => attemptSeed(0, Math.floor(i / 21), i % 21)).toSorted());
  });

  it("goes on behind verified text with its state, and says how far it came", async () => {
    const generator = new ToyGenerator((prompt, random) => {
      const [, at] = [...prompt.matchAll(/right (\d)/g)].at(-1) ?? [];
      // One right step at a time, then something wrong; the last step never.
      const next = at === undefined ? 0 : Number(at) + 1;
      return next === LENGTH - 1 ? "  wrong\n```" : `  right ${next}\n  wrong ${random.int(9)}\n`;
    });
    const events = await all({ search: "resume", samples: 9, parallel: 1 }, { generator });
    expect(generator.batches[2][0].prompt).toBe(
      `Complete the following Lean 4 code:\n\n\`\`\`lean4\n${STATEMENT}  right 0\n  right 1\n  /- tactic state:\n    𝔸 : Nat\n    ⊢ s2\n  -/\n`,
    );
    const moves = events.filter((event) => event.type === "node");
    expect(moves.slice(0, 3).map(({ path }) => path.at(-1))).toEqual([
      "𝔸 : Nat\n⊢ s1",
      "𝔸 : Nat\n⊢ s2",
      "𝔸 : Nat\n⊢ s3",
    ]);
    // After four generations without a new state it starts again, and gets as far.
    expect(generator.batches[7][0].prompt.endsWith(STATEMENT)).toBe(true);
    expect(moves.length).toBe(5);
    expect(events.at(-1)).toMatchObject({
      type: "exhausted",
      best: "  right 0\n  right 1\n  right 2\n",
      state: "𝔸 : Nat\n⊢ s3",
    });
  });

  it("leaves the state out of prompts if asked, and goes on from no text that is too long", async () => {
    const steps = ["  right 0\n  wrong\n", "  right 1\n  wrong\n", "  wrong\n", "  wrong\n"];
    let turn = 0;
    const generator = () => new ToyGenerator(() => steps[turn++ % steps.length]);
    const bare = generator();
    await all({ search: "resume", samples: 2, parallel: 1, tacticState: false }, { generator: bare });
    expect(bare.batches[1][0].prompt.endsWith(`${STATEMENT}  right 0\n`)).toBe(true);
    turn = 0;
    const short = generator();
    const events = await all(
      { search: "rmaxts", samples: 3, parallel: 1, nodeTokens: 60 },
      { generator: short },
    );
    expect(short.batches[2][0].prompt).not.toContain("right 1\n");
    expect(samples(events)[1].segments.map(({ tooLong }) => tooLong)).toEqual([undefined, true]);
  });

  it("asks in both modes by turns", async () => {
    const explained = async (trees: number) => {
      const generator = new ToyGenerator(() => "  wrong\n");
      await all(
        { search: "sample", samples: 2, trees, parallel: 1, mode: "mix", style: "short" },
        { generator },
      );
      return generator.batches.flat().map(({ prompt }) => prompt.startsWith("Explain and prove:"));
    };
    expect(await explained(2)).toEqual([false, false, true, true]);
    expect(await explained(3)).toEqual([false, true, true, false, false, true]);
  });

  it("checks equal texts once, and never an empty one", async () => {
    const lean = new ToyLean(rules);
    const generator = new ToyGenerator(
      (_, random) => ["  wrong\n", "  wrong  \n\n```x", "```", " \n"][random.int(4)],
    );
    const events = await all({ search: "sample", samples: 40, parallel: 5 }, { lean, generator });
    expect(lean.verified).toEqual([`${STATEMENT}  wrong`]);
    const verdicts = samples(events).map(({ verdict }) => verdict);
    expect(new Set(verdicts)).toEqual(new Set(["error", "empty"]));
    expect(events.at(-1)).toMatchObject({ cost: { samples: 40, checks: 1 } });
  });

  it("asks again what ended at the clock", async () => {
    const lean = new ToyLean(rules);
    const generator = new ToyGenerator(() => "  slow\n");
    const events = await all({ search: "rmaxts", samples: 3, parallel: 1 }, { lean, generator });
    expect(samples(events).map(({ verdict, newNodes }) => [verdict, newNodes])).toEqual(
      Array.from({ length: 3 }, () => ["timeout", 0]),
    );
    expect(lean.verified.length).toBe(3);
  });

  it("keeps what stands before a refused word", async () => {
    const generator = new ToyGenerator(() => "  right 0\n  aside\n  banned\n  right 1\n");
    const events = await all({ search: "rmaxts", samples: 1, parallel: 1 }, { generator });
    expect(samples(events)[0]).toMatchObject({ verdict: "refused", newNodes: 2, reward: 1 });
    expect(samples(events)[0].segments.map(({ code }) => code)).toEqual(["  right 0\n", "  aside\n"]);
  });

  it("takes a proof that goes on behind its end up to there, unless told not to", async () => {
    const written = "  right 0\n  right 1\n  right 2\n  right 3\n  skip\n";
    const of = (options: SearchOptions) =>
      all({ samples: 1, parallel: 1, ...options }, { generator: new ToyGenerator(() => written) });
    const proved = { proof: "  right 0\n  right 1\n  right 2\n  right 3" };
    expect(proofs(await of({}))).toMatchObject([proved]);
    expect(proofs(await of({ search: "sample", cutProofs: true }))).toMatchObject([proved]);
    for (const options of [
      { cutProofs: false },
      { segmentation: "line" as const },
      { search: "sample" as const },
    ]) {
      expect(proofs(await of(options))).toEqual([]);
    }
  });

  it("refuses a statement that Lean does not accept, with its message, before anything is written", async () => {
    const generator = new ToyGenerator(write);
    const broken: Rules = () => [];
    class Strict extends ToyLean {
      override async check(...given: Parameters<ToyLean["check"]>) {
        const answer = await super.check(...given);
        const [place] = answer.sorries;
        const error = { severity: "error" as const, kind: "", ...place, text: "unknown identifier 'α'" };
        return { ...answer, messages: [error] };
      }
    }
    await expect(all({}, { generator, lean: new Strict(broken) })).rejects.toThrow(
      /does not accept the statement.*unknown identifier 'α'/s,
    );
    expect(generator.batches).toEqual([]);
  });

  it.each([
    ["samples", { samples: 0 }],
    ["trees", { trees: 1.5 }],
    ["parallel", { parallel: 5000 }],
    ["batch", { parallel: 4, batch: 5 }],
    ["topP", { topP: 0 }],
    ["temperature", { temperature: Number.NaN }],
    ["search", { search: "mcts" as never }],
    ["order", { order: "random" as never }],
    ["seed", { seed: -1 }],
    ["gamma", { gamma: 2 }],
    ["keys", { keys: "none" as never }],
  ])("refuses %s out of range by name", async (name, options) => {
    await expect(all(options)).rejects.toThrow(new RegExp(`name: ${name};`));
  });
});

describe("a search that has found a proof", () => {
  const right = Array.from({ length: LENGTH }, (_, i) => `  right ${i}\n`).join("");
  /** Right from the tenth generation on. */
  const late = (wait?: () => Promise<void>) => {
    let count = 0;
    return new ToyGenerator(() => (count++ < 9 ? "  wrong\n" : `  -- ${count}\n${right}`), wait);
  };

  it("stops at once", async () => {
    const events = await all({ samples: 100, parallel: 1 }, { generator: late() });
    expect(samples(events).length).toBe(10);
    expect(events.at(-1)).toMatchObject({ type: "proved", seq: 9, cost: { samples: 10 } });
  });

  it("goes on to a multiple of the interval", async () => {
    const options = { search: "sample" as const, samples: 100, stop: "interval" as const, interval: 8 };
    const one = await all({ ...options, parallel: 1 }, { generator: late() });
    expect([samples(one).length, proofs(one).length]).toEqual([16, 7]);
    const wait = shuffling(3);
    const many = await all(
      { ...options, parallel: 4, trees: 2 },
      { generator: late(wait), lean: new ToyLean(rules, { wait }) },
    );
    // What ran at that moment is counted.
    expect(samples(many).length).toBeGreaterThanOrEqual(16);
    expect(samples(many).length).toBeLessThan(20);
  });

  it("spends all if told so, and tells each proof once", async () => {
    const events = await all(
      { search: "sample", samples: 12, parallel: 2, stop: "never" },
      { generator: new ToyGenerator(() => right) },
    );
    expect([samples(events).length, proofs(events).length]).toEqual([12, 1]);
    expect(events.at(-1)?.type).toBe("sample");
  });
});

const replayed = fc.record({
  search: fc.constantFrom(...kinds),
  seed: fc.nat(1000),
  samples: fc.integer({ min: 1, max: 14 }),
  trees: fc.integer({ min: 1, max: 3 }),
  parallel: fc.integer({ min: 1, max: 5 }),
  stop: fc.constantFrom("first" as const, "never" as const),
});

describe("a log", () => {
  it("of rounds gives the same search, from wherever it was cut off", async () => {
    await fc.assert(
      fc.asyncProperty(replayed, fc.nat(), async (options, cut) => {
        const settings = { ...options, order: "rounds" as const };
        const whole = await all(settings);
        const log = attempts(whole);
        const kept = cut % (log.length + 1);
        const generator = new ToyGenerator(write, shuffling(cut));
        const lean = new ToyLean(rules, { wait: shuffling(cut + 1) });
        const rest = await all({ ...settings, log: log.slice(0, kept) }, { generator, lean });
        expect(attempts(rest)).toEqual(log.slice(kept));
        expect(proofs(rest).map(({ proof, tree, seq }) => [proof, tree, seq])).toEqual(
          proofs(whole).map(({ proof, tree, seq }) => [proof, tree, seq]),
        );
        if (options.stop === "never") expect(generator.batches.flat().length).toBe(log.length - kept);
      }),
      { numRuns: 60 },
    );
  });

  it("survives being written as JSON", async () => {
    const settings = { samples: 10, parallel: 2, order: "rounds" as const, stop: "never" as const };
    const log = attempts(await all(settings));
    const read = JSON.parse(JSON.stringify(log.slice(0, 7))) as Attempt[];
    expect(attempts(await all({ ...settings, log: read }))).toEqual(log.slice(7));
  });

  it("of arrivals is counted in its order, and only what it lacks is done, under the same seeds", async () => {
    await fc.assert(
      fc.asyncProperty(replayed, fc.nat(), async (options, cut) => {
        const settings = { ...options, parallel: options.parallel + 1, stop: "never" as const };
        const tools = () => ({
          generator: new ToyGenerator(write, shuffling(cut)),
          lean: new ToyLean(rules, { wait: shuffling(cut + 7) }),
        });
        const log = attempts(await all(settings, tools()));
        const kept = log.slice(0, cut % (log.length + 1));
        const world = tools();
        const rest = attempts(await all({ ...settings, log: kept }, world));
        const numbers = [...kept, ...rest].map(({ tree, seq }) => `${tree}/${seq}`);
        expect(new Set(numbers).size).toBe(options.samples * options.trees);
        expect(numbers.length).toBe(options.samples * options.trees);
        const seeds = new Set(rest.map(({ tree, seq }) => attemptSeed(options.seed, tree, seq)));
        expect(new Set(world.generator.batches.flat().map(({ seed }) => seed))).toEqual(seeds);
      }),
      { numRuns: 60 },
    );
  });

  it("of another search is refused", async () => {
    const settings = { samples: 8, parallel: 1, stop: "never" as const };
    const log = attempts(await all(settings));
    const first = log.findIndex(({ newNodes }) => newNodes > 0);
    expect(first).toBeGreaterThanOrEqual(0);
    const changed = log.map((attempt, i) => (i === first ? { ...attempt, newNodes: 0, reward: 0 } : attempt));
    for (const order of ["rounds", "arrival"] as const) {
      const many = { ...settings, order, parallel: order === "rounds" ? 1 : 2 };
      await expect(all({ ...many, log: changed })).rejects.toThrow(/the log is of another search/);
    }
    await expect(all({ ...settings, log: [log[0], log[0]] })).rejects.toThrow(/each once/);
    await expect(all({ ...settings, samples: 4, log })).rejects.toThrow(/within the budget/);
  });
});

describe("one generation at a time", () => {
  it("is the same in rounds and by arrival", async () => {
    for (const kind of kinds) {
      const settings = { search: kind, samples: 30, parallel: 1, stop: "never" as const, seed: 4 };
      expect(await all({ ...settings, order: "arrival" })).toEqual(
        await all({ ...settings, order: "rounds" }),
      );
    }
  });
});

describe("a search that is stopped", () => {
  it("throws the signal's reason and leaves nothing running", async () => {
    const stop = new AbortController();
    const wait = () => new Promise<void>((resolve) => setImmediate(resolve));
    const lean = new ToyLean(rules, { wait });
    const generator = new ToyGenerator(drawing(["wrong", "skip", "aside"]), wait);
    const reason = new Error("enough");
    let count = 0;
    const running = (async () => {
      const options = { samples: 100_000, parallel: 6, signal: stop.signal };
      for await (const event of search(toyTask(), { lean, generator }, options)) {
        if (event.type === "sample" && ++count === 20) stop.abort(reason);
      }
    })();
    await expect(running).rejects.toBe(reason);
    const batches = generator.batches.length;
    expect(lean.running).toBe(0);
    for (let i = 0; i < 20; i++) await wait();
    expect(generator.batches.length).toBe(batches);
  });

  it("ends when its reader leaves", async () => {
    const wait = () => new Promise<void>((resolve) => setImmediate(resolve));
    let asked = 0;
    // The statement and the first text are checked at once, the others take their time.
    const slow = async () => {
      if (asked++ > 1) for (let turns = 30; turns > 0; turns--) await wait();
    };
    const lean = new ToyLean(rules, { wait: slow });
    const generator = new ToyGenerator((_, random) => `  wrong ${random.int(1e9)}\n`);
    for await (const event of search(toyTask(), { lean, generator }, { samples: 1000, parallel: 6 })) {
      if (event.type !== "sample") continue;
      expect(lean.running).toBeGreaterThan(0);
      break;
    }
    expect(lean.running).toBe(0);
    const batches = generator.batches.length;
    for (let i = 0; i < 20; i++) await wait();
    expect(generator.batches.length).toBe(batches);
  });

  it("hands on errors of the verifier and of the generator, and refuses texts that were not asked", async () => {
    class Broken extends ToyLean {
      override async verify(): Promise<never> {
        throw new Error("no Lean");
      }
    }
    await expect(all({ parallel: 4 }, { lean: new Broken(rules) })).rejects.toThrow("no Lean");
    await expect(all({ parallel: 1 }, { lean: new Broken(rules) })).rejects.toThrow("no Lean");
    class Odd extends ToyGenerator {
      readonly #index: (index: number) => number;
      constructor(index: (index: number) => number) {
        super(write);
        this.#index = index;
      }
      override async *generate(...given: Parameters<ToyGenerator["generate"]>) {
        for await (const text of super.generate(...given)) {
          const index = this.#index(text.index);
          if (index >= 0) yield { ...text, index };
        }
      }
    }
    const odd = (index: (index: number) => number) =>
      all({ parallel: 4, batch: 4 }, { generator: new Odd(index), lean: new ToyLean(() => null) });
    await expect(odd(() => 0)).rejects.toThrow(/a text twice/);
    await expect(odd((index) => index + 9)).rejects.toThrow(/not asked/);
    await expect(odd((index) => index - 1)).rejects.toThrow(
      /left prompts without a text; .*expected: 4; found: 3/,
    );
  });
});

describe("the identity of a search", () => {
  const of = (options: SearchOptions) =>
    searchIdentity({ lean: new ToyLean(rules), generator: new ToyGenerator(write) }, options);

  it("holds what decides its results, as plain values", () => {
    expect(of({})).toMatchObject({
      model: "toy",
      lean: "toy",
      search: "rmaxts",
      samples: 64,
      order: "arrival",
    });
    expect(JSON.parse(JSON.stringify(of({ shots: [{ statement: "a", proof: "b" }] })))).toMatchObject({
      shots: expect.stringMatching(/^[0-9a-f]{32}$/),
    });
  });

  it("stays where results do", () => {
    const signal = AbortSignal.timeout(1e6);
    expect(of({ seed: 3, timeout: 9, signal, parallel: 7, batch: 2 })).toEqual(of({}));
    expect(of({ parallel: 1 })).toEqual(of({ parallel: 1, order: "rounds" }));
    expect(of({ parallel: 2, order: "rounds" })).not.toEqual(of({ parallel: 3, order: "rounds" }));
    for (const options of [
      { gamma: 0.5 },
      { mode: "cot" as const },
      { cutProofs: false },
      { heartbeats: 5 },
    ]) {
      expect(of(options)).not.toEqual(of({}));
    }
  });
});

describe("seeds of generations", () => {
  it("differ by search, tree and number, and are whole", () => {
    const seeds = new Set<number>();
    for (let seed = 0; seed < 5; seed++) {
      for (let tree = 0; tree < 20; tree++) {
        for (let seq = 0; seq < 200; seq++) seeds.add(attemptSeed(seed, tree, seq));
      }
    }
    expect(seeds.size).toBe(20_000);
    expect([...seeds].every((seed) => Number.isSafeInteger(seed) && seed >= 0)).toBe(true);
    expect(attemptSeed(1, 2, 3)).toBe(attemptSeed(1, 2, 3));
  });
});

describe("pass@k", () => {
  const { passAtK: cases } = proverFixture<{
    passAtK: { n: number; c: number; k: number; passAtK: number }[];
  }>("grpo.json");
  it.each(cases)("of $c right ones among $n, $k drawn", ({ n, c, k, passAtK: expected }) => {
    expect(passAtK(n, c, k)).toBeCloseTo(expected, 12);
  });

  it("is the share of all draws that hold a right one", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.nat(9), fc.nat(9), (n, first, second) => {
        const [c, k] = [first % (n + 1), 1 + (second % n)];
        let [hits, draws] = [0, 0];
        for (let set = 0; set < 1 << n; set++) {
          const size = [...set.toString(2)].filter((bit) => bit === "1").length;
          if (size !== k) continue;
          draws++;
          if ((set & ((1 << c) - 1)) !== 0) hits++;
        }
        expect(passAtK(n, c, k)).toBeCloseTo(hits / draws, 12);
      }),
    );
    expect(() => passAtK(4, 5, 1)).toThrow(/name: c/);
    expect(() => passAtK(4, 1, 5)).toThrow(/name: k/);
  });
});
