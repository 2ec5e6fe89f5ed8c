import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { hashHex } from "../../data/hash.ts";
import { WorldRandom } from "../../data/world/generator.ts";
import { withoutComments } from "../text/tokens.ts";
import { findCounterexample } from "./draws.ts";
import { FAMILIES } from "./families.ts";
import { type Draft, type Family, LEVELS } from "./family.ts";
import { type CorpusItem, corpusItem, drawItem, LONGEST_PROOF, LONGEST_STATEMENT } from "./sample.ts";
import { type CorpusSplit, placeOf } from "./split.ts";
import { evaluate, type Value } from "./term.ts";
import { proofText, statementText, thoughtText } from "./theorem.ts";
import { FRAME_COUNT, heldOutFrames } from "./wording.ts";

const items = (split: CorpusSplit, count: number): CorpusItem[] =>
  Array.from({ length: count }, (_, i) => corpusItem({ split }, i));
const train = items("train", 1500);
const tests = items("test", 400);
const valid = items("valid", 400);

function drafts(family: Family, count: number, of: "draw" | "drawFalse" = "draw"): Draft[] {
  return LEVELS.flatMap((level) =>
    Array.from(
      { length: count },
      (_, i) => family[of]?.(new WorldRandom(5, level, i), family.levels[level]) ?? null,
    ),
  ).filter((draft) => draft !== null);
}

test("an item depends on seed, split and index alone", () => {
  expect(corpusItem({ split: "test" }, 17)).toEqual(tests[17]);
  expect(corpusItem({ split: "train", seed: 2 }, 17)).not.toEqual(train[17]);
  // Test sets and trained models refer to this corpus: who changes what is drawn makes them anew.
  expect(hashHex(JSON.stringify(train.slice(0, 200)))).toBe("d551257d48c3b948b97a62f63a8afb42");
});

test("every family and level gives statements of their own that fit a small model", () => {
  for (const { name } of FAMILIES)
    for (const level of LEVELS) {
      const some = Array.from({ length: 12 }, (_, i) =>
        drawItem({ seed: 3, split: "train", family: name, level }, i),
      );
      const texts = new Set(some.map((each) => each!.item.preamble + each!.item.statement));
      expect(texts.size, `${name} ${level}`).toBeGreaterThan(3);
    }
  for (const { preamble, statement, proof } of [...train, ...tests]) {
    expect(preamble.length + statement.length).toBeLessThanOrEqual(LONGEST_STATEMENT);
    expect(proof?.length ?? 0).toBeLessThanOrEqual(LONGEST_PROOF);
    expect(statement).toMatch(/^theorem t .*:= by\n$/);
  }
});

/** Numbers to look at for a variable of a quantifier: witnesses of `exist` are far out. */
const reachOf = (family: string) => (family === "exist" ? 140 : family === "nosol" ? 25 : 12);

describe("truth by evaluation", () => {
  const evaluable = FAMILIES.filter(
    ({ name }) => name !== "conj" && drafts(FAMILIES.find((f) => f.name === name)!, 6).some((d) => d.domain),
  );
  test("most families can be evaluated", () => {
    expect(evaluable.map(({ name }) => name)).toEqual(
      expect.arrayContaining([
        "linint",
        "ring",
        "prop",
        "proprand",
        "bool",
        "bounded",
        "mod",
        "nosol",
        "ineq",
        "exist",
        "refute",
        "calc",
        "ladder",
      ]),
    );
  });
  test.each(evaluable)("$name: nothing refutes what is true", (family) => {
    const random = new WorldRandom(1, 1, 1);
    for (const draft of drafts(family, 12)) {
      if (draft.domain === undefined) continue;
      const { theorem, domain } = draft;
      // A witness that depends on a number lies outside any reach.
      const parametric =
        family.name === "exist" && theorem.goal.kind === "quantified" && theorem.goal.op === "∀";
      if (parametric) continue;
      if (theorem.binders.length === 0) {
        const at = { domain, values: new Map<string, Value>(), reach: reachOf(family.name) };
        expect(evaluate(theorem.goal, at), statementText(theorem)).toBe(true);
      } else if (family.name !== "exist") {
        expect(findCounterexample(random, theorem, domain, 9, 300), statementText(theorem)).toBeNull();
      }
    }
  });
  test.each(FAMILIES.filter((family) => family.drawFalse !== undefined))(
    "$name: what is false has a refutation",
    (family) => {
      const wrong = drafts(family, 12, "drawFalse");
      expect(wrong.length).toBeGreaterThan(5);
      expect(wrong.every(({ truth }) => !truth)).toBe(true);
      if (family.name !== "funval") expect(wrong.every(({ script }) => script !== null)).toBe(true);
    },
  );
});

