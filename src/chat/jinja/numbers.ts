/**
 * Arithmetic as Python does it: whole numbers of any length, division that rounds down, remainders with the divisor's
 * sign, rounding of doubles by their exact decimal value.
 */
import { pythonFloat } from "../../json/index.ts";
import { fail, unsupported } from "./errors.ts";
import type { Runtime } from "./runtime.ts";
import { asInt, Float, typeName, Undefined, type Value } from "./values.ts";

/** Python refuses to print longer ones. */
const MOST_BITS = 14_280;

export type Arithmetic = "+" | "-" | "*" | "/" | "//" | "%" | "**";

/** A bigint as a number if that is exact. */
export function whole(value: bigint): number | bigint {
  const small = Number(value);
  if (Number.isSafeInteger(small)) return small;
  if (value >> BigInt(MOST_BITS) !== 0n && -value >> BigInt(MOST_BITS) !== 0n) {
    unsupported(`a whole number of more than ${MOST_BITS} bits`);
  }
  return value;
}

/** The double nearest to a whole number, or the double itself. @throws TemplateError if it is too large */
export function toDouble(value: number | bigint | Float): number {
  if (value instanceof Float) return value.value;
  const double = Number(value);
  if (!Number.isFinite(double)) fail("int too large to convert to float");
  return double;
}

/** A number of either kind; undefined for all else. */
export function asNumber(value: Value): number | bigint | Float | undefined {
  return value instanceof Float ? value : asInt(value);
}

/** @throws TemplateError for operands that are not numbers */
export function arithmetic(operator: Arithmetic, left: Value, right: Value): Value {
  const a = asNumber(left);
  const b = asNumber(right);
  if (a === undefined || b === undefined) {
    if (left instanceof Undefined) left.raise();
    if (right instanceof Undefined) right.raise();
    fail(`unsupported operand type(s) for ${operator}: '${typeName(left)}' and '${typeName(right)}'`);
  }
  if (a instanceof Float || b instanceof Float) return floats(operator, toDouble(a), toDouble(b));
  return integers(operator, a, b);
}

function integers(operator: Arithmetic, a: number | bigint, b: number | bigint): Value {
  if (typeof a === "number" && typeof b === "number") {
    const result = safe(operator, a, b);
    if (result !== undefined) return result;
  }
  const [x, y] = [BigInt(a), BigInt(b)];
  switch (operator) {
    case "+":
      return whole(x + y);
    case "-":
      return whole(x - y);
    case "*":
      return whole(x * y);
    case "**":
      return power(a, b);
    case "/":
      return new Float(quotient(x, y));
    case "//":
    case "%": {
      if (y === 0n) fail("integer division or modulo by zero");
      let [quotient, rest] = [x / y, x % y];
      if (rest !== 0n && rest < 0n !== y < 0n) {
        quotient -= 1n;
        rest += y;
      }
      return whole(operator === "//" ? quotient : rest);
    }
  }
}

/** What is exact in doubles; undefined if it may not be. */
function safe(operator: Arithmetic, a: number, b: number): Value | undefined {
  let result: number;
  switch (operator) {
    case "+":
      result = a + b;
      break;
    case "-":
      result = a - b;
      break;
    case "*":
      result = a * b;
      break;
    case "/":
      if (b === 0) fail("division by zero");
      return new Float(a / b);
    case "//":
    case "%": {
      if (b === 0) fail("integer division or modulo by zero");
      const rest = a % b;
      const shifted = rest !== 0 && rest < 0 !== b < 0 ? rest + b : rest;
      result = operator === "%" ? shifted : (a - shifted) / b;
      break;
    }
    default:
      return undefined;
  }
  // Adding 0 makes -0 into 0, which whole numbers do not have.
  return Number.isSafeInteger(result) ? result + 0 : undefined;
}

/** `x / y`, rounded once. */
function quotient(x: bigint, y: bigint): number {
  if (y === 0n) fail("division by zero");
  const negative = x < 0n !== y < 0n;
  const [n, d] = [x < 0n ? -x : x, y < 0n ? -y : y];
  if (n === 0n) return 0;
  const shift = Math.max(0, bits(d) - bits(n) + 66);
  const scaled = n << BigInt(shift);
  // The last bit says that there is a rest, so that the one rounding below sees it.
  const top = (scaled / d) | (scaled % d === 0n ? 0n : 1n);
  const size = Number(top) * 2 ** -shift;
  if (!Number.isFinite(size)) fail("integer division result too large for a float");
  if (size < 2 ** -1022) unsupported("a quotient below the smallest normal double");
  return negative ? -size : size;
}

