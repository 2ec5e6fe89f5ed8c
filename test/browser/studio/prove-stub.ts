/** What a server would say of the texts that the tests of the proving screen write, and of a search in them. */
import type { JobEvent } from "../../../src/studio/backend/wire.ts";

export const SWAP = `theorem swap_and (p q : Prop) (h : p ∧ q) : q ∧ p := by
  obtain ⟨hp, hq⟩ := h
  exact ⟨hq, hp⟩
`;
export const OPEN = `${SWAP.slice(0, SWAP.indexOf("obtain"))}sorry\n`;

const place = (text: string, index: number) => {
  const before = text.slice(0, index).split("\n");
  return { line: before.length, column: [...before.at(-1)!].length, index };
};

/** The answer of `check`: goals for the tactics of `SWAP`, an error for each `wrong`, a warning for each `sorry`. */
export function checkAnswer(text: string) {
  const root = "p q : Prop\nh : p ∧ q\n⊢ q ∧ p";
  const states: readonly (readonly [string, string[], string[] | null])[] = [
    ["obtain ⟨hp, hq⟩ := h", [root], ["p q : Prop\nhp : p\nhq : q\n⊢ q ∧ p"]],
    ["exact ⟨hq, hp⟩", ["p q : Prop\nhp : p\nhq : q\n⊢ q ∧ p"], []],
    ["wrong", [root], null],
    ["sorry", [root], []],
  ];
  const found = (word: string) => [...text.matchAll(new RegExp(word.replace(/[()]/g, "\\$&"), "g"))];
  const span = (index: number, word: string) => ({
    start: place(text, index),
    end: place(text, index + word.length),
  });
  const steps = states
    .flatMap(([word, goalsBefore, goalsAfter]) =>
      found(word).map(({ index }) => ({ ...span(index, word), kind: "", depth: 0, goalsBefore, goalsAfter })),
    )
    .sort((a, b) => a.start.index - b.start.index);
  const messages = [
    ...found("wrong").map(({ index }) => ({
      ...{ severity: "error", kind: "", ...span(index, "wrong") },
      text: "unknown tactic 'wrong'\nexpected a tactic such as 'exact' or 'intro'",
    })),
    ...found("sorry").map(({ index }) => ({
      ...{ severity: "warning", kind: "hasSorry", ...span(index, "sorry"), text: "declaration uses 'sorry'" },
    })),
  ];
  return {
    complete: messages.length === 0,
    messages,
    sorries: [],
    refused: null,
    failure: null,
    steps,
    milliseconds: 9,
  };
}

const proof = (news: Record<string, unknown>): JobEvent["event"] => ({ type: "proof", news });

export const UNITS = ["theorem swap_and, line 1", "theorem last, line 9"] as const;

interface Grown {
  readonly title?: string;
  readonly seed?: number;
}

/** A search of so many samples: each goes on from some node, most find a new state, and behind each something fails. */
export function treeEvents(samples: number, { title = UNITS[0], seed = 1 }: Grown = {}): JobEvent["event"][] {
  let random = seed;
  const next = (below: number) => {
    random = (random * 48271) % 2147483647;
    return random % below;
  };
  const tactics = [
    "intro hp",
    "obtain ⟨a, b⟩ := h",
    "constructor",
    "simp only [and_comm]",
    "rcases h with ⟨x, y⟩",
    "refine ⟨?_, ?_⟩",
  ];
  const fails = ["omega", "linarith", "exact h", "rfl", "assumption", "decide"];
  const parents: (number | null)[] = [null];
  const visits = [0];
  const events = [proof({ type: "root", title, state: "p q : Prop\nh : p ∧ q\n⊢ q ∧ p" })];
  for (let seq = 0; seq < samples; seq++) {
    const from = next(1 + next(parents.length));
    const node = parents.length;
    const isNew = next(5) > 0;
    const tactic = `${tactics[next(tactics.length)]}${node > 8 ? ` -- ${node}` : ""}`;
    if (isNew) {
      parents.push(from);
      visits.push(0);
    }
    const visited: object[] = [];
    for (let at: number | null = from; at !== null; at = parents[at]) {
      visited.push({ node: at, visits: ++visits[at], value: 1 / (1 + (at % 5)) });
    }
    events.push(
      proof({
        ...{ type: "sample", title, seq, from, to: isNew ? node : from, verdict: "error", proved: false },
        nodes: isNew ? [{ node, parent: from, tactic, state: `hp : p\nstate : ${node}\n⊢ q ∧ p` }] : [],
        same: isNew || node < 2 ? [] : [{ node: 1, parent: 0, tactic: "intro h'" }],
        rest: fails[next(fails.length)],
        detail: "The tactic failed:\n  hp : p\n⊢ q ∧ p",
        ...{ visited, checks: 2 * seq + 2 },
      }),
    );
  }
  return events;
}

export const planEvent = (units: readonly string[] = UNITS.slice(0, 1)) => [
  proof({ type: "plan", units, left: [] }),
  proof({ type: "unit", title: units[0] }),
];

/** How the search of the first unit ends with the proof of `SWAP`. */
export function provedEvents(text: string): JobEvent["event"][] {
  const [title] = UNITS;
  const nodes = [
    { node: 9001, parent: 0, tactic: "obtain ⟨hp, hq⟩ := h", state: "hp : p\nhq : q\n⊢ q ∧ p" },
    { node: 9002, parent: 9001, tactic: "exact ⟨hq, hp⟩", state: "no goals" },
  ];
  const cost = { samples: 40, tokens: 900, checks: 77 };
  const end = {
    outcome: "proved",
    proof: "  obtain ⟨hp, hq⟩ := h\n  exact ⟨hq, hp⟩",
    axioms: ["propext"],
    cost,
  };
  return [
    proof({
      ...{
        type: "sample",
        title,
        seq: 40,
        from: 0,
        to: 9002,
        nodes,
        same: [],
        rest: "",
        verdict: "proved",
        detail: "",
      },
      ...{ proved: true, visited: [{ node: 0, visits: 41, value: 0.8 }], checks: 77 },
    }),
    proof({ type: "proved", title, tree: 0, seq: 40, code: SWAP, axioms: ["propext"], cost }),
    proof({ type: "ended", title, ...end }),
    proof({ type: "filled", text, fault: "", ends: [{ title, ...end }] }),
  ];
}
