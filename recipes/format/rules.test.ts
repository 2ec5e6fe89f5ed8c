/** What rules make of words, which of them are shown, and that no prompt stands in two parts. */
import { expect, it } from "vitest";
import { alphabet } from "../tasks/alphabet.ts";
import { answerOf, CHARACTERS, formatProblems, isUnseen, promptOf, RULES, SEEN, UNSEEN } from "./rules.ts";

const words = ["wok", "bat", "nim", "dal"];
const made = (...rules: string[]) => answerOf({ words, rules });

it("rules change order, letters or form", () => {
  expect(made("turn")).toBe("dal nim bat wok");
  expect(made("sort")).toBe("bat dal nim wok");
  expect(made("odd")).toBe("wok nim");
  expect(made("swap")).toBe("dal bat nim wok");
  expect(made("tail")).toBe("bat nim dal");
  expect(made("up")).toBe("WOK BAT NIM DAL");
  expect(made("cap")).toBe("Wok Bat Nim Dal");
  expect(made("back")).toBe("kow tab min lad");
  expect(made("list")).toBe('["wok","bat","nim","dal"]');
  expect(made("num")).toBe("1.wok 2.bat 3.nim 4.dal");
  expect(made("odd", "count")).toBe("wok nim (2)");
  expect(made("tail", "up")).toBe("BAT NIM DAL");
  expect(made("back", "line")).toBe("kow-tab-min-lad");
  expect(RULES).toHaveLength(12);
});

it("a third of all combinations is never shown nor checked", () => {
  expect(UNSEEN.length + SEEN.length).toBe(12 + 5 * 3 + 5 * 4 + 3 * 4);
  const { heldOut, demonstrations, checked } = formatProblems(40, 300);
  expect(heldOut.filter(isUnseen)).toHaveLength(20);
  const shown = demonstrations(3);
  expect(checked(3).some(isUnseen)).toBe(false);
  const prompts = [...heldOut, ...checked(3)].map(promptOf).concat(shown.map(({ prompt }) => prompt));
  expect(new Set(prompts).size).toBe(prompts.length);
  expect(demonstrations(3)).toEqual(shown);
  expect(demonstrations(4)).not.toEqual(shown);
});

it("three in ten demonstrations have one wrong letter", () => {
  const { encode, decode, size } = alphabet(CHARACTERS);
  expect(size).toBeLessThanOrEqual(64);
  let wrong = 0;
  const shown = formatProblems(40, 1000).demonstrations(1);
  for (const { prompt, answer } of shown) {
    const [text, rules] = prompt.slice(0, -1).split("|");
    const right = answerOf({ words: text.split(" "), rules: rules.split("+") });
    expect(decode(encode(prompt + answer))).toBe(prompt + answer);
    expect(encode(prompt + answer).length).toBeLessThan(64);
    expect(answer).toHaveLength(right.length);
    const differing = Array.from(right).filter((each, i) => each !== answer[i]).length;
    expect(differing).toBeLessThanOrEqual(1);
    wrong += differing;
  }
  expect(wrong).toBeGreaterThan(240);
  expect(wrong).toBeLessThan(360);
});
