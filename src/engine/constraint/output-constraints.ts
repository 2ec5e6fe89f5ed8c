/**
 * Constraints on output as a caller describes them: JSON by a schema, any JSON object, one of several texts, and these
 * put together with literal text and control tokens, as the formats of tool calls need it.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { finish, type Slices } from "../../tokenizer/slices.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { TokenConstraint } from "../constraint.ts";
import { literalsDfa } from "./automaton.ts";
import { Choice, ControlToken, dfaItem, type Item, markAlive, Repeat, Sequence } from "./grammar.ts";
import type { JsonItems } from "./json-rules.ts";
import { type JsonOptions, jsonItems, schemaItem } from "./json-schema.ts";
import { freeTextDfa } from "./json-string.ts";
import { matchedTextDfa } from "./plain-text.ts";
import { grammarConstraint, type VocabularyOptions } from "./token-constraint.ts";
import { tokenTrieSlices } from "./token-trie.ts";

export interface ConstraintOptions extends VocabularyOptions, JsonOptions {}

/** A part of an output. */
export type OutputPart =
  /** This text, in whatever tokens spell it. */
  | { readonly text: string }
  /** This control token, by its id. */
  | { readonly token: number }
  /** Text that this regular expression matches from beginning to end (ECMA-262, as far as JSON schemas may use it). */
  | { readonly pattern: string }
  /** JSON by a schema. */
  | { readonly schema: unknown }
  /** Any JSON object. */
  | { readonly jsonObject: true }
  /** Any text, also none; no control tokens. */
  | { readonly freeText: true }
  | { readonly sequence: readonly OutputPart[] }
  | { readonly anyOf: readonly OutputPart[] }
  /** `repeat` from `min` (default 0) to `max` (default: any number of) times; it must not be empty. */
  | { readonly repeat: OutputPart; readonly min?: number; readonly max?: number };

const where = "constraint";
const utf8 = new TextEncoder();
const DEEPEST = 64;

function* texts(list: readonly string[], json: JsonItems): Slices<Item> {
  const bytes = list.map((text) => utf8.encode(text));
  const total = bytes.reduce((sum, { length }) => sum + length, 0);
  if (list.length === 0 || total > 1 << 20) {
    throw new ConfigError("literal texts are missing or too long", {
      where,
      expected: `1 or more texts, at most ${1 << 20} bytes`,
      found: `${list.length} texts, ${total} bytes`,
    });
  }
  json.budget.spend(total);
  return dfaItem((yield* literalsDfa(bytes))!);
}

function count(name: string, value: number, most: number): number {
  const whole = Number.isInteger(value) || value === Number.POSITIVE_INFINITY;
  if (whole && value >= 0 && value <= most) return value;
  throw new ConfigError("not a whole number in range", {
    where,
    name,
    expected: `from 0 to ${most}`,
    found: value,
  });
}

function* partItem(
  json: JsonItems,
  part: OutputPart,
  options: ConstraintOptions,
  depth: number,
): Slices<Item> {
  if (depth > DEEPEST) throw new ConfigError("parts are nested too deeply", { where, expected: DEEPEST });
  const inner = (next: OutputPart) => partItem(json, next, options, depth + 1);
  function* all(parts: readonly OutputPart[]): Slices<Item[]> {
    const items: Item[] = [];
    for (const next of parts) items.push(yield* inner(next));
    return items;
  }
  if ("text" in part) {
    return part.text === "" ? json.rule(new Sequence([])) : yield* texts([part.text], json);
  }
  if ("token" in part) {
    const { vocabularySize = Number.POSITIVE_INFINITY } = options;
    if (Number.isInteger(part.token) && part.token >= 0 && part.token < vocabularySize) {
      return new ControlToken(part.token);
    }
    throw new ConfigError("not a token", { where, name: "token", found: part.token });
  }
  if ("pattern" in part) {
    const dfa = yield* matchedTextDfa(part.pattern, json.budget);
    if (dfa !== null) return dfaItem(dfa);
    throw new ConfigError("no text matches the pattern", { where, name: "pattern", found: part.pattern });
  }
  if ("schema" in part) return yield* schemaItem(json, part.schema, options);
  if ("jsonObject" in part) return json.object(options.maxDepth ?? 64);
  if ("freeText" in part) return dfaItem(freeTextDfa(json.budget));
  if ("sequence" in part) return json.rule(new Sequence(yield* all(part.sequence)));
  if ("anyOf" in part) {
    if (part.anyOf.length === 0) throw new ConfigError("anyOf needs at least one part", { where });
    return json.rule(new Choice(yield* all(part.anyOf)));
  }
  const max = count("max", part.max ?? Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY);
  const min = count("min", part.min ?? 0, Math.min(max, 100_000));
  return json.rule(new Repeat(yield* inner(part.repeat), min, max));
}

/**
 * Output made of parts. Tokens may run across the borders of texts and JSON; control tokens are matched by id only.
 * @throws ConfigError for what cannot be constrained, with the place
 */
export function outputConstraint(
  part: OutputPart,
  tokenizer: Tokenizer,
  options: ConstraintOptions,
): TokenConstraint {
  return finish(outputConstraintSlices(part, tokenizer, options));
}

/** The same with pauses, so that the caller can do other work in between: a large schema takes up to a second. @throws ConfigError */
export function* outputConstraintSlices(
  part: OutputPart,
  tokenizer: Tokenizer,
  options: ConstraintOptions,
): Slices<TokenConstraint> {
  const json = jsonItems(options);
  const sized = { ...options, vocabularySize: options.vocabularySize ?? tokenizer.vocabSize };
  const item = yield* partItem(json, part, sized, 0);
  markAlive(json.rules);
  yield* tokenTrieSlices(tokenizer);
  return grammarConstraint(item, json.strings, tokenizer, sized);
}

/** Output that is a JSON value valid against `schema`. @throws ConfigError with the JSON pointer of what is refused */
export function jsonSchemaConstraint(
  schema: unknown,
  tokenizer: Tokenizer,
  options: ConstraintOptions,
): TokenConstraint {
  return outputConstraint({ schema }, tokenizer, options);
}

/** Output that is a JSON object. */
export function jsonObjectConstraint(tokenizer: Tokenizer, options: ConstraintOptions): TokenConstraint {
  return outputConstraint({ jsonObject: true }, tokenizer, options);
}

/** Output that is one of `strings`. @throws ConfigError for an empty list */
export function choiceConstraint(
  strings: readonly string[],
  tokenizer: Tokenizer,
  options: ConstraintOptions,
): TokenConstraint {
  const json = jsonItems(options);
  return grammarConstraint(finish(texts(strings, json)), json.strings, tokenizer, options);
}
