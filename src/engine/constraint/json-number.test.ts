import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { JsonNumber } from "../../json/index.ts";
import { finish } from "../../tokenizer/slices.ts";
import { Budget } from "./automaton.ts";
import { Grammar } from "./grammar.ts";
import { numberItem } from "./json-number.ts";
import { fitsNumber, type NumberRules } from "./number-rules.ts";
import { accepts } from "./test-writing.ts";

type Given = number | string;
interface GivenRules {
  integer?: boolean;
  minima?: { value: Given; exclusive: boolean }[];
  maxima?: { value: Given; exclusive: boolean }[];
  steps?: Given[];
  notSteps?: Given[];
  excluded?: Given[];
}
const exact = (value: Given) => (typeof value === "string" ? new JsonNumber(value) : JsonNumber.from(value));
const rules = ({ integer = false, minima = [], maxima = [], ...lists }: GivenRules): NumberRules => ({
  integer,
  minima: minima.map(({ value, exclusive }) => ({ value: exact(value), exclusive })),
  maxima: maxima.map(({ value, exclusive }) => ({ value: exact(value), exclusive })),
  steps: (lists.steps ?? []).map(exact),
  notSteps: (lists.notSteps ?? []).map(exact),
  excluded: (lists.excluded ?? []).map(exact),
});
const make = (part: GivenRules) => finish(numberItem(rules(part), new Budget()));
const least = (value: Given, exclusive = false) => ({ minima: [{ value, exclusive }] });
const most = (value: Given, exclusive = false) => ({ maxima: [{ value, exclusive }] });

