/** Typed reading of `config.json`: every refusal names the key, what is accepted and what was found. */
import { ConfigError } from "../tensor/errors.ts";

export type Json = Readonly<Record<string, unknown>>;

export class ConfigReader {
  readonly json: Json;
  readonly where: string;
  /** Keys that were asked for. */
  readonly #asked = new Set<string>();
  readonly #sections = new Map<string, ConfigReader>();

  /** @throws ConfigError if `json` is not an object */
  constructor(json: unknown, where = "config.json") {
    if (json === null || typeof json !== "object" || Array.isArray(json)) {
      throw new ConfigError("the configuration must be an object", { where, found: json });
    }
    this.json = json as Json;
    this.where = where;
  }

  /** The value of `key`; undefined if it is missing or null. */
  raw(key: string): unknown {
    this.#asked.add(key);
    return this.json[key] ?? undefined;
  }

  /** Whether the file says anything, null included. */
  has(key: string): boolean {
    this.#asked.add(key);
    return key in this.json;
  }

  refuse(key: string, expected: unknown, found: unknown = this.json[key], hint?: string): never {
    throw new ConfigError("unsupported or malformed value", {
      where: this.where,
      name: key,
      expected,
      found,
      hint,
    });
  }

  /** A whole number from `min` on; `fallback` if missing. @throws ConfigError */
  integer(key: string, fallback?: number, min = 1): number {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min) {
      this.refuse(key, `an integer of at least ${min}`);
    }
    return value;
  }

  /**
   * As `integer`, if some programs write a list of one value for each layer: all are to be equal, since every layer
   * has the same sizes here. @throws ConfigError
   */
  layerInteger(key: string, fallback?: number, min = 1): number {
    const value = this.raw(key);
    if (!Array.isArray(value)) return this.integer(key, fallback, min);
    const distinct = new Set<unknown>(value);
    const [each] = distinct;
    if (distinct.size !== 1 || typeof each !== "number" || !Number.isSafeInteger(each) || each < min) {
      this.refuse(key, `an integer of at least ${min}, the same for all layers`, [...distinct].slice(0, 8));
    }
    return each;
  }

  /** A whole number from `min` on, or null if missing and no fallback is given. @throws ConfigError */
  optionalInteger(key: string, min = 0): number | null {
    return this.raw(key) === undefined ? null : this.integer(key, undefined, min);
  }

  /** A finite number above `above`. @throws ConfigError */
  number(key: string, fallback?: number, above = Number.NEGATIVE_INFINITY): number {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "number" || !Number.isFinite(value) || value <= above) {
      this.refuse(key, above === Number.NEGATIVE_INFINITY ? "a number" : `a number above ${above}`);
    }
    return value;
  }

  boolean(key: string, fallback: boolean): boolean {
    const value = this.raw(key) ?? fallback;
    if (typeof value !== "boolean") this.refuse(key, "true or false");
    return value;
  }

  /** One of `allowed`. @throws ConfigError */
  oneOf<T extends string>(key: string, allowed: readonly T[], fallback: T): T {
    const value = this.raw(key) ?? fallback;
    if (!allowed.includes(value as T)) this.refuse(key, allowed.join(" | "));
    return value as T;
  }

  /** Refuses any value but the only one supported; missing and null count as that one. */
  only(key: string, value: string | number | boolean, hint?: string): void {
    const found = this.raw(key);
    if (found !== undefined && found !== value) this.refuse(key, value, found, hint);
  }

  /** Token ids given as one integer, a list or nothing; -1 stands for no token. @throws ConfigError */
  tokens(key: string, fallback: readonly number[] = []): readonly number[] {
    if (!this.has(key)) return fallback;
    const value = this.raw(key) ?? [];
    const list = Array.isArray(value) ? value : [value];
    for (const id of list) if (!Number.isSafeInteger(id) || id < -1) this.refuse(key, "token ids");
    return list.filter((id) => id !== -1);
  }

  /** The object under `key`, or null. @throws ConfigError */
  section(key: string): ConfigReader | null {
    const value = this.raw(key);
    if (value === undefined) return null;
    const section = new ConfigReader(value, `${this.where}: ${key}`);
    this.#sections.set(key, section);
    return section;
  }

  /** Keys that nothing asked for, sections' own as `section.key`, and all that were asked for in their place. */
  unread(): { readonly key: string; readonly known: readonly string[] }[] {
    const known = [...this.#asked];
    const own = Object.keys(this.json).filter((key) => !this.#asked.has(key));
    const inner = [...this.#sections].flatMap(([name, section]) =>
      section
        .unread()
        .map(({ key, known }) => ({ key: `${name}.${key}`, known: known.map((k) => `${name}.${k}`) })),
    );
    return [...own.map((key) => ({ key, known })), ...inner];
  }
}
