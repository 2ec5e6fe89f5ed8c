/**
 * Text of a model as a tree of tokens, by the lexer of `marked`. What comes is untrusted: nesting is cut before lexing,
 * and what is quadratic in the lexer has a budget, beyond which signs are text. Nothing here makes HTML.
 */
import { getDefaults, Lexer, type MarkedOptions, type Token, Tokenizer, type Tokens } from "marked";
import { formulaStarts, formulaTokens } from "./formulas.ts";

/** Quotes and lists inside one another. */
export const DEEPEST = 32;
/** Longer texts are shown as they are: lexing one takes longer than a frame may. */
export const LONGEST = 200_000;
/** Characters that are looked at again, over all tokens: each budget is some 100 ms. */
const BLOCK_BUDGET = 60_000_000;
const INLINE_BUDGET = 20_000_000;
/** What a search for a closing sign costs beside a look. */
const SEARCH = 8;
/** Emphasis, links and code inside one another. */
const DEEPEST_INLINE = 8;
/** Items of lists in one text. */
const MOST_ITEMS = 5000;
/** Columns of a table, and cells: beyond that it is shown as it was written. */
const MOST_COLUMNS = 64;
const MOST_CELLS = 5000;

const MARKER = /[-+*](?=[ \t])|\d{1,9}[.)](?=[ \t])|>/y;

/** Where a line's markers of quotes and lists beyond the deepest begin and end; null for nearly all lines. */
function surplus(line: string): readonly [from: number, to: number] | null {
  let depth = 0;
  let at = 0;
  let from = -1;
  for (;;) {
    while (line[at] === " " || line[at] === "\t") at++;
    MARKER.lastIndex = at;
    const found = MARKER.exec(line);
    if (!found) break;
    if (depth++ === DEEPEST) from = at;
    at += found[0].length;
  }
  return from < 0 ? null : [from, at];
}

/** The text without nesting beyond the deepest: markers that are too many are left out, indents of lists are cut. */
export function cutNesting(text: string): string {
  return text
    .split("\n")
    .map((line) => {
      const cut = surplus(line);
      const kept = cut === null ? line : line.slice(0, cut[0]) + line.slice(cut[1]);
      return kept.replace(/^[ \t]{65,}(?=[-+*>]|\d{1,9}[.)])/, " ".repeat(2 * DEEPEST));
    })
    .join("\n");
}

class TooLong extends Error {}

/**
 * Gives up on texts that take too long. The lexer looks at the rest of a text again for each token, so that characters
 * times tokens is what it costs; signs of emphasis that find no end cost that much again.
 */
class BoundedTokenizer extends Tokenizer {
  #blocks = BLOCK_BUDGET;
  #inline = INLINE_BUDGET;
  #depth = 0;

  // The first that is asked of each block.
  override space(src: string) {
    this.#blocks -= src.length;
    if (this.#blocks < 0) throw new TooLong();
    return super.space(src);
  }

  // The first that is asked of each part of a line.
  override escape(src: string) {
    this.#spend(src.length);
    return super.escape(src);
  }

  #spend(characters: number): void {
    this.#inline -= characters;
    if (this.#inline < 0) throw new TooLong();
  }

  #within<T>(src: string, run: () => T): T | undefined {
    if (this.#depth >= DEEPEST_INLINE) return undefined;
    this.#spend(SEARCH * src.length);
    this.#depth++;
    try {
      return run();
    } finally {
      this.#depth--;
    }
  }

  override emStrong(src: string, masked: string, previous?: string) {
    return /^[*_]/.test(src) ? this.#within(src, () => super.emStrong(src, masked, previous)) : undefined;
  }

  override del(src: string, masked: string, previous?: string) {
    return src.startsWith("~") ? this.#within(src, () => super.del(src, masked, previous)) : undefined;
  }

  override link(src: string) {
    return /^!?\[/.test(src) ? this.#within(src, () => super.link(src)) : undefined;
  }

  override codespan(src: string) {
    return src.startsWith("`") ? this.#within(src, () => super.codespan(src)) : undefined;
  }

  override table(src: string) {
    const head = src.slice(0, src.indexOf("\n") >>> 0);
    if (head.split("|").length > MOST_COLUMNS) return undefined;
    const found = super.table(src);
    return found && found.header.length * found.rows.length > MOST_CELLS ? undefined : found;
  }
}

const defaults = getDefaults();

const options = (): MarkedOptions =>
  ({
    ...defaults,
    tokenizer: new BoundedTokenizer(),
    extensions: {
      renderers: {},
      childTokens: {},
      block: [formulaTokens.block],
      inline: [formulaTokens.inline],
      startBlock: [formulaStarts.block],
      startInline: [formulaStarts.inline],
    },
  }) as MarkedOptions;

const asWritten = (text: string): Token[] => [{ type: "raw", raw: text, text }];

/** Blocks of a text. What cannot be lexed is one block of type `raw`. */
export function lex(text: string): readonly Token[] {
  if (text.length > LONGEST) return asWritten(text);
  const items = text.match(/^[ \t>]*(?:[-+*]|\d{1,9}[.)])[ \t]/gm);
  if (items !== null && items.length > MOST_ITEMS) return asWritten(text);
  try {
    return [...new Lexer(options()).lex(cutNesting(text))];
  } catch {
    return asWritten(text);
  }
}

export type { Token, Tokens };
