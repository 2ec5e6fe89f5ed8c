/**
 * Whether the tokens that we see are those that Lean sees. Rules of text hold only where both agree on what is comment, string
 * and code; an answer written to pull them apart (`xs[0]'"'`, `/--/`, code within an interpolated string) is refused where they
 * could differ, and so are characters that programs between us and Lean take for line ends. Ordinary proofs pass: comments in them
 * stand behind a blank.
 */
import { type Token, tokensOf } from "../../text/tokens.ts";

export interface Fault {
  readonly reason: string;
  /** Index into the text. */
  readonly index: number;
}

/** Python's `splitlines`, by which Kimina servers cut a text, ends lines at each of these; Lean does not. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is refused
const FALSE_LINE_END = /[\v\f\x1c-\x1e\x85\u2028\u2029]|\r(?!\n)/;
/** Lean reads `xs[i]'h` as a bracket with a prime: what follows such a prime must not begin a string, comment or character. */
const AFTER_PRIME = /^[\s\p{L}_(⟨']/u;
const PLAIN_CHARACTER = /^'[\p{L}\p{N}_]'$/u;

/** The first character that some program between us and Lean takes for a line end; null if there is none. */
export function falseLineEnd(text: string): Fault | null {
  const found = FALSE_LINE_END.exec(text);
  if (found === null) return null;
  const code = text.charCodeAt(found.index).toString(16).toUpperCase().padStart(4, "0");
  return { reason: `character U+${code}, which some programs take for a line end`, index: found.index };
}

/** The first place where Lean may see other tokens than we do; null if there is none. */
export function ambiguity(text: string): Fault | null {
  const lineEnd = falseLineEnd(text);
  if (lineEnd !== null) return lineEnd;
  for (const token of tokensOf(text)) {
    const reason = ambiguous(token, text);
    if (reason !== null) return { reason, index: token.start };
  }
  return null;
}

function ambiguous({ kind, text: token, start, end }: Token, text: string): string | null {
  const apart = start === 0 || /[\s([{⟨,]/.test(text[start - 1]);
  switch (kind) {
    case "comment":
      if (!apart) return "comment without a blank before it";
      return token.startsWith("/--/") ? "doc comment that begins with a slash" : null;
    case "string":
      if (token.startsWith("r")) return "raw string";
      return token.includes("{") ? "string with a brace, which may hold code" : null;
    case "character":
      return apart || PLAIN_CHARACTER.test(token) ? null : "character literal without a blank before it";
    case "symbol":
      if (token === "«" || token === "»") return "name in «» that does not end in its line";
      return token === "'" && end < text.length && !AFTER_PRIME.test(text.slice(end))
        ? "prime before something that is no name"
        : null;
    default:
      return null;
  }
}
