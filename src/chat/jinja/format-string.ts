/** `str.format`: fields in braces, with attributes, items, conversions and specifications. */
import { fail } from "./errors.ts";
import { formatValue } from "./format-spec.ts";
import { escapeMarkup } from "./markup.ts";
import { ascii, repr, str } from "./print.ts";
import type { Runtime } from "./runtime.ts";
import { join, literal, Str } from "./text.ts";
import { type Kwargs, Undefined, type Value } from "./values.ts";

/** How fields reach into values. */
export interface Access {
  getAttribute(rt: Runtime, value: Value, name: string): Value;
  getItem(rt: Runtime, value: Value, key: Value): Value;
}

interface Source {
  readonly access: Access;
  readonly args: readonly Value[];
  readonly kwargs: (name: string) => Value | undefined;
  /** Number of the next field without a name. */
  auto: number;
  numbered: boolean;
}

/** @throws TemplateError */
export function formatString(
  rt: Runtime,
  format: Str,
  args: readonly Value[],
  kwargs: Kwargs,
  access: Access,
): Str {
  return formatBy(rt, format, { access, args, kwargs: (name) => kwargs.get(name), auto: 0, numbered: false });
}

/** `str.format_map`. @throws TemplateError */
export function formatMap(
  rt: Runtime,
  format: Str,
  values: (name: string) => Value | undefined,
  access: Access,
): Str {
  return formatBy(rt, format, { access, args: [], kwargs: values, auto: 0, numbered: false });
}

function formatBy(rt: Runtime, format: Str, source: Source): Str {
  return expand(rt, format, source, 2).marked(format.safe);
}

function expand(rt: Runtime, format: Str, source: Source, depth: number): Str {
  if (depth < 0) fail("Max string recursion exceeded");
  const { text } = format;
  rt.scan(text.length);
  const parts: Str[] = [];
  let done = 0;
  for (let at = 0; at < text.length; at++) {
    const c = text[at];
    if (c !== "{" && c !== "}") continue;
    if (text[at + 1] === c) {
      parts.push(format.slice(done, at + 1));
      done = ++at + 1;
      continue;
    }
    if (c === "}") fail("Single '}' encountered in format string");
    parts.push(format.slice(done, at));
    const end = closing(text, at);
    parts.push(field(rt, format, at + 1, end, source, depth));
    done = end + 1;
    at = end;
  }
  parts.push(format.slice(done));
  return join(parts.map((part) => part.marked(false)));
}

/** Where the field that opens at `at` ends. */
function closing(text: string, at: number): number {
  let depth = 0;
  for (let i = at; i < text.length; i++) {
    if (text[i] === "{") depth++;
    else if (text[i] === "}" && --depth === 0) return i;
    else if (text[i] === "[" && depth === 1) {
      const end = text.indexOf("]", i);
      if (end < 0) fail("expected '}' before end of string");
      i = end;
    }
  }
  return fail(
    at === text.length - 1 ? "Single '{' encountered in format string" : "expected '}' before end of string",
  );
}

function field(rt: Runtime, format: Str, from: number, to: number, source: Source, depth: number): Str {
  rt.spend(4);
  const text = format.text.slice(from, to);
  const [whole, name, , conversion] = /^((?:[^!:[\]{}]|\[[^\]]*\])*)(!(.?))?/su.exec(text)!;
  const rest = text.slice(whole.length);
  if (rest !== "" && !rest.startsWith(":")) fail("expected ':' after conversion specifier");
  let value = lookUp(rt, name, source);
  if (conversion !== undefined) {
    if (conversion === "s") value = str(rt, value);
    else if (conversion === "r") value = repr(rt, value);
    else if (conversion === "a") value = ascii(rt, value);
    else fail(`Unknown conversion specifier ${conversion}`);
  }
  const spec =
    rest === "" ? literal("") : expand(rt, format.slice(from + whole.length + 1, to), source, depth - 1);
  if (!format.safe) return formatValue(rt, value, spec);
  if (value instanceof Str && value.safe) {
    if (spec.text !== "") fail("Unsupported format specification for Markup.");
    return value;
  }
  return escapeMarkup(rt, formatValue(rt, value, spec));
}

function lookUp(rt: Runtime, name: string, source: Source): Value {
  const first = /^[^.[]*/.exec(name)![0];
  let value: Value | undefined;
  if (name === "" || /^\d+$/.test(name === first ? name : first)) {
    let index: number;
    if (name === "") {
      if (source.numbered) fail("cannot switch from manual field specification to automatic field numbering");
      index = source.auto;
      source.auto = index + 1;
    } else {
      if (source.auto !== 0 && name === first) {
        fail("cannot switch from automatic field numbering to manual field specification");
      }
      source.numbered = true;
      index = Number(first);
    }
    value = source.args[index];
    if (value === undefined) fail(`Replacement index ${index} out of range for positional args tuple`);
  } else {
    value = source.kwargs(first);
    if (value === undefined) fail(`KeyError: '${first}'`);
  }
  const rest = name.slice(first.length);
  for (const [, attribute, item] of rest.matchAll(/\.([^.[]+)|\[([^\]]+)\]/g)) {
    if (value instanceof Undefined) value.raise();
    if (attribute !== undefined) value = source.access.getAttribute(rt, value, attribute);
    else value = source.access.getItem(rt, value, /^\d+$/.test(item) ? Number(item) : literal(item));
  }
  return value;
}
