/**
 * Formulas of the corpus: what a generator builds, Lean reads, a person is told and, over numbers and booleans, a program
 * evaluates. Only as much of Lean's syntax as the families use; the levels of operators are those of Lean's `Prelude`.
 */
import { ConfigError } from "../../tensor/errors.ts";

export type BinaryOperator =
  | ("+" | "-" | "*" | "%")
  | ("=" | "≠" | "≤" | "<" | "∣")
  | ("∧" | "∨" | "→" | "↔")
  | ("&&" | "||" | "^^" | "++")
  | ("&&&" | "|||" | "^^^");

export type Term =
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "name"; readonly name: string }
  | { readonly kind: "apply"; readonly head: string; readonly args: readonly Term[] }
  | { readonly kind: "unary"; readonly op: "-" | "¬" | "!" | "~~~"; readonly of: Term }
  | { readonly kind: "binary"; readonly op: BinaryOperator; readonly left: Term; readonly right: Term }
  | {
      readonly kind: "quantified";
      readonly op: "∀" | "∃";
      readonly names: readonly string[];
      /** Absent where Lean finds it. */
      readonly type?: string;
      readonly body: Term;
    };

export const number = (value: number): Term => ({ kind: "number", value });
export const name = (text: string): Term => ({ kind: "name", name: text });
export const apply = (head: string, ...args: Term[]): Term => ({ kind: "apply", head, args });
export const not = (of: Term): Term => ({ kind: "unary", op: "¬", of });
export const negative = (of: Term): Term => ({ kind: "unary", op: "-", of });
export const opposite = (of: Term): Term => ({ kind: "unary", op: "!", of });
export const binary = (left: Term, op: BinaryOperator, right: Term): Term => ({
  kind: "binary",
  op,
  left,
  right,
});
export const every = (names: readonly string[], type: string | undefined, body: Term): Term => ({
  kind: "quantified",
  op: "∀",
  names,
  type,
  body,
});
export const some = (names: readonly string[], type: string | undefined, body: Term): Term => ({
  kind: "quantified",
  op: "∃",
  names,
  type,
  body,
});
/** `a op b op c ..`, to the left as Lean reads sums and products. @throws ConfigError if there is no term */
export function chain(op: BinaryOperator, terms: readonly Term[]): Term {
  if (terms.length === 0) throw new ConfigError("nothing to join", { where: `chain ${op}` });
  return RIGHT.has(op)
    ? terms.reduceRight((right, left) => binary(left, op, right))
    : terms.reduce((left, right) => binary(left, op, right));
}

const LEVEL: Readonly<Record<BinaryOperator, number>> = {
  "→": 25,
  "↔": 20,
  "∨": 30,
  "||": 30,
  "^^": 33,
  "∧": 35,
  "&&": 35,
  "=": 50,
  "≠": 50,
  "≤": 50,
  "<": 50,
  "∣": 50,
  "|||": 55,
  "^^^": 58,
  "&&&": 60,
  "+": 65,
  "-": 65,
  "++": 65,
  "*": 70,
  "%": 70,
};
const RIGHT: ReadonlySet<BinaryOperator> = new Set<BinaryOperator>(["→", "∨", "∧"]);
const SINGLE: ReadonlySet<BinaryOperator> = new Set<BinaryOperator>(["↔", "=", "≠", "≤", "<", "∣"]);
const ATOM = 1024;

/** The term as Lean reads it. `least` is the level below which it is put into brackets. */
export function lean(term: Term, least = 0): string {
  const wrap = (level: number, text: string) => (level < least ? `(${text})` : text);
  switch (term.kind) {
    case "number":
      return wrap(term.value < 0 ? 75 : ATOM, String(term.value));
    case "name":
      return term.name;
    case "apply":
      return wrap(ATOM - 1, [term.head, ...term.args.map((arg) => lean(arg, ATOM))].join(" "));
    case "unary":
      // `¬` and `!` bind as weakly to the right as a comparison does, so both sides get brackets where it is not an atom.
      if (term.op === "-") return wrap(75, `-${lean(term.of, 75)}`);
      if (term.op === "~~~") return wrap(ATOM - 1, `~~~${lean(term.of, ATOM)}`);
      return wrap(40, `${term.op}${lean(term.of, ATOM - 1)}`);
    case "binary": {
      const level = LEVEL[term.op];
      const left = level + (RIGHT.has(term.op) || SINGLE.has(term.op) ? 1 : 0);
      const right = level + (RIGHT.has(term.op) ? 0 : 1);
      return wrap(level, `${lean(term.left, left)} ${term.op} ${lean(term.right, right)}`);
    }
    case "quantified": {
      const type = term.type === undefined ? "" : ` : ${term.type}`;
      return wrap(25, `${term.op} ${term.names.join(" ")}${type}, ${lean(term.body)}`);
    }
  }
}

