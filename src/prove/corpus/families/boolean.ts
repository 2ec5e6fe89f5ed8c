/** Identities of booleans and of short bit vectors: a term and what laws of the algebra turn it into. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { chance, counterexample, equal, findCounterexample, names, untilDrawn } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { type BinaryOperator, binary, every, freeNames, lean, name, opposite, type Term } from "../term.ts";
import { line, script, variables } from "../theorem.ts";

const OPERATORS = ["&&", "||", "^^"] as const;

function expression(random: WorldRandom, letters: readonly string[], depth: number): Term {
  if (depth === 0 || chance(random, 10)) return name(random.pick(letters));
  if (chance(random, 20)) return opposite(expression(random, letters, depth - 1));
  const [left, right] = [expression(random, letters, depth - 1), expression(random, letters, depth - 1)];
  return binary(left, random.pick(OPERATORS), right);
}

/** One law of boolean algebra at the root, or the term itself where the drawn law does not apply. */
function turned(random: WorldRandom, term: Term): Term {
  if (term.kind === "unary") {
    const { of } = term;
    if (of.kind === "unary") return of.of;
    if (of.kind !== "binary") return term;
    if (of.op === "^^") return binary(opposite(of.left), "^^", of.right);
    return binary(opposite(of.left), of.op === "&&" ? "||" : "&&", opposite(of.right));
  }
  if (term.kind !== "binary") return chance(random, 30) ? opposite(opposite(term)) : term;
  const { op, left, right } = term;
  const law = random.int(4);
  if (law === 0) return binary(right, op, left);
  if (law === 1 && left.kind === "binary" && left.op === op)
    return binary(left.left, op, binary(left.right, op, right));
  if (law === 2 && op === "^^")
    return binary(binary(left, "&&", opposite(right)), "||", binary(opposite(left), "&&", right));
  if (right.kind === "binary" && right.op !== op && right.op !== "^^" && op !== "^^")
    return binary(binary(left, op, right.left), right.op, binary(left, op, right.right));
  return op === "&&" && right.kind === "binary" && right.op === "^^"
    ? binary(binary(left, "&&", right.left), "^^", binary(left, "&&", right.right))
    : binary(right, op, left);
}

/** A law somewhere inside. */
function rewritten(random: WorldRandom, term: Term): Term {
  if (term.kind === "unary" && chance(random, 60)) return { ...term, of: rewritten(random, term.of) };
  if (term.kind === "binary" && chance(random, 60))
    return chance(random, 50)
      ? { ...term, left: rewritten(random, term.left) }
      : { ...term, right: rewritten(random, term.right) };
  return turned(random, term);
}

const VECTOR: Readonly<Partial<Record<BinaryOperator, BinaryOperator>>> = {
  "&&": "&&&",
  "||": "|||",
  "^^": "^^^",
};

/** The same algebra on bits side by side. */
function vector(term: Term): Term {
  if (term.kind === "unary") return { ...term, op: "~~~", of: vector(term.of) };
  return term.kind === "binary" ? binary(vector(term.left), VECTOR[term.op]!, vector(term.right)) : term;
}

function draw(random: WorldRandom, dials: Dials, truth: boolean): Draft | null {
  const letters = names("a b c d").slice(0, dials.letters);
  const left = expression(random, letters, dials.depth);
  let right = left;
  for (let i = 0; i < dials.laws; i++) right = rewritten(random, right);
  if (!truth) right = chance(random, 50) ? opposite(right) : binary(right, "&&", name(letters[0]));
  if (lean(left) === lean(right) || lean(right).length > 90) return null;
  const used = letters.filter((each) => freeNames(left).has(each) || freeNames(right).has(each));
  if (used.length < letters.length) return null;
  const vectors = truth && used.length <= 3 && chance(random, dials.vectors);
  if (vectors) {
    const width = used.length === 3 ? 1 : random.int(2) + 2;
    const goal = every(used, `BitVec ${width}`, equal(vector(left), vector(right)));
    return {
      theorem: { binders: [], goal },
      truth,
      script: script("There are few such vectors.", line("decide", "try all of them")),
    };
  }
  const theorem = { binders: [variables(used, "Bool")], goal: equal(left, right) };
  if (!truth) {
    const values = findCounterexample(random, theorem, "Nat", 1);
    return (
      values && { theorem, truth, domain: "Nat", script: booleans(counterexample(theorem, "Nat", values)) }
    );
  }
  const cases = used.map((each) => `cases ${each}`).join(" <;> ");
  return {
    theorem,
    truth,
    domain: "Nat",
    script: script("Go through all truth values.", line(`${cases} <;> rfl`, "each case is computed")),
  };
}

/** The values of a counterexample as booleans rather than propositions. */
function booleans(found: Draft["script"]): Draft["script"] {
  return (
    found && {
      ...found,
      lines: found.lines.map((each) => ({
        ...each,
        code: each.code.replaceAll("True", "true").replaceAll("False", "false"),
      })),
    }
  );
}

export const bool: Family = {
  name: "bool",
  about: "identities of booleans and bit vectors",
  levels: {
    1: { letters: 2, depth: 2, laws: 2, vectors: 20 },
    2: { letters: 3, depth: 3, laws: 4, vectors: 20 },
    3: { letters: 4, depth: 3, laws: 8, vectors: 0 },
  },
  draw: (random, dials) => untilDrawn(() => draw(random, dials, true)),
  drawFalse: (random, dials) => draw(random, dials, false),
};
