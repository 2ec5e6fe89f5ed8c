/** Formulas in words: relations and remainders have synonyms, small numbers may be spelled, the rest is school notation. */
import type { WorldRandom } from "../../data/world/generator.ts";
import { chance } from "./draws.ts";
import type { Term } from "./term.ts";
import type { Binder } from "./theorem.ts";

const NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve".split(" ");

/** The number, sometimes as a word. */
export const spoken = (random: WorldRandom, value: number): string =>
  value >= 0 && value < NUMBERS.length && chance(random, 30) ? NUMBERS[value] : String(value);

const LEVELS: Readonly<Record<string, number>> = { "+": 65, "-": 65, "++": 65, "*": 70, "%": 70 };
/** Words between formulas; brackets show what belongs together. */
const WORD_LEVEL = 40;

/** `3x + xy^2 - 4`, `f(n + 1)`, `n mod 4`. */
export function notation(term: Term, least = 0): string {
  const wrap = (level: number, text: string) => (level < least ? `(${text})` : text);
  switch (term.kind) {
    case "number":
      return wrap(term.value < 0 ? 75 : 1024, String(term.value));
    case "name":
      return term.name;
    case "apply": {
      const args = term.args.map((arg) => notation(arg));
      return term.head === "List.length" ? `length(${args})` : `${term.head}(${args.join(", ")})`;
    }
    case "unary":
      return wrap(
        75,
        `${{ "-": "-", "¬": "not ", "!": "not ", "~~~": "not " }[term.op]}${notation(term.of, 75)}`,
      );
    case "binary": {
      if (term.op === "*") return wrap(70, productNotation(term));
      const level = LEVELS[term.op] ?? ("&|^".includes(term.op[0]) ? WORD_LEVEL : 50);
      const sign = SIGNS[term.op] ?? term.op;
      const left = level === WORD_LEVEL ? level + 1 : level;
      return wrap(level, `${notation(term.left, left)} ${sign} ${notation(term.right, level + 1)}`);
    }
    case "quantified":
      return wrap(
        0,
        `${term.op === "∀" ? "for all" : "for some"} ${term.names.join(", ")}: ${notation(term.body)}`,
      );
  }
}

const SIGNS: Readonly<Record<string, string>> = {
  "%": "mod",
  "&&": "and",
  "||": "or",
  "^^": "xor",
  "&&&": "and",
  "|||": "or",
  "^^^": "xor",
};

/** Numbers, then letters with exponents where they follow each other, then brackets, without signs between them. */
function productNotation(term: Term): string {
  const factors: Term[] = [];
  const collect = (each: Term) => {
    if (each.kind === "binary" && each.op === "*") {
      collect(each.left);
      collect(each.right);
    } else factors.push(each);
  };
  collect(term);
  let text = "";
  for (let i = 0; i < factors.length; ) {
    const each = factors[i];
    const shown = notation(each, 71);
    let power = 1;
    while (each.kind === "name" && i + power < factors.length && notation(factors[i + power]) === shown)
      power++;
    const sign = each.kind === "number" && i > 0 ? " * " : "";
    text += `${sign}${shown}${power > 1 ? `^${power}` : ""}`;
    i += power;
  }
  return text;
}

const isNumeric = (term: Term): boolean =>
  term.kind === "number" ||
  term.kind === "apply" ||
  (term.kind === "binary" && "+-*%".includes(term.op)) ||
  (term.kind === "unary" && term.op === "-");

const side = (random: WorldRandom, term: Term): string =>
  term.kind === "number" ? spoken(random, term.value) : notation(term);

/** The formula as a clause. */
export function clause(random: WorldRandom, term: Term): string {
  if (term.kind === "binary") return relation(random, term);
  if (term.kind === "unary" && term.op === "¬") return denial(random, term.of);
  if (term.kind === "quantified") return quantified(random, term);
  if (term.kind === "name") return term.name;
  return notation(term);
}

function relation(random: WorldRandom, term: Term & { kind: "binary" }): string {
  const { op, left, right } = term;
  const [a, b] = [side(random, left), side(random, right)];
  switch (op) {
    case "=":
      if (left.kind === "binary" && left.op === "%") {
        const [n, m] = [notation(left.left), side(random, left.right)];
        return random.pick([
          `${n} leaves remainder ${b} when divided by ${m}`,
          `the remainder of ${n} divided by ${m} is ${b}`,
          `dividing ${n} by ${m} leaves ${b}`,
          `${n} is ${b} modulo ${m}`,
        ]);
      }
      return random.pick([
        `${a} = ${b}`,
        `${a} equals ${b}`,
        `${a} is equal to ${b}`,
        `${a} is the same as ${b}`,
      ]);
    case "≠":
      if (left.kind === "binary" && left.op === "%") {
        const [n, m] = [notation(left.left), side(random, left.right)];
        return random.pick([
          `${n} never leaves remainder ${b} when divided by ${m}`,
          `${n} is not ${b} modulo ${m}`,
        ]);
      }
      return random.pick([`${a} is not ${b}`, `${a} differs from ${b}`, `${a} is never equal to ${b}`]);
    case "≤":
      return random.pick([
        `${a} is at most ${b}`,
        `${a} does not exceed ${b}`,
        `${a} <= ${b}`,
        `${b} is at least ${a}`,
      ]);
    case "<":
      return random.pick([
        `${a} is less than ${b}`,
        `${a} is smaller than ${b}`,
        `${a} < ${b}`,
        `${b} is greater than ${a}`,
      ]);
    case "∣":
      return random.pick([
        `${a} divides ${b}`,
        `${b} is divisible by ${a}`,
        `${b} is a multiple of ${a}`,
        `${a} is a divisor of ${b}`,
      ]);
    case "∧":
      return `${inner(random, left)} and ${inner(random, right)}`;
    case "∨":
      return `${inner(random, left)} or ${inner(random, right)}`;
    case "→":
      return random.pick([
        `if ${inner(random, left)}, then ${inner(random, right)}`,
        `${inner(random, left)} implies ${inner(random, right)}`,
      ]);
    case "↔":
      return `${inner(random, left)} if and only if ${inner(random, right)}`;
    default:
      return notation(term);
  }
}

