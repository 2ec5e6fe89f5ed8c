/** Arithmetic in a text, exactly: numbers, + - * /, parentheses and blanks, and nothing else. */

/** A fraction in lowest terms with a positive denominator. */
export interface Rational {
  readonly over: bigint;
  readonly under: bigint;
}

export interface ArithmeticValue {
  readonly value: Rational;
  /** Numbers as they are written, in order, without zeros in front. */
  readonly numbers: readonly string[];
}

/** Longer texts have no value: products of all their digits stay small. */
const LONGEST = 256;

export const sameRational = (a: Rational, b: Rational): boolean => a.over === b.over && a.under === b.under;

function lowest(over: bigint, under: bigint): Rational | null {
  if (under === 0n) return null;
  let [a, b] = [over < 0n ? -over : over, under < 0n ? -under : under];
  while (b > 0n) [a, b] = [b, a % b];
  const sign = under < 0n ? -1n : 1n;
  return { over: (sign * over) / (a || 1n), under: (sign * under) / (a || 1n) };
}

function combined(a: Rational, operator: string, b: Rational): Rational | null {
  if (operator === "*") return lowest(a.over * b.over, a.under * b.under);
  if (operator === "/") return lowest(a.over * b.under, a.under * b.over);
  const right = operator === "+" ? b.over : -b.over;
  return lowest(a.over * b.under + right * a.under, a.under * b.under);
}

/** The value of an expression; null for what is none, what divides by zero and what is longer than 256 characters. */
export function arithmeticValue(text: string): ArithmeticValue | null {
  if (text.length > LONGEST) return null;
  const tokens = text.match(/\d+(?:\.\d+)?|[-+*/()]|\S/g) ?? [];
  const numbers: string[] = [];
  let at = 0;
  // The length bounds the depth.
  const sum = (): Rational | null => {
    let left = product();
    while (left !== null && (tokens[at] === "+" || tokens[at] === "-")) {
      const operator = tokens[at++];
      const right = product();
      left = right && combined(left, operator, right);
    }
    return left;
  };
  const product = (): Rational | null => {
    let left = factor();
    while (left !== null && (tokens[at] === "*" || tokens[at] === "/")) {
      const operator = tokens[at++];
      const right = factor();
      left = right && combined(left, operator, right);
    }
    return left;
  };
  const factor = (): Rational | null => {
    const token = tokens[at++];
    if (token === "-" || token === "+") {
      const value = factor();
      return value && (token === "-" ? { over: -value.over, under: value.under } : value);
    }
    if (token === "(") {
      const value = sum();
      return tokens[at++] === ")" ? value : null;
    }
    if (token === undefined || !/^\d/.test(token)) return null;
    const [whole, part = ""] = token.split(".");
    numbers.push(token.replace(/^0+(?=\d)/, ""));
    return lowest(BigInt(whole + part), 10n ** BigInt(part.length));
  };
  const value = sum();
  return value === null || at < tokens.length ? null : { value, numbers };
}
