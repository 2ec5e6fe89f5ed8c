/**
 * JSON Schema (2020-12, with `definitions`, list-valued `items` and `nullable` of older dialects and OpenAPI) as sets of
 * keywords that hold together: references resolved, `allOf` merged, `anyOf`, `oneOf` and `not` set apart. Every keyword
 * that restricts and is not understood is refused by name; annotations and unknown keywords are ignored, as the standard
 * says.
 */
import { canonicalJson, JsonNumber, type JsonObject, type JsonValue } from "../../json/index.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Bound } from "./number-rules.ts";

/** A schema and where it stands. */
export interface Located {
  readonly schema: JsonObject | boolean;
  readonly pointer: string;
}

/** Schemas that hold together, of which one of each group must hold as well. */
export interface Flattened {
  readonly flats: readonly LocatedObject[];
  readonly groups: readonly (readonly Located[])[];
  /** Where a `false` stands, so that nothing is valid. */
  readonly never: string | null;
}

export interface LocatedObject {
  readonly schema: JsonObject;
  readonly pointer: string;
}

export const MOST_PARTS = 100_000;
const DEEPEST = 64;
const MOST_ENUM = 10_000;
const MOST_PROPERTIES = 1000;
const LONGEST_NAME = 1024;
/** The least length that must come, if it is counted. */
const MOST_REQUIRED = 100_000;

export function refuse(pointer: string, message: string, found?: unknown, expected?: unknown): never {
  throw new ConfigError(message, {
    where: "JSON schema",
    name: pointer,
    ...(expected === undefined ? {} : { expected }),
    ...(found === undefined ? {} : { found }),
  });
}

/** Keywords of schemas that are made here, for what no keyword of the standard says. */
export const INTERNAL = {
  /** Values that are not meant. */
  notEqual: "\0notEqual",
  notPattern: "\0notPattern",
  notMultiple: "\0notMultiple",
  /** Names beside which there must be another. */
  outside: "\0outside",
  /** Declared properties do not mean that there are no others. */
  neutral: "\0neutral",
} as const;

const UNSUPPORTED = [
  "if",
  "then",
  "else",
  "dependentSchemas",
  "dependentRequired",
  "dependencies",
  "patternProperties",
  "unevaluatedProperties",
  "unevaluatedItems",
  "contains",
  "minContains",
  "maxContains",
  "uniqueItems",
  "minProperties",
  "maxProperties",
  "$dynamicRef",
  "$recursiveRef",
  "contentSchema",
];
/** Values with which an unsupported keyword restricts nothing. */
const HARMLESS: Readonly<Record<string, (value: JsonValue) => boolean>> = {
  uniqueItems: (value) => value === false,
  minProperties: (value) => value instanceof JsonNumber && value.toNumber() === 0,
  unevaluatedProperties: (value) => value === true,
  unevaluatedItems: (value) => value === true,
  patternProperties: (value) => value instanceof Map && value.size === 0,
};

/** What a value is, for messages; numbers as they were written. */
export function shown(value: JsonValue | undefined): string {
  if (value instanceof JsonNumber) return value.text;
  if (value === null || value === undefined || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value.length > 80 ? `${value.slice(0, 80)}..` : value);
  return Array.isArray(value) ? "a list" : "an object";
}

const escapePointer = (key: string) => key.replaceAll("~", "~0").replaceAll("/", "~1");
export const below = (pointer: string, ...keys: (string | number)[]) =>
  [pointer, ...keys.map((key) => escapePointer(String(key)))].join("/");

/** Refuses documents too large or too deep to be looked at. @throws ConfigError */
export function checkSize(root: JsonValue): void {
  let count = 0;
  const open: { value: JsonValue; pointer: string; depth: number }[] = [
    { value: root, pointer: "#", depth: 0 },
  ];
  for (let item = open.pop(); item !== undefined; item = open.pop()) {
    const { value, pointer, depth } = item;
    if (!(value instanceof Map) && !Array.isArray(value)) continue;
    // Each level of schemas is two levels of JSON.
    if (depth > 2 * DEEPEST) refuse(pointer, "nested too deeply", depth, `at most ${2 * DEEPEST} levels`);
    // Before anything is made of its entries, which may be millions.
    count += 1 + (Array.isArray(value) ? value.length : value.size);
    if (count > MOST_PARTS) refuse(pointer, "the schema is too large", count, `at most ${MOST_PARTS} parts`);
    for (const [key, inner] of value.entries()) {
      open.push({ value: inner, pointer: below(pointer, key), depth: depth + 1 });
    }
  }
}

