/** What stands before a raw text. */
import type { Tokenizer } from "./tokenizer.ts";

/**
 * `ids` of a text behind `opening`, by default what the tokenizer itself puts before one. A text that begins with BOS
 * gets no second one.
 */
export function withOpening(
  tokenizer: Tokenizer,
  ids: number[],
  opening: readonly number[] = tokenizer.prefixIds,
): number[] {
  const { bos } = tokenizer.specialIds;
  const opened = bos !== undefined && ids[0] === bos && opening.includes(bos);
  return opened ? ids : [...opening, ...ids];
}
