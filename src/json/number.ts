/**
 * Numbers as JSON writes them. The text is kept, since a double holds neither 64-bit integers nor the difference
 * between 1 and 1.0; arithmetic is done on decimal digits, exactly, regardless of their count. Work grows with the digits
 * written, never with the size of the number: 1e999999999 costs no more than 1e9.
 */

/** `0.D1 D2 D3 .. * 10^point`: digits without zeros at either end; none for zero. */
export interface Decimal {
  readonly negative: boolean;
  readonly digits: string;
  readonly point: number;
}

const SYNTAX = /^(-?)(0|[1-9]\d*)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/;
/** Beyond it an exponent is refused, so that sums of exponents and lengths are exact as doubles. */
const LARGEST_EXPONENT = 999_999_999;
/** Digits of the longest whole number that `toBigInt` writes out. */
const MOST_WRITTEN = 100_000;

/** A number with the text it was written as. */
export class JsonNumber {
  /** As JSON writes it: `1`, `1.0` and `1E0` are three texts of one value. */
  readonly text: string;
  #decimal: Decimal | null = null;

  /**
   * @param digits whether `text` is known to be a whole number, so that it is not looked at
   * @throws RangeError if `text` is no JSON number, or its exponent has more than nine digits
   */
  constructor(text: string, digits = false) {
    this.text = text;
    if (digits) return;
    const parts = SYNTAX.exec(text);
    if (parts === null || (parts[4] !== undefined && Math.abs(Number(parts[4])) > LARGEST_EXPONENT)) {
      throw new RangeError(`not a number of JSON: ${text.slice(0, 80)}`);
    }
  }

  /**
   * A number of the program, which has no text of its own: whole numbers with all their digits, others as the shortest
   * text that reads as the same double. @throws RangeError for NaN and infinities
   */
  static from(value: number | bigint): JsonNumber {
    if (typeof value === "number" && Object.is(value, -0)) return new JsonNumber("-0.0");
    const whole = typeof value === "bigint" || (Number.isInteger(value) && Math.abs(value) < 1e21);
    return new JsonNumber(whole ? BigInt(value).toString() : String(value));
  }

  /** Sign, digits and place of the point. */
  get decimal(): Decimal {
    this.#decimal ??= decimalOf(this.text);
    return this.#decimal;
  }

  /** Whether it is written without point and exponent, which is what Python reads as `int`. */
  get isIntegerText(): boolean {
    return !/[.eE]/.test(this.text);
  }

  /** Whether its value is whole, however it is written: 1, 1.0 and 1e3 are. */
  get isInteger(): boolean {
    const { digits, point } = this.decimal;
    return digits.length <= Math.max(0, point);
  }

  /** The value, as far as a double holds it: infinite if it is too large. */
  toNumber(): number {
    return Number(this.text);
  }

  /** The value of a whole number. @throws RangeError if it is not whole, or has more than 100,000 digits */
  toBigInt(): bigint {
    const { negative, digits, point } = this.decimal;
    if (!this.isInteger) throw new RangeError(`not a whole number: ${this.text.slice(0, 80)}`);
    if (point > MOST_WRITTEN)
      throw new RangeError(`more than ${MOST_WRITTEN} digits: ${this.text.slice(0, 80)}`);
    const magnitude = BigInt(digits.padEnd(Math.max(0, point), "0"));
    return negative ? -magnitude : magnitude;
  }

  /** -1, 0 or 1 as the value is below, equal to or above the other's. */
  compare(other: JsonNumber): -1 | 0 | 1 {
    const [a, b] = [this.decimal, other.decimal];
    const [signA, signB] = [sign(a), sign(b)];
    if (signA !== signB) return signA < signB ? -1 : 1;
    if (signA === 0) return 0;
    const above = a.point !== b.point ? a.point > b.point : a.digits > b.digits;
    if (!above && a.point === b.point && a.digits === b.digits) return 0;
    return above === !a.negative ? 1 : -1;
  }

  equals(other: JsonNumber): boolean {
    return this.compare(other) === 0;
  }

  /** Whether it is a whole number of times `step`. @throws RangeError if `step` is 0 */
  isMultipleOf(step: JsonNumber): boolean {
    const [a, b] = [this.decimal, step.decimal];
    if (b.digits === "") throw new RangeError("a multiple of 0");
    if (a.digits === "") return true;
    // As whole numbers times powers of ten: a = A * 10^shift * b's unit.
    const shift = a.point - a.digits.length - (b.point - b.digits.length);
    const unit = BigInt(b.digits);
    if (shift >= 0) return (BigInt(a.digits) * powerOfTen(shift, unit)) % unit === 0n;
    // A would have to be a multiple of ten, and its digits end in no zero.
    return false;
  }

  toString(): string {
    return this.text;
  }
}

function sign({ digits, negative }: Decimal): -1 | 0 | 1 {
  if (digits === "") return 0;
  return negative ? -1 : 1;
}

function decimalOf(text: string): Decimal {
  const [, minus, whole, fraction = "", exponent = "0"] = SYNTAX.exec(text)!;
  const written = whole + fraction;
  let [from, to] = [0, written.length];
  while (from < to && written.charCodeAt(from) === 0x30) from++;
  while (to > from && written.charCodeAt(to - 1) === 0x30) to--;
  const digits = written.slice(from, to);
  if (digits === "") return { negative: minus !== "", digits, point: 0 };
  return { negative: minus !== "", digits, point: whole.length - from + Number(exponent) };
}

/** 10^exponent modulo `modulus`. */
function powerOfTen(exponent: number, modulus: bigint): bigint {
  let result = 1n % modulus;
  let square = 10n % modulus;
  for (let rest = exponent; rest > 0; rest = Math.floor(rest / 2)) {
    if (rest % 2 === 1) result = (result * square) % modulus;
    square = (square * square) % modulus;
  }
  return result;
}
