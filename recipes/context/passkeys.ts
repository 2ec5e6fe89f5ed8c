/** Documents of words with numbers to be remembered, "#ab=47.", and questions for them at the end, "#ab?47.": needles in hay. */
import { Random } from "../../src/tensor/random.ts";
import type { Lesson, LessonList } from "../../src/train/packed-rows.ts";
import { type Alphabet, alphabet } from "../tasks/alphabet.ts";

const LETTERS = "abcdefghijklmnop";
const DIGITS = "0123456789";
export const PASSKEYS: Alphabet = alphabet(`${LETTERS}${DIGITS} #=?.`);

/** Tokens of a statement and of a question with its answer, and of the answer. */
const [FACT, ANSWER] = [7, 2];
/** Most numbers in a document that is learned. */
const MOST_FACTS = 4;
/** Streams of the numbers that documents are drawn from. */
const [SHOWN_STREAM, EXAM_STREAM] = [101, 102];

const pick = (random: Random, from: string) => from[random.int(from.length)];

function words(random: Random, length: number): string {
  let text = "";
  while (text.length < length) {
    for (let i = 2 + random.int(5); i > 0; i--) text += pick(random, LETTERS);
    text += " ";
  }
  return text.slice(0, length);
}

interface Fact {
  readonly name: string;
  readonly value: string;
}

function factsOf(random: Random, count: number): Fact[] {
  const names = new Set<string>();
  while (names.size < count) names.add(pick(random, LETTERS) + pick(random, LETTERS));
  return [...names].map((name) => ({ name, value: pick(random, DIGITS) + pick(random, DIGITS) }));
}

const stated = ({ name, value }: Fact) => `#${name}=${value}.`;

/** A document of `length` characters that asks for each of its numbers; which characters are answers. */
export function document(random: Random, length: number) {
  const most = Math.min(MOST_FACTS, Math.floor(length / (2 * FACT)));
  const facts = factsOf(random, 1 + random.int(most));
  const room = length - 2 * FACT * facts.length;
  // Places of the statements in what is read before the questions.
  const cuts = facts.map(() => random.int(room + 1)).sort((a, b) => a - b);
  let text = "";
  facts.forEach((fact, i) => {
    text += words(random, cuts[i] - (cuts[i - 1] ?? 0)) + stated(fact);
  });
  text += words(random, room - cuts.at(-1)!);
  const learned = new Array<number>(text.length).fill(0);
  for (const { name, value } of random.shuffle([...facts])) {
    const asked = `#${name}?`;
    text += `${asked}${value}.`;
    learned.push(...asked.split("").map(() => 0), ...new Array<number>(ANSWER).fill(1), 0);
  }
  return { text, learned };
}

/** So many documents of `length` tokens, each drawn from its number and the seed. */
export function lessons(count: number, length: number, seed: number): LessonList {
  const drawn = (index: number) => document(new Random(seed * count + index, SHOWN_STREAM), length);
  return {
    lengths: new Int32Array(count).fill(length),
    targets: new Int32Array(count).fill(ANSWER),
    read: async (index): Promise<Lesson> => {
      const { text, learned } = drawn(index);
      return { ids: PASSKEYS.encode(text), learned };
    },
  };
}

export interface Question {
  readonly prompt: string;
  readonly answer: string;
}

/**
 * Questions whose number stands at depths from the beginning of the document to its end, evenly; another number stands somewhere too.
 * The document and the answer have `length` characters.
 */
export function questions(count: number, length: number): Question[] {
  const random = new Random(length, EXAM_STREAM);
  return Array.from({ length: count }, (_, i) => {
    const [fact, other] = factsOf(random, 2);
    const asked = `#${fact.name}?`;
    const room = length - 2 * FACT - asked.length - ANSWER;
    const depth = count === 1 ? 0 : Math.round((room * i) / (count - 1));
    const second = random.int(room + 1);
    const [first, last] = second < depth ? [other, fact] : [fact, other];
    const [a, b] = second < depth ? [second, depth] : [depth, second];
    const hay =
      words(random, a) + stated(first) + words(random, b - a) + stated(last) + words(random, room - b);
    return { prompt: hay + asked, answer: fact.value };
  });
}
