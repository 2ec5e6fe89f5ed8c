/**
 * A small JSON Schema validator for tests, by recursion over parsed values: shares nothing with the grammar. Throws for a keyword it does not know, so that no test passes unchecked.
 */
type Json = Record<string, unknown>;

const IGNORED = new Set(["$defs", "definitions", "$schema", "title", "description", "default", "nullable"]);
const FORMATS: Record<string, (text: string) => boolean> = {
  date: isDate,
  time: isTime,
  "date-time": (text) => text[10] === "T" && isDate(text.slice(0, 10)) && isTime(text.slice(11)),
  uuid: (text) => /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i.test(text),
  email: (text) => /^[^@\s]+@[^@\s.]+(\.[^@\s.]+)+$/.test(text),
  ipv4: (text) =>
    text.split(".").length === 4 && text.split(".").every((n) => Number(n) <= 255 && /^\d+$/.test(n)),
};

function isDate(text: string): boolean {
  if (!/^\d{4}-\d{2}-\d{2}$/.test(text)) return false;
  const date = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(date.getTime()) && date.toISOString().slice(0, 10) === text;
}

function isTime(text: string): boolean {
  const match = /^(\d\d):(\d\d):(\d\d)(\.\d+)?(Z|[+-](\d\d):(\d\d))$/.exec(text);
  if (!match) return false;
  const [, h, m, s, , , zh = "0", zm = "0"] = match;
  return Number(h) < 24 && Number(m) < 60 && Number(s) < 60 && Number(zh) < 24 && Number(zm) < 60;
}

function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "integer":
      return typeof value === "number" && Number.isInteger(value);
    case "array":
      return Array.isArray(value);
    case "object":
      return typeof value === "object" && value !== null && !Array.isArray(value);
    default:
      return typeof value === type;
  }
}

/** Whether value is a multiple of step, in decimal. */
function multiple(value: number, step: number): boolean {
  const scaled = (x: number) => {
    const [mantissa, exponent = "0"] = String(Math.abs(x)).split("e");
    const [whole, fraction = ""] = mantissa.split(".");
    return { digits: BigInt(whole + fraction), scale: fraction.length - Number(exponent) };
  };
  const [a, b] = [scaled(value), scaled(step)];
  const scale = Math.max(a.scale, b.scale, 0);
  return (a.digits * 10n ** BigInt(scale - a.scale)) % (b.digits * 10n ** BigInt(scale - b.scale)) === 0n;
}

export function isValid(schema: unknown, value: unknown, root: unknown = schema): boolean {
  if (typeof schema === "boolean") return schema;
  const s = schema as Json;
  const same = (other: unknown) => JSON.stringify(other) === JSON.stringify(value);
  const object = hasType(value, "object") ? (value as Json) : null;
  const array = Array.isArray(value) ? (value as unknown[]) : null;
  const text = typeof value === "string" ? value : null;
  const number = typeof value === "number" ? value : null;
  const length = text === null ? 0 : [...text].length;
  const inner = (next: unknown, item: unknown) => isValid(next, item, root);
  for (const [key, given] of Object.entries(s)) {
    if (IGNORED.has(key)) continue;
    const n = given as number;
    const list = given as unknown[];
    const ok = (() => {
      switch (key) {
        case "type":
          if (s.nullable === true && value === null) return true;
          return [given].flat().some((type) => hasType(value, type as string));
        case "enum":
          return list.some(same);
        case "const":
          return same(given);
        case "minLength":
          return text === null || length >= n;
        case "maxLength":
          return text === null || length <= n;
        case "pattern":
          return text === null || new RegExp(given as string, "u").test(text);
        case "format":
          return text === null || FORMATS[given as string](text);
        case "minimum":
          return number === null || number >= n;
        case "maximum":
          return number === null || number <= n;
        case "exclusiveMinimum":
          return number === null || number > n;
        case "exclusiveMaximum":
          return number === null || number < n;
        case "multipleOf":
          return number === null || multiple(number, n);
        case "minItems":
          return array === null || array.length >= n;
        case "maxItems":
          return array === null || array.length <= n;
        case "prefixItems":
          return array === null || list.every((item, i) => i >= array.length || inner(item, array[i]));
        case "items":
          return (
            array === null || array.slice((s.prefixItems as [])?.length ?? 0).every((x) => inner(given, x))
          );
        case "required":
          return object === null || list.every((name) => Object.hasOwn(object, name as string));
        case "properties":
          return (
            object === null ||
            Object.entries(given as Json).every(([k, v]) => !Object.hasOwn(object, k) || inner(v, object[k]))
          );
        case "additionalProperties":
          return (
            object === null ||
            Object.keys(object).every(
              (k) => Object.hasOwn((s.properties as Json) ?? {}, k) || inner(given, object[k]),
            )
          );
        case "propertyNames":
          return object === null || Object.keys(object).every((k) => inner(given, k));
        case "anyOf":
          return list.some((item) => inner(item, value));
        case "oneOf":
          return list.filter((item) => inner(item, value)).length === 1;
        case "not":
          return !inner(given, value);
        case "allOf":
          return list.every((item) => inner(item, value));
        case "$ref": {
          const path = (given as string).split("/").slice(1);
          return inner(
            path.reduce((at, part) => (at as Json)[part], root),
            value,
          );
        }
        default:
          throw new Error(`the test's validator does not know ${key}`);
      }
    })();
    if (!ok) return false;
  }
  return true;
}
