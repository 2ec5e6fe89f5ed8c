/**
 * JSON Schema as a grammar. What the grammar writes is always valid against the schema; it may write less than the
 * schema allows: properties come in the schema's order; if properties are declared and `additionalProperties` is not
 * given, no others come; a schema without `type` whose keywords concern one type means that type; `enum` and `const` are written compactly, numbers as they stand there. Formats other than those of `FORMATS` are
 * annotations, as in the standard. Keywords: see `schema-merge.ts`.
 */
import {
  canonicalJson,
  fromPlain,
  JsonNumber,
  type JsonObject,
  type JsonValue,
  writeJson,
} from "../../json/index.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Slices } from "../../tokenizer/slices.ts";
import { acceptsDfa, Budget, complementDfa, type Dfa, intersectAll } from "./automaton.ts";
import { FORMATS, INTEGER_FORMATS } from "./formats.ts";
import { Choice, type Item, leftRecursive, markAlive, type Rule, Sequence } from "./grammar.ts";
import { matchedBody } from "./json-matched.ts";
import { numberItem } from "./json-number.ts";
import { ArrayRule, JsonItems, ObjectRule, type Property } from "./json-rules.ts";
import { fitsNumber, type NumberRules } from "./number-rules.ts";
import { type CountedDfa, countedPattern, patternDfa } from "./pattern.ts";
import { disjoint } from "./schema-disjoint.ts";
import {
  type Alternatives,
  checkSize,
  flatten,
  type Located,
  type LocatedObject,
  located,
  type Merged,
  MOST_PARTS,
  mergeKeywords,
  refuse,
  TYPES,
  type TypeName,
} from "./schema-merge.ts";
import { negations } from "./schema-negate.ts";
import { otherThanDfa } from "./string-sets.ts";
import { ALL_CHARACTERS } from "./unicode.ts";

export interface JsonOptions {
  /** Most spaces after `:` and `,`; default 1. There is no other whitespace. */
  readonly spaces?: number;
  /** Most objects and arrays inside each other if the schema does not say what they are; default 64. */
  readonly maxDepth?: number;
}

const MOST_BRANCHES = 1024;
const MOST_EXCLUSIVE = 200;
const MOST_ENUM_TEXT = 200_000;
const MOST_NESTED_BRANCHES = 32;
/** Keywords without which `anyOf` beside them stands alone. */
const ANNOTATIONS = new Set(
  "$schema $id $anchor $comment $defs definitions title description default examples example deprecated readOnly".split(
    " ",
  ),
).add("writeOnly");

/** The parts of one grammar, with limits checked. @throws ConfigError for options out of range */
export function jsonItems(options: JsonOptions = {}): JsonItems {
  const { spaces = 1, maxDepth = 64 } = options;
  for (const [name, value, least, most] of [
    ["spaces", spaces, 0, 16],
    ["maxDepth", maxDepth, 1, 1000],
  ] as const) {
    if (!Number.isInteger(value) || value < least || value > most) {
      refuse(name, "option out of range", value, `a whole number from ${least} to ${most}`);
    }
  }
  return new JsonItems(new Budget(), spaces);
}

