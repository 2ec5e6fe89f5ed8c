/**
 * Where the characters of a rendered template come from. A control token that the template writes steers the model;
 * the same characters in a message are just text, or a user could forge a system message. So contents are rendered
 * with a mark (a character that occurs nowhere else) before every character at which a control token could begin, in whole or once a template
 * has cut something out behind it; the marks show in the output which beginnings are the contents' own, and are
 * taken out again. The caller compares the result with a rendering without marks.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";

const SHAPE = /^<[|\uFF5C].*[|\uFF5C]>$/s;
export const THINK_OPEN = "<think>";
export const THINK_CLOSE = "</think>";

/**
 * The control tokens of a vocabulary, with their ids: those marked special, those of the shape `<|..|>` or `<｜..｜>`,
 * and `<think>`, `</think>` where they are tokens.
 */
export function controlTokens(tokenizer: Tokenizer): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) continue;
    const control = tokenizer.specialTokens.has(id) || SHAPE.test(token);
    if (!control && token !== THINK_OPEN && token !== THINK_CLOSE) continue;
    // Only added tokens match whole on raw text; a byte-pair token of this shape is ordinary text.
    const ids = tokenizer.encode(token, { addSpecialTokens: false });
    if (ids.length === 1 && ids[0] === id) found.set(token, id);
  }
  return found;
}

/** A stretch of plain text, or the id of a control token. */
export type Piece = string | number;

/** Cuts rendered texts at control tokens. */
export class ControlSplitter {
  readonly #byFirst = new Map<string, [token: string, id: number][]>();
  /** Tokens that the tokenizer finds in any text, since nothing marks them as control tokens. */
  readonly #always: ReadonlySet<string>;

  constructor(tokenizer: Tokenizer, tokens: ReadonlyMap<string, number>) {
    for (const entry of [...tokens].sort(([a], [b]) => b.length - a.length)) {
      const list = this.#byFirst.get(entry[0][0]);
      if (list) list.push(entry);
      else this.#byFirst.set(entry[0][0], [entry]);
    }
    const plain = { addSpecialTokens: false, parseSpecial: false };
    this.#always = new Set([...tokens.keys()].filter((token) => tokenizer.encode(token, plain).length === 1));
  }

  /** The pieces of `text`, the longest token at each place, but none at the positions `inert`. */
  split(text: string, inert: ReadonlySet<number>): Piece[] {
    const pieces: Piece[] = [];
    let done = 0;
    const cut = (at: number) => {
      if (at > done) pieces.push(text.slice(done, at));
      done = at;
    };
    for (let at = 0; at < text.length; ) {
      const match = this.#byFirst.get(text[at])?.find(([token]) => text.startsWith(token, at));
      if (match === undefined) at++;
      else if (inert.has(at)) {
        at++;
        if (this.#always.has(match[0])) cut(at);
      } else {
        cut(at);
        pieces.push(match[1]);
        at += match[0].length;
        done = at;
      }
    }
    cut(text.length);
    return pieces;
  }
}

const escaped = (text: string) => text.replace(/[\\\]^-]/g, "\\$&");
const asJson = (text: string) =>
  text.replace(/[\s\S]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);

/**
 * A private-use character that occurs in none of `texts`, neither itself nor as a JSON escape: such characters survive
 * trimming, changes of case and JSON. @throws ConfigError where the texts hold all 6,400
 */
export function unusedMark(texts: readonly string[]): string {
  for (let code = 0xe000; code <= 0xf8ff; code++) {
    const mark = String.fromCharCode(code);
    const taken = texts.some((text) => text.includes(mark) || text.includes(asJson(mark)));
    if (!taken) return mark;
  }
  throw new ConfigError("messages hold every private-use character, so that none is left to mark them with", {
    where: "chat template",
    expected: "one of U+E000 to U+F8FF that does not occur",
    found: "none",
  });
}

/** Marks beginnings of control tokens in texts and finds them again. */
export class Marker {
  readonly #mark: string;
  readonly #beginnings: RegExp | null;
  /** Marks set so far. */
  count = 0;

  /** @param mark what `unusedMark` found */
  constructor(tokens: Iterable<string>, mark: string) {
    this.#mark = mark;
    const firsts = new Set<string>();
    const seconds = new Set<string>();
    for (const token of tokens) {
      firsts.add(token[0]);
      seconds.add(token[1] ?? "");
    }
    const next = [...firsts, ...seconds].filter((c) => c !== "");
    const first = `[${escaped([...firsts].join(""))}]`;
    // A token of one character begins whatever follows.
    const before = seconds.has("") ? "" : `(?=$|[${escaped(next.join(""))}])`;
    this.#beginnings = firsts.size === 0 ? null : new RegExp(first + before, "g");
  }

  /** The text with marks before what could begin a control token. */
  mark(text: string): string {
    if (this.#beginnings === null) return text;
    return text.replace(this.#beginnings, (found) => {
      this.count++;
      return this.#mark + found;
    });
  }

  /** Marks all strings of a value, keys included. */
  markAll(value: unknown): unknown {
    if (typeof value === "string") return this.mark(value);
    if (Array.isArray(value)) return value.map((item) => this.markAll(item));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([k, v]) => [this.mark(k), this.markAll(v)]));
  }

  /** Takes the marks out; `inert` holds the positions, in the resulting text, that they stood before. */
  unmark(rendered: string): { text: string; inert: Set<number> } {
    const inert = new Set<number>();
    let text = "";
    // `tojson(ensure_ascii=true)` writes the marks as escapes.
    const parts = rendered.replaceAll(asJson(this.#mark), this.#mark).split(this.#mark);
    for (const [i, part] of parts.entries()) {
      if (i > 0) inert.add(text.length);
      text += part;
    }
    return { text, inert };
  }
}
