/** Functions that take every value: compositions of such, with what they are known by. */
import type { WorldRandom } from "../../../data/world/generator.ts";
import { between, chance, equal, names, shuffled } from "../draws.ts";
import type { Dials, Draft, Family } from "../family.ts";
import { apply, every, lean, name, some, type Term } from "../term.ts";
import { type Binder, hypothesis, line, type ProofLine, script, variables } from "../theorem.ts";

const LETTERS = ["f g h", "p q r"];
/** What undoes a function, where that is how it is known. */
const UNDOES = names("u v w");
const x = name("x");

interface Known {
  readonly letter: string;
  readonly undoes: string | null;
  readonly fact: Binder;
}

function known(random: WorldRandom, letter: string, i: number, dials: Dials): Known {
  const called = `h${letter}`;
  if (chance(random, dials.inverses)) {
    const undoes = UNDOES[i];
    const says = every(["x"], undefined, equal(apply(letter, apply(undoes, x)), x));
    return { letter, undoes, fact: hypothesis(called, says) };
  }
  const says = every(["y"], undefined, some(["x"], undefined, equal(apply(letter, x), name("y"))));
  return { letter, undoes: null, fact: hypothesis(called, says) };
}

function draw(random: WorldRandom, dials: Dials): Draft {
  const letters = names(random.pick(LETTERS)).slice(0, dials.functions);
  const all = letters.map((letter, i) => known(random, letter, i, dials));
  const word = Array.from({ length: between(random, dials.least, dials.most) }, () => random.pick(letters));
  const used = all.filter(({ letter }) => word.includes(letter) || chance(random, dials.distractors));
  const of = (arg: Term) => word.reduceRight<Term>((inner, letter) => apply(letter, inner), arg);
  const free = chance(random, 50);
  const z = name("z");
  const claim = some(["x"], undefined, equal(of(x), z));
  const lines: ProofLine[] = free ? [] : [line("intro z", "take any value")];
  let at = "z";
  const rules: string[] = [];
  for (const [i, letter] of word.entries()) {
    const { undoes } = all.find((each) => each.letter === letter)!;
    const called = `e${i}`;
    if (undoes === null) {
      lines.push(line(`obtain ⟨a${i}, ${called}⟩ := h${letter} ${at}`, `${letter} takes this value`));
      at = `a${i}`;
    } else {
      lines.push(line(`have ${called} := h${letter} ${at}`, `${undoes} gives what ${letter} turns into it`));
      at = `(${undoes} ${at})`;
    }
    rules.unshift(called);
  }
  const witness = at.replace(/^\((.*)\)$/, "$1");
  lines.push(line(`exact ⟨${witness}, by rw [${rules.join(", ")}]⟩`, "go back through the equations"));
  const functions = [...used.map(({ letter }) => letter), ...used.flatMap(({ undoes }) => undoes ?? [])];
  return {
    theorem: {
      binders: [
        variables(["S"], "Type"),
        variables(functions, "S → S"),
        ...shuffled(random, used).map(({ fact }) => fact),
        ...(free ? [variables(["z"], "S")] : []),
      ],
      goal: free ? claim : every(["z"], undefined, claim),
    },
    truth: true,
    script: script(`Find what ${lean(of(x))} takes to z from outside in.`, ...lines),
  };
}

export const onto: Family = {
  name: "onto",
  about: "values of composed functions",
  levels: {
    1: { functions: 2, least: 1, most: 2, inverses: 30, distractors: 30 },
    2: { functions: 3, least: 2, most: 3, inverses: 40, distractors: 40 },
    3: { functions: 3, least: 4, most: 5, inverses: 40, distractors: 50 },
  },
  draw,
};