/** A part of a longer clause; what has parts itself goes into brackets, so that it is read in one way only. */
function inner(random: WorldRandom, term: Term): string {
  const text = clause(random, term);
  const parts = (term.kind === "binary" && "∧∨→↔".includes(term.op)) || term.kind === "quantified";
  return parts ? `(${text})` : text;
}

function denial(random: WorldRandom, of: Term): string {
  if (of.kind === "quantified") {
    const bound = `${typeWords(of.type ?? "", 2)} ${listed(of.names)}`;
    if (of.op === "∃") return `there are no ${bound} such that ${clause(random, of.body)}`;
    return random.pick([
      `it is false that for all ${bound} ${clause(random, of.body)}`,
      `not for all ${bound} ${clause(random, of.body)}`,
    ]);
  }
  if (of.kind === "binary" && isNumeric(of.left) && of.op === "=")
    return `${notation(of.left)} is not ${side(random, of.right)}`;
  return of.kind === "name" ? `not ${of.name}` : `it is not the case that ${inner(random, of)}`;
}

function quantified(random: WorldRandom, term: Term & { kind: "quantified" }): string {
  const { op, names, type, body } = term;
  const many = names.length > 1;
  const kind = type === undefined ? "" : `${typeWords(type, 2)} `;
  const text = clause(random, body);
  if (op === "∀")
    return random.pick([
      `for all ${kind}${listed(names)}, ${text}`,
      `${text} for all ${kind}${listed(names)}`,
    ]);
  const each = type === undefined ? "" : `${typeWords(type, 1)} `;
  if (many) return `there are ${kind}${listed(names)} with ${text}`;
  return random.pick([
    `there is ${article(each)}${each}${names[0]} such that ${text}`,
    `some ${each}${names[0]} is such that ${text}`,
  ]);
}

const article = (noun: string): string =>
  noun === "" ? "an element " : /^[aeiou]/.test(noun) ? "an " : "a ";

/** `x`, `x and y`, `x, y and z`. */
export const listed = (all: readonly string[]): string =>
  all.length < 2 ? all.join("") : `${all.slice(0, -1).join(", ")} and ${all[all.length - 1]}`;

const TYPES: Readonly<Record<string, readonly [string, string]>> = {
  Nat: ["natural number", "natural numbers"],
  Int: ["integer", "integers"],
  Prop: ["proposition", "propositions"],
  Bool: ["truth value", "truth values"],
  Type: ["set", "sets"],
  "Int → Int": ["function from integers to integers", "functions from integers to integers"],
  "Nat → Nat": [
    "function from natural numbers to natural numbers",
    "functions from natural numbers to natural numbers",
  ],
  "Nat → Nat → Nat": [
    "function of two natural numbers with natural values",
    "functions of two natural numbers with natural values",
  ],
  "Nat → Prop": ["property of natural numbers", "properties of natural numbers"],
  "List Nat": ["list of natural numbers", "lists of natural numbers"],
  Tree: ["tree", "trees"],
  S: ["element of S", "elements of S"],
  "S → S": ["function from S to S", "functions from S to S"],
  "S → S → S": ["operation on S", "operations on S"],
  "S → S → Prop": ["relation on S", "relations on S"],
};

export function typeWords(type: string, count: number): string {
  const bits = /^BitVec (\d+)$/.exec(type);
  const [one, many] = bits
    ? [`vector of ${bits[1]} bits`, `vectors of ${bits[1]} bits`]
    : (TYPES[type] ?? ["element", "elements"]);
  return count > 1 ? many : one;
}

/** `natural numbers x and y, a function f from ..`, for what a theorem is about. */
export function objects(binders: readonly Binder[]): string {
  const parts = binders.flatMap((binder) => {
    if (binder.kind === "hypothesis") return [];
    const noun = typeWords(binder.type, binder.names.length);
    return [`${binder.names.length > 1 ? "" : article(noun)}${noun} ${listed(binder.names)}`];
  });
  return listed(parts);
}
