import { describe, expect, it } from "vitest";
import { editSimilarity } from "./edit-similarity.ts";
import { MOST_CHARACTERS, MOST_MIDDLE, type RowRules, taskRow } from "./rows.ts";
import { rollingWindows } from "./windows.ts";

const read = (value: unknown, rules: RowRules = {}) => taskRow(value, "tasks.jsonl line 3", rules);
const choices = { context: "a", choices: ["b", "c"], gold: 0 };

describe("taskRow", () => {
  it("reads the forms by their fields", () => {
    expect(read({ ...choices, id: 7 })).toMatchObject({ form: "choices", gold: [0], fields: { id: 7 } });
    expect(read({ ...choices, gold: "c" })).toMatchObject({ gold: [1] });
    expect(read({ ...choices, gold: [1, "b"] })).toMatchObject({ gold: [1, 0] });
    expect(read({ prompt: "a", answer: 4 })).toMatchObject({ form: "answer", answers: ["4"] });
    expect(read({ prompt: [{ role: "user", content: "a" }], answer: ["b", "c"] })).toMatchObject({
      answers: ["b", "c"],
    });
    expect(read({ prompt: "a" }, { isJudged: true })).toMatchObject({ answers: [] });
    expect(read({ prefix: "", suffix: "", middle: "b" })).toMatchObject({ form: "infill" });
    expect(read({ text: "a" })).toMatchObject({ form: "text", text: "a" });
  });

  it.each<[string, unknown, RegExp]>([
    ["no object", [], /tasks.jsonl line 3.*must be an object/s],
    ["no form", { question: "a" }, /line 3.*not a row of a task.*question/s],
    ["a choice that is empty", { ...choices, choices: ["a", ""] }, /line 3.*choices\[1\]/s],
    ["one choice", { ...choices, choices: ["a"] }, /choices.*2 to 256/s],
    ["a place that is none", { ...choices, gold: 2 }, /gold.*0 to 1/s],
    ["a fraction", { ...choices, gold: 0.5 }, /gold.*0.5/s],
    ["no place", { context: "a", choices: ["b", "c"] }, /gold.*nothing/s],
    ["places that are none", { ...choices, gold: [0, -1] }, /gold\[1\]/],
    ["no places", { ...choices, gold: [] }, /no right choice.*name: gold/s],
    ["no context", { choices: ["b", "c"], gold: 0 }, /context/],
    ["no answer", { prompt: "a" }, /answer.*--reward/s],
    ["an answer of another kind", { prompt: "a", answer: true }, /text or a number.*name: answer/s],
    ["an empty prompt", { prompt: "", answer: "b" }, /empty prompt.*name: prompt/s],
    [
      "an answer in the messages",
      { prompt: [{ role: "assistant", content: "a" }], answer: "b" },
      /last message/,
    ],
    ["no suffix", { prefix: "a", middle: "b" }, /suffix/],
    ["a long middle", { prefix: "", suffix: "", middle: "a".repeat(MOST_MIDDLE + 1) }, /middle.*8192/s],
    ["a long row", { ...choices, context: "a".repeat(MOST_CHARACTERS) }, /line 3.*too long.*1048576/s],
    ["an image", { ...choices, image: "a.png" }, /not supported.*name: image/s],
    ["an empty text", { text: "" }, /empty.*name: text/s],
  ])("refuses %s by line and field", (_, value, message) => {
    expect(() => read(value)).toThrow(message);
  });

  it("refuses a row of another form than the task's", () => {
    expect(() => read({ text: "a" }, { form: "choices" })).toThrow(
      /several forms.*context, choices, gold.*text/s,
    );
  });
});

describe("rollingWindows", () => {
  it("predict every token once, behind the tokens of its window and one more", () => {
    for (const length of [1, 2, 5, 7, 40]) {
      for (const count of [0, 1, 4, 5, 6, 14, 15, 39]) {
        const tokens = Array.from({ length: count }, (_, i) => i);
        const windows = [...rollingWindows(tokens, -1, length)];
        expect(windows.flatMap(({ continuation }) => continuation)).toEqual(tokens);
        for (const { prompt, continuation } of windows) {
          const all = [...prompt, ...continuation];
          // In the order of the text, without a gap.
          expect(all).toEqual(Array.from(all, (_, i) => all[0] + i));
          // The last token is not read; every window is full but that of a text with fewer tokens.
          expect(all.length - 1).toBe(Math.min(length, count));
        }
      }
    }
  });
});

describe("editSimilarity", () => {
  it.each([
    ["", "", 1],
    ["abc", "abc", 1],
    ["abc", "", 0],
    ["kitten", "sitting", 1 - 3 / 7],
    ["ab", "ba", 0],
    ["Grüße", "Grüsse", 1 - 2 / 6],
    ["😀b", "😀c", 0.5],
    ["a", "a".repeat(40_000), 1 / 40_000],
  ])("of %j and %j is %f", (a, b, expected) => {
    expect(editSimilarity(a, b)).toBeCloseTo(expected, 12);
    expect(editSimilarity(b, a)).toBeCloseTo(expected, 12);
  });
});
