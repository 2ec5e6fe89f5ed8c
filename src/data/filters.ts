/**
 * Content filters for code corpora: the rules DeepSeek-Coder-V2 (section 2, after StarCoder) states for files,
 * plus a filter for minified files. Each rule can be switched off; thresholds are the paper's.
 */

import { baseName } from "./corpus.ts";

/** Which content rules apply; all are on unless set to false. */
export interface FilterSwitches {
  /** Mean line above 100 or longest line above 1000 characters; not of plain text, whose paragraphs are lines. */
  readonly lineLength: boolean;
  /** Fewer than 25% letters. */
  readonly alphabetic: boolean;
  /** An XML prolog in the first 100 characters, except in XSLT files. */
  readonly xml: boolean;
  /** HTML with less than 20% or fewer than 100 characters of visible text. */
  readonly html: boolean;
  /** JSON and YAML outside 50 to 5000 characters. */
  readonly dataSize: boolean;
  /** Minified by name (`.min.js`) or by shape (a line of 5000 characters or more with hardly any spaces). */
  readonly minified: boolean;
}

export type ContentRule = keyof FilterSwitches;

export const ALL_FILTERS: FilterSwitches = {
  lineLength: true,
  alphabetic: true,
  xml: true,
  html: true,
  dataSize: true,
  minified: true,
};

const PROSE = /^(?:txt|md|markdown|mdx|rst|adoc|org|tex)$/;

/** The first content rule that rejects the text, or null if it passes all that are switched on. */
export function rejectedBy(
  path: string,
  text: string,
  switches: FilterSwitches = ALL_FILTERS,
): ContentRule | null {
  const extension = /\.([^./]+)$/.exec(path)?.[1].toLowerCase() ?? "";
  const code = !PROSE.test(extension);
  const lines = code && (switches.lineLength || switches.minified) ? lineStatistics(text) : null;
  if (lines !== null && switches.minified && isMinified(path, text, lines.longest)) return "minified";
  if (switches.xml && !/^xslt?$/.test(extension) && /<\?xml\s+version\s*=/.test(text.slice(0, 100)))
    return "xml";
  if (switches.html && /^x?html?$/.test(extension)) {
    const visible = visibleHtmlText(text).length;
    if (visible < 100 || visible < 0.2 * text.length) return "html";
  }
  if (switches.dataSize && /^(json|ya?ml)$/.test(extension) && (text.length < 50 || text.length > 5000)) {
    return "dataSize";
  }
  if (lines !== null && switches.lineLength && (lines.mean > 100 || lines.longest > 1000))
    return "lineLength";
  if (switches.alphabetic && letterFraction(text) < 0.25) return "alphabetic";
  return null;
}

/** Mean and longest line in UTF-16 units, line ends excluded; a final empty line does not count. */
export function lineStatistics(text: string): { count: number; mean: number; longest: number } {
  let longest = 0;
  let count = 0;
  let total = 0;
  for (let start = 0; start < text.length; ) {
    let end = text.indexOf("\n", start);
    if (end < 0) end = text.length;
    const length = end > start && text.charCodeAt(end - 1) === 13 ? end - start - 1 : end - start;
    if (length > longest) longest = length;
    total += length;
    count++;
    start = end + 1;
  }
  return { count, mean: count === 0 ? 0 : total / count, longest };
}

/** Share of UTF-16 units that belong to letters of any script; 0 for an empty text. */
export function letterFraction(text: string): number {
  if (text.length === 0) return 0;
  let letters = 0;
  const letter = /\p{L}/u;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c < 128) {
      const lower = c | 32;
      if (lower >= 97 && lower <= 122) letters++;
    } else if ((c >= 0x4e00 && c <= 0x9fff) || (c >= 0xac00 && c <= 0xd7a3)) {
      letters++;
    } else {
      const point = text.codePointAt(i)!;
      const width = point > 0xffff ? 2 : 1;
      if (letter.test(String.fromCodePoint(point))) letters += width;
      i += width - 1;
    }
  }
  return letters / text.length;
}

/** The text a browser would show, roughly: without comments, scripts, styles and tags, spaces collapsed. */
export function visibleHtmlText(html: string): string {
  return html
    .replace(/<!--[\s\S]*?(?:-->|$)/g, " ")
    .replace(/<(script|style|template|noscript)\b[\s\S]*?(?:<\/\1\s*>|$)/gi, " ")
    .replace(/<[^>]*>/g, " ")
    .replace(/\s+/g, " ")
    .trim();
}

function isMinified(path: string, text: string, longest: number): boolean {
  if (/[.-]min\.(?:[cm]?js|css|html?)$/i.test(baseName(path))) return true;
  if (longest < 5000) return false;
  let spaces = 0;
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) <= 32) spaces++;
  return spaces < 0.12 * text.length;
}
