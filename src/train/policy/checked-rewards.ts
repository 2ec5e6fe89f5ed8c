/**
 * Rewards that need no model (training of DeepSeek-R1, arXiv 2501.12948 section 2.2.2, and its reproductions): right answers,
 * formats, lengths. Each is a pure function of a completion, its prompt's key and row; what cannot be read gets 0.
 */
import { checkNumber } from "../../tensor/check-value.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { arithmeticValue, type Rational, sameRational } from "./arithmetic.ts";
import type { Reward, RewardSample } from "./rewards.ts";

/** A reward of each completion by itself. */
const each =
  <Row>(judge: (sample: RewardSample<Row>) => number): Reward<Row> =>
  (samples) =>
    samples.map(judge);

/**
 * Where an answer stands: in `\boxed{..}`; after a mark, up to the end of its line; in a tag, the last one counts; or it is the
 * `whole` completion.
 */
export type AnswerPlace = "boxed" | "whole" | { readonly after: string } | { readonly tag: string };

/** The text at the last such place; null if there is none. */
export function markedAnswer(text: string, place: AnswerPlace): string | null {
  if (place === "boxed") return boxedAnswer(text);
  if (place === "whole") return text;
  if ("after" in place) {
    const at = text.lastIndexOf(place.after);
    return at < 0 ? null : text.slice(at + place.after.length).split("\n", 1)[0];
  }
  const [open, close] = [`<${place.tag}>`, `</${place.tag}>`];
  const end = text.lastIndexOf(close);
  const begin = end < 0 ? -1 : text.lastIndexOf(open, end);
  return begin < 0 ? null : text.slice(begin + open.length, end);
}

/** What the braces of the last `\boxed` hold, braces inside them included; null if they do not close. */
function boxedAnswer(text: string): string | null {
  const mark = "\\boxed{";
  const at = text.lastIndexOf(mark);
  if (at < 0) return null;
  let depth = 1;
  for (let i = at + mark.length; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return text.slice(at + mark.length, i);
  }
  return null;
}

