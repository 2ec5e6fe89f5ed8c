/**
 * The pattern language of `.gitignore` (gitignore(5)): comments, escapes, negation, anchoring, directory
 * patterns, `*`, `?`, `**` and bracket classes. A walker asks for each entry from the root downwards, so that
 * a file below an ignored folder stays ignored whatever later patterns say, as in git.
 */

interface IgnoreRule {
  readonly negated: boolean;
  readonly directoryOnly: boolean;
  readonly expression: RegExp;
}

/** The compiled patterns of one ignore file; `base` is its folder relative to the walk's root ("" = root). */
export interface IgnoreFile {
  readonly base: string;
  readonly rules: readonly IgnoreRule[];
}

/** Compiles the text of an ignore file found in folder `base`; lines that cannot match anything are skipped. */
export function parseIgnoreFile(text: string, base = ""): IgnoreFile {
  const rules: IgnoreRule[] = [];
  for (const line of text.replace(/^\ufeff/, "").split(/\r?\n/)) {
    const rule = parseRule(line);
    if (rule) rules.push(rule);
  }
  return { base, rules };
}

/** True if the entry `path` (relative to the root) is ignored; later files and later rules win. */
export function isIgnored(files: readonly IgnoreFile[], path: string, isDirectory: boolean): boolean {
  for (let f = files.length - 1; f >= 0; f--) {
    const { base, rules } = files[f];
    const below = base === "" ? path : path.startsWith(`${base}/`) ? path.slice(base.length + 1) : null;
    if (below === null) continue;
    for (let r = rules.length - 1; r >= 0; r--) {
      const rule = rules[r];
      if (rule.directoryOnly && !isDirectory) continue;
      if (rule.expression.test(below)) return !rule.negated;
    }
  }
  return false;
}

function parseRule(line: string): IgnoreRule | null {
  let pattern = stripTrailingSpaces(line);
  if (pattern === "" || pattern.startsWith("#")) return null;
  const negated = pattern.startsWith("!");
  if (negated) pattern = pattern.slice(1);
  const directoryOnly = pattern.endsWith("/");
  if (directoryOnly) pattern = pattern.slice(0, -1);
  const anchored = pattern.includes("/");
  if (pattern.startsWith("/")) pattern = pattern.slice(1);
  if (pattern === "") return null;
  const body = translate(pattern);
  if (body === null) return null;
  return { negated, directoryOnly, expression: new RegExp(`^${anchored ? "" : "(?:.*/)?"}${body}$`, "s") };
}

function stripTrailingSpaces(line: string): string {
  let end = line.length;
  while (end > 0 && line[end - 1] === " " && !isEscaped(line, end - 1)) end--;
  return line.slice(0, end);
}

function isEscaped(line: string, index: number): boolean {
  let slashes = 0;
  for (let i = index - 1; i >= 0 && line[i] === "\\"; i--) slashes++;
  return slashes % 2 === 1;
}

function translate(pattern: string): string | null {
  let out = "";
  for (let i = 0; i < pattern.length; i++) {
    const c = pattern[i];
    if (c === "*") {
      let end = i;
      while (pattern[end] === "*") end++;
      const stars = end - i;
      const atStart = i === 0 || pattern[i - 1] === "/";
      if (stars >= 2 && atStart && pattern[end] === "/") {
        out += "(?:.*/)?";
        i = end;
      } else if (stars >= 2 && atStart && end === pattern.length) {
        out += ".+";
        i = end - 1;
      } else {
        out += "[^/]*";
        i = end - 1;
      }
    } else if (c === "?") {
      out += "[^/]";
    } else if (c === "[") {
      const bracket = readClass(pattern, i);
      if (bracket === null) return null;
      out += bracket.source;
      i = bracket.end;
    } else if (c === "\\") {
      if (i + 1 >= pattern.length) return null;
      out += escapeRegex(pattern[++i]);
    } else {
      out += escapeRegex(c);
    }
  }
  return out;
}

const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alpha: "A-Za-z",
  digit: "0-9",
  alnum: "A-Za-z0-9",
  upper: "A-Z",
  lower: "a-z",
  space: "\\s",
  xdigit: "0-9A-Fa-f",
};

function readClass(pattern: string, start: number): { source: string; end: number } | null {
  let i = start + 1;
  const negated = pattern[i] === "!" || pattern[i] === "^";
  if (negated) i++;
  let body = "";
  for (let first = true; i < pattern.length; i++, first = false) {
    const c = pattern[i];
    if (c === "]" && !first) {
      const source = `(?!/)[${negated ? "^" : ""}${body}]`;
      try {
        new RegExp(source);
      } catch {
        // A reversed range such as [z-a] matches nothing in git as well.
        return null;
      }
      return { source, end: i };
    }
    const posix = c === "[" ? /^\[:(\w+):\]/.exec(pattern.slice(i)) : null;
    if (posix && POSIX_CLASSES[posix[1]]) {
      body += POSIX_CLASSES[posix[1]];
      i += posix[0].length - 1;
    } else if (c === "\\" && i + 1 < pattern.length) {
      body += escapeClass(pattern[++i]);
    } else {
      body += c === "-" ? "-" : escapeClass(c);
    }
  }
  return null;
}

function escapeRegex(c: string): string {
  return c.replace(/[.*+?^${}()|[\]\\/]/, "\\$&");
}

function escapeClass(c: string): string {
  return c.replace(/[\]\\^[-]/, "\\$&");
}
