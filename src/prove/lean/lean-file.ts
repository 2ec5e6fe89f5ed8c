/** The head of a Lean file: its imports, which a verifier takes apart from the text. */
import { tokensOf } from "../text/tokens.ts";

export interface LeanFile {
  readonly imports: readonly string[];
  /** The text with blanks in place of the imports, so that all positions stay. */
  readonly code: string;
}

/** Marks of the module system that may stand before `import`; they change nothing for what is proved. */
const MARKS = new Set(["module", "prelude", "public", "meta", "private"]);

/** Takes the imports from the head of a file. */
export function readLeanFile(text: string): LeanFile {
  const imports: string[] = [];
  let end = 0;
  let expectName = false;
  for (const token of tokensOf(text)) {
    if (token.kind === "comment") continue;
    if (expectName) {
      // `import all X` shows what X keeps to itself.
      if (token.text === "all") continue;
      imports.push(token.text);
      expectName = false;
    } else if (token.text === "import") expectName = true;
    else if (!MARKS.has(token.text)) break;
    end = token.end;
  }
  if (imports.length === 0) return { imports, code: text };
  const head = text.slice(0, end).replace(/[^\n\r]/g, " ");
  return { imports, code: head + text.slice(end) };
}
