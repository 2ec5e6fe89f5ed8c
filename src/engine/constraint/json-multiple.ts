/**
 * Numbers that are multiples of steps, or that are not, within bounds: a terminal that computes instead of an automaton,
 * whose states would be as many as the step is large. A number is allowed to begin as its text does where some number
 * within reach of it satisfies everything; this is decided on whole numbers, in units of the last place. Numbers are
 * written without exponent.
 */
import type { JsonNumber } from "../../json/index.ts";
import type { Budget } from "./automaton.ts";
import { type Cell, type Item, Terminal } from "./grammar.ts";
import { digitCounts, MOST_DIGITS, type NumberRules } from "./number-rules.ts";

/** Multiples tried in one interval if some are excluded. */
const MOST_TRIED = 256;
/** Items kept; beyond it they are made anew. */
const MOST_ITEMS = 20_000;

function gcd(a: bigint, b: bigint): bigint {
  let [x, y] = [a, b];
  while (y !== 0n) [x, y] = [y, x % y];
  return x;
}

const ceilDiv = (a: bigint, b: bigint) => (a >= 0n ? (a + b - 1n) / b : a / b);
const floorDiv = (a: bigint, b: bigint) => (a >= 0n ? a / b : -((-a + b - 1n) / b));
const power = (digits: number) => 10n ** BigInt(digits);

class Multiples {
  /** Most digits before and after the point. */
  readonly #whole: number;
  readonly #places: number;
  // All in units of the last place; bounds are inclusive.
  #low: bigint | null = null;
  #high: bigint | null = null;
  readonly #unit: bigint;
  readonly #notUnits: readonly bigint[];
  readonly #excluded: ReadonlySet<bigint>;
  readonly #integer: boolean;
  #items = new Map<string, NumberBody>();

  constructor(rules: NumberRules, budget: Budget) {
    const { integer, minima, maxima, steps, notSteps, excluded } = rules;
    const of = (list: readonly JsonNumber[]) => list.map((value) => digitCounts(value));
    const all = [...of(steps), ...of(notSteps), ...of(excluded)];
    if (all.some(({ whole, fraction }) => whole > MOST_DIGITS || fraction > MOST_DIGITS)) {
      budget.refuse("multipleOf", `at most ${MOST_DIGITS} digits on a side of the point`, "more");
    }
    const bounds = of([...minima, ...maxima].map(({ value }) => value));
    const fraction = Math.max(0, ...[...all, ...bounds].map((count) => count.fraction));
    // Room for a point and zeros behind it, and for what lies between bounds that exclude themselves.
    const places = integer ? fraction : Math.max(3, fraction + 1);
    const exact = (value: JsonNumber) => {
      const { negative, digits, point } = value.decimal;
      const magnitude = digits === "" ? 0n : BigInt(digits) * power(places + point - digits.length);
      return negative ? -magnitude : magnitude;
    };
    this.#integer = integer;
    this.#places = places;
    for (const { value, exclusive } of minima) {
      const low = exact(value) + (exclusive ? 1n : 0n);
      if (this.#low === null || low > this.#low) this.#low = low;
    }
    for (const { value, exclusive } of maxima) {
      const high = exact(value) - (exclusive ? 1n : 0n);
      if (this.#high === null || high < this.#high) this.#high = high;
    }
    const units = [...steps.map(exact), ...(integer ? [power(places)] : [])];
    this.#unit = units.reduce((a, b) => {
      budget.spend(100);
      const both = (a / gcd(a, b)) * b;
      if (both > power(2 * MOST_DIGITS)) {
        budget.refuse("multipleOf", `a common multiple of at most ${MOST_DIGITS} digits`, "more");
      }
      return both;
    }, 1n);
    this.#notUnits = notSteps.map(exact).map((step) => step / gcd(step, this.#unit));
    this.#excluded = new Set(excluded.map(exact));
    this.#whole = this.#digitsNeeded(budget);
  }

