import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { acceptsDfa, Budget, type Dfa } from "./automaton.ts";
import { type NumberRules, numberDfa } from "./json-number.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const accepts = (dfa: Dfa | null, text: string) => dfa !== null && acceptsDfa(dfa, bytes(text));
const rules = (part: Partial<NumberRules>): NumberRules => ({
  integer: false,
  minima: [],
  maxima: [],
  steps: [],
  ...part,
});
const make = (part: Partial<NumberRules>) => numberDfa(rules(part), new Budget());

describe("numberDfa", () => {
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
    const big = make({ integer: true, minima: [{ value: 2 ** 53, exclusive: true }] });
    expect(accepts(big, "9007199254740992")).toBe(false);
    expect(accepts(big, "9007199254740993")).toBe(true);
    expect(accepts(make({ integer: true, maxima: [{ value: 1e300, exclusive: false }] }), "-5")).toBe(true);
    expect(make({ integer: true, minima: [{ value: 1e300, exclusive: false }] })).toBeNull();
    expect(() => make({ steps: [12_345_678] })).toThrow("multipleOf");
  });
});
