/** Reading JSON of others: fields that are missing are tolerated where they may be, fields of another type never. */
import { JsonSyntaxError, parsePlain } from "../../json/index.ts";
import { FormatError } from "../../tensor/errors.ts";

/** Line from 1, column from 0 in code points. */
export interface LineColumn {
  readonly line: number;
  readonly column: number;
}

export interface ReadLimits {
  /** Most characters of one row, 2^24. */
  readonly maxRow?: number;
  /** Most rows, 1,000,000. */
  readonly maxRows?: number;
}

/** An object of a file, and where it stands. */
export class Fields {
  readonly #values: Readonly<Record<string, unknown>>;
  readonly where: string;

  /** @throws FormatError for what is no object */
  constructor(value: unknown, where: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new FormatError("not an object", { where, found: excerpt(value) });
    }
    this.#values = value as Record<string, unknown>;
    this.where = where;
  }

  /** Names of all fields. */
  get names(): string[] {
    return Object.keys(this.#values);
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
  }

  /** The first of these fields that is there and not null. */
  #first(names: string | readonly string[]): [name: string, value: unknown] {
    const all = typeof names === "string" ? [names] : names;
    for (const name of all) {
      const value = this.raw(name);
      if (value !== undefined && value !== null) return [name, value];
    }
    return [all[0], undefined];
  }

  text(name: string | readonly string[]): string {
    return this.#checked(name, "a text", (value) => typeof value === "string");
  }

  optionalText(name: string | readonly string[]): string | undefined {
    return this.#first(name)[1] === undefined ? undefined : this.text(name);
  }

  whole(name: string): number {
    return this.#checked(name, "a whole number, 0 or more", isWhole);
  }

  flag(name: string): boolean {
    return this.#checked(name, "true or false", (value) => typeof value === "boolean");
  }

  /** Missing: none. */
  list<T>(name: string, read: (fields: Fields) => T): T[] {
    const [, value] = this.#first(name);
    if (value === undefined) return [];
    const items = this.#checked<unknown[]>(name, "a list", Array.isArray);
    return items.map((item, i) => read(new Fields(item, `${this.where}: ${name}[${i}]`)));
  }

  object(name: string): Fields {
    const [found, value] = this.#first(name);
    if (value === undefined) this.refuse(found, "an object", value);
    return new Fields(value, `${this.where}: ${name}`);
  }

  refuse(name: string, expected: string, found: unknown): never {
    throw new FormatError(found === undefined ? "a field is missing" : "a field of another type", {
      where: this.where,
      ...{ name, expected, found: excerpt(found) },
    });
  }

  #checked<T>(names: string | readonly string[], expected: string, fits: (value: unknown) => boolean): T {
    const [name, value] = this.#first(names);
    if (!fits(value)) this.refuse(name, expected, value);
    return value as T;
  }
}

export const isWhole = (value: unknown): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= 0;

const excerpt = (value: unknown): string => {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 100 ? `${text.slice(0, 100)}…` : text;
};

/**
 * The rows of a file with one JSON object a line, or with one JSON array of objects. Empty lines are passed over.
 * @throws FormatError with the line for what is no JSON object, or exceeds a limit
 */
export function readRows(
  text: string,
  where: string,
  { maxRow = 2 ** 24, maxRows = 1_000_000 }: ReadLimits = {},
): Fields[] {
  const body = text.startsWith("\uFEFF") ? text.slice(1) : text;
  if (body.trimStart().startsWith("[")) {
    const items = parse(body, where);
    if (!Array.isArray(items)) throw new FormatError("not a list of objects", { where });
    if (items.length > maxRows) refuseLength(where, "rows", maxRows, items.length);
    return items.map((item, i) => new Fields(item, `${where}: item ${i + 1}`));
  }
  const rows: Fields[] = [];
  let line = 0;
  for (let at = 0; at < body.length; line++) {
    const newline = body.indexOf("\n", at);
    const end = newline < 0 ? body.length : newline;
    const place = `${where}: line ${line + 1}`;
    if (end - at > maxRow) refuseLength(place, "characters", maxRow, end - at);
    const row = body.slice(at, end).trim();
    at = end + 1;
    if (row === "") continue;
    if (rows.length === maxRows) refuseLength(where, "rows", maxRows, "more");
    rows.push(new Fields(parse(row, place), place));
  }
  return rows;
}

function refuseLength(where: string, name: string, most: number, found: number | string): never {
  throw new FormatError("too large", { where, name, expected: `at most ${most}`, found });
}

function parse(text: string, where: string): unknown {
  try {
    return parsePlain(text, []);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    throw new FormatError("not valid JSON", { where, found: error.message, cause: error });
  }
}