/** Bits of a number that is not negative, up to three too many. */
function bits(value: bigint): number {
  return 4 * value.toString(16).length;
}

function power(base: number | bigint, exponent: number | bigint): Value {
  if (exponent < 0) {
    if (Number(base) === 0) fail("0.0 cannot be raised to a negative power");
    return floats("**", toDouble(base), toDouble(exponent));
  }
  const small = BigInt(base) >= -1n && BigInt(base) <= 1n;
  const size = BigInt(base) < 0n ? -BigInt(base) : BigInt(base);
  if (!small && Number(exponent) * Math.max(1, bits(size) - 4) > MOST_BITS) {
    unsupported(`a whole number of more than ${MOST_BITS} bits`);
  }
  // Powers of -1, 0 and 1 depend on whether the exponent is 0, odd or even.
  const e = small && exponent > 2 ? 2n + (BigInt(exponent) % 2n) : BigInt(exponent);
  return whole(BigInt(base) ** e);
}

function floats(operator: Arithmetic, a: number, b: number): Value {
  switch (operator) {
    case "+":
      return new Float(a + b);
    case "-":
      return new Float(a - b);
    case "*":
      return new Float(a * b);
    case "/":
      if (b === 0) fail("float division by zero");
      return new Float(a / b);
    case "%":
      if (b === 0) fail("float modulo");
      return new Float(remainder(a, b));
    case "//":
      if (b === 0) fail("float floor division by zero");
      return new Float(floorQuotient(a, b));
    case "**": {
      if (a === 0 && b < 0) fail("0.0 cannot be raised to a negative power");
      if (a < 0 && Number.isFinite(a) && Number.isFinite(b) && !Number.isInteger(b)) {
        unsupported("a power that is a complex number");
      }
      // Unlike JavaScript, where 1 ** NaN and 1 ** Infinity are NaN.
      if (a === 1 || (a === -1 && !Number.isFinite(b) && !Number.isNaN(b))) return new Float(1);
      const result = a ** b;
      if (!Number.isFinite(result) && Number.isFinite(a) && Number.isFinite(b)) {
        fail("Numerical result out of range");
      }
      return new Float(result);
    }
  }
}

function remainder(a: number, b: number): number {
  const rest = a % b;
  if (rest === 0) return b < 0 ? -0 : 0;
  return rest < 0 !== b < 0 ? rest + b : rest;
}

function floorQuotient(a: number, b: number): number {
  const rest = a % b;
  let quotient = (a - rest) / b;
  if (rest !== 0 && b < 0 !== rest < 0) quotient -= 1;
  if (quotient === 0) return Object.is(a / b, -0) || a / b < 0 ? -0 : 0;
  const floor = Math.floor(quotient);
  return quotient - floor > 0.5 ? floor + 1 : floor;
}

/** As `repr` writes a double. */
export function floatText(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value < 0 ? "-inf" : "inf";
  return pythonFloat(value);
}

/** A double as a fraction: `value = numerator / denominator`, exactly. */
export function fractionOf(value: number): { numerator: bigint; denominator: bigint } {
  let [numerator, shift] = [value, 0];
  while (!Number.isInteger(numerator)) {
    numerator *= 2;
    shift++;
  }
  return { numerator: BigInt(numerator), denominator: 1n << BigInt(shift) };
}

/** `numerator / denominator` to the nearest whole number, halves to the even one. */
export function roundHalfEven(numerator: bigint, denominator: bigint): bigint {
  const negative = numerator < 0n;
  const size = negative ? -numerator : numerator;
  let result = size / denominator;
  const twice = 2n * (size % denominator);
  if (twice > denominator || (twice === denominator && result % 2n === 1n)) result += 1n;
  return negative ? -result : result;
}

/** The digits of `|value| * 10^places`, rounded to a whole number. `places` may be negative. */
export function scaledDigits(value: number, places: number): bigint {
  const { numerator, denominator } = fractionOf(Math.abs(value));
  return places >= 0
    ? roundHalfEven(numerator * 10n ** BigInt(places), denominator)
    : roundHalfEven(numerator, denominator * 10n ** BigInt(-places));
}

/** `|value|` with `places` digits behind the point. */
export function fixedDigits(value: number, places: number): string {
  const digits = scaledDigits(value, places)
    .toString()
    .padStart(places + 1, "0");
  return places === 0 ? digits : `${digits.slice(0, -places)}.${digits.slice(-places)}`;
}

