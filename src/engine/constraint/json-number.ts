/**
 * Numbers as JSON writes them, within bounds, as automata over bytes. Bounds are compared digit by digit in decimal, so
 * they are exact at any length. Lengths are bounded, so that no endless row of digits arises: integers have at most 20
 * digits; other numbers at most 20 before and 16 after the point and an exponent of two digits; numbers with bounds are
 * written without exponent and with at most 15 digits, which keeps them apart as doubles too. Where a bound has more
 * digits than that, so may the numbers.
 */
import type { JsonNumber } from "../../json/index.ts";
import type { Slices } from "../../tokenizer/slices.ts";
import { type Budget, type Dfa, exploreDfa, intersectAll, intersectDfa } from "./automaton.ts";
import { dfaItem, type Item } from "./grammar.ts";
import { steppedItem } from "./json-multiple.ts";
import { digitCounts, type NumberRules, writableBounds } from "./number-rules.ts";

const MINUS = 0x2d;
const PLUS = 0x2b;
const POINT = 0x2e;
const ZERO = 0x30;
const DIGITS = Array.from({ length: 10 }, (_, i) => ZERO + i);
const PLAIN = [MINUS, POINT, ...DIGITS];
const isDigit = (byte: number) => byte >= ZERO && byte <= ZERO + 9;

/** Digits before and after the point; "0" before it if there are none. */
function sides(value: JsonNumber): { negative: boolean; whole: string; fraction: string } {
  const { negative, digits, point } = value.decimal;
  const cut = Math.max(0, point);
  const padded = point < 0 ? "0".repeat(-point) + digits : digits.padEnd(point, "0");
  return { negative, whole: padded.slice(0, cut) || "0", fraction: padded.slice(cut) };
}

/** Phases of the number grammar: what was read last. */
type Shape = readonly [
  phase: "start" | "sign" | "zero" | "whole" | "point" | "fraction",
  whole: number,
  fraction: number,
];

/** Numbers without exponent; integers without "-0". `total` limits all digits together. */
function plainNumbers(
  integer: boolean,
  whole: number,
  fraction: number,
  total: number,
  budget: Budget,
): Slices<Dfa | null> {
  return exploreDfa<[...Shape, boolean]>(
    ["start", 0, 0, false],
    PLAIN,
    ([phase, w, f, negative], byte) => {
      if (byte === MINUS) return phase === "start" ? ["sign", 0, 0, true] : null;
      if (byte === POINT) {
        const may = !integer && (phase === "zero" || phase === "whole") && w < total;
        return may ? ["point", w, 0, false] : null;
      }
      if (phase === "start" || phase === "sign") {
        if (byte !== ZERO) return ["whole", 1, 0, false];
        return integer && negative ? null : ["zero", 0, 0, false];
      }
      if (phase === "zero") return null;
      if (phase === "whole") return w < Math.min(whole, total) ? ["whole", w + 1, 0, false] : null;
      return f < fraction && w + f < total ? ["fraction", w, f + 1, false] : null;
    },
    ([phase]) => phase === "zero" || phase === "whole" || phase === "fraction",
    budget,
  );
}

function anyNumbers(budget: Budget): Slices<Dfa | null> {
  const EXPONENT = [0x65, 0x45];
  return exploreDfa<[string, number]>(
    ["start", 0],
    [...PLAIN, PLUS, ...EXPONENT],
    ([phase, n], byte) => {
      const digit = isDigit(byte);
      switch (phase) {
        case "start":
        case "sign":
          if (byte === MINUS) return phase === "start" ? ["sign", 0] : null;
          return digit ? (byte === ZERO ? ["zero", 0] : ["whole", 1]) : null;
        case "zero":
        case "whole":
        case "fraction":
          if (EXPONENT.includes(byte)) return ["e", 0];
          if (byte === POINT) return phase === "fraction" ? null : ["point", 0];
          if (!digit || phase === "zero") return null;
          return n < (phase === "whole" ? 20 : 16) ? [phase, n + 1] : null;
        case "point":
          return digit ? ["fraction", 1] : null;
        case "e":
          if (byte === MINUS || byte === PLUS) return ["e sign", 0];
          return digit ? ["exponent", 1] : null;
        case "e sign":
          return digit ? ["exponent", 1] : null;
        default:
          return digit && n < 2 ? ["exponent", n + 1] : null;
      }
    },
    ([phase]) => ["zero", "whole", "fraction", "exponent"].includes(phase),
    budget,
  );
}

type Comparison = -1 | 0 | 1;

