/**
 * Numbers as JSON writes them, within bounds and steps, as automata over bytes. Bounds are compared digit by digit in
 * decimal, so they are exact. Lengths are bounded, so that no endless row of digits arises: integers have at most 20
 * digits; other numbers at most 20 before and 16 after the point and an exponent of two digits; numbers with bounds or
 * steps are written without exponent and with at most 15 digits, which keeps them apart as doubles too.
 */
import { type Budget, type Dfa, exploreDfa } from "./automaton.ts";
import { intersectAll } from "./json-string.ts";

export interface Bound {
  readonly value: number;
  readonly exclusive: boolean;
}

export interface NumberRules {
  readonly integer: boolean;
  readonly minima: readonly Bound[];
  readonly maxima: readonly Bound[];
  readonly steps: readonly number[];
}

const MINUS = 0x2d;
const PLUS = 0x2b;
const POINT = 0x2e;
const ZERO = 0x30;
const DIGITS = Array.from({ length: 10 }, (_, i) => ZERO + i);
const PLAIN = [MINUS, POINT, ...DIGITS];
const isDigit = (byte: number) => byte >= ZERO && byte <= ZERO + 9;

/** A decimal number: its digits before and after the point, without leading and trailing zeros. */
interface Decimal {
  readonly negative: boolean;
  readonly whole: string;
  readonly fraction: string;
}

function decimal(value: number): Decimal {
  const match = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(String(value))!;
  const [, sign, whole, fraction = "", exponent = "0"] = match;
  const shift = Number(exponent);
  const digits = whole + fraction;
  const point = whole.length + shift;
  const padded = point < 0 ? "0".repeat(-point) + digits : digits.padEnd(point, "0");
  const cut = Math.max(0, point);
  return {
    negative: sign === "-",
    whole: padded.slice(0, cut).replace(/^0+(?=\d)/, "") || "0",
    fraction: padded.slice(cut).replace(/0+$/, ""),
  };
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
): Dfa | null {
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

function anyNumbers(budget: Budget): Dfa | null {
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
function compared(bound: number, allowed: (order: Comparison) => boolean, budget: Budget): Dfa | null {
  const { negative: below, whole, fraction } = decimal(bound);
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

/** Multiples of `step`, whose digits after the point give how many a multiple may have. */
function multiples(step: number, budget: Budget): Dfa | null {
  const { whole, fraction } = decimal(step);
  const places = fraction.length;
  if (places > 15) budget.refuse("multipleOf", "at most 15 digits after the point", step);
  const unit = Number(whole + fraction);
  if (unit > 10_000) budget.refuse("multipleOf", "at most 10000 in units of its last digit", unit);
  // Remainder of the digits read so far, and the digits after the point (-1 before it).
  return exploreDfa<[rest: number, fraction: number, begun: boolean]>(
    [0, -1, false],
    PLAIN,
    ([rest, f, begun], byte) => {
      if (byte === MINUS) return begun ? null : [0, -1, true];
      if (byte === POINT) return f < 0 ? [rest, 0, true] : null;
      const next = (rest * 10 + byte - ZERO) % unit;
      if (f < 0) return [next, -1, true];
      // Beyond the step's last place only zeros keep a multiple.
      if (f >= places) return byte === ZERO ? [rest, f, true] : null;
      return [next, f + 1, true];
    },
    ([rest, f]) => (rest * (10 ** (places - Math.max(f, 0)) % unit)) % unit === 0,
    budget,
  );
}

/** The numbers that satisfy `rules`, over bytes; null where there are none. @throws ConfigError where too large */
export function numberDfa(rules: NumberRules, budget: Budget): Dfa | null {
  const { integer, minima, maxima, steps } = rules;
  const restricted = minima.length + maxima.length + steps.length > 0;
  if (!integer && !restricted) return anyNumbers(budget);
  const shape = integer ? plainNumbers(true, 20, 0, 20, budget) : plainNumbers(false, 15, 15, 15, budget);
  const bounds = [
    ...minima.map(({ value, exclusive }) => compared(value, (o) => (exclusive ? o > 0 : o >= 0), budget)),
    ...maxima.map(({ value, exclusive }) => compared(value, (o) => (exclusive ? o < 0 : o <= 0), budget)),
  ];
  return intersectAll([shape, ...bounds, ...steps.map((step) => multiples(step, budget))], budget) ?? null;
}
