/**
 * Finds the `sorry`s of a Lean file and puts proofs in their places. A proposal by text: which of them are holes, and what is
 * to be proved there, decides Lean.
 */
import type { LeanPosition } from "../lean/session.ts";
import { TextPositions } from "./positions.ts";
import { nesting, type Token, tokensOf } from "./tokens.ts";

/** A command of a file with its doc comment, attributes and modifiers. */
export interface Declaration {
  /** `theorem`, `def`, `instance`, .. */
  readonly keyword: string;
  /** As it is written; empty for one without a name. */
  readonly name: string;
  /** Indices into the source, `end` exclusive, without blanks and comments behind it. */
  readonly start: number;
  readonly end: number;
}

export interface Sorry {
  readonly start: LeanPosition;
  readonly end: LeanPosition;
  /** Null if it stands in no declaration, as in `#check sorry`. */
  readonly declaration: Declaration | null;
}

/** They begin a declaration wherever they stand outside brackets: no term or tactic holds them. */
const DECLARATIONS = new Set(
  "theorem lemma def abbrev example instance axiom opaque inductive structure class".split(" "),
);
const MODIFIERS = new Set(
  "private protected noncomputable unsafe partial nonrec public meta scoped local".split(" "),
);
/** They end the declaration before them if they begin a line. */
const COMMANDS = new Set(
  [
    "import open namespace section end variable variables universe mutual attribute set_option include omit export",
    "macro macro_rules syntax notation infix infixl infixr prefix postfix elab elab_rules initialize deriving",
    "run_cmd add_decl_doc declare_syntax_cat simproc run_meta run_elab #",
  ]
    .join(" ")
    .split(" "),
);

/** The declarations of a file in its order. */
export function declarationsOf(source: string): Declaration[] {
  return scan(source).declarations;
}

/** The `sorry`s outside comments and strings, in the order of the file. */
export function findSorries(source: string): Sorry[] {
  const { declarations, sorries } = scan(source);
  const positions = new TextPositions(source);
  let next = 0;
  return sorries.map(({ start, end }) => {
    while (next < declarations.length && declarations[next].end <= start) next++;
    const around = declarations[next];
    return {
      start: positions.at(start),
      end: positions.at(end),
      declaration: around !== undefined && around.start <= start ? around : null,
    };
  });
}

function scan(source: string): { declarations: Declaration[]; sorries: Token[] } {
  const declarations: Declaration[] = [];
  const sorries: Token[] = [];
  let open: { keyword: string; name: string; start: number } | null = null;
  /** Where the doc comment, attributes and modifiers before this token begin, if there are any. */
  let lead: number | null = null;
  /** Brackets around the tokens of an attribute, which belong to the lead. */
  let attribute = 0;
  let depth = 0;
  let before: Token | null = null;
  let last = 0;
  const close = () => {
    if (open !== null) declarations.push({ ...open, end: last });
    open = null;
    depth = 0;
  };
  for (const token of tokensOf(source)) {
    if (attribute > 0) {
      attribute += nesting(token);
      continue;
    }
    const leads =
      token.kind === "comment"
        ? token.text.startsWith("/--")
        : MODIFIERS.has(token.text) || (token.text === "@[" && ++attribute > 0);
    if (leads && (lead !== null || atLineStart(source, token))) lead ??= token.start;
    if (leads || token.kind === "comment") continue;
    const word = token.kind === "name" || token.text === "#" ? token.text : "";
    // At the margin a bracket that was never closed hides nothing.
    const atMargin = atLineStart(source, token, 0) || (lead !== null && atLineStart(source, lead, 0));
    if (DECLARATIONS.has(word) && (depth === 0 || atMargin) && !follows(before)) {
      close();
      open = { keyword: word, name: "", start: lead ?? token.start };
    } else if (COMMANDS.has(word) && atMargin) {
      close();
    } else if (open !== null && open.name === "" && before?.text === open.keyword && token.kind === "name") {
      open.name = token.text;
    }
    depth = Math.max(depth + nesting(token), 0);
    if (word === "sorry") sorries.push(token);
    lead = null;
    last = token.end;
    before = token;
  }
  close();
  return { declarations, sorries };
}

/** Words behind which `instance` and `class` name no new declaration. */
const follows = (before: Token | null): boolean =>
  before !== null && (before.text === "deriving" || before.text === "class");

/** Whether only blanks stand before a place on its line, at most `most` of them. */
function atLineStart(source: string, place: Token | number, most = 64): boolean {
  const start = typeof place === "number" ? place : place.start;
  let at = start;
  while (at > 0 && start - at <= most && source[at - 1] === " ") at--;
  return start - at <= most && (at === 0 || source[at - 1] === "\n");
}

/**
 * A proof indented so that it may stand at `column`: its first line without blanks, the others moved as one. It ends before
 * the first line that is indented less than the first one. Lines inside strings stay as they are.
 */
export function indentProof(proof: string, column: number): string {
  const text = proof.replaceAll("\r\n", "\n").replace(/^(?:[ \t]*\n)+/, "");
  const lines = text.split("\n");
  const base = indentOf(lines[0]);
  const inString = linesInStrings(text);
  const moved: string[] = [lines[0].slice(base)];
  for (let i = 1; i < lines.length; i++) {
    if (inString.has(i)) moved.push(lines[i]);
    else if (lines[i].trim() === "") moved.push("");
    else if (indentOf(lines[i]) < base) break;
    else moved.push(" ".repeat(column + indentOf(lines[i]) - base) + lines[i].trimStart());
  }
  return moved.join("\n").trimEnd();
}

const indentOf = (line: string) => line.length - line.trimStart().length;

/** Numbers of lines (from 0) that begin inside a string. */
function linesInStrings(text: string): Set<number> {
  const found = new Set<number>();
  let line = 0;
  let at = 0;
  for (const { kind, start, end } of tokensOf(text)) {
    for (; at < start; at++) if (text[at] === "\n") line++;
    for (; at < end; at++) {
      if (text[at] !== "\n") continue;
      line++;
      if (kind === "string") found.add(line);
    }
  }
  return found;
}

const TERM = /^by[ \t]*\r?\n/;

/** A proof for a term: behind its `by` if it is one line, else below, two blanks further in than the line. */
function termProof(source: string, index: number, proof: string): string {
  const line = source.slice(source.lastIndexOf("\n", index - 1) + 1, index);
  const column = indentOf(line) + 2;
  const body = indentProof(proof.replace(TERM, ""), column);
  return body.includes("\n") ? `by\n${" ".repeat(column)}${body}` : `by ${body}`;
}

/**
 * The source with proofs in place of its `sorry`s, one for each, null to leave it; line ends as in the source. The text around
 * stays byte for byte. A proof for a term position brings its own `by` as its first line.
 */
export function fillSorries(
  source: string,
  sorries: readonly Pick<Sorry, "start" | "end">[],
  proofs: readonly (string | null)[],
): string {
  const lineEnd = source.includes("\r\n") ? "\r\n" : "\n";
  const pieces: string[] = [];
  let at = 0;
  for (const [i, { start, end }] of sorries.entries()) {
    const proof = proofs[i] ?? null;
    if (proof === null) continue;
    const placed = TERM.test(proof)
      ? termProof(source, start.index, proof)
      : indentProof(proof, start.column);
    pieces.push(source.slice(at, start.index), placed.replaceAll("\n", lineEnd));
    at = end.index;
  }
  return pieces.concat(source.slice(at)).join("");
}
