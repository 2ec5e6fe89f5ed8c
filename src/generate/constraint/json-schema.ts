/**
 * JSON Schema as a grammar. What the grammar writes is always valid against the schema; it may write less than the
 * schema allows: properties come in the schema's order; where properties are declared and `additionalProperties` is not
 * given, no others come; a schema without `type` whose keywords concern one type means that type; `oneOf` is read as
 * `anyOf`; `enum` and `const` are written compactly, numbers as they stand there. Formats other than those of `FORMATS` are
 * annotations, as in the standard. Keywords: see `schema-merge.ts`.
 */
import { fromPlain, JsonNumber, type JsonObject, type JsonValue, writeJson } from "../../json/index.ts";
import { acceptsDfa, Budget, type Dfa } from "./automaton.ts";
import { Choice, dfaItem, type Item, leftRecursive, markAlive, type Rule } from "./grammar.ts";
import { numberItem } from "./json-number.ts";
import { ArrayRule, JsonItems, ObjectRule, type Property } from "./json-rules.ts";
import { FORMATS, intersectAll, lengthDfa, otherThanDfa, quotedDfa } from "./json-string.ts";
import { fitsNumber } from "./number-rules.ts";
import { patternDfa } from "./pattern.ts";
import {
  checkSize,
  flatten,
  type Located,
  type LocatedObject,
  located,
  type Merged,
  MOST_PARTS,
  mergeKeywords,
  refuse,
  type TypeName,
} from "./schema-merge.ts";

export interface JsonOptions {
  /** Most spaces after `:` and `,`; default 1. There is no other whitespace. */
  readonly spaces?: number;
  /** Most objects and arrays inside each other where the schema does not say what they are; default 64. */
  readonly maxDepth?: number;
}