/** An answer without what does not change it: blanks, dollar signs, a full stop at the end, commas between thousands. */
export function normalizedAnswer(text: string): string {
  const bare = text
    .replace(/\\[,!;]|[$\s]/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
  return /^[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$/.test(bare) ? bare.replaceAll(",", "") : bare;
}

/** A number or a fraction. Sums are none: a question repeated in the place of its answer would be right. */
const NUMBER = /^[+-]?\d+(?:\.\d+)?(?:\/\d+(?:\.\d+)?)?$/;

/** Whether two answers are the same text after normalization, or the same number: 0.5 is 1/2. */
export function sameAnswer(found: string, key: string): boolean {
  const [a, b] = [normalizedAnswer(found), normalizedAnswer(key)];
  if (a === b) return a !== "";
  if (!NUMBER.test(a) || !NUMBER.test(b)) return false;
  const [x, y] = [arithmeticValue(a), arithmeticValue(b)];
  return x !== null && y !== null && sameRational(x.value, y.value);
}

/** 1 where the answer at the last marked place is that of the key, else 0. */
export function answerReward<Row = unknown>(place: AnswerPlace): Reward<Row> {
  return each(({ completion, key }) => {
    const found = key === null ? null : markedAnswer(completion, place);
    return found !== null && sameAnswer(found, key!) ? 1 : 0;
  });
}

export interface CountdownProblem {
  /** Each to be used once. */
  readonly numbers: readonly number[];
  readonly target: number;
}

/**
 * Countdown: an expression that uses the given numbers once each and has the value of the target. 1 if it does, 0.1 if it is one
 * of the numbers with another value, 0 otherwise. Values are exact; nothing is executed.
 */
export function countdownReward<Row>(
  problemOf: (sample: RewardSample<Row>) => CountdownProblem,
  place: AnswerPlace = { tag: "answer" },
): Reward<Row> {
  return each((sample) => {
    const answer = markedAnswer(sample.completion, place);
    const found = answer === null ? null : arithmeticValue(answer);
    if (found === null) return 0;
    const { numbers, target } = problemOf(sample);
    const sorted = (values: readonly string[]) => [...values].sort().join(" ");
    if (sorted(found.numbers) !== sorted(numbers.map(String))) return 0;
    const wanted: Rational = { over: BigInt(target), under: 1n };
    return sameRational(found.value, wanted) ? 1 : 0.1;
  });
}

/** 1 where the whole completion is these tags once each, in order, with text inside and blanks between, else 0. */
export function formatReward<Row = unknown>(tags: readonly string[] = ["think", "answer"]): Reward<Row> {
  checkTags(tags);
  return each(({ completion }) => {
    let rest = completion.trim();
    for (const tag of tags) {
      const [open, close] = [`<${tag}>`, `</${tag}>`];
      const end = rest.indexOf(close);
      if (!rest.startsWith(open) || end < 0) return 0;
      const inner = rest.slice(open.length, end);
      if (
        inner.trim() === "" ||
        tags.some((other) => inner.includes(`<${other}>`) || inner.includes(`</${other}>`))
      ) {
        return 0;
      }
      rest = rest.slice(end + close.length).trimStart();
    }
    return rest === "" ? 1 : 0;
  });
}

/** The share of opening and closing tags that occur exactly once: quarters, for two tags. */
export function tagReward<Row = unknown>(tags: readonly string[] = ["think", "answer"]): Reward<Row> {
  checkTags(tags);
  const marks = tags.flatMap((tag) => [`<${tag}>`, `</${tag}>`]);
  return each(({ completion }) => {
    const once = marks.filter((mark) => {
      const at = completion.indexOf(mark);
      return at >= 0 && completion.indexOf(mark, at + 1) < 0;
    });
    return once.length / marks.length;
  });
}

function checkTags(tags: readonly string[]): void {
  const wrong = tags.find((tag, i) => !/^[\w-]+$/.test(tag) || tags.indexOf(tag) !== i);
  if (tags.length > 0 && wrong === undefined) return;
  throw new ConfigError("not names of tags", {
    ...{ where: "reward", name: "tags", expected: "different words, one or more", found: wrong ?? "none" },
  });
}

/**
 * DAPO's soft punishment of length (arXiv 2503.14476 equation 13): 0 up to `maxTokens` - `margin`, from there on falling evenly to
 * -1 at `maxTokens`, and -1 beyond.
 */
export function lengthReward<Row = unknown>({
  maxTokens,
  margin,
}: {
  maxTokens: number;
  margin: number;
}): Reward<Row> {
  const place = { where: "lengthReward" };
  checkNumber(place, "maxTokens", maxTokens, { integer: true, min: 1 });
  checkNumber(place, "margin", margin, { integer: true, min: 1, max: maxTokens });
  return each(({ completionIds: { length } }) =>
    Math.max(-1, Math.min(0, (maxTokens - margin - length) / margin)),
  );
}

/** Names of scripts as Unicode has them: Latin, Han, Cyrillic, .. */
const SCRIPT = /^[A-Za-z_]+$/;

/**
 * The share of words in a script (DeepSeek-R1's consistency of language, as far as a script tells a language): a run of letters of
 * it counts as one, and so does a run of other letters. 1 for a text without letters.
 */
export function languageReward<Row = unknown>(script: string): Reward<Row> {
  let own: RegExp;
  try {
    if (!SCRIPT.test(script)) throw new SyntaxError("no name of a script");
    own = new RegExp(`^\\p{Script=${script}}`, "u");
  } catch (cause) {
    throw new ConfigError("no such script", {
      ...{
        where: "languageReward",
        name: "script",
        expected: "Latin, Han, Cyrillic, ..",
        found: script,
        cause,
      },
    });
  }
  const words = new RegExp(`\\p{Script=${script}}+|(?:(?!\\p{Script=${script}})\\p{L})+`, "gu");
  return each(({ completion }) => {
    const found = completion.match(words) ?? [];
    return found.length === 0 ? 1 : found.filter((word) => own.test(word)).length / found.length;
  });
}

/**
 * The sum of rewards times their weights; null where one is null. Format bonuses that wrong answers collect too should stay at
 * a tenth of the reward for right ones.
 */
export function weightedRewards<Row>(
  parts: readonly { readonly reward: Reward<Row>; readonly weight: number }[],
): Reward<Row> {
  for (const [i, { weight }] of parts.entries())
    checkNumber({ where: "weightedRewards" }, `weight ${i}`, weight, {});
  return async (samples, options) => {
    const all = await Promise.all(parts.map(({ reward }) => reward(samples, options)));
    return samples.map((_, i) =>
      all.reduce<number | null>((sum, rewards, part) => {
        const own = rewards[i];
        return sum === null || own === null ? null : sum + parts[part].weight * own;
      }, 0),
    );
  };
}
