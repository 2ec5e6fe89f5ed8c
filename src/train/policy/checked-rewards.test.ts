import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { arithmeticValue } from "./arithmetic.ts";
import {
  answerReward,
  countdownReward,
  formatReward,
  languageReward,
  lengthReward,
  markedAnswer,
  sameAnswer,
  tagReward,
  weightedRewards,
} from "./checked-rewards.ts";
import { checkRow, namedReward, type RewardName } from "./named-rewards.ts";
import type { Reward, RewardSample } from "./rewards.ts";

const signal = new AbortController().signal;

function sampleOf(completion: string, more: Partial<RewardSample> = {}): RewardSample {
  const base = { prompt: "", key: null, row: null, promptIds: [1], completionIds: [1], truncated: false };
  return { ...base, completion, ...more };
}

async function rewarded(
  reward: Reward,
  ...samples: (string | RewardSample)[]
): Promise<readonly (number | null)[]> {
  return reward(
    samples.map((sample) => (typeof sample === "string" ? sampleOf(sample) : sample)),
    { signal },
  );
}

describe("arithmeticValue", () => {
  it("is exact and refuses what is no arithmetic", () => {
    const value = (text: string) => {
      const found = arithmeticValue(text);
      return found && `${found.value.over}/${found.value.under}`;
    };
    expect(value("1 + 2 * 3")).toBe("7/1");
    expect(value("(1 + 2) * 3 - -4")).toBe("13/1");
    expect(value("8 / 3 / 2")).toBe("4/3");
    expect(value("2 - 3 - 4")).toBe("-5/1");
    expect(value("1/3 + 1/3 + 1/3")).toBe("1/1");
    expect(value("0.1 + 0.2")).toBe("3/10");
    expect(value("6 / (3 - 5)")).toBe("-3/1");
    expect(arithmeticValue("007 * (12 - 3)")!.numbers).toEqual(["7", "12", "3"]);
    for (const wrong of [
      "",
      "1 +",
      "(1",
      "1)",
      "1 2",
      "2 ** 3",
      "1 / 0",
      "1 / (2 - 2)",
      "a",
      "1 = 1",
      "1e3",
      "1.",
      ".5",
    ]) {
      expect(value(wrong), wrong).toBe(null);
    }
    expect(value("(".repeat(300))).toBe(null);
    expect(value(`${"9".repeat(128)}*${"9".repeat(127)}`)).not.toBe(null);
  });

  it("agrees with doubles wherever they are exact", () => {
    interface Term {
      readonly text: string;
      readonly value: number;
    }
    const operators: Record<string, (a: number, b: number) => number> = {
      "+": (a, b) => a + b,
      "-": (a, b) => a - b,
      "*": (a, b) => a * b,
    };
    const { term } = fc.letrec<{ term: Term }>((tie) => ({
      term: fc.oneof(
        { maxDepth: 4 },
        fc.nat(20).map((value) => ({ text: String(value), value })),
        fc.tuple(tie("term"), fc.constantFrom("+", "-", "*"), tie("term")).map(([a, operator, b]) => ({
          text: `(${a.text} ${operator} ${b.text})`,
          value: operators[operator](a.value, b.value),
        })),
      ),
    }));
    fc.assert(
      fc.property(term, ({ text, value }) => {
        const found = arithmeticValue(text);
        if (text.length > 256) expect(found).toBe(null);
        else expect(Number(found!.value.over)).toBe(value + 0);
      }),
      { seed: 7 },
    );
  });
});