  /** Digits before the point of the smallest number that fits, if that is more than the usual. */
  #digitsNeeded(budget: Budget): number {
    const [low, high] = [this.#low, this.#high];
    const least = low !== null && low > 0n ? low : high !== null && high < 0n ? -high : 0n;
    // A few multiples further on, for those that are excluded.
    const furthest = (least + this.#unit * BigInt(this.#tries + 1)) / power(this.#places);
    const digits = String(furthest).length;
    if (digits > 2 * MOST_DIGITS)
      budget.refuse("multipleOf", `numbers of at most ${MOST_DIGITS} digits`, digits);
    const usual = Math.max(1, (this.#integer ? 20 : 15) - (this.#integer ? 0 : this.#places));
    const counted = least > 0n || this.#tries > 1;
    return Math.max(usual, counted ? digits : String(this.#unit / power(this.#places)).length);
  }

  get #tries(): number {
    return this.#notUnits.length + this.#excluded.size === 0 ? 1 : MOST_TRIED;
  }

  /** Whether one of the numbers from `from` to `to` satisfies everything. */
  #within(from: bigint, to: bigint): boolean {
    const low = this.#low !== null && this.#low > from ? this.#low : from;
    const high = this.#high !== null && this.#high < to ? this.#high : to;
    if (low > high) return false;
    let factor = ceilDiv(low, this.#unit);
    const last = floorDiv(high, this.#unit);
    for (let tries = this.#tries; factor <= last && tries > 0; tries--, factor++) {
      if (this.#notUnits.some((unit) => factor % unit === 0n)) continue;
      if (!this.#excluded.has(factor * this.#unit)) return true;
    }
    return false;
  }

  #signed(negative: boolean, from: bigint, to: bigint): boolean {
    return negative ? this.#within(-to, -from) : this.#within(from, to);
  }

  /** Whether `text`, which is a number, satisfies everything. */
  fits(text: string): boolean {
    const [, sign, whole, fraction = ""] = /^(-?)(\d+)(?:\.(\d+))?$/.exec(text) ?? [];
    if (whole === undefined || (this.#integer && text === "-0")) return false;
    const value = BigInt(whole + fraction) * power(this.#places - fraction.length);
    return this.#signed(sign === "-", value, value);
  }

  /** Whether a number that satisfies everything begins with `text`. */
  begins(text: string): boolean {
    const negative = text.startsWith("-");
    const digits = negative ? text.slice(1) : text;
    const [whole, fraction] = digits.split(".");
    if (!/^(0|[1-9]\d*)?(\.\d*)?$/.test(digits) || (whole === "" && fraction !== undefined)) return false;
    const places = this.#integer ? 0 : this.#places;
    if (whole.length > this.#whole || (fraction?.length ?? 0) > places) return false;
    if (fraction !== undefined) {
      if (places === 0) return false;
      const room = power(this.#places - fraction.length);
      const value = BigInt(whole + fraction) * room;
      return this.#signed(negative, value, value + room - 1n);
    }
    const unit = power(this.#places);
    if (whole === "")
      return this.#signed(negative, negative && this.#integer ? 1n : 0n, power(this.#whole) * unit - 1n);
    if (whole === "0")
      return !(negative && this.#integer) && this.#signed(negative, 0n, this.#integer ? 0n : unit - 1n);
    const value = BigInt(whole);
    for (let more = this.#whole - whole.length; more >= 0; more--) {
      const room = power(more) * unit;
      if (this.#signed(negative, value * room, (value + 1n) * room - 1n)) return true;
    }
    return false;
  }

  at(text: string): NumberBody {
    let item = this.#items.get(text);
    if (item === undefined) {
      if (this.#items.size > MOST_ITEMS) this.#items = new Map();
      item = new NumberBody(this, text);
      this.#items.set(text, item);
    }
    return item;
  }
}

/** What may follow the part of a number that was read. */
class NumberBody extends Terminal {
  readonly #family: Multiples;
  readonly #text: string;
  readonly final: boolean;
  #reads: boolean | null = null;

  constructor(family: Multiples, text: string) {
    super();
    this.#family = family;
    this.#text = text;
    this.final = family.fits(text);
  }

  get reads(): boolean {
    this.#reads ??= [..."-.0123456789"].some((next) => this.#family.begins(this.#text + next));
    return this.#reads;
  }

  step(byte: number, rest: Cell): Cell | null {
    const text = this.#text + String.fromCharCode(byte);
    if (!this.#family.begins(text)) return null;
    const next = this.#family.at(text);
    return next.reads ? rest.push(next) : rest;
  }
}

/** The item of numbers with steps; null if there are none. @throws ConfigError if steps are too large */
export function steppedItem(rules: NumberRules, budget: Budget): Item | null {
  const family = new Multiples(rules, budget);
  return family.begins("") || family.begins("-") ? family.at("") : null;
}
