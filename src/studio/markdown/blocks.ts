/**
 * Blocks of a text that grows: those that can no longer change are lexed once, only the rest again. Freezing leaves the
 * last two blocks open, since a list may go on after an empty line and a paragraph may become a heading.
 */
import { lex, type Token } from "./lex.ts";

/** Blocks come in groups, so that a frame compares groups and not blocks, and lays out only those that are seen. */
const GROUP = 16;

export interface Blocks {
  /** Groups of frozen blocks; all but the last are full, and the same arrays from update to update. */
  readonly frozen: readonly (readonly Token[])[];
  /** Blocks that may change. */
  readonly open: readonly Token[];
}

export class GrowingBlocks {
  #groups: (readonly Token[])[] = [];
  #frozenLength = 0;
  #text = "";

  /** @param text of before, longer by what came; any other text begins anew */
  update(text: string): Blocks {
    if (!text.startsWith(this.#text)) {
      this.#groups = [];
      this.#frozenLength = 0;
    }
    this.#text = text;
    let open = lex(text.slice(this.#frozenLength));
    const solid = open.flatMap((token, i) => (token.type === "space" ? [] : [i]));
    if (solid.length > 2) {
      const keep = solid[solid.length - 2];
      const frozen = open.slice(0, keep);
      const length = frozen.reduce((sum, { raw }) => sum + raw.length, 0);
      // The lexer may leave signs out of what it says it read: then nothing is frozen.
      if (text.slice(this.#frozenLength).startsWith(frozen.map(({ raw }) => raw).join(""))) {
        this.#frozenLength += length;
        this.#freeze(frozen);
        open = open.slice(keep);
      }
    }
    return { frozen: [...this.#groups], open };
  }

  #freeze(tokens: readonly Token[]): void {
    const last = this.#groups.at(-1);
    const rest =
      last !== undefined && last.length < GROUP ? [...this.#groups.pop()!, ...tokens] : [...tokens];
    for (let at = 0; at < rest.length; at += GROUP) this.#groups.push(rest.slice(at, at + GROUP));
  }
}

/** Blocks of a whole text in groups. */
export function inGroups(tokens: readonly Token[]): readonly (readonly Token[])[] {
  const groups: (readonly Token[])[] = [];
  for (let at = 0; at < tokens.length; at += GROUP) groups.push(tokens.slice(at, at + GROUP));
  return groups;
}