test("laws of functions are fulfilled by some function: no claim about values is empty", () => {
  const range = Array.from({ length: 31 }, (_, i) => i - 6);
  const models: ((x: number) => number)[] = range.flatMap((p) => range.map((q) => (x: number) => p * x + q));
  for (let first = 0; first <= 12; first++)
    for (let b = 0; b <= 7; b++) {
      models.push((n) => (first + b) * 2 ** n - b);
      models.push((n) => ((2 * first + b) * 3 ** n - b) / 2);
    }
  // What is given by a formula needs no model.
  const formula = /hypothesis","name":"h[f-hpq]"/;
  const laws = drafts(FAMILIES.find(({ name }) => name === "funval")!, 40).filter(
    ({ theorem }) => !formula.test(JSON.stringify(theorem.binders)),
  );
  expect(laws.length).toBeGreaterThan(40);
  for (const { theorem } of laws) {
    const whole = theorem.binders.some((each) => each.kind === "variables" && each.type === "Int → Int");
    const facts = theorem.binders.flatMap((each) => (each.kind === "hypothesis" ? [each.says] : []));
    const fulfilled = models.some((f) =>
      facts.every((says) => {
        const functions = new Map([["f", f]]);
        return evaluate(says, { domain: whole ? "Int" : "Nat", values: new Map(), functions, reach: 4 });
      }),
    );
    expect(fulfilled, statementText(theorem)).toBe(true);
  }
});

describe("splits", () => {
  const place = (item: CorpusItem) => placeOf(item.preamble, item.statement);
  test("are where the hash of the statement says", () => {
    for (const item of [...train.slice(0, 300), ...tests, ...valid]) {
      expect(place(item)).toMatchObject({ split: item.split, novelty: item.novelty });
    }
  });
  test("share no statement, and no template that one of them calls new", () => {
    const key = (item: CorpusItem) => `${item.preamble}|${item.statement}`;
    const known = new Set(train.map(key));
    const templates = new Set(train.map((item) => place(item).template));
    for (const item of [...tests, ...valid]) {
      expect(known.has(key(item))).toBe(false);
      if (item.novelty === "structure") expect(templates.has(place(item).template)).toBe(false);
    }
    const testTemplates = new Set(
      tests.filter((i) => i.novelty === "structure").map((i) => place(i).template),
    );
    for (const item of valid)
      if (item.novelty === "structure") expect(testTemplates.has(place(item).template)).toBe(false);
  });
  test("names of variables do not move a statement", () => {
    const a = placeOf("", "theorem t (x y : Nat) (h : x ≤ y) : x < y + 31 := by\n");
    expect(placeOf("", "theorem s (m k : Nat) (q : m ≤ k) : m < k + 31 := by\n")).toEqual(a);
    expect(a.template).toBe(placeOf("", "theorem t (x y : Nat) (h : x ≤ y) : x < y + 4 := by\n").template);
  });
  test("most test statements have a new structure", () => {
    const fresh = tests.filter(({ novelty }) => novelty === "structure").length;
    expect(fresh / tests.length).toBeGreaterThan(0.5);
    expect(fresh).toBeLessThan(tests.length);
  });
});

