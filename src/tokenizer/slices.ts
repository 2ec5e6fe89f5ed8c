/**
 * Work in slices: a generator that pauses after every bounded piece of work, so that its caller can let others
 * run, or stop it. Long work for one client's request thereby does not block the streams of others.
 */

/** Work that pauses; its result is what the generator returns. Giving it up (`return()`) frees all it holds. */
export type Slices<T> = Generator<void, T, void>;

/** Work between two pauses, in characters or steps of about their cost: well under a millisecond. */
export const SLICE = 4096;

/** Texts up to this length are handled as a whole, between two pauses. */
export const LONG_TEXT = 2048;

/** Does all of it at once. */
export function finish<T>(work: Slices<T>): T {
  for (;;) {
    const { done, value } = work.next();
    if (done) return value;
  }
}

/** Counts work that is done, and says when to pause. */
export class Pace {
  #since = 0;

  /** Whether it is time to pause, after `work` more. */
  due(work: number): boolean {
    this.#since += work;
    if (this.#since < SLICE) return false;
    this.#since = 0;
    return true;
  }
}

/** A place at or before `at` that lies in no surrogate pair. */
function boundary(text: string, at: number): number {
  const code = text.charCodeAt(at - 1);
  return at < text.length && code >= 0xd800 && code <= 0xdbff ? at - 1 : at;
}

/** Stretches of `length` UTF-16 units or one less, of which none ends inside a surrogate pair. */
export function* stretchesOf(text: string, length: number): Generator<[from: number, to: number], void> {
  for (let from = 0; from < text.length; ) {
    const to = boundary(text, Math.min(text.length, from + length));
    yield [from, to];
    from = to;
  }
}

/** `text` with U+FFFD for lone surrogates. */
export function wellFormed(text: string): string {
  return /\p{Cs}/u.test(text) ? text.replace(/\p{Cs}/gu, "\uFFFD") : text;
}

/** The same for a long text. */
export function* wellFormedSlices(text: string): Slices<string> {
  const pace = new Pace();
  const parts: string[] = [];
  let same = true;
  for (const [from, to] of stretchesOf(text, SLICE)) {
    const part = text.slice(from, to);
    parts.push(wellFormed(part));
    same &&= parts.at(-1) === part;
    if (pace.due(to - from)) yield;
  }
  return same ? text : parts.join("");
}

/**
 * A long text normalized in stretches that begin with an ASCII character: no form of Unicode joins one to what stands
 * before it.
 */
export function* normalizeSlices(text: string, normalize: (text: string) => string): Slices<string> {
  const pace = new Pace();
  const parts: string[] = [];
  const ascii = /[\0-\x7f]/g;
  for (let from = 0; from < text.length; ) {
    ascii.lastIndex = from + SLICE;
    const to = ascii.test(text) ? ascii.lastIndex - 1 : text.length;
    parts.push(normalize(text.slice(from, to)));
    if (pace.due(to - from)) yield;
    from = to;
  }
  return parts.join("");
}