describe("numberItem", () => {
  it("keeps integers within their bounds exactly", () => {
    const small = fc.integer({ min: -1200, max: 1200 });
    fc.assert(
      fc.property(
        small,
        small,
        fc.boolean(),
        fc.boolean(),
        fc.array(small, { minLength: 20 }),
        (a, b, x, y, list) => {
          const dfa = make({
            integer: true,
            minima: [{ value: a, exclusive: x }],
            maxima: [{ value: b, exclusive: y }],
          });
          for (const n of [...list, a - 1, a, a + 1, b - 1, b, b + 1, 0]) {
            const inside = (x ? n > a : n >= a) && (y ? n < b : n <= b);
            expect([a, b, n, accepts(dfa, String(n))]).toEqual([a, b, n, inside]);
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it("keeps decimal numbers within their bounds exactly, however they are written", () => {
    const unit = fc.integer({ min: -3000, max: 3000 });
    const decimal = fc.tuple(unit, fc.constantFrom(1, 10, 100, 1000)).map(([n, d]) => n / d);
    const zeros = fc.constantFrom("", "0", "00");
    fc.assert(
      fc.property(
        decimal,
        fc.boolean(),
        fc.array(fc.tuple(decimal, zeros), { minLength: 20 }),
        fc.boolean(),
        (bound, exclusive, list, upper) => {
          const dfa = make(
            upper ? { maxima: [{ value: bound, exclusive }] } : { minima: [{ value: bound, exclusive }] },
          );
          for (const [n, end] of [...list, [bound, ""] as const, [bound, "0"] as const]) {
            const text = end === "" ? String(n) : `${n}${Number.isInteger(n) ? "." : ""}${end}`;
            const order = upper ? bound - n : n - bound;
            expect([bound, text, accepts(dfa, text)]).toEqual([
              bound,
              text,
              exclusive ? order > 0 : order >= 0,
            ]);
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it("knows multiples of whole and decimal steps", () => {
    for (const step of [1, 3, 7, 10, 250, 0.5, 0.25, 0.01, 1.5, 12.5]) {
      const dfa = make({ steps: [step] });
      const whole = make({ integer: true, steps: [step] });
      for (let n = -2000; n <= 2000; n += 7) {
        const value = n / 100;
        const multiple = Math.abs(n) % Math.round(step * 100) === 0;
        expect([step, value, accepts(dfa, String(value))]).toEqual([step, value, multiple]);
        expect([step, n, accepts(whole, String(n))]).toEqual([
          step,
          n,
          Math.abs(n * 100) % Math.round(step * 100) === 0,
        ]);
      }
    }
    expect(accepts(make({ steps: [1e-15] }), "0.000000000000003")).toBe(true);
  });

  it.each([
    ["0", true, true],
    ["-0", false, true],
    ["-", false, false],
    ["", false, false],
    ["01", false, false],
    ["1.", false, false],
    [".5", false, false],
    ["1.50", false, true],
    ["1e5", false, true],
    ["1E-05", false, true],
    ["1e+15", false, true],
    ["12345678901234567890", true, true],
    ["123456789012345678901", false, false],
    ["0.1234567890123456", false, true],
    ["0.12345678901234567", false, false],
  ])("%s: integer %s, number %s", (text, integer, number) => {
    expect(accepts(make({ integer: true }), text)).toBe(integer);
    expect(accepts(make({}), text)).toBe(number);
  });

  it("takes bounds with exponents and of any size", () => {
    const tiny = make({
      minima: [{ value: 0, exclusive: true }],
      maxima: [{ value: 1e-7, exclusive: false }],
    });
    expect(accepts(tiny, "0.0000001")).toBe(true);
    expect(accepts(tiny, "0.00000011")).toBe(false);
    expect(accepts(tiny, "0.000")).toBe(false);
    const big = make({ integer: true, ...least(2 ** 53, true) });
    expect(accepts(big, "9007199254740992")).toBe(false);
    expect(accepts(big, "9007199254740993")).toBe(true);
    expect(accepts(make({ integer: true, ...most(1e300) }), "-5")).toBe(true);
    expect(accepts(make({ integer: true, ...most("1e999999") }), "-5")).toBe(true);
    expect(accepts(make({ integer: true, ...least("1e300") }), `1${"0".repeat(300)}`)).toBe(true);
    expect(accepts(make({ integer: true, ...least("1e300") }), "9".repeat(300))).toBe(false);
    expect(() => make({ integer: true, ...least("1e999999") })).toThrow("at most 400 digits");
    expect(() => make(most("1e-999999"))).toThrow("at most 400 digits");
  });

  it("finds a number wherever there is one", () => {
    const open = { ...least("0.1", true), ...most("0.10000000000000000000001", true) };
    expect(accepts(make(open), "0.100000000000000000000005")).toBe(true);
    expect(
      make({ integer: true, ...least("9".repeat(30), true), ...most(`1${"0".repeat(30)}`, true) }),
    ).toBeNull();
    const next = make({ integer: true, ...least("9".repeat(30), true) });
    expect(accepts(next, `1${"0".repeat(30)}`)).toBe(true);
    expect(accepts(make(least("9".repeat(20), true)), `1${"0".repeat(20)}`)).toBe(true);
    expect(accepts(make({ steps: ["7e25"], ...least(1) }), "70000000000000000000000000")).toBe(true);
    expect(make({ integer: true, steps: [10], ...least(1), ...most(9) })).toBeNull();
    expect(accepts(make({ integer: true, steps: [86_400_001], ...least(1) }), "172800002")).toBe(true);
    expect(accepts(make({ integer: true, steps: [86_400_001], ...least(1) }), "172800003")).toBe(false);
    expect(() => make({ steps: ["1e-500"] })).toThrow("multipleOf");
    const primes = Array.from({ length: 60 }, (_, i) => `${10n ** 30n + BigInt(2 * i + 1)}`);
    expect(() => make({ steps: primes })).toThrow("common multiple");
  });

  it("writes exactly the numbers that satisfy rules of all kinds, and never runs into a dead end", () => {
    const value = fc
      .tuple(fc.integer({ min: -400, max: 400 }), fc.constantFrom(0, 1, 2))
      .map(([digits, places]) => `${digits}e-${places}`);
    const some = (list: string[]) => fc.subarray(list, { maxLength: 2 });
    fc.assert(
      fc.property(
        fc.boolean(),
        fc.option(value, { nil: null }),
        fc.option(value, { nil: null }),
        fc.boolean(),
        some(["2", "3", "0.5", "0.25", "12"]),
        some(["1", "2", "5", "0.3"]),
        fc.array(value, { maxLength: 2 }),
        fc.array(value, { minLength: 10 }),
        fc.array(fc.nat(), { minLength: 30, maxLength: 30 }),
        (integer, low, high, exclusive, steps, notSteps, excluded, candidates, choices) => {
          const given: GivenRules = { integer, steps, notSteps, excluded };
          if (low !== null) given.minima = [{ value: low, exclusive }];
          if (high !== null) given.maxima = [{ value: high, exclusive }];
          const checked = rules(given);
          const item = make(given);
          for (const candidate of candidates) {
            const text = plain(candidate);
            expect([given, text, accepts(item, text)]).toEqual([
              given,
              text,
              fitsNumber(new JsonNumber(text), checked) && !(integer && /\.|^-0$/.test(text)),
            ]);
          }
          if (item === null) return;
          const grammar = new Grammar(item);
          let state = grammar.start();
          let text = "";
          for (const choice of choices) {
            const nexts = [..."0123456789-.eE+"].flatMap((char) => {
              const next = grammar.advance(state, char.charCodeAt(0));
              return next === null ? [] : [[char, next] as const];
            });
            if (nexts.length === 0 || (state.complete && choice % 3 === 0)) break;
            const [char, next] = nexts[choice % nexts.length];
            [text, state] = [text + char, next];
          }
          if (state.complete)
            expect([given, text, fitsNumber(new JsonNumber(text), checked)]).toEqual([given, text, true]);
          else expect(state.stacks.length).toBeGreaterThan(0);
        },
      ),
      { numRuns: 400 },
    );
  });
});

/** A decimal number without exponent. */
function plain(text: string): string {
  const [digits, places] = text.split("e-");
  return String(Number(digits) / 10 ** Number(places));
}