describe("answerReward", () => {
  it("takes the last marked place and compares numbers as numbers", async () => {
    const boxed = answerReward("boxed");
    const sample = (completion: string, key: string | null = "1/2") => sampleOf(completion, { key });
    expect(
      await rewarded(
        boxed,
        sample("so \\boxed{3}, no: \\boxed{0.5}."),
        sample("\\boxed{0.5} or \\boxed{3}"),
        sample("\\boxed{ $ 1 / 2 $ }"),
        sample("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
        sample("\\boxed{0.5"),
        sample("0.5"),
        sample("\\boxed{0.5}", null),
        sample("\\boxed{}", ""),
      ),
    ).toEqual([1, 0, 1, 1, 0, 0, 0, 0]);
    const marked = answerReward({ after: "####" });
    expect(await rewarded(marked, sampleOf("#### 7\n#### 1,234.\nrest", { key: "1234" }))).toEqual([1]);
    expect(markedAnswer("<answer>a</answer> <answer>b</answer> <answer>", { tag: "answer" })).toBe("b");
    expect(markedAnswer("</answer><answer>", { tag: "answer" })).toBe(null);
    expect(sameAnswer("12,34", "1234")).toBe(false);
    expect(sameAnswer(" Yes. ", "yes")).toBe(true);
    // A question in the place of its answer.
    expect(sameAnswer("2+3", "5")).toBe(false);
    expect(sameAnswer("-10/4", "-2.5")).toBe(true);
  });
});

describe("countdownReward", () => {
  it("checks numbers, value and form", async () => {
    const reward = countdownReward<unknown>(() => ({ numbers: [3, 3, 8, 8], target: 24 }));
    const answer = (text: string) => `<think>8</think><answer>${text}</answer>`;
    expect(
      await rewarded(
        reward,
        answer("8 / (3 - 8 / 3)"),
        answer("8 + 8 + 3 + 3"),
        answer("8 * 3"),
        answer("8 * 3 * 8 / 8 + 3 - 3"),
        answer("8 / (3 - 8 / 3) = 24"),
        answer("process.exit()"),
        "8 / (3 - 8 / 3)",
      ),
    ).toEqual([1, 0.1, 0, 0, 0, 0, 0]);
  });
});

describe("namedReward", () => {
  it("takes what it needs from settings and rows", async () => {
    const settings = { maxTokens: 8, answerIn: { after: "=" }, tags: ["a"], script: "Han" } as const;
    const named = async (name: RewardName, sample: RewardSample) =>
      (await rewarded(namedReward(name, settings), sample))[0];
    expect(await named("answer", sampleOf("x = 3", { key: "3.0" }))).toBe(1);
    expect(await named("answer", sampleOf("x = 3", { key: "4" }))).toBe(0);
    const row = { numbers: [2, 5], target: 10 };
    expect(await named("countdown", sampleOf("= 5 * 2", { row }))).toBe(1);
    expect(await named("countdown", sampleOf("= 5 + 2", { row }))).toBe(0.1);
    expect(await named("format", sampleOf("<a>1</a>"))).toBe(1);
    expect(await named("tags", sampleOf("<a>"))).toBe(0.5);
    expect(await named("length", sampleOf("", { completionIds: [1, 1, 1, 1, 1, 1, 1] }))).toBe(-0.5);
    expect(await named("language", sampleOf("\u4e2d"))).toBe(1);
    expect(
      (await rewarded(namedReward("answer", { maxTokens: 8 }), sampleOf("\\boxed{1}", { key: "1" })))[0],
    ).toBe(1);
    expect(await rewarded(answerReward("whole"), sampleOf(" 12 ", { key: "12" }))).toEqual([1]);
  });

  it("says what a row lacks", () => {
    const check = (name: RewardName, given: object) => () =>
      checkRow(name, "data.jsonl line 3", { key: null, row: null, ...given });
    expect(check("answer", {})).toThrow(/data.jsonl line 3.*key/);
    expect(check("answer", { key: "1" })).not.toThrow();
    expect(check("format", {})).not.toThrow();
    expect(check("countdown", { row: { target: 3 } })).toThrow(/line 3.*numbers.*nothing/);
    expect(check("countdown", { row: { numbers: [1, "2"], target: 3 } })).toThrow(/numbers\[1\]/);
    expect(check("countdown", { row: { numbers: [1], target: 3.5 } })).toThrow(/target/);
    expect(check("countdown", { row: { numbers: Array(65).fill(1), target: 3 } })).toThrow(/65/);
  });
});

describe("rewards of form", () => {
  it("want tags once, in order, with something in them", async () => {
    const whole = "<think>a\nb</think>\n<answer>c</answer>\n";
    const wrong = [
      "x <think>a</think><answer>c</answer>",
      "<answer>c</answer><think>a</think>",
      "<think>a</think><answer>c</answer> more",
      "<think> </think><answer>c</answer>",
      "<think>a<think>b</think><answer>c</answer>",
      "<think>a</think><answer>c",
      "<think>a</think><answer>c</answer><answer>c</answer>",
    ];
    expect(await rewarded(formatReward(), whole, ...wrong)).toEqual([1, ...wrong.map(() => 0)]);
    expect(await rewarded(tagReward(), whole, "<think>", "<think><think></think>", "")).toEqual([
      1, 0.25, 0.25, 0,
    ]);
    expect(() => formatReward([])).toThrow(/tags/);
    expect(() => tagReward(["a", "a"])).toThrow(/tags.*a/);
    expect(() => tagReward(["a>"])).toThrow(/a>/);
  });

  it("share out words by their script", async () => {
    expect(
      await rewarded(
        languageReward("Latin"),
        "two words, 3 + 4",
        "slovo \u4e2d\u6587",
        "\u0441\u043b\u043e\u0432\u043e",
        "1 + 2",
      ),
    ).toEqual([1, 0.5, 0, 1]);
    expect(await rewarded(languageReward("Han"), "ab\u4e2d\u6587cd \u4e2d")).toEqual([0.5]);
    for (const wrong of ["Klingon", "Latin}|", ""]) expect(() => languageReward(wrong)).toThrow(/script/);
  });

  it("punish length softly", async () => {
    const reward = lengthReward({ maxTokens: 10, margin: 4 });
    const lengths = [0, 6, 7, 9, 10, 12].map((length) =>
      sampleOf("", { completionIds: Array(length).fill(1) }),
    );
    expect((await rewarded(reward, ...lengths)).map((value) => value! + 0)).toEqual([
      0, 0, -0.25, -0.75, -1, -1,
    ]);
    expect(() => lengthReward({ maxTokens: 10, margin: 11 })).toThrow(/margin/);
  });

  it("add up by weight, and leave out what one of them does", async () => {
    const fixed =
      (values: (number | null)[]): Reward =>
      () =>
        values;
    const reward = weightedRewards([
      { reward: fixed([1, 0, null, 1]), weight: 1 },
      { reward: fixed([1, 1, 1, null]), weight: 0.1 },
    ]);
    expect(await rewarded(reward, "", "", "", "")).toEqual([1.1, 0.1, null, null]);
    expect(() => weightedRewards([{ reward: fixed([]), weight: Number.NaN }])).toThrow(/weight 0/);
  });
});
