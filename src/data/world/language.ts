/** Text without pictures: sums, reversed letters, and the order of three boxes in a row. */
import { ALPHABET } from "./font.ts";
import type { WorldRandom } from "./generator.ts";
import { COLORS } from "./names.ts";
import type { Question } from "./questions.ts";

export type LanguageTask = "add" | "reverse" | "order";

const LETTERS = 26;

type Ask = (random: WorldRandom) => Question<LanguageTask>;

const add: Ask = (random) => {
  const [a, b] = [random.int(100), random.int(100)];
  return { task: "add", question: `${a} + ${b} =`, answer: String(a + b) };
};

const reverse: Ask = (random) => {
  const letters = Array.from({ length: 3 + random.int(5) }, () => ALPHABET[random.int(LETTERS)]);
  const answer = letters.toReversed().join(" ");
  return { task: "reverse", question: `reverse ${letters.join(" ")}`, answer };
};

const order: Ask = (random) => {
  const [a, b, c] = random.distinct(COLORS.length, 3).map((color) => `the ${COLORS[color]} box`);
  const yes = random.int(2) === 1;
  const [first, last] = yes ? [a, c] : [c, a];
  const question = `${a} is left of ${b} . ${b} is left of ${c} . is ${first} left of ${last} ?`;
  return { task: "order", question, answer: yes ? "yes" : "no" };
};

const ASKS: readonly Ask[] = [add, reverse, order];

export function drawLanguage(random: WorldRandom): Question<LanguageTask> {
  return ASKS[random.int(ASKS.length)](random);
}
