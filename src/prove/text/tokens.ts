/**
 * Splits Lean 4 source into tokens without elaborating it (names as in Lean's own `isIdFirst` and `isIdRest`, nested comments,
 * raw strings). Notation that a file declares is unknown here, so a token is a proposal: what a text means decides Lean.
 */

export type TokenKind = "comment" | "string" | "character" | "number" | "name" | "symbol";

export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  /** Indices into the source, `end` exclusive. */
  readonly start: number;
  readonly end: number;
}

/** Greek without λ, Π and Σ, letterlike symbols, script and double-struck letters, accented Latin. */
const LETTER =
  "A-Za-z_\\u00c0-\\u00d6\\u00d8-\\u00f6\\u00f8-\\u017f\\u0391-\\u039f\\u03a1\\u03a2\\u03a4-\\u03a9\\u03b1-\\u03ba\\u03bc-\\u03c9\\u03ca-\\u03fb\\u1f00-\\u1ffe\\u2100-\\u214f\\u{1d49c}-\\u{1d59f}";
const SUBSCRIPT = "\\u2080-\\u2089\\u2090-\\u209c\\u1d62-\\u1d6a\\u2c7c";
const PART = `(?:[${LETTER}][${LETTER}${SUBSCRIPT}0-9'!?]*|«[^»\\n]*»)`;

const BLANK = /\s+/y;
const LINE_COMMENT = /--[^\n]*/y;
const RAW_STRING = /r(#*)"/y;
const CHARACTER = /'(?:[^'\\\n]|\\(?:x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|.))'/uy;
const NUMBER = /0[xX][0-9A-Fa-f]+|0[bB][01]+|0[oO][0-7]+|[0-9]+(?:\.(?!\.)[0-9]*)?(?:[eE][+-]?[0-9]+)?/y;
/** A name with its fields, `h.left`, `xs.1`, or a constructor by its dot, `.inl`. */
const NAME = new RegExp(`\\.?${PART}(?:\\.(?:${PART}|[0-9]+))*`, "uy");
/** Of ASCII, the longest first; every other character that is no letter stands alone. */
const SYMBOL =
  /@\[|<->|<;>|<\|>|<\$>|>>=|>>>|<<<|&&&|\|\|\||\^\^\^|\/\/|\.\.\.|∃!|\.\.|:=|=>|->|<-|<=|>=|!=|==|\/\\|\\\/|\|\||&&|\+\+|::|\|>\.|\|>|<\||\^\^|[\s\S]/uy;

/** The tokens of a source, comments included, blanks left out. Takes time in proportion to its length. */
export function* tokensOf(source: string): Generator<Token> {
  let at = 0;
  const match = (pattern: RegExp): number => {
    pattern.lastIndex = at;
    return pattern.test(source) ? pattern.lastIndex : -1;
  };
  while (at < source.length) {
    const blank = match(BLANK);
    if (blank > 0) {
      at = blank;
      continue;
    }
    const [kind, end] = next(source, at, match);
    yield { kind, text: source.slice(at, end), start: at, end };
    at = end;
  }
}

function next(source: string, at: number, match: (pattern: RegExp) => number): [TokenKind, number] {
  const two = source.slice(at, at + 2);
  if (two === "/-") return ["comment", endOfBlockComment(source, at)];
  if (two === "--") return ["comment", match(LINE_COMMENT)];
  const raw = match(RAW_STRING);
  if (raw > 0) {
    const close = source.indexOf(`"${"#".repeat(raw - at - 2)}`, raw);
    return ["string", close < 0 ? source.length : close + raw - at - 1];
  }
  if (source[at] === '"') return ["string", endOfString(source, at)];
  for (const [kind, pattern] of [
    ["character", CHARACTER],
    ["number", NUMBER],
    ["name", NAME],
  ] as const) {
    const end = match(pattern);
    if (end > 0) return [kind, end];
  }
  return ["symbol", match(SYMBOL)];
}

const STRING_MARK = /["\\]/g;

/** One that is never closed goes to the end. */
function endOfString(source: string, at: number): number {
  STRING_MARK.lastIndex = at + 1;
  for (let mark = STRING_MARK.exec(source); mark !== null; mark = STRING_MARK.exec(source)) {
    if (mark[0] === '"') return STRING_MARK.lastIndex;
    STRING_MARK.lastIndex++;
  }
  return source.length;
}

const COMMENT_MARK = /\/-|-\//g;

/** Comments nest; one that is never closed goes to the end. */
function endOfBlockComment(source: string, at: number): number {
  COMMENT_MARK.lastIndex = at + 2;
  for (let depth = 1; depth > 0; ) {
    const mark = COMMENT_MARK.exec(source);
    if (mark === null) return source.length;
    depth += mark[0] === "/-" ? 1 : -1;
  }
  return COMMENT_MARK.lastIndex;
}

/** Tokens that mean something to Lean's elaborator. */
export const codeTokens = (source: string): Token[] =>
  [...tokensOf(source)].filter(({ kind }) => kind !== "comment");

const CLOSES: Readonly<Record<string, string>> = {
  "(": ")",
  "[": "]",
  "@[": "]",
  "{": "}",
  "⟨": "⟩",
  "⦃": "⦄",
};

/** The bracket that closes one which opens; undefined for any other token. */
export const closing = ({ kind, text }: Token): string | undefined =>
  kind === "symbol" && Object.hasOwn(CLOSES, text) ? CLOSES[text] : undefined;

/** +1 for a bracket that opens, -1 for one that closes, 0 otherwise. */
export const nesting = (token: Token): number =>
  token.kind !== "symbol" ? 0 : closing(token) !== undefined ? 1 : /^[)\]}⟩⦄]$/.test(token.text) ? -1 : 0;

/** Index behind the bracket that closes the one at `at`; the number of tokens if none does. */
export function endOfGroup(tokens: readonly Token[], at: number): number {
  let depth = 0;
  for (let i = at; i < tokens.length; i++) {
    depth += nesting(tokens[i]);
    if (depth === 0) return i + 1;
  }
  return tokens.length;
}

/**
 * The text without its comments: each becomes what keeps the code around it as it was, a line comment nothing, a block comment
 * its line ends or one blank. Lines that held only comments go, and blanks at line ends.
 */
export function withoutComments(source: string): string {
  const pieces: string[] = [];
  let at = 0;
  for (const { kind, text, start, end } of tokensOf(source)) {
    if (kind !== "comment") continue;
    pieces.push(source.slice(at, start), text.startsWith("--") ? "" : text.replace(/[^\n]+/g, "") || " ");
    at = end;
  }
  if (pieces.length === 0) return source;
  return pieces
    .concat(source.slice(at))
    .join("")
    .replace(/[ \t]+$/gm, "")
    .replace(/\n{2,}/g, "\n")
    .replace(/^\n/, "");
}