export function located(value: JsonValue, pointer: string): Located {
  if (typeof value !== "boolean" && !(value instanceof Map)) {
    refuse(pointer, "a schema must be an object or a boolean", shown(value));
  }
  return { schema: value, pointer };
}

export function locatedList(schema: JsonObject, key: string, pointer: string): Located[] | undefined {
  const value = schema.get(key);
  if (value === undefined) return undefined;
  if (!Array.isArray(value) || value.length === 0) refuse(below(pointer, key), "must be a list with schemas");
  return value.map((item, i) => located(item, below(pointer, key, i)));
}

/** What a reference within the document points to. */
export function resolve(root: JsonValue, reference: JsonValue, pointer: string): Located {
  const at = below(pointer, "$ref");
  if (typeof reference !== "string") refuse(at, "must be a string", shown(reference));
  if (reference !== "#" && !reference.startsWith("#/")) {
    refuse(at, "only references within the schema (#/...) are supported", reference);
  }
  let value: JsonValue | undefined = root;
  for (const part of reference.split("/").slice(1)) {
    let key = part;
    try {
      key = decodeURIComponent(part);
    } catch {
      refuse(at, "not a JSON pointer", reference);
    }
    key = key.replaceAll("~1", "/").replaceAll("~0", "~");
    if (value instanceof Map) value = value.get(key);
    else value = Array.isArray(value) && /^(0|[1-9]\d*)$/.test(key) ? value[Number(key)] : undefined;
    if (value === undefined) refuse(at, "points to nothing", reference);
  }
  return located(value, reference);
}

/** What stands for `oneOf` and `not`; the same objects each time, since schemas are told apart by identity. */
export interface Alternatives {
  oneOf(branches: Located[], schema: JsonObject): Located[];
  not(schema: Located): Located[];
}

/** Where only differences are looked for: what is not looked into may be anything. */
const UNKNOWN: Alternatives = { oneOf: (branches) => branches, not: () => [{ schema: true, pointer: "#" }] };

/** Resolves references and `allOf` of schemas that hold together. @throws ConfigError also for circular references */
export function flatten(
  root: JsonValue,
  list: readonly Located[],
  alternatives: Alternatives = UNKNOWN,
): Flattened {
  const flats: LocatedObject[] = [];
  const groups: Located[][] = [];
  const done = new Set<JsonObject>();
  let never: string | null = null;
  const visit = ({ schema, pointer }: Located, open: readonly JsonObject[]): void => {
    if (typeof schema === "boolean") {
      if (!schema) never ??= pointer;
      return;
    }
    if (open.includes(schema)) refuse(pointer, "refers to itself without anything in between");
    if (open.length > DEEPEST) refuse(pointer, "too many references and allOf in a row", open.length);
    if (done.has(schema)) return;
    for (const key of UNSUPPORTED) {
      const value = schema.get(key);
      if (value === undefined || HARMLESS[key]?.(value)) continue;
      refuse(below(pointer, key), `${key} is not supported`);
    }
    const inside = [...open, schema];
    const reference = schema.get("$ref");
    if (reference !== undefined) visit(resolve(root, reference, pointer), inside);
    for (const part of locatedList(schema, "allOf", pointer) ?? []) visit(part, inside);
    const any = locatedList(schema, "anyOf", pointer);
    if (any) groups.push(any);
    const one = locatedList(schema, "oneOf", pointer);
    if (one) groups.push(alternatives.oneOf(one, schema));
    const inner = schema.get("not");
    if (inner !== undefined) {
      const others = alternatives.not(located(inner, below(pointer, "not")));
      if (others.length === 0) never ??= below(pointer, "not");
      else groups.push(others);
    }
    done.add(schema);
    flats.push({ schema, pointer });
  };
  for (const item of list) visit(item, []);
  return { flats, groups, never };
}