class SchemaCompiler {
  readonly #json: JsonItems;
  readonly #root: JsonValue;
  readonly #depth: number;
  readonly #numbers = new Map<JsonObject, number>();
  readonly #known = new Map<string, Choice>();
  readonly #patterns = new Map<string, CountedDfa>();
  readonly #jobs: (() => Slices<void>)[] = [];
  readonly #negations = new Map<JsonObject, Located[]>();
  readonly #exclusive = new Map<JsonObject, Located[]>();
  readonly #alternatives: Alternatives = {
    not: (schema) => this.#not(schema),
    oneOf: (branches, schema) => this.#oneOf(branches, schema),
  };
  readonly #pointers = new Map<Rule, string>();
  #branches = 0;
  #reason: { pointer: string; why: string } | null = null;

  constructor(json: JsonItems, root: JsonValue, depth: number) {
    this.#json = json;
    this.#root = root;
    this.#depth = depth;
  }

  *compile(): Slices<Item> {
    checkSize(this.#root);
    const item = this.#all([located(this.#root, "#")]);
    for (let job = this.#jobs.pop(); job !== undefined; job = this.#jobs.pop()) {
      yield* job();
      if (this.#json.budget.due()) yield;
    }
    const looping = leftRecursive(this.#json.rules);
    if (looping) {
      refuse(this.#pointers.get(looping) ?? "#", "refers to itself without anything in between");
    }
    markAlive(this.#json.rules);
    if (!item.alive) {
      const { pointer = "#", why = "it asks for an endless value" } = this.#reason ?? {};
      refuse(pointer, `no JSON value satisfies the schema: ${why}`);
    }
    return item;
  }

  /** The item of values that satisfy all of `list`, compiled once however often it is used. */
  #all(list: readonly Located[]): Item {
    const keys = new Set<number | string>();
    for (const { schema } of list) {
      if (typeof schema === "boolean") {
        if (!schema) keys.add("false");
        continue;
      }
      if (!this.#numbers.has(schema)) this.#numbers.set(schema, this.#numbers.size);
      keys.add(this.#numbers.get(schema)!);
    }
    if (keys.size === 0) return this.#json.value(this.#depth);
    const key = [...keys].sort().join();
    let choice = this.#known.get(key);
    if (choice === undefined) {
      const made = this.#json.rule(new Choice());
      this.#known.set(key, made);
      this.#pointers.set(made, list[0].pointer);
      const compiler = this;
      this.#jobs.push(function* () {
        made.branches = yield* compiler.#fill(list);
      });
      choice = made;
    }
    return choice;
  }

  #not(located: Located): Located[] {
    const { schema } = located;
    if (typeof schema === "boolean") return negations(this.#root, located);
    let made = this.#negations.get(schema);
    if (made === undefined) {
      made = negations(this.#root, located);
      this.#json.budget.spend(20 * made.length + 20);
      this.#negations.set(schema, made);
    }
    return made;
  }

  /** The branches of `oneOf`, each without what another one allows; most of them differ anyway. */
  #oneOf(branches: Located[], schema: JsonObject): Located[] {
    if (branches.length === 1) return branches;
    let made = this.#exclusive.get(schema);
    if (made === undefined) {
      if (branches.length > MOST_EXCLUSIVE) {
        const { pointer } = branches[0];
        refuse(pointer, "too many branches of oneOf", branches.length, `at most ${MOST_EXCLUSIVE}`);
      }
      made = branches.map((branch) => {
        const overlapping = branches.filter((other) => {
          this.#json.budget.spend(50);
          return other !== branch && !disjoint(this.#root, [branch], [other]);
        });
        if (overlapping.length === 0) return branch;
        const others = overlapping.map((other): JsonValue => new Map([["not", other.schema]]));
        return { schema: new Map([["allOf", [branch.schema, ...others]]]), pointer: branch.pointer };
      });
      this.#exclusive.set(schema, made);
    }
    return made;
  }

  #dead(pointer: string, why: string): Item[] {
    this.#reason ??= { pointer, why };
    return [];
  }

  *#fill(list: readonly Located[]): Slices<Item[]> {
    const { pointer } = list[0];
    this.#json.budget.pointer = pointer;
    const { flats, groups, never } = flatten(this.#root, list, this.#alternatives);
    if (never !== null) return this.#dead(never, "a schema is false");
    const alone = flats.every(({ schema }) =>
      [...schema.keys()].every((key) => /^(anyOf|oneOf|allOf|not|\$ref)$/.test(key) || ANNOTATIONS.has(key)),
    );
    if (alone && groups.length === 1) return groups[0].map((branch) => this.#all([branch]));
    const ways = groups.reduce((product, group) => product * group.length, 1);
    if (ways > MOST_BRANCHES) {
      refuse(pointer, "too many combinations of anyOf", ways, `at most ${MOST_BRANCHES}`);
    }
    return yield* this.#distribute(flats, groups, pointer, 0);
  }

  /** One item for each way to choose a branch of every group. */
  *#distribute(
    flats: readonly LocatedObject[],
    groups: readonly (readonly Located[])[],
    pointer: string,
    depth: number,
  ): Slices<Item[]> {
    const merged = mergeKeywords(flats, pointer);
    if (groups.length === 0) return yield* this.#build(merged);
    // Branches that contradict each other are not followed further.
    if (merged.types?.size === 0) return this.#dead(pointer, "no type is left");
    if (depth > MOST_NESTED_BRANCHES) refuse(pointer, "anyOf inside anyOf too deeply", depth);
    const [group, ...others] = groups;
    const items: Item[] = [];
    for (const branch of group) {
      this.#branches++;
      if (this.#branches > MOST_BRANCHES) {
        refuse(pointer, "too many combinations of anyOf", this.#branches, `at most ${MOST_BRANCHES}`);
      }
      const inner = flatten(this.#root, [branch], this.#alternatives);
      if (inner.never !== null) {
        items.push(...this.#dead(inner.never, "a schema is false"));
        continue;
      }
      const known = new Set(flats.map(({ schema }) => schema));
      const added = inner.flats.filter(({ schema }) => !known.has(schema));
      const all = [...flats, ...added];
      items.push(...(yield* this.#distribute(all, [...inner.groups, ...others], pointer, depth + 1)));
    }
    return items;
  }

  *#build(merged: Merged): Slices<Item[]> {
    this.#json.budget.pointer = merged.pointer;
    if (merged.values !== null) return yield* this.#values(merged);
    if (merged.types === null && merged.excluded.length > 0) {
      return yield* this.#build({ ...merged, types: new Set(TYPES.filter((type) => type !== "integer")) });
    }
    if (merged.types === null) return [this.#json.value(this.#depth)];
    if (merged.types.size === 0) return this.#dead(merged.pointer, "no type is left");
    const items: Item[] = [];
    for (const type of merged.types) items.push(...(yield* this.#type(type, merged)));
    return items;
  }

  *#type(type: TypeName, merged: Merged): Slices<Item[]> {
    switch (type) {
      case "null":
        return merged.excluded.includes(null) ? [] : [this.#json.text("null")];
      case "boolean": {
        const left = [true, false].filter((value) => !merged.excluded.includes(value));
        return left.length > 0 ? [this.#json.literals(left.map(String))] : [];
      }
      case "integer":
        return merged.types!.has("number") ? [] : yield* this.#number(merged, true);
      case "number":
        return yield* this.#number(merged, false);
      case "string":
        return yield* this.#string(merged);
      case "array":
        return this.#array(merged);
      case "object":
        return yield* this.#object(merged);
    }
  }

  *#number(merged: Merged, integer: boolean): Slices<Item[]> {
    const rules = numberRules(merged, integer);
    const { minima, maxima, steps, notSteps, excluded } = rules;
    const formats = merged.formats
      .map(({ format }) => INTEGER_FORMATS.get(format))
      .filter((range) => range !== undefined);
    const lists = [minima, maxima, steps, notSteps, excluded, formats];
    if (!integer && lists.every((list) => list.length === 0)) {
      return [this.#json.number()];
    }
    const { budget } = this.#json;
    const item =
      (yield* numberItem(withFormats(rules, formats), budget)) ?? (yield* numberItem(rules, budget));
    return item ? [item] : this.#dead(merged.pointer, "no number is within the bounds");
  }

  *#pattern({ pattern, pointer }: { pattern: string; pointer: string }): Slices<CountedDfa> {
    let found = this.#patterns.get(pattern);
    if (found === undefined) {
      this.#json.budget.pointer = pointer;
      found = yield* countedPattern(pattern, this.#json.budget);
      this.#patterns.set(pattern, found);
    }
    return found;
  }

  /** The strings of patterns and lengths. */
  *#matching({ patterns, minLength, maxLength, pointer }: Merged): Slices<StringSet> {
    const { budget } = this.#json;
    const counted: CountedDfa[] = [];
    for (const item of patterns) counted.push(yield* this.#pattern(item));
    budget.pointer = pointer;
    return {
      dfa: yield* intersectAll(
        counted.map(({ dfa }) => dfa),
        budget,
      ),
      min: counted.reduce((most, { min }) => Math.max(most, min), minLength),
      max: counted.reduce((least, { max }) => Math.min(least, max), maxLength),
    };
  }

  /** The strings of a set without those that are excluded. */
  *#without(set: StringSet, { notPatterns, excluded }: Merged): Slices<StringSet> {
    const { budget } = this.#json;
    const others: (Dfa | null)[] = [];
    for (const { pattern } of notPatterns)
      others.push(yield* complementDfa(yield* patternDfa(pattern, budget), ALL_CHARACTERS, budget));
    const listed = excluded.filter((value) => typeof value === "string");
    if (listed.length > 0) others.push(otherThanDfa(listed, budget));
    const all = set.dfa === undefined ? others : [set.dfa, ...others];
    return { ...set, dfa: yield* intersectAll(all, budget) };
  }

  /** All that is said of strings. A format that patterns and lengths of its own schema contradict is an annotation only. */
  *#strings(merged: Merged): Slices<StringSet> {
    const { budget } = this.#json;
    let set = yield* this.#without(yield* this.#matching(merged), merged);
    for (const { format, pointer, own } of merged.formats) {
      const asked = yield* this.#matching(mergeKeywords([own], own.pointer));
      budget.pointer = pointer;
      const possible: Dfa[] = [];
      for (const form of FORMATS.get(format) ?? []) {
        const dfa = yield* formatDfa(form);
        if (yield* this.#both(asked, dfa)) possible.push(dfa);
      }
      if (possible.length === 0) continue;
      let found: StringSet | null = null;
      for (const dfa of possible) found ??= yield* this.#both(set, dfa);
      set = found ?? { ...set, dfa: null };
    }
    budget.pointer = merged.pointer;
    return set;
  }

  /** What of a set `dfa` accepts as well; null if that is nothing, or is too large beside a pattern. */
  *#both(set: StringSet, dfa: Dfa): Slices<StringSet | null> {
    const { budget } = this.#json;
    try {
      const both = set.dfa === undefined ? dfa : yield* intersectAll([set.dfa, dfa], budget);
      if (!both || (yield* matchedBody(both, set.min, set.max, budget)) === null) return null;
      return { ...set, dfa: both };
    } catch (error) {
      if (!(error instanceof ConfigError) || set.dfa === undefined) throw error;
      return null;
    }
  }

  /** The quoted strings of a set; null if there are none. */
  *#quoted({ dfa, min, max }: StringSet): Slices<Item | null> {
    if (dfa === undefined) return min <= max ? this.#json.string(min, max) : null;
    const body = dfa && (yield* matchedBody(dfa, min, max, this.#json.budget));
    return body && this.#json.rule(new Sequence([this.#json.text('"'), body]));
  }

  *#string(merged: Merged): Slices<Item[]> {
    const { minLength, maxLength, pointer } = merged;
    if (minLength > maxLength) return this.#dead(pointer, "minLength is above maxLength");
    const item = yield* this.#quoted(yield* this.#strings(merged));
    return item ? [item] : this.#dead(pointer, "no string matches");
  }

  #array({ prefix, items, minItems, maxItems, excluded, pointer }: Merged): Item[] {
    if (excluded.some(Array.isArray)) refuse(pointer, "a listed array inside not or oneOf is not supported");
    if (minItems > maxItems) return this.#dead(pointer, "minItems is above maxItems");
    const first = prefix.map((list) => this.#all(list));
    return [this.#json.rule(new ArrayRule(this.#json, first, this.#all(items), minItems, maxItems))];
  }

  *#object(merged: Merged): Slices<Item[]> {
    const { properties, required, additional, names, outside, excluded, pointer } = merged;
    if (excluded.some((value) => value instanceof Map)) {
      refuse(pointer, "a listed object inside not or oneOf is not supported");
    }
    if (outside.length > 0) {
      // One of the declared properties that are not among the names has to be there.
      const [first, ...rest] = outside;
      const options = [...properties.keys()].filter((name) => !first.includes(name));
      const items: Item[] = [];
      for (const name of options) {
        const named = { ...merged, outside: rest, required: new Set([...required, name]) };
        items.push(...(yield* this.#object(named)));
      }
      return items;
    }
    const allowed = yield* this.#names(names, pointer);
    const declared: Property[] = [];
    for (const [name, list] of properties) {
      const wanted = required.has(name);
      if (isIn(name, allowed)) declared.push({ name, required: wanted, value: this.#all(list) });
      else if (wanted) return this.#dead(pointer, `propertyNames forbids ${JSON.stringify(name)}`);
    }
    let name: Item | null = null;
    if (additional !== null && allowed.dfa !== null) {
      const { budget } = this.#json;
      const others = properties.size > 0 ? [otherThanDfa([...properties.keys()], budget)] : [];
      const known = allowed.dfa === undefined ? [] : [allowed.dfa];
      name = yield* this.#quoted({ ...allowed, dfa: yield* intersectAll([...others, ...known], budget) });
    }
    const extra = name && additional ? { name, value: this.#all(additional) } : null;
    return [this.#json.rule(new ObjectRule(this.#json, declared, extra))];
  }

  /** The names that `propertyNames` allows. */
  *#names(names: readonly Located[], pointer: string): Slices<StringSet> {
    if (names.length === 0) return { dfa: undefined, min: 0, max: Number.POSITIVE_INFINITY };
    const none = { dfa: null, min: 0, max: 0 };
    const { flats, groups, never } = flatten(this.#root, names, this.#alternatives);
    if (never !== null) return none;
    if (groups.length > 0) refuse(`${pointer}/propertyNames`, "anyOf in propertyNames is not supported");
    const merged = mergeKeywords(flats, `${pointer}/propertyNames`);
    if (merged.types !== null && !merged.types.has("string")) return none;
    if (merged.values === null) return yield* this.#strings(merged);
    const set = yield* this.#matching(merged);
    const listed = merged.values.map(({ value }) => value);
    const fits = listed.filter((value) => typeof value === "string").filter((value) => isIn(value, set));
    if (fits.length === 0) return none;
    const dfa = yield* patternDfa(`^(${fits.map(quotePattern).join("|")})$`, this.#json.budget);
    return { dfa, min: 0, max: Number.POSITIVE_INFINITY };
  }

  /** The listed values that satisfy the other keywords. */
  *#values(merged: Merged): Slices<Item[]> {
    const { types, pointer } = merged;
    const strings = yield* this.#without(yield* this.#matching(merged), merged);
    const texts: string[] = [];
    const unformatted: string[] = [];
    const formats: { dfa: Dfa; owner: string }[] = [];
    for (const { format, pointer: at } of merged.formats) {
      const form = FORMATS.get(format)?.at(-1);
      if (form !== undefined) formats.push({ dfa: yield* formatDfa(form), owner: parent(at) });
    }
    let length = 0;
    const excluded = new Set(merged.excluded.map(canonicalJson));
    for (const { value, pointer } of merged.values!) {
      if (excluded.has(canonicalJson(value))) continue;
      const type = typeOf(value);
      const text = writeJson(value);
      length += text.length;
      if (length > MOST_ENUM_TEXT)
        refuse(pointer, "values are too long", length, `at most ${MOST_ENUM_TEXT}`);
      if (types && !types.has(type) && !(type === "integer" && types.has("number"))) continue;
      if (typeof value === "string" && !isIn(value, strings)) continue;
      if (value instanceof JsonNumber && !fitsNumber(value, numberRules(merged, false))) continue;
      if (type === "object" || type === "array") refuseBeside(merged, type, pointer);
      const lacking = formats.filter(
        ({ dfa }) => typeof value === "string" && !acceptsDfa(dfa, codes(value)),
      );
      if (lacking.some(({ owner }) => owner !== parent(pointer))) continue;
      const formatted = lacking.length === 0;
      (formatted ? texts : unformatted).push(text);
    }
    // Where none of the values has the format beside the list, the list is what is meant.
    if (texts.length === 0) texts.push(...unformatted);
    if (texts.length === 0) return this.#dead(pointer, "no listed value satisfies the other keywords");
    return [this.#json.literals(texts)];
  }
}

const codes = (text: string): number[] => Array.from(text, (char) => char.codePointAt(0)!);
/** Strings by an automaton over code points (null: none, undefined: any) and their length. */
interface StringSet {
  readonly dfa: Dfa | null | undefined;
  readonly min: number;
  readonly max: number;
}

function isIn(text: string, { dfa, min, max }: StringSet): boolean {
  const characters = codes(text);
  if (dfa === null || characters.length < min || characters.length > max) return false;
  return dfa === undefined || acceptsDfa(dfa, characters);
}

const compiledFormats = new Map<string, Dfa>();

/** The automaton of one of the patterns of `FORMATS`, made once. */
function* formatDfa(pattern: string): Slices<Dfa> {
  let dfa = compiledFormats.get(pattern);
  if (dfa === undefined) {
    dfa = (yield* patternDfa(pattern, new Budget()))!;
    compiledFormats.set(pattern, dfa);
  }
  return dfa;
}

function withFormats(
  rules: NumberRules,
  formats: readonly (readonly [least: bigint, most: bigint])[],
): NumberRules {
  const bound = (value: bigint) => ({ value: JsonNumber.from(value), exclusive: false });
  return {
    ...rules,
    minima: [...rules.minima, ...formats.map(([least]) => bound(least))],
    maxima: [...rules.maxima, ...formats.map(([, most]) => bound(most))],
  };
}

/** The schema to which the keyword at a pointer belongs. */
const parent = (pointer: string) => pointer.slice(0, pointer.lastIndexOf("/"));
const quotePattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

const numberRules = (merged: Merged, integer: boolean): NumberRules => ({
  integer,
  minima: merged.minima,
  maxima: merged.maxima,
  steps: merged.steps,
  notSteps: merged.notSteps,
  excluded: merged.excluded.filter((value) => value instanceof JsonNumber),
});

function typeOf(value: JsonValue): TypeName {
  if (value === null) return "null";
  if (value instanceof JsonNumber) return value.isInteger ? "integer" : "number";
  if (Array.isArray(value)) return "array";
  return value instanceof Map ? "object" : (typeof value as "string" | "boolean");
}

/** The largest whole numbers of 64 bits, which no double holds: the doubles nearest to them are one larger. */
const LARGEST: ReadonlyMap<number | bigint, string> = new Map([
  [2 ** 63, "9223372036854775807"],
  [2 ** 64, "18446744073709551615"],
]);

/** A schema with the digits of its numbers: as it was read, or as far as a program's values have kept them. */
function exactSchema(schema: unknown): JsonValue {
  if (schema instanceof Map) return schema as JsonObject;
  try {
    return fromPlain(schema, {
      maxDepth: 1000,
      maxValues: 10 * MOST_PARTS,
      number: (value, key) => {
        const meant = key === "maximum" ? LARGEST.get(value) : undefined;
        return meant === undefined ? JsonNumber.from(value) : new JsonNumber(meant);
      },
    });
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    refuse("#", error.message);
  }
}

/** Listed objects and arrays are not checked against other keywords: those are refused beside them. */
function refuseBeside(merged: Merged, type: "object" | "array", pointer: string): void {
  const { properties, required, additional, names, prefix, items, minItems, maxItems } = merged;
  const object = properties.size + required.size + names.length + (additional?.length ?? 1) > 0;
  const array = prefix.length + items.length + minItems > 0 || maxItems < Number.POSITIVE_INFINITY;
  if (type === "object" ? object : array) {
    refuse(pointer, `a listed ${type} beside keywords about ${type}s is not supported`);
  }
}

/**
 * The item of the values that satisfy `schema`, a `JsonValue` or a program's value. Of the latter, a `maximum` that is
 * one above the largest integer of 64 bits means that integer, which a double cannot hold.
 * @throws ConfigError with the JSON pointer of what is refused
 */
export function schemaItem(json: JsonItems, schema: unknown, options: JsonOptions = {}): Slices<Item> {
  return new SchemaCompiler(json, exactSchema(schema), options.maxDepth ?? 64).compile();
}
