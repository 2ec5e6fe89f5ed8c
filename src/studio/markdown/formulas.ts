/** Formulas in Markdown: `$$..$$`, `\[..\]`, `$..$`, `\(..\)`. They come before escapes, which would take `\(` apart. */

export interface FormulaToken {
  readonly type: "formula";
  readonly raw: string;
  readonly text: string;
  readonly display: boolean;
}

/** Longest formula: what lies farther apart is no pair of signs. */
const LONGEST = 4000;

const formula = (raw: string, text: string, display: boolean): FormulaToken | undefined =>
  text.trim() === "" ? undefined : { type: "formula", raw, text: text.trim(), display };

/** What `close` ends, at the beginning of `src` after `open`. */
function between(src: string, open: string, close: string): readonly [raw: string, text: string] | null {
  if (!src.startsWith(open)) return null;
  const window = src.slice(0, LONGEST);
  let end = open.length - 1;
  do {
    end = window.indexOf(close, end + 1);
    // A dollar that is escaped ends nothing.
  } while (end > 0 && close[0] === "$" && window[end - 1] === "\\");
  return end < open.length ? null : [src.slice(0, end + close.length), src.slice(open.length, end)];
}

function displayed(src: string): FormulaToken | undefined {
  const found = between(src, "$$", "$$") ?? between(src, "\\[", "\\]");
  return found === null || /\n[ \t]*\n/.test(found[1]) ? undefined : formula(...found, true);
}

/** Of a block: nothing but the formula stands in its lines. */
function block(src: string): FormulaToken | undefined {
  const indent = /^ {0,3}/.exec(src)![0];
  const found = displayed(src.slice(indent.length, indent.length + LONGEST));
  if (!found) return undefined;
  const rest = /^[ \t]*(?:\n+|$)/.exec(src.slice(indent.length + found.raw.length));
  return rest === null ? undefined : { ...found, raw: indent + found.raw + rest[0] };
}

function inline(src: string): FormulaToken | undefined {
  const shown = displayed(src);
  if (shown) return shown;
  const round = between(src, "\\(", "\\)");
  if (round !== null) return formula(...round, false);
  const dollars = between(src, "$", "$");
  if (dollars === null) return undefined;
  const [raw, text] = dollars;
  // Two prices in one sentence are no formula: spaces inside the signs, or a digit behind them.
  if (/^\s|\s$|\n/.test(text) || /^\d/.test(src.slice(raw.length))) return undefined;
  return formula(raw, text, false);
}

export const formulaTokens = { block, inline };

/** Where the next one may begin; signs that begin with a backslash stop the lexer by themselves. */
export const formulaStarts = {
  block: (src: string): number | undefined => {
    const found = /\n {0,3}(?:\$\$|\\\[)/.exec(src.slice(0, LONGEST));
    return found === null ? undefined : found.index + 1;
  },
  inline: (src: string): number | undefined => {
    const found = src.indexOf("$");
    return found < 0 ? undefined : found;
  },
};