describe("proofs", () => {
  test("are withheld where a model has to find them", () => {
    for (const { level, proof, thoughts } of train) {
      if (level === 3) expect(proof).toBeNull();
      expect(thoughts === null).toBe(proof === null);
    }
    const share = train.filter(({ proof }) => proof !== null).length / train.length;
    expect(share).toBeGreaterThan(0.34);
    expect(share).toBeLessThan(0.46);
    for (const family of ["exist", "refute"]) {
      const low = secondLevel(family);
      const scripted = low.filter(({ proof }) => proof !== null).length / low.length;
      expect(scripted, family).toBeGreaterThan(0.3);
      expect(scripted, family).toBeLessThan(0.7);
    }
    const joined = secondLevel("conj").filter(({ statement }) => statement.split(" ∧ (").length >= 3);
    expect(joined.length).toBeGreaterThan(3);
    expect(joined.every(({ proof }) => proof === null)).toBe(true);
  });
  test("with thoughts are the same proofs with comments", () => {
    for (const family of FAMILIES)
      for (const { script } of drafts(family, 4)) {
        const thoughts = thoughtText(script!);
        expect(withoutComments(thoughts).trimEnd()).toBe(proofText(script!).trimEnd());
        expect(thoughts).toMatch(/^ {2}\/-\n {2}\S.*\n {2}-\/\n {2}-- \S/);
      }
  });
});

const secondLevel = (family: string): CorpusItem[] =>
  Array.from({ length: 60 }, (_, i) => drawItem({ seed: 9, split: "train", family, level: 2 }, i)!.item);

test("dials make statements or proofs longer from level to level", () => {
  for (const family of FAMILIES) {
    const size = (level: 1 | 2 | 3) => {
      const all = Array.from({ length: 40 }, (_, i) =>
        family.draw(new WorldRandom(5, level, i), family.levels[level]),
      );
      return (
        all.reduce(
          (sum, { theorem, script }) => sum + statementText(theorem).length + proofText(script!).length,
          0,
        ) / 40
      );
    };
    expect(size(2), family.name).toBeGreaterThan(size(1));
    expect(size(3), family.name).toBeGreaterThan(size(1));
    expect(family.levels[1]).not.toEqual(family.levels[2]);
  }
});

describe("wordings", () => {
  test("each family is told in six frames to training and in two others to tests", () => {
    for (const { name } of FAMILIES) {
      const held = heldOutFrames(name);
      expect(held[0]).not.toBe(held[1]);
      const told = (split: CorpusSplit, count: number) =>
        Array.from(
          { length: count },
          (_, i) => drawItem({ seed: 4, split, family: name, level: 2 }, i)?.item.wording,
        );
      const seen = new Set(told("train", 50));
      const frames = [...seen].filter((each) => each !== undefined && each < FRAME_COUNT);
      expect(frames.sort(), name).toEqual([0, 1, 2, 3, 4, 5, 6, 7].filter((each) => !held.includes(each)));
      for (const each of told("test", 6)) expect([undefined, ...held]).toContain(each);
    }
    for (const item of train) expect(heldOutFrames(item.family)).not.toContain(item.wording);
  });
  test("are no formulas of Lean", () => {
    for (const { informal } of train) expect(informal).not.toMatch(/[∀∃∧∨→¬∣]|undefined|\[object/);
  });
});

test("only grading code reads the truth beside problems", () => {
  const root = fileURLToPath(new URL("..", import.meta.url));
  const readers = readdirSync(root, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .filter((file) =>
      /readTruth|truthColumn|HiddenTruth\.open|corpus\/truth/.test(readFileSync(`${root}/${file}`, "utf8")),
    );
  expect(readers.map((file) => file.replaceAll("\\", "/")).sort()).toEqual(["corpus/truth.ts"]);
});
