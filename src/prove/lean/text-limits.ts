/** What is refused before Lean sees it, because Lean would end instead of answering, and a restart costs seconds. */

import { utf8Length } from "../../text/utf8-length.ts";

/** Most UTF-8 bytes of an answer or a statement. */
export const MOST_BYTES = 64 * 1024;
/** Most UTF-8 bytes of what stands before them, and of a file that is looked through: the longest of Mathlib has a quarter. */
export const MOST_FILE_BYTES = 1024 * 1024;
/** Most brackets open at a time: from about 8,000 on Lean's parser overflows its stack. */
export const MOST_DEPTH = 1000;

const OPENING = "([{⟨⟦";
const CLOSING = ")]}⟩⟧";

/** Why the text is refused and at which index; null if it is not. Brackets in comments and strings count too. */
export function textBreach(
  text: string,
  most = MOST_BYTES,
): { readonly reason: string; readonly index: number } | null {
  const bytes = utf8Length(text);
  if (bytes > most) {
    return { reason: `the text is too long: ${bytes} bytes, at most ${most}`, index: 0 };
  }
  const broken = /\p{Surrogate}/u.exec(text);
  if (broken)
    return { reason: "the text holds half a character (an unpaired surrogate)", index: broken.index };
  const zero = text.indexOf("\0");
  if (zero >= 0) return { reason: "the text holds a character of code 0", index: zero };
  let depth = 0;
  for (let i = 0; i < text.length; i++) {
    if (OPENING.includes(text[i])) depth++;
    else if (CLOSING.includes(text[i]) && depth > 0) depth--;
    if (depth > MOST_DEPTH) {
      return { reason: `brackets are nested too deeply: more than ${MOST_DEPTH}`, index: i };
    }
  }
  return null;
}
