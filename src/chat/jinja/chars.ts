/** What Python's `str` knows of characters: white space, line ends, classes, cases. */
import { unsupported } from "./errors.ts";

/** Inside a character class of a regular expression. */
export const SPACE = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const SPACE_ALONE = new RegExp(`^[${SPACE}]$`);
// biome-ignore lint/suspicious/noControlCharactersInRegex: they end lines
export const LINE_ENDS = /\r\n|[\n-\r\x1c-\x1e\x85\u2028\u2029]/g;

const ASCII_SPACES = new Set([9, 10, 11, 12, 13, 28, 29, 30, 31, 32]);

/** Whether the UTF-16 unit at `at` is white space. */
export function isSpaceAt(text: string, at: number): boolean {
  const unit = text.charCodeAt(at);
  return unit < 128 ? ASCII_SPACES.has(unit) : SPACE_ALONE.test(text[at]);
}

/** Where the text without white space around it begins and ends. */
export function stripBounds(text: string, left: boolean, right: boolean): [from: number, to: number] {
  let [from, to] = [0, text.length];
  if (left) while (from < to && isSpaceAt(text, from)) from++;
  if (right) while (to > from && isSpaceAt(text, to - 1)) to--;
  return [from, to];
}

export function stripped(text: string): string {
  return text.slice(...stripBounds(text, true, true));
}

const SUPERSCRIPTS =
  "\\u{b2}\\u{b3}\\u{b9}\\u{1369}-\\u{1371}\\u{19da}\\u{2070}\\u{2074}-\\u{2079}\\u{2080}-\\u{2089}\\u{2460}-\\u{2468}" +
  "\\u{2474}-\\u{247c}\\u{2488}-\\u{2490}\\u{24ea}\\u{24f5}-\\u{24fd}\\u{24ff}\\u{2776}-\\u{277e}\\u{2780}-\\u{2788}" +
  "\\u{278a}-\\u{2792}\\u{10a40}-\\u{10a43}\\u{10e60}-\\u{10e68}\\u{11052}-\\u{1105a}\\u{1f100}-\\u{1f10a}";

const every = (pattern: string) => {
  const expression = new RegExp(`^(?:${pattern})+$`, "u");
  return (text: string) => expression.test(text);
};

export const isDecimal = every("\\p{Nd}");
export const isDigit = every(`[\\p{Nd}${SUPERSCRIPTS}]`);
export const isAlpha = every("\\p{L}");
export const isAlnum = every("[\\p{L}\\p{N}]");
export const isSpace = every(`[${SPACE}]`);
export const isIdentifier = (text: string) => /^[\p{XID_Start}_]\p{XID_Continue}*$/u.test(text);
export const isPrintable = (text: string) => !NOT_PRINTABLE.test(text);
/** What `repr` escapes. */
const NOT_PRINTABLE = /[\p{C}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u;

/** Words as the regular expression `\w+` finds them. */
export const WORDS = /[\p{L}\p{N}_]+/gu;

export function isNumeric(text: string): boolean {
  // Some hundred ideographs are numbers.
  if (/\p{Script=Han}/u.test(text)) unsupported("isnumeric() of ideographs");
  return /^\p{N}+$/u.test(text);
}

const LOWER = /\p{Lowercase}/u;
const UPPER = /\p{Uppercase}/u;
const TITLE = /\p{Lt}/u;

export const isLower = (text: string) => LOWER.test(text) && !UPPER.test(text) && !TITLE.test(text);
export const isUpper = (text: string) => UPPER.test(text) && !LOWER.test(text) && !TITLE.test(text);

export function isTitle(text: string): boolean {
  let [cased, any] = [false, false];
  for (const c of text) {
    if (UPPER.test(c) || TITLE.test(c)) {
      if (cased) return false;
      cased = any = true;
    } else if (LOWER.test(c)) {
      if (!cased) return false;
      any = true;
    } else cased = false;
  }
  return any;
}

/** The form of a character that begins a word. */
export function titleCase(char: string): string {
  const upper = char.toUpperCase();
  const code = char.codePointAt(0) as number;
  if (code < 0xdf) return upper;
  if (code >= 0x10d0 && code <= 0x10ff) return char;
  if (code >= 0x1c4 && code <= 0x1cc) return "\u01c5\u01c8\u01cb"[Math.floor((code - 0x1c4) / 3)];
  if (code >= 0x1f1 && code <= 0x1f3) return "\u01f2";
  if (code >= 0x1f80 && code <= 0x1fff && upper.endsWith("\u0399") && upper.length > 1) {
    const small = `${upper.slice(0, -1)}\u0345`;
    return small.includes("\u0342") ? small : small.normalize("NFC");
  }
  const letters = upper.length > 1 && /^\p{Lu}\p{Lu}+$/u.test(upper);
  return letters ? upper[0] + upper.slice(1).toLowerCase() : upper;
}

export function capitalize(text: string): string {
  const [first = ""] = text;
  return titleCase(first) + text.slice(first.length).toLowerCase();
}

export function title(text: string): string {
  let cased = false;
  let out = "";
  for (const c of text) {
    out += cased ? c.toLowerCase() : titleCase(c);
    cased = LOWER.test(c) || UPPER.test(c) || TITLE.test(c);
  }
  return out;
}

export function swapCase(text: string): string {
  let out = "";
  for (const c of text) out += UPPER.test(c) ? c.toLowerCase() : LOWER.test(c) ? c.toUpperCase() : c;
  return out;
}

export function casefold(text: string): string {
  if (/[^\0-\x7f]/.test(text)) unsupported("casefold() beyond ASCII");
  return text.toLowerCase();
}
