/**
 * Whether what is written for one schema can satisfy another: for `oneOf`, whose branches mostly differ in a type, a
 * constant property or a required one. False if no such difference is found, though there may be another.
 */
import { canonicalJson, type JsonValue } from "../../json/index.ts";
import {
  commonTypes,
  flatten,
  type Located,
  mergeKeywords,
  type TypeName,
  typesAsWritten,
} from "./schema-merge.ts";

const DEEPEST = 6;

const numeric = (types: ReadonlySet<TypeName>) => types.has("number") || types.has("integer");

function typesMeet(a: ReadonlySet<TypeName>, b: ReadonlySet<TypeName>): boolean {
  return [...a].some((type) => b.has(type)) || (numeric(a) && numeric(b));
}

/** Whether nothing written for all of `a` is valid against all of `b`. @throws ConfigError for malformed keywords */
export function disjoint(root: JsonValue, a: readonly Located[], b: readonly Located[], depth = 0): boolean {
  if (depth > DEEPEST || a.length === 0 || b.length === 0) return false;
  const [left, right] = [flatten(root, a), flatten(root, b)];
  if (left.never !== null || right.never !== null) return true;
  const branchesOf = (groups: typeof left.groups) => groups.filter((group) => group.length <= 16);
  const [written, other] = [
    mergeKeywords(left.flats, a[0].pointer),
    mergeKeywords(right.flats, b[0].pointer),
  ];
  const types = right.flats.map(typesAsWritten).reduce<ReadonlySet<TypeName> | null>(commonTypes, null);
  if (written.types !== null && types !== null && !typesMeet(written.types, types)) return true;
  if (written.values !== null && other.values !== null) {
    const known = new Set(other.values.map(({ value }) => canonicalJson(value)));
    if (!written.values.some(({ value }) => known.has(canonicalJson(value)))) return true;
  }
  if (written.types !== null && [...written.types].every((type) => type === "object")) {
    for (const name of other.required) {
      if (written.additional === null && !written.properties.has(name)) return true;
    }
    const closed = other.additional?.some(({ schema }) => schema === false) ?? false;
    for (const name of written.required) {
      const [mine, its] = [written.properties.get(name) ?? [], other.properties.get(name)];
      if (its === undefined ? closed : disjoint(root, mine, its, depth + 1)) return true;
    }
  }
  return (
    branchesOf(left.groups).some((group) =>
      group.every((branch) => disjoint(root, [branch], b, depth + 1)),
    ) ||
    branchesOf(right.groups).some((group) => group.every((branch) => disjoint(root, a, [branch], depth + 1)))
  );
}
