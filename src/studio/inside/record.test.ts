/** Collecting the inside of an answer: numbers, places in the text, bounds, reading on. */
import { describe, expect, it } from "vitest";
import type { InsideToken, JobEvent } from "../backend/wire.ts";
import { figuresIn } from "./model-figures.ts";
import { Placement } from "./placement.ts";
import { InsideRecord, MOST_BYTES, MOST_TOKENS } from "./record.ts";
import { TokenBlocks } from "./token-text.tsx";
import { onwardOf } from "./tokens-tab.tsx";
import { shadeOf, shownProbability, shownToken } from "./words.ts";

/** As many ids as there are texts. */
const idOf = (text: string) => [...text].reduce((sum, letter) => 31 * sum + letter.charCodeAt(0), 1) % 1e6;

const token = (text: string, fields: Partial<InsideToken> = {}): InsideToken => ({
  ...{ id: idOf(text), text, logprob: -0.5, alternatives: [], from: "sampled", refused: null, experts: [] },
  ...fields,
});

/** Events of a job: text and the tokens that spell it. */
function* eventsOf(
  pieces: readonly (readonly [delta: object, tokens: readonly InsideToken[]])[],
): Generator<JobEvent> {
  let number = 0;
  for (const [delta, tokens] of pieces) {
    yield { number: ++number, time: 10 * number, event: { type: "chunk", chunk: { choices: [{ delta }] } } };
    yield { number: ++number, time: 10 * number, event: { type: "inside", tokens } };
  }
}

function recordOf(pieces: Parameters<typeof eventsOf>[0]): InsideRecord {
  const record = new InsideRecord();
  for (const event of eventsOf(pieces)) record.read(event);
  return record;
}

describe("an answer's inside", () => {
  it("keeps probabilities, alternatives, drafts and experts as they were told", () => {
    const alternatives = [
      { id: 7, text: " blue", logprob: -0.25 },
      { id: 9, text: " red", logprob: -2.5 },
    ];
    const experts = [
      { ids: [3, 300], weights: [0.5, 0.25] },
      { ids: [1, 0], weights: [1.75, 0.125] },
    ];
    const refused = { id: 9, text: " red" };
    const record = recordOf([
      [{ content: " blue" }, [token(" blue", { id: 7, logprob: -0.25, alternatives, experts, refused })]],
      [{ content: " sky" }, [token(" sky", { id: 8, from: "drafted", experts: [experts[1], experts[0]] })]],
    ]);
    expect(record.token(0)).toEqual({
      ...{ id: 7, text: " blue", logprob: -0.25, drafted: false, refused: " red", alternatives },
    });
    expect(record.token(1)).toMatchObject({ text: " sky", drafted: true, refused: null, alternatives: [] });
    const told = (at: number, layer: number) =>
      [0, 1].map((k) => [record.expertOf(at, layer, k), record.weightOf(at, layer, k)]);
    expect([told(0, 0), told(0, 1), told(1, 0)]).toEqual([
      ...[
        [
          [3, 0.5],
          [300, 0.25],
        ],
        [
          [1, 1.75],
          [0, 0.125],
        ],
      ],
      ...[
        [
          [1, 1.75],
          [0, 0.125],
        ],
      ],
    ]);
    expect([record.weightOfExpert(0, 0, 300), record.weightOfExpert(0, 0, 4)]).toEqual([0.25, 0]);
    expect([...record.timesOf(1, 8).entries()].filter(([, times]) => times > 0)).toEqual([
      ...[
        [0, 1],
        [1, 1],
        [3, 1],
        [300, 1],
      ],
    ]);
    expect(record.timesOf(0, 512)).toHaveLength(512);
    expect(record).toMatchObject({ layers: 2, topK: 2, mostWeight: 1.75, drafts: true, told: true });
    expect([record.firstAt, record.lastAt]).toEqual([20, 40]);
  });

  it("goes on from reasoning and from content with what came before and another token", () => {
    const record = recordOf([
      [{ reasoning_content: "Let me" }, [token("Let"), token(" me")]],
      [{ reasoning_content: " see" }, [token(" see"), token("</think>")]],
      [{ content: "Yes, 你" }, [token(" Yes"), token(","), token(" \uFFFD"), token("\uFFFD")]],
      [{ content: " good" }, [token(" good")]],
    ]);
    const onward = Array.from({ length: record.count }, (_, at) => record.onward(at, " X"));
    const whole = "Let me see";
    expect(onward).toEqual([
      { reasoning: " X", content: "" },
      { reasoning: "Let X", content: "" },
      { reasoning: "Let me X", content: "" },
      null,
      // The space before the answer was the prompt's.
      { reasoning: whole, content: "X" },
      { reasoning: whole, content: "Yes X" },
      ...[null, null],
      { reasoning: whole, content: "Yes, 你 X" },
    ]);
  });

  it("finds the places of text that came late, and none after events that were dropped", () => {
    const late = recordOf([
      [{ content: "one tw" }, [token("one"), token(" two")]],
      [{ content: "o three" }, [token(" three")]],
      [{}, [token(" call")]],
    ]);
    expect([0, 1, 2, 3].map((at) => late.onward(at, "|")?.content)).toEqual([
      "|",
      "one|",
      "one two|",
      undefined,
    ]);
    const record = new InsideRecord();
    const [first, second, ...rest] = eventsOf([
      [{ content: "a" }, [token("a")]],
      [{ content: "b" }, [token("b")]],
    ]);
    for (const event of [first, ...rest]) record.read(event);
    expect([record.missing, record.count, record.isPlaced(0)]).toEqual([true, 1, false]);
    expect(second.number).toBe(2);
  });

  it("keeps no more than its bounds, and counts the rest", () => {
    const small = recordOf([[{}, Array.from({ length: MOST_TOKENS + 5 }, () => token("a"))]]);
    expect([small.count, small.beyond]).toEqual([MOST_TOKENS, 5]);
    const experts = Array.from({ length: 58 }, () => ({
      ids: Array(8).fill(255),
      weights: Array(8).fill(0.3),
    }));
    const large = recordOf([[{}, Array.from({ length: 12_000 }, () => token("a", { experts }))]]);
    expect(large.count).toBeGreaterThan(11_000);
    expect(large.count + large.beyond).toBe(12_000);
    expect(large.beyond).toBeGreaterThan(0);
    expect(large.bytes).toBeLessThanOrEqual(MOST_BYTES + 1000);
    expect(large.weightOf(large.count - 1, 57, 7)).toBeCloseTo(0.3, 6);
  });

  it("is what it was when its events are read in two goes", () => {
    const pieces = ["a", " b", "\n", "c"].map((text) => [{ content: text }, [token(text)]] as const);
    const events = [...eventsOf(pieces)];
    const record = new InsideRecord();
    for (const event of events.slice(0, 3)) record.read(event);
    for (const event of events.slice(record.after)) record.read(event);
    expect(record.count).toBe(4);
    expect(record.onward(3, "d")).toEqual({ reasoning: "", content: "a b\nd" });
    const blocks = new TokenBlocks();
    expect([...blocks.extend({ count: 2, textOf: (at) => record.textOf(at) })]).toEqual([0]);
    expect([...blocks.extend(record)]).toEqual([0, 3]);
    expect([...new TokenBlocks().extend({ count: 600, textOf: () => "a" })]).toEqual([0, 256, 512]);
  });
});