/** `|value|` as `d.ddd` times ten to a power, with `places` digits behind the point. */
export function exponentDigits(value: number, places: number): { digits: string; exponent: number } {
  const size = Math.abs(value);
  if (size === 0) return { digits: "0".repeat(places + 1), exponent: 0 };
  let exponent = Number(size.toExponential().split("e")[1]);
  let digits = scaledDigits(size, places - exponent).toString();
  if (digits.length > places + 1) {
    exponent++;
    digits = scaledDigits(size, places - exponent).toString();
  }
  return { digits, exponent };
}

/** Python's `round(value, places)`. */
export function round(value: Value, places: number): Value {
  const number = asNumber(value);
  if (number === undefined) {
    if (value instanceof Undefined) value.raise();
    fail(`type ${typeName(value)} doesn't define __round__ method`);
  }
  if (Math.abs(places) > 400) unsupported("rounding to more than 400 digits");
  if (!(number instanceof Float)) {
    if (places >= 0) return number;
    const unit = 10n ** BigInt(-places);
    return whole(roundHalfEven(BigInt(number), unit) * unit);
  }
  const { value: double } = number;
  if (!Number.isFinite(double) || double === 0) return number;
  const text = places >= 0 ? fixedDigits(double, places) : `${scaledDigits(double, places)}e${-places}`;
  const size = Number(text);
  if (!Number.isFinite(size)) fail("rounded value too large to represent");
  return new Float(double < 0 ? -size : size);
}

/** The whole part of a double, as `int()` gives it. @throws TemplateError for infinities and NaN */
export function truncated(value: number): number | bigint {
  if (!Number.isFinite(value)) fail(`cannot convert float ${floatText(value)} to integer`);
  return whole(BigInt(Math.trunc(value)));
}

const INT = /^[0-9a-z](?:_?[0-9a-z])*$/;
const FLOAT =
  /^[+-]?(?:(?:\d(?:_?\d)*)(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:e[+-]?\d(?:_?\d)*)?$|^[+-]?(?:inf|infinity|nan)$/i;

/** `int(text, base)`; undefined if it would raise. `text` without white space around it. */
export function parseInteger(rt: Runtime, text: string, base: number): number | bigint | undefined {
  refuseForeignDigits(text);
  if (base !== 0 && (base < 2 || base > 36)) return undefined;
  const negative = text.startsWith("-");
  let body = text.replace(/^[+-]/, "").toLowerCase();
  const prefix = { 2: "0b", 8: "0o", 16: "0x" } as Record<number, string>;
  let radix = base;
  for (const [key, mark] of Object.entries(prefix)) {
    if (!body.startsWith(mark) || (base !== 0 && base !== Number(key))) continue;
    radix = Number(key);
    body = body.slice(2).replace(/^_/, "");
    break;
  }
  if (radix === 0) {
    if (/^0[0_]*[1-9]/.test(body)) return undefined;
    radix = 10;
  }
  if (!INT.test(body)) return undefined;
  body = body.replaceAll("_", "");
  if (body.length > 4300) fail("the text has more than 4300 digits");
  if (radix === 10) return /^\d+$/.test(body) ? signed(BigInt(body), negative) : undefined;
  let result = 0n;
  // Each digit costs what the number is long by then.
  rt.spend(body.length ** 2 / 32);
  for (const digit of body) {
    const value = Number.parseInt(digit, 36);
    if (!(value < radix)) return undefined;
    result = result * BigInt(radix) + BigInt(value);
  }
  return signed(result, negative);
}

function signed(value: bigint, negative: boolean): number | bigint {
  return whole(negative ? -value : value);
}

/** `float(text)`; undefined if it would raise. `text` without white space around it. */
export function parseFloatText(text: string): number | undefined {
  refuseForeignDigits(text);
  if (!FLOAT.test(text)) return undefined;
  const word = text.replace(/^[+-]/, "").toLowerCase();
  if (word === "nan") return Number.NaN;
  if (word.startsWith("inf"))
    return text.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return Number(text.replaceAll("_", ""));
}

/** Python also reads the digits of other scripts. */
function refuseForeignDigits(text: string): void {
  if (/[^\0-\x7f]/.test(text) && /\p{Nd}/u.test(text.replace(/[0-9]/g, ""))) {
    unsupported("reading a number in digits of another script");
  }
}