/** Numbers whose order to `bound` is as `allowed` says. Reads any digits: lengths are limited elsewhere. */
function compared(
  bound: JsonNumber,
  allowed: (order: Comparison) => boolean,
  budget: Budget,
): Slices<Dfa | null> {
  const { negative: below, whole, fraction } = sides(bound);
  const zero = whole === "0" && fraction === "";
  type State = [negative: boolean, whole: number, fraction: number, order: Comparison, nonzero: boolean];
  /** Order of the magnitude read so far to the bound's. */
  const magnitude = ([, w, f, order]: State): Comparison => {
    if (w !== whole.length) return w < whole.length ? -1 : 1;
    if (order !== 0) return order;
    return Math.max(f, 0) < fraction.length ? -1 : 0;
  };
  return exploreDfa<State>(
    [false, 0, -1, 0, false],
    PLAIN,
    (state, byte) => {
      const [negative, w, f, order, nonzero] = state;
      if (byte === MINUS) return w === 0 && f < 0 && !negative ? [true, 0, -1, 0, false] : null;
      if (byte === POINT) {
        if (f >= 0 || w === 0) return null;
        const known = w < whole.length ? -1 : w > whole.length ? 1 : order;
        // Once the order is known, further digits change nothing: the length is put where it agrees.
        return [negative, whole.length, 0, known, nonzero];
      }
      const digit = String.fromCharCode(byte);
      const seen = nonzero || byte !== ZERO;
      const against = (target: string): Comparison => (digit < target ? -1 : digit > target ? 1 : 0);
      if (f < 0) {
        const next = w >= whole.length ? order : order !== 0 ? order : against(whole[w]);
        return [negative, Math.min(w + 1, whole.length + 1), -1, next, seen];
      }
      if (order !== 0) return [negative, w, Math.min(f + 1, fraction.length), order, seen];
      const next = f < fraction.length ? against(fraction[f]) : byte === ZERO ? 0 : 1;
      return [negative, w, Math.min(f + 1, fraction.length), next, seen];
    },
    (state) => {
      const [negative, w, , , nonzero] = state;
      if (w === 0) return false;
      if (!nonzero) return allowed(zero ? 0 : below ? 1 : -1);
      if (negative !== below) return allowed(negative ? -1 : 1);
      const order = magnitude(state);
      return allowed((negative ? -order : order) as Comparison);
    },
    budget,
  );
}

const shapes = new Map<string, Dfa | null>();

/** The shape that most numbers with bounds have is made once. */
function* shapeOf(
  integer: boolean,
  [whole, fraction, total]: readonly [number, number, number],
  budget: Budget,
): Slices<Dfa | null> {
  const make = () => plainNumbers(integer, whole, fraction, total, budget);
  if (total > 20) return yield* make();
  const key = `${integer},${whole},${fraction},${total}`;
  let shape = shapes.get(key);
  if (shape === undefined) {
    shape = yield* make();
    shapes.set(key, shape);
  }
  return shape;
}

/** The numbers within bounds, over bytes; null if there are none. @throws ConfigError if too large */
export function* numberDfa(
  rules: Pick<NumberRules, "integer" | "minima" | "maxima">,
  budget: Budget,
): Slices<Dfa | null> {
  const { integer, minima, maxima } = rules;
  if (!integer && minima.length + maxima.length === 0) return yield* anyNumbers(budget);
  const limits: (Dfa | null)[] = [];
  for (const { value, exclusive } of minima)
    limits.push(yield* compared(value, (o) => (exclusive ? o > 0 : o >= 0), budget));
  for (const { value, exclusive } of maxima)
    limits.push(yield* compared(value, (o) => (exclusive ? o < 0 : o <= 0), budget));
  const bounds = yield* intersectAll(limits, budget);
  if (bounds === null) return null;
  const counts = [...minima, ...maxima].map(({ value }) => digitCounts(value));
  const whole = Math.max(integer ? 20 : 15, ...counts.map((count) => count.whole));
  const fraction = integer ? 0 : Math.max(15, ...counts.map((count) => count.fraction));
  const most = Math.max(1, ...counts.map((count) => count.whole));
  const total = Math.max(integer ? 20 : 15, most + Math.max(0, ...counts.map((count) => count.fraction)));
  function* within(bounds: Dfa | undefined, more: number): Slices<Dfa | null> {
    const shape = yield* shapeOf(
      integer,
      [whole + more, integer ? 0 : fraction + more, total + 2 * more],
      budget,
    );
    return bounds === undefined ? shape : shape && (yield* intersectDfa(shape, bounds, budget));
  }
  // Between bounds that exclude themselves there is a number with one more digit on each side.
  return (yield* within(bounds, 0)) ?? (yield* within(bounds, 1));
}

/** The item of the numbers that satisfy `rules`; null if there are none. @throws ConfigError if too large */
export function* numberItem(rules: NumberRules, budget: Budget): Slices<Item | null> {
  const bounded = { ...rules, ...writableBounds(rules, budget) };
  if (rules.steps.length + rules.notSteps.length + rules.excluded.length > 0)
    return steppedItem(bounded, budget);
  const dfa = yield* numberDfa(bounded, budget);
  return dfa && dfaItem(dfa);
}