/** The same term with other names for some variables; bound ones included, so new names must not occur in it. */
export function rename(term: Term, names: ReadonlyMap<string, string>): Term {
  const of = (text: string) => names.get(text) ?? text;
  switch (term.kind) {
    case "number":
      return term;
    case "name":
      return name(of(term.name));
    case "apply":
      return { ...term, head: of(term.head), args: term.args.map((arg) => rename(arg, names)) };
    case "unary":
      return { ...term, of: rename(term.of, names) };
    case "binary":
      return { ...term, left: rename(term.left, names), right: rename(term.right, names) };
    case "quantified":
      return { ...term, names: term.names.map(of), body: rename(term.body, names) };
  }
}

/** Replaces free variables by terms. */
export function substitute(term: Term, by: ReadonlyMap<string, Term>): Term {
  switch (term.kind) {
    case "number":
      return term;
    case "name":
      return by.get(term.name) ?? term;
    case "apply":
      return { ...term, args: term.args.map((arg) => substitute(arg, by)) };
    case "unary":
      return { ...term, of: substitute(term.of, by) };
    case "binary":
      return { ...term, left: substitute(term.left, by), right: substitute(term.right, by) };
    case "quantified": {
      const rest = new Map([...by].filter(([key]) => !term.names.includes(key)));
      return { ...term, body: substitute(term.body, rest) };
    }
  }
}

export type Value = number | boolean;
export type Domain = "Nat" | "Int";

/** Values of the variables, what functions do, and where quantified variables without a bound of their own are looked for. */
export interface Valuation {
  readonly domain: Domain;
  readonly values: ReadonlyMap<string, Value>;
  readonly functions?: ReadonlyMap<string, (...args: number[]) => Value>;
  /** Quantified variables run over -reach (0 for `Nat`) to reach. */
  readonly reach: number;
}

/**
 * The value of a term in numbers or booleans. Quantified variables run over a finite range, so a true `∃` and a false `∀`
 * are certain, their opposites are not. @throws ConfigError for names without a value
 */
export function evaluate(term: Term, at: Valuation): Value {
  const numeric = (t: Term) => evaluate(t, at) as number;
  switch (term.kind) {
    case "number":
      return term.value;
    case "name": {
      const value = at.values.get(term.name);
      if (value === undefined) throw new ConfigError("no value", { where: "evaluate", name: term.name });
      return value;
    }
    case "apply": {
      const f = at.functions?.get(term.head);
      if (!f) throw new ConfigError("no such function", { where: "evaluate", name: term.head });
      return f(...term.args.map(numeric));
    }
    case "unary":
      return term.op === "-" ? -numeric(term.of) : !evaluate(term.of, at);
    case "binary":
      return operate(term.op, term.left, term.right, at);
    case "quantified":
      return quantify(term, at);
  }
}

function operate(op: BinaryOperator, left: Term, right: Term, at: Valuation): Value {
  const a = evaluate(left, at);
  if (op === "→" || op === "∧" || op === "∨" || op === "&&" || op === "||") {
    if (op === "→") return !a || evaluate(right, at);
    return op === "∧" || op === "&&" ? a && evaluate(right, at) : a || evaluate(right, at);
  }
  const b = evaluate(right, at);
  if (op === "=" || op === "↔") return a === b;
  if (op === "≠" || op === "^^") return a !== b;
  const [x, y] = [a as number, b as number];
  switch (op) {
    case "+":
      return x + y;
    case "-":
      return at.domain === "Nat" ? Math.max(0, x - y) : x - y;
    case "*":
      return x * y;
    case "%":
      return y === 0 ? x : modulo(x, y);
    case "≤":
      return x <= y;
    case "<":
      return x < y;
    case "∣":
      return x === 0 ? y === 0 : modulo(y, x) === 0;
    default:
      throw new ConfigError("no value", { where: "evaluate", name: op });
  }
}

/** The remainder that is not negative, as Lean's `%` on `Int` gives. */
export function modulo(x: number, y: number): number {
  const size = Math.abs(y);
  return ((x % size) + size) % size;
}

function quantify(term: Term & { kind: "quantified" }, at: Valuation): boolean {
  const [first, ...rest] = term.names;
  const booleans = term.type === "Prop" || term.type === "Bool";
  const domain: Domain = term.type === "Int" || term.type === "Nat" ? term.type : at.domain;
  const low = domain === "Nat" ? 0 : -at.reach;
  const body = rest.length === 0 ? term.body : { ...term, names: rest };
  const holds = (value: Value) => {
    const values = new Map(at.values).set(first, value);
    return evaluate(body, { ...at, domain, values }) as boolean;
  };
  const every = term.op === "∀";
  if (booleans) return every ? holds(false) && holds(true) : holds(false) || holds(true);
  for (let value = low; value <= at.reach; value++) if (holds(value) !== every) return !every;
  return every;
}

/** Names of variables that occur free. */
export function freeNames(term: Term, found = new Set<string>(), bound: readonly string[] = []): Set<string> {
  switch (term.kind) {
    case "number":
      break;
    case "name":
      if (!bound.includes(term.name)) found.add(term.name);
      break;
    case "apply":
      for (const arg of term.args) freeNames(arg, found, bound);
      break;
    case "unary":
      freeNames(term.of, found, bound);
      break;
    case "binary":
      freeNames(term.left, found, bound);
      freeNames(term.right, found, bound);
      break;
    case "quantified":
      freeNames(term.body, found, [...bound, ...term.names]);
  }
  return found;
}
