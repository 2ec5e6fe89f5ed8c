import { describe, expect, it } from "vitest";
import {
  checkChoice,
  checkKeys,
  checkNumber,
  editDistance,
  nearestName,
  rangeText,
  shownValue,
} from "./check-value.ts";
import { ConfigError } from "./errors.ts";

const place = { where: "x.json", prefix: "a." };

describe("checkNumber", () => {
  it.each([
    [{ integer: true, min: 1, max: 3 }, [1, 2, 3], [0, 4, 1.5, Number.NaN, "2", null, undefined, [2]]],
    [{ above: 0, below: 1 }, [0.5, 1e-300], [0, 1, -1, Number.POSITIVE_INFINITY]],
    [{}, [-1e300, 0], [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, true]],
  ])("%j takes %j and not %j", (range, good, bad) => {
    for (const value of good) expect(() => checkNumber(place, "b", value, range)).not.toThrow();
    for (const value of bad) expect(() => checkNumber(place, "b", value, range)).toThrow(ConfigError);
  });

  it("names setting, range and value", () => {
    expect(() => checkNumber(place, "b", Number.NaN, { integer: true, min: 1 })).toThrow(
      "x.json: invalid setting; name: a.b; expected: an integer of at least 1; found: NaN",
    );
  });

  it.each([
    [{ integer: true }, "an integer"],
    [{}, "a finite number"],
    [{ min: 0, max: 1 }, "a number from 0 to 1"],
    [{ min: 0, below: 1 }, "a number of at least 0 and below 1"],
    [{ integer: true, above: 2 }, "an integer above 2"],
  ])("calls %j %s", (range, text) => expect(rangeText(range)).toBe(text));

  it.each([
    [undefined, "nothing"],
    [Number.POSITIVE_INFINITY, "Infinity"],
    ["x", '"x"'],
    [{ a: [1] }, '{"a":[1]}'],
    ["y".repeat(200), `"${"y".repeat(76)}..`],
    [() => 1, "function"],
  ])("shows %s", (value, text) => expect(shownValue(value)).toBe(text));
});

describe("names", () => {
  it.each([
    ["kitten", "sitting", 3],
    ["", "abc", 3],
    ["hisotry", "history", 1],
    ["same", "same", 0],
  ])("%s and %s differ by %i", (a, b, n) => expect(editDistance(a, b)).toBe(n));

  it.each([
    ["hidden_sise", "hidden_size"],
    ["hiddenSize", "hidden_size"],
    ["num_layers", "num_hidden_layers"],
    ["flavor", null],
    ["h".repeat(1e6), null],
  ])("%s means %s", (given, name) => {
    expect(nearestName(given, ["hidden_size", "num_hidden_layers", "num_nextn_predict_layers"])).toBe(name);
  });

  it("refuses unknown keys and choices with what was meant, or all there are", () => {
    expect(() => checkKeys(place, { sise: 1 }, ["size", "shape"])).toThrow(
      "no such setting; name: a.sise. Did you mean a.size?",
    );
    expect(() => checkKeys(place, { flavor: 1 }, ["size", "shape"])).toThrow(
      "name: a.flavor; expected: size, shape",
    );
    expect(() => checkKeys(place, { size: 1 }, ["size"])).not.toThrow();
    expect(() => checkChoice(place, "c", "f23", ["f32", "bf16"])).toThrow(
      'expected: f32 | bf16; found: "f23". Did you mean f32?',
    );
    expect(() => checkChoice(place, "c", null, ["f32"])).toThrow("found: null");
  });
});
