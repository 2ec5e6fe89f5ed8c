/**
 * Control tokens in prompts. One that the template writes steers the model; the same characters in a message are just
 * text, or a user could forge a system message. The rendered text knows of every character who wrote it, so that a
 * control token is one only if all of it is the template's.
 */
import { FormatError } from "../tensor/errors.ts";
import { Pace, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type Str, TEMPLATE } from "./jinja/index.ts";

const SHAPE = /^<[|\uFF5C].*[|\uFF5C]>$/s;
const TAG = /^<[^\s<>]+>$/;
export const THINK_OPEN = "<think>";
export const THINK_CLOSE = "</think>";

/**
 * The control tokens of a vocabulary, with their ids: those marked special, those of the shape `<|..|>` or `<｜..｜>`,
 * and `<think>`, `</think>` if they are tokens.
 */
export function controlTokens(tokenizer: Tokenizer): ReadonlyMap<string, number> {
  return addedTokens(tokenizer, SHAPE);
}

/** These, and all other added tokens in angle brackets (`<table>`): in messages they are text. */
export function promptTokens(tokenizer: Tokenizer): ReadonlyMap<string, number> {
  return addedTokens(tokenizer, TAG);
}

function addedTokens(tokenizer: Tokenizer, shape: RegExp): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const token = tokenizer.tokenOf(id);
    if (token === undefined) continue;
    const control = tokenizer.specialTokens.has(id) || SHAPE.test(token) || shape.test(token);
    if (!control && token !== THINK_OPEN && token !== THINK_CLOSE) continue;
    // Only added tokens match whole on raw text; a byte-pair token of this shape is ordinary text.
    const ids = tokenizer.encode(token, { addSpecialTokens: false });
    if (ids.length === 1 && ids[0] === id) found.set(token, id);
  }
  return found;
}

/** Whether a text can be written without control tokens: not in a vocabulary of whole words that lacks one of its words. */
export function canSpell(tokenizer: Tokenizer, text: string): boolean {
  try {
    tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
    return true;
  } catch (error) {
    if (error instanceof FormatError) return false;
    throw error;
  }
}

/** Whether a tokenizer takes the spelling of a token for the token even in plain text. */
function isFoundInPlain(tokenizer: Tokenizer, token: string): boolean {
  try {
    return tokenizer.encode(token, { addSpecialTokens: false, parseSpecial: false }).length === 1;
  } catch (error) {
    // A vocabulary of words has no other tokens for it: it refuses the text.
    if (error instanceof FormatError) return false;
    throw error;
  }
}

const traps = new WeakMap<Tokenizer, readonly string[]>();

/**
 * A text of messages in stretches, of which none holds a token that this tokenizer would take for one in plain text:
 * files that leave off the mark of a control token (`<image>`) have such.
 */
export function plainStretches(tokenizer: Tokenizer, text: string): string[] {
  let found = traps.get(tokenizer);
  if (found === undefined) {
    found = [...promptTokens(tokenizer).keys()].filter((token) => isFoundInPlain(tokenizer, token));
    traps.set(tokenizer, found);
  }
  // Cut behind the first character, so that the halves are no token.
  const cuts = found.flatMap((token) => {
    const places: number[] = [];
    for (let at = text.indexOf(token); at >= 0; at = text.indexOf(token, at + 1)) places.push(at + 1);
    return places;
  });
  if (cuts.length === 0) return [text];
  const ends = [0, ...new Set(cuts.sort((a, b) => a - b)), text.length];
  return ends.slice(1).map((end, i) => text.slice(ends[i], end));
}

/** A stretch of plain text, or the id of a control token. */
export type Piece = string | number;

/** What a place that may begin a token costs, in the characters of `Pace`. */
const PLACE = 16;

/** Cuts rendered texts at control tokens. */
export class ControlSplitter {
  /** All first units of tokens. */
  readonly #start: RegExp;
  readonly #byFirst = new Map<string, [token: string, id: number][]>();
  /** Tokens that the tokenizer finds in any text, since nothing marks them as control tokens. */
  readonly #always: ReadonlySet<string>;

  constructor(tokenizer: Tokenizer, tokens: ReadonlyMap<string, number>) {
    for (const entry of [...tokens].sort(([a], [b]) => b.length - a.length)) {
      const list = this.#byFirst.get(entry[0][0]);
      if (list) list.push(entry);
      else this.#byFirst.set(entry[0][0], [entry]);
    }
    const firsts = [...this.#byFirst.keys()].map(
      (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
    );
    // Without any token it finds nothing.
    this.#start = new RegExp(`[${firsts.join("")}]`, "g");
    this.#always = new Set([...tokens.keys()].filter((token) => isFoundInPlain(tokenizer, token)));
  }

  /** The pieces of a rendered text: the longest token at each place that the template wrote, and text between. */
  *split(rendered: Str): Slices<Piece[]> {
    const { text } = rendered;
    const pace = new Pace();
    const pieces: Piece[] = [];
    let done = 0;
    const cut = (at: number) => {
      if (at > done) pieces.push(text.slice(done, at));
      done = at;
    };
    const start = new RegExp(this.#start);
    for (let at = 0; ; ) {
      start.lastIndex = at;
      if (!start.test(text)) break;
      at = start.lastIndex - 1;
      const matches = this.#byFirst.get(text[at])?.filter(([token]) => text.startsWith(token, at)) ?? [];
      const match = matches.find(([token]) => isTemplates(rendered, at, at + token.length));
      if (match === undefined) {
        at++;
        if (matches.some(([token]) => this.#always.has(token))) cut(at);
      } else {
        cut(at);
        pieces.push(match[1]);
        at += match[0].length;
        done = at;
      }
      if (pace.due(PLACE)) yield;
    }
    cut(text.length);
    return pieces;
  }
}

/** Whether the template wrote all characters from `from` to `to`. */
export function isTemplates({ origin }: Str, from: number, to: number): boolean {
  if (typeof origin !== "string") return origin === TEMPLATE;
  for (let at = from; at < to; at++) if (origin[at] === "1") return false;
  return true;
}