export type TypeName = "string" | "number" | "integer" | "boolean" | "null" | "object" | "array";
export const TYPES: readonly TypeName[] = [
  "object",
  "array",
  "string",
  "number",
  "integer",
  "boolean",
  "null",
];
/** Keywords that say which type is meant if `type` does not. */
const IMPLIED: readonly (readonly [TypeName, readonly string[]])[] = [
  ["object", ["properties", "required", "additionalProperties", "propertyNames"]],
  ["array", ["items", "prefixItems", "minItems", "maxItems", "additionalItems"]],
  ["string", ["minLength", "maxLength", "pattern", "format"]],
  ["number", ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"]],
];

/** Several schemas' keywords as one. */
export interface Merged {
  readonly pointer: string;
  /** null: any. */
  readonly types: ReadonlySet<TypeName> | null;
  /** Values of which one is meant, with their pointer; null: no such list. */
  readonly values: readonly { value: JsonValue; pointer: string }[] | null;
  /** Values that are not meant. */
  readonly excluded: readonly JsonValue[];
  readonly minLength: number;
  readonly maxLength: number;
  readonly patterns: readonly { pattern: string; pointer: string }[];
  readonly notPatterns: readonly { pattern: string; pointer: string }[];
  /** Each with the schema that it stands in. */
  readonly formats: readonly { format: string; pointer: string; own: LocatedObject }[];
  readonly minima: readonly Bound[];
  readonly maxima: readonly Bound[];
  readonly steps: readonly JsonNumber[];
  readonly notSteps: readonly JsonNumber[];
  readonly properties: ReadonlyMap<string, readonly Located[]>;
  readonly required: ReadonlySet<string>;
  /** Lists of names, beside each of which there must be another. */
  readonly outside: readonly (readonly string[])[];
  /** null: none is allowed. */
  readonly additional: readonly Located[] | null;
  readonly names: readonly Located[];
  readonly prefix: readonly (readonly Located[])[];
  readonly items: readonly Located[];
  readonly minItems: number;
  readonly maxItems: number;
}

/** The types that a schema's keywords are about; null: any. */
function readTypes(at: LocatedObject): Set<TypeName> | null {
  if (at.schema.has("type")) return typesAsWritten(at);
  const implied = IMPLIED.filter(([, keys]) => keys.some((key) => at.schema.has(key)));
  return implied.length === 0 ? null : new Set(implied.map(([type]) => type));
}

/** The types that a schema allows by name; null if it names none. @throws ConfigError */
export function typesAsWritten({ schema, pointer }: LocatedObject): Set<TypeName> | null {
  const value = schema.get("type");
  if (value === undefined) return null;
  const at = below(pointer, "type");
  const list = Array.isArray(value) ? value : [value];
  const unknown = list.find((name) => !TYPES.includes(name as TypeName));
  if (unknown !== undefined || list.length === 0) refuse(at, "not a type", shown(unknown), TYPES);
  const types = new Set(list as TypeName[]);
  if (schema.get("nullable") === true) types.add("null");
  return types;
}

/** Types in both sets; integers are numbers. */
export function commonTypes(a: ReadonlySet<TypeName> | null, b: ReadonlySet<TypeName> | null) {
  if (a === null || b === null) return a ?? b;
  const out = new Set([...a].filter((type) => b.has(type)));
  const integers = (set: ReadonlySet<TypeName>) => set.has("integer") || set.has("number");
  if (!out.has("number") && integers(a) && integers(b)) out.add("integer");
  return out;
}

export function count(schema: JsonObject, key: string, pointer: string): number | undefined {
  const value = schema.get(key);
  if (value === undefined) return undefined;
  if (!(value instanceof JsonNumber) || !value.isInteger || value.decimal.negative) {
    refuse(below(pointer, key), "must be a whole number, 0 or more", shown(value));
  }
  const number = value.toNumber();
  if (key.startsWith("min") && number > MOST_REQUIRED) {
    refuse(below(pointer, key), "asks for too much", shown(value), `at most ${MOST_REQUIRED}`);
  }
  return number;
}

export function quantity(schema: JsonObject, key: string, pointer: string): JsonNumber | undefined {
  const value = schema.get(key);
  if (value === undefined || value instanceof JsonNumber) return value;
  refuse(below(pointer, key), "must be a number", shown(value));
}

export function bounds(schema: JsonObject, side: "minimum" | "maximum", pointer: string): Bound[] {
  const exclusiveKey = side === "minimum" ? "exclusiveMinimum" : "exclusiveMaximum";
  const value = quantity(schema, side, pointer);
  const out: Bound[] = [];
  // Draft 4 has a boolean beside the bound.
  const flag = schema.get(exclusiveKey);
  if (value !== undefined) out.push({ value, exclusive: flag === true });
  if (typeof flag === "boolean") return out;
  const exclusive = quantity(schema, exclusiveKey, pointer);
  if (exclusive !== undefined) out.push({ value: exclusive, exclusive: true });
  return out;
}

function texts(schema: JsonObject, key: string, pointer: string): string[] {
  const value = schema.get(key);
  if (value === undefined) return [];
  if (typeof value !== "string") refuse(below(pointer, key), "must be a string", shown(value));
  return [value];
}

export function valueList({ schema, pointer }: LocatedObject) {
  const out: { value: JsonValue; pointer: string }[][] = [];
  const list = schema.get("enum");
  if (list !== undefined) {
    const at = below(pointer, "enum");
    if (!Array.isArray(list) || list.length === 0) refuse(at, "must be a list with values");
    if (list.length > MOST_ENUM) refuse(at, "too many values", list.length, `at most ${MOST_ENUM}`);
    out.push(list.map((value) => ({ value, pointer: at })));
  }
  const only = schema.get("const");
  if (only !== undefined) out.push([{ value: only, pointer: below(pointer, "const") }]);
  return out;
}

function checkNames(names: readonly string[], pointer: string): void {
  if (names.length > MOST_PROPERTIES) {
    refuse(pointer, "too many properties", names.length, `at most ${MOST_PROPERTIES}`);
  }
  const long = names.find((name) => name.length > LONGEST_NAME);
  if (long) refuse(pointer, "the name of a property is too long", long.length, `at most ${LONGEST_NAME}`);
}

export function propertiesOf({ schema, pointer }: LocatedObject): Map<string, Located> {
  const value = schema.get("properties");
  const at = below(pointer, "properties");
  if (value === undefined) return new Map();
  if (!(value instanceof Map)) refuse(at, "must be an object", shown(value));
  checkNames([...value.keys()], at);
  return new Map([...value].map(([name, schema]) => [name, located(schema, below(at, name))]));
}

export function requiredOf({ schema, pointer }: LocatedObject): string[] {
  const value = schema.get("required");
  if (value === undefined) return [];
  const at = below(pointer, "required");
  if (!Array.isArray(value)) refuse(at, "must be a list of names", shown(value));
  const names = value.filter((name) => typeof name === "string");
  if (names.length < value.length) refuse(at, "must be a list of names");
  checkNames(names, at);
  return names;
}

function optional(schema: JsonObject, key: string, pointer: string): Located | undefined {
  const value = schema.get(key);
  return value === undefined ? undefined : located(value, below(pointer, key));
}

export function itemsOf({ schema, pointer }: LocatedObject): {
  prefix: Located[];
  rest: Located | undefined;
} {
  if (Array.isArray(schema.get("items"))) {
    const prefix = locatedList(schema, "items", pointer)!;
    return { prefix, rest: optional(schema, "additionalItems", pointer) };
  }
  return {
    prefix: locatedList(schema, "prefixItems", pointer) ?? [],
    rest: optional(schema, "items", pointer),
  };
}

const present = <T>(list: readonly (T | undefined)[]): T[] => list.filter((item) => item !== undefined);

function mergeObjects(flats: readonly LocatedObject[]) {
  const parts = flats.map((flat) => ({
    declared: propertiesOf(flat),
    closes: !flat.schema.has(INTERNAL.neutral),
    rest: optional(flat.schema, "additionalProperties", flat.pointer),
  }));
  const required = new Set(flats.flatMap(requiredOf));
  const names = new Set([...parts.flatMap(({ declared }) => [...declared.keys()]), ...required]);
  const properties = new Map<string, Located[]>();
  for (const name of names) {
    properties.set(name, present(parts.map(({ declared, rest }) => declared.get(name) ?? rest)));
  }
  const rests = present(parts.map(({ rest }) => rest));
  const closed = rests.length === 0 && parts.some(({ declared, closes }) => closes && declared.size > 0);
  return {
    properties,
    required,
    additional: closed ? null : rests,
    names: present(flats.map(({ schema, pointer }) => optional(schema, "propertyNames", pointer))),
  };
}

function mergeArrays(flats: readonly LocatedObject[]) {
  const parts = flats.map(itemsOf);
  const length = Math.max(0, ...parts.map(({ prefix }) => prefix.length));
  return {
    prefix: Array.from({ length }, (_, i) => present(parts.map(({ prefix, rest }) => prefix[i] ?? rest))),
    items: present(parts.map(({ rest }) => rest)),
  };
}

/** What an internal keyword says in each of the schemas that have it. */
const internal = (flats: readonly LocatedObject[], key: string): JsonValue[] =>
  present(flats.map(({ schema }) => schema.get(key)));

/** The keywords of schemas that hold together, each read and checked. @throws ConfigError for a malformed keyword */
export function mergeKeywords(flats: readonly LocatedObject[], pointer: string): Merged {
  const most = (key: string) => Math.max(0, ...present(flats.map((f) => count(f.schema, key, f.pointer))));
  const least = (key: string) =>
    Math.min(Number.POSITIVE_INFINITY, ...present(flats.map((f) => count(f.schema, key, f.pointer))));
  const lists = flats.flatMap(valueList);
  const values = lists.slice(1).reduce<(typeof lists)[number] | undefined>((all, list) => {
    const known = new Set(list.map(({ value }) => canonicalJson(value)));
    return all?.filter(({ value }) => known.has(canonicalJson(value)));
  }, lists[0]);
  const steps = flats.flatMap(({ schema, pointer }) => {
    const step = quantity(schema, "multipleOf", pointer);
    if (step && (step.decimal.negative || step.decimal.digits === "")) {
      refuse(below(pointer, "multipleOf"), "must be above 0", step.text);
    }
    return step === undefined ? [] : [step];
  });
  return {
    pointer,
    types: flats.map(readTypes).reduce<ReadonlySet<TypeName> | null>(commonTypes, null),
    values: values ?? null,
    excluded: internal(flats, INTERNAL.notEqual).flatMap((list) => list as JsonValue[]),
    minLength: most("minLength"),
    maxLength: least("maxLength"),
    patterns: flats.flatMap(({ schema, pointer }) =>
      texts(schema, "pattern", pointer).map((pattern) => ({ pattern, pointer: below(pointer, "pattern") })),
    ),
    notPatterns: flats.flatMap(({ schema, pointer }) =>
      texts(schema, INTERNAL.notPattern, pointer).map((pattern) => ({ pattern, pointer })),
    ),
    formats: flats.flatMap(({ schema, pointer }) =>
      texts(schema, "format", pointer).map((format) => ({
        ...{ format, pointer: below(pointer, "format"), own: { schema, pointer } },
      })),
    ),
    minima: flats.flatMap(({ schema, pointer }) => bounds(schema, "minimum", pointer)),
    maxima: flats.flatMap(({ schema, pointer }) => bounds(schema, "maximum", pointer)),
    steps,
    notSteps: internal(flats, INTERNAL.notMultiple) as JsonNumber[],
    outside: internal(flats, INTERNAL.outside) as string[][],
    ...mergeObjects(flats),
    ...mergeArrays(flats),
    minItems: most("minItems"),
    maxItems: least("maxItems"),
  };
}