it("places any split of a text into tokens and chunks", () => {
  const text = "aab ab\n 你好 aab, ab ab!";
  let state = 7;
  const random = (most: number) => {
    state = (state * 1103515245 + 12345) % 2 ** 31;
    return state % most;
  };
  for (let round = 0; round < 200; round++) {
    const placement = new Placement();
    let at = 0;
    while (at < text.length) {
      const tokens: string[] = [];
      const starts: number[] = [];
      const from = at;
      for (let n = 1 + random(3); n > 0 && at < text.length; n--) {
        const length = 1 + random(3);
        starts.push(at);
        tokens.push(text.slice(at, at + length));
        at += length;
      }
      placement.push("", text.slice(from, at));
      expect(placement.place(tokens).map((place) => place?.start)).toEqual(starts);
    }
  }
});

it("says what can be gone on from, and how probable it is", () => {
  const does = (text: string, placed = true) => onwardOf({ id: 1, text, logprob: 0 }, placed, "<end>").does;
  expect(["a", "<end>", "<｜tool▁sep｜>", "</think>", "\uFFFD", ""].map((text) => does(text))).toEqual([
    ...["goes", "ends", "nothing", "nothing", "nothing", "nothing"],
  ]);
  expect(does("a", false)).toBe("nothing");
  expect([0, Math.log(0.89), Math.log(0.2), -9999].map(shadeOf)).toEqual([0, 1, 2, 4]);
  expect([0, Math.log(0.123), Math.log(1e-6), -9999].map(shownProbability)).toEqual([
    ...["100.0%", "12.3%", "under 0.1%", "0.0%"],
  ]);
  expect([" a\n", "", "a b"].map(shownToken)).toEqual(["␣a↵", "(no text)", "a b"]);
});

it("reads what other caches would need out of a report, and nothing that is out of bounds", () => {
  const report = {
    cacheBytesPerToken: 2,
    multiHeadCacheBytesPerToken: 9,
    experts: { layers: [1, 2], routed: 8 },
  };
  expect(figuresIn(report)).toEqual({
    experts: { layers: [1, 2], routed: 8 },
    ...{ multiHead: 4.5, groupedQuery: null },
  });
  expect(figuresIn({ experts: { layers: [1], routed: 1e9 } })).toEqual({
    ...{ experts: null, multiHead: null, groupedQuery: null },
  });
});
