/**
 * What a schema does not allow, as schemas: `not`, and the branches of `oneOf` that must not match as well. A schema
 * fails if one of its keywords fails, so that its negation is one schema for each keyword. What stands for a failing
 * keyword may allow less than all that fails. Keywords whose failure no schema here says are refused by name.
 */
import { JsonNumber, type JsonObject, type JsonValue } from "../../json/index.ts";
import { FORMATS } from "./formats.ts";
import {
  below,
  bounds,
  count,
  INTERNAL,
  itemsOf,
  type Located,
  type LocatedObject,
  locatedList,
  propertiesOf,
  quantity,
  refuse,
  requiredOf,
  resolve,
  TYPES,
  typesAsWritten,
  valueList,
} from "./schema-merge.ts";

const schemaOf = (...entries: [string, JsonValue][]): JsonObject => new Map(entries);
const not = (schema: JsonValue) => schemaOf(["not", schema]);
/** An object schema that says nothing of other properties, not even that there are none. */
const object = (...entries: [string, JsonValue][]) =>
  schemaOf(["type", "object"], [INTERNAL.neutral, true], ...entries);
const isTrue = (schema: JsonValue) => schema === true || (schema instanceof Map && schema.size === 0);
const number = (value: number) => new JsonNumber(String(value));
const MOST_PAIRED = 8;

/** Schemas of which one holds wherever `schema` does not; none if it always does. @throws ConfigError */
export function negations(root: JsonValue, { schema, pointer }: Located): Located[] {
  if (typeof schema === "boolean") return schema ? [] : [{ schema: true, pointer }];
  const at: LocatedObject = { schema, pointer };
  return [
    ...combined(root, at),
    ...types(at),
    ...values(at),
    ...strings(at),
    ...numbers(at),
    ...arrays(at),
    ...objects(at),
  ].map((made) => ({ schema: made, pointer }));
}

function combined(root: JsonValue, { schema, pointer }: LocatedObject): JsonObject[] {
  const list = (key: string) => (locatedList(schema, key, pointer) ?? []).map((item) => item.schema);
  const out: JsonObject[] = list("allOf").map(not);
  const reference = schema.get("$ref");
  if (reference !== undefined) out.push(not(resolve(root, reference, pointer).schema));
  const inner = schema.get("not");
  if (inner !== undefined) out.push(schemaOf(["allOf", [inner]]));
  for (const key of ["anyOf", "oneOf"]) {
    const branches = list(key);
    if (branches.length > 0) out.push(schemaOf(["allOf", branches.map(not)]));
    if (key === "anyOf") continue;
    if (branches.length > MOST_PAIRED) {
      refuse(below(pointer, key), "too many branches inside not", branches.length, `at most ${MOST_PAIRED}`);
    }
    branches.forEach((a, i) => {
      for (const b of branches.slice(i + 1)) out.push(schemaOf(["allOf", [a, b]]));
    });
  }
  return out;
}

function types(at: LocatedObject): JsonObject[] {
  const given = typesAsWritten(at);
  if (given === null) return [];
  const whole = given.has("number") || given.has("integer");
  const others = TYPES.filter(
    (type) => !given.has(type) && !(whole && (type === "number" || type === "integer")),
  );
  const out = others.length > 0 ? [schemaOf(["type", others])] : [];
  if (given.has("integer") && !given.has("number")) {
    out.push(schemaOf(["type", "number"], [INTERNAL.notMultiple, number(1)]));
  }
  return out;
}

function values(at: LocatedObject): JsonObject[] {
  return valueList(at).map((list) => schemaOf([INTERNAL.notEqual, list.map(({ value }) => value)]));
}

function strings({ schema, pointer }: LocatedObject): JsonObject[] {
  const out: JsonObject[] = [];
  const string = (key: string, value: JsonValue) => out.push(schemaOf(["type", "string"], [key, value]));
  const [min, max] = [count(schema, "minLength", pointer), count(schema, "maxLength", pointer)];
  if (min !== undefined && min > 0) string("maxLength", number(min - 1));
  if (max !== undefined) string("minLength", number(max + 1));
  const [pattern, format] = [schema.get("pattern"), schema.get("format")];
  if (pattern !== undefined) string(INTERNAL.notPattern, pattern);
  const widest = typeof format === "string" ? FORMATS.get(format)?.at(-1) : undefined;
  if (widest !== undefined) string(INTERNAL.notPattern, widest);
  return out;
}

function numbers({ schema, pointer }: LocatedObject): JsonObject[] {
  const out: JsonObject[] = [];
  const numeric = (key: string, value: JsonValue) => out.push(schemaOf(["type", "number"], [key, value]));
  for (const { value, exclusive } of bounds(schema, "minimum", pointer)) {
    numeric(exclusive ? "maximum" : "exclusiveMaximum", value);
  }
  for (const { value, exclusive } of bounds(schema, "maximum", pointer)) {
    numeric(exclusive ? "minimum" : "exclusiveMinimum", value);
  }
  const step = quantity(schema, "multipleOf", pointer);
  if (step !== undefined) numeric(INTERNAL.notMultiple, step);
  return out;
}

function arrays({ schema, pointer }: LocatedObject): JsonObject[] {
  const out: JsonObject[] = [];
  const array = (...entries: [string, JsonValue][]) => out.push(schemaOf(["type", "array"], ...entries));
  const [min, max] = [count(schema, "minItems", pointer), count(schema, "maxItems", pointer)];
  if (min !== undefined && min > 0) array(["maxItems", number(min - 1)]);
  if (max !== undefined) array(["minItems", number(max + 1)]);
  const { prefix, rest } = itemsOf({ schema, pointer });
  [...prefix, ...(rest ? [rest] : [])].forEach((item, i) => {
    if (isTrue(item.schema)) return;
    const before: JsonValue[] = Array.from({ length: i }, () => true);
    array(["minItems", number(i + 1)], ["prefixItems", [...before, not(item.schema)]]);
  });
  return out;
}

function objects(at: LocatedObject): JsonObject[] {
  const { schema, pointer } = at;
  const out: JsonObject[] = [];
  for (const name of requiredOf(at)) out.push(object(["properties", new Map([[name, false]])]));
  const declared = propertiesOf(at);
  for (const [name, { schema: inner }] of declared) {
    if (isTrue(inner)) continue;
    out.push(object(["required", [name]], ["properties", new Map([[name, not(inner)]])]));
  }
  const additional = schema.get("additionalProperties");
  if (additional === false) out.push(object([INTERNAL.outside, [...declared.keys()]]));
  else if (additional !== undefined && !isTrue(additional)) {
    refuse(
      below(pointer, "additionalProperties"),
      "a schema for other properties inside not is not supported",
    );
  }
  const names = schema.get("propertyNames");
  if (names !== undefined && !isTrue(names)) {
    refuse(below(pointer, "propertyNames"), "propertyNames inside not is not supported");
  }
  return out;
}