const MOST_BRANCHES = 1024;
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
  readonly #jobs: (() => void)[] = [];
  readonly #pointers = new Map<Rule, string>();
  #branches = 0;
  #reason: { pointer: string; why: string } | null = null;

  constructor(json: JsonItems, root: JsonValue, depth: number) {
    this.#json = json;
    this.#root = root;
    this.#depth = depth;
  }

  compile(): Item {
    checkSize(this.#root);
    const item = this.#all([located(this.#root, "#")]);
    for (let job = this.#jobs.pop(); job !== undefined; job = this.#jobs.pop()) job();
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
      this.#jobs.push(() => {
        made.branches = this.#fill(list);
      });
      choice = made;
    }
    return choice;
  }

  #dead(pointer: string, why: string): Item[] {
    this.#reason ??= { pointer, why };
    return [];
  }

  #fill(list: readonly Located[]): Item[] {
    const { pointer } = list[0];
    this.#json.budget.pointer = pointer;
    const { flats, groups, never } = flatten(this.#root, list);
    if (never !== null) return this.#dead(never, "a schema is false");
    const alone = flats.every(({ schema }) =>
      [...schema.keys()].every((key) => /^(anyOf|oneOf|allOf|\$ref)$/.test(key) || ANNOTATIONS.has(key)),
    );
    if (alone && groups.length === 1) return groups[0].map((branch) => this.#all([branch]));
    const ways = groups.reduce((product, group) => product * group.length, 1);
    if (ways > MOST_BRANCHES) {
      refuse(pointer, "too many combinations of anyOf", ways, `at most ${MOST_BRANCHES}`);
    }
    return this.#distribute(flats, groups, pointer, 0);
  }

  /** One item for each way to choose a branch of every group. */
  #distribute(
    flats: readonly LocatedObject[],
    groups: readonly (readonly Located[])[],
    pointer: string,
    depth: number,
  ): Item[] {
    if (groups.length === 0) return this.#build(mergeKeywords(flats, pointer));
    if (depth > MOST_NESTED_BRANCHES) refuse(pointer, "anyOf inside anyOf too deeply", depth);
    const [group, ...others] = groups;
    return group.flatMap((branch) => {
      this.#branches++;
      if (this.#branches > MOST_BRANCHES) {
        refuse(pointer, "too many combinations of anyOf", this.#branches, `at most ${MOST_BRANCHES}`);
      }
      const inner = flatten(this.#root, [branch]);
      if (inner.never !== null) return this.#dead(inner.never, "a schema is false");
      const known = new Set(flats.map(({ schema }) => schema));
      const added = inner.flats.filter(({ schema }) => !known.has(schema));
      return this.#distribute([...flats, ...added], [...inner.groups, ...others], pointer, depth + 1);
    });
  }

  #build(merged: Merged): Item[] {
    this.#json.budget.pointer = merged.pointer;
    if (merged.values !== null) return this.#values(merged);
    if (merged.types === null) return [this.#json.value(this.#depth)];
    if (merged.types.size === 0) return this.#dead(merged.pointer, "no type is left");
    return [...merged.types].flatMap((type) => this.#type(type, merged));
  }

  #type(type: TypeName, merged: Merged): Item[] {
    switch (type) {
      case "null":
        return [this.#json.text("null")];
      case "boolean":
        return [this.#json.literals(["true", "false"])];
      case "integer":
        return merged.types!.has("number") ? [] : this.#number(merged, true);
      case "number":
        return this.#number(merged, false);
      case "string":
        return this.#string(merged);
      case "array":
        return this.#array(merged);
      case "object":
        return this.#object(merged);
    }
  }

  #number(merged: Merged, integer: boolean): Item[] {
    const { minima, maxima, steps, pointer } = merged;
    if (!integer && minima.length + maxima.length + steps.length === 0) return [this.#json.number()];
    const item = numberItem(numberRules(merged, integer), this.#json.budget);
    return item ? [item] : this.#dead(pointer, "no number is within the bounds");
  }

  /** The strings of patterns, formats and lengths, over code points; undefined where only lengths restrict. */
  #strings({ patterns, formats, minLength, maxLength, pointer }: Merged): Dfa | null | undefined {
    const { budget } = this.#json;
    const known = formats.filter(({ format }) => Object.hasOwn(FORMATS, format));
    const all = [
      ...patterns,
      ...known.map(({ format, pointer }) => ({ pattern: FORMATS[format], pointer })),
    ].map(({ pattern, pointer }) => {
      budget.pointer = pointer;
      return patternDfa(pattern, budget);
    });
    budget.pointer = pointer;
    const limited = minLength > 0 || maxLength < Number.POSITIVE_INFINITY;
    if (all.length > 0 && limited) all.push(lengthDfa(minLength, maxLength, budget));
    return intersectAll(all, budget);
  }

  #string(merged: Merged): Item[] {
    const { minLength, maxLength, pointer } = merged;
    if (minLength > maxLength) return this.#dead(pointer, "minLength is above maxLength");
    const dfa = this.#strings(merged);
    if (dfa === undefined) return [this.#json.string(minLength, maxLength)];
    const quoted = dfa && quotedDfa(dfa, this.#json.budget);
    return quoted ? [dfaItem(quoted)] : this.#dead(pointer, "no string matches");
  }

  #array({ prefix, items, minItems, maxItems, pointer }: Merged): Item[] {
    if (minItems > maxItems) return this.#dead(pointer, "minItems is above maxItems");
    const first = prefix.map((list) => this.#all(list));
    return [this.#json.rule(new ArrayRule(this.#json, first, this.#all(items), minItems, maxItems))];
  }

  #object(merged: Merged): Item[] {
    const { properties, required, additional, names, pointer } = merged;
    const allowed = this.#names(names, pointer);
    const declared: Property[] = [];
    for (const [name, list] of properties) {
      const wanted = required.has(name);
      const named = allowed === undefined || (allowed !== null && acceptsDfa(allowed, codes(name)));
      if (named) declared.push({ name, required: wanted, value: this.#all(list) });
      else if (wanted) return this.#dead(pointer, `propertyNames forbids ${JSON.stringify(name)}`);
    }
    let name: Item | null = null;
    if (additional !== null && allowed !== null) {
      const { budget } = this.#json;
      const others = properties.size > 0 ? otherThanDfa([...properties.keys()], budget) : undefined;
      const dfa = intersectAll(
        [others, allowed].filter((part) => part !== undefined),
        budget,
      );
      if (dfa === undefined) name = this.#json.string();
      else {
        const quoted = dfa && quotedDfa(dfa, budget);
        name = quoted && dfaItem(quoted);
      }
    }
    const extra = name && additional ? { name, value: this.#all(additional) } : null;
    return [this.#json.rule(new ObjectRule(this.#json, declared, extra))];
  }

  /** The names that `propertyNames` allows: all for undefined, none for null. */
  #names(names: readonly Located[], pointer: string): Dfa | null | undefined {
    if (names.length === 0) return undefined;
    const { flats, groups, never } = flatten(this.#root, names);
    if (never !== null) return null;
    if (groups.length > 0) refuse(`${pointer}/propertyNames`, "anyOf in propertyNames is not supported");
    const merged = mergeKeywords(flats, `${pointer}/propertyNames`);
    if (merged.types !== null && !merged.types.has("string")) return null;
    const { budget } = this.#json;
    const { values, minLength, maxLength } = merged;
    const listed = values?.map(({ value }) => value).filter((value) => typeof value === "string");
    if (listed) {
      const pattern = this.#strings(merged);
      const fits = listed.filter((value) => this.#fits(value, merged, pattern));
      if (fits.length === 0) return null;
      return patternDfa(`^(${fits.map(quotePattern).join("|")})$`, budget);
    }
    const dfa = this.#strings(merged);
    if (dfa !== undefined) return dfa;
    const limited = minLength > 0 || maxLength < Number.POSITIVE_INFINITY;
    return limited ? lengthDfa(minLength, maxLength, budget) : undefined;
  }

  #fits(value: string, { minLength, maxLength }: Merged, pattern: Dfa | null | undefined): boolean {
    const characters = codes(value);
    const { length } = characters;
    if (length < minLength || length > maxLength) return false;
    return pattern === undefined || (pattern !== null && acceptsDfa(pattern, characters));
  }

  /** The listed values that satisfy the other keywords. */
  #values(merged: Merged): Item[] {
    const { types, pointer } = merged;
    const pattern = this.#strings(merged);
    const texts: string[] = [];
    let length = 0;
    for (const { value, pointer } of merged.values!) {
      const type = typeOf(value);
      const text = writeJson(value);
      length += text.length;
      if (length > MOST_ENUM_TEXT)
        refuse(pointer, "values are too long", length, `at most ${MOST_ENUM_TEXT}`);
      if (types && !types.has(type) && !(type === "integer" && types.has("number"))) continue;
      if (typeof value === "string" && !this.#fits(value, merged, pattern)) continue;
      if (value instanceof JsonNumber && !fitsNumber(value, numberRules(merged, false))) continue;
      if (type === "object" || type === "array") refuseBeside(merged, type, pointer);
      texts.push(text);
    }
    if (texts.length === 0) return this.#dead(pointer, "no listed value satisfies the other keywords");
    return [this.#json.literals(texts)];
  }
}

const codes = (text: string): number[] => Array.from(text, (char) => char.codePointAt(0)!);
const quotePattern = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

const numberRules = ({ minima, maxima, steps }: Merged, integer: boolean) => ({
  integer,
  minima,
  maxima,
  steps,
  notSteps: [],
  excluded: [],
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
export function schemaItem(json: JsonItems, schema: unknown, options: JsonOptions = {}): Item {
  return new SchemaCompiler(json, exactSchema(schema), options.maxDepth ?? 64).compile();
}
