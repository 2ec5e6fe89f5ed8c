/**
 * Control tokens in a stream of text. One that came by its id stands there as a mark, two low surrogates in a row, which
 * no decoded text holds; the same name spelled in ordinary tokens stays text. A name without an id has no mark: models
 * whose vocabulary lacks the token can only spell it, so that its text counts.
 */

const FIRST = "\uDC00";
const MARK = /\uDC00[\uDC01-\uDFFF]/g;
const LENGTH = 2;

export class Marks {
  readonly #byName = new Map<string, string>();
  readonly #byMark = new Map<string, string>();

  /** @param names control tokens that have ids; at most 1023 */
  constructor(names: Iterable<string> = []) {
    for (const name of new Set(names)) {
      const mark = FIRST + String.fromCharCode(FIRST.charCodeAt(0) + this.#byName.size + 1);
      this.#byName.set(name, mark);
      this.#byMark.set(mark, name);
    }
  }

  /** How a control token stands in the text: its mark, or its name if it has none. */
  of(name: string): string {
    return this.#byName.get(name) ?? name;
  }

  /** Those of `names` that are looked for as text. */
  spelled(names: readonly string[]): string[] {
    return names.filter((name) => !this.#byName.has(name));
  }

  /** Whether there is a mark in the text. */
  in(text: string): boolean {
    return text.search(MARK) >= 0;
  }

  /** The text with names for marks. */
  spell(text: string): string {
    return text.includes(FIRST) ? text.replace(MARK, (mark) => this.#byMark.get(mark) ?? "") : text;
  }

  /** The text without the marks of `names`; what is spelled stays. */
  drop(text: string, names: readonly string[]): string {
    if (!text.includes(FIRST)) return text;
    return text.replace(MARK, (mark) => (names.includes(this.#byMark.get(mark) ?? "") ? "" : mark));
  }

  /** The name whose mark begins at `at`, as that of a stretch of `length` units. */
  beginning(text: string, at: number): { readonly name: string; readonly length: number } | null {
    if (text.charCodeAt(at) !== FIRST.charCodeAt(0)) return null;
    const name = this.#byMark.get(text.slice(at, at + LENGTH));
    return name === undefined ? null : { name, length: LENGTH };
  }

  /** Where the last `units` of the text, as it is spelled, begin; if that is within a name, before its mark. */
  back(text: string, units: number): number {
    if (this.#byMark.size === 0) return text.length - units;
    let at = text.length;
    for (let left = units; left > 0; ) {
      const name = this.#byMark.get(text.slice(at - LENGTH, at));
      at -= name === undefined ? 1 : LENGTH;
      left -= name?.length ?? 1;
    }
    return at;
  }
}

/** Every control token is text. */
export const NO_MARKS = new Marks();
