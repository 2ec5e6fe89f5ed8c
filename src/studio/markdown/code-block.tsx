/** A block of code: its language, a button that copies it, and colors once it is whole. */
import type { ShjLanguageData } from "@speed-highlight/core";
import { memo } from "preact/compat";
import { useEffect, useState } from "preact/hooks";
import { notify } from "../state/notices.ts";

/** Larger blocks stay without colors. */
const LONGEST = 60_000;

type Piece = readonly [text: string, kind: string | null];

/** Names that models give to languages, and the files that know them. */
const NAMES: Readonly<Record<string, string>> = {
  javascript: "js",
  jsx: "js",
  mjs: "js",
  typescript: "ts",
  tsx: "ts",
  python: "py",
  python3: "py",
  shell: "bash",
  sh: "bash",
  zsh: "bash",
  console: "bash",
  "c++": "c",
  cpp: "c",
  h: "c",
  rust: "rs",
  golang: "go",
  yml: "yaml",
  markdown: "md",
  svg: "xml",
  dockerfile: "docker",
  makefile: "make",
  perl: "pl",
  lean4: "lean",
};

type Language = { readonly default: unknown };
const languages: Readonly<Record<string, () => Promise<Language>>> = {
  js: () => import("@speed-highlight/core/languages/js.js"),
  ts: () => import("@speed-highlight/core/languages/ts.js"),
  py: () => import("@speed-highlight/core/languages/py.js"),
  bash: () => import("@speed-highlight/core/languages/bash.js"),
  c: () => import("@speed-highlight/core/languages/c.js"),
  css: () => import("@speed-highlight/core/languages/css.js"),
  diff: () => import("@speed-highlight/core/languages/diff.js"),
  go: () => import("@speed-highlight/core/languages/go.js"),
  html: () => import("@speed-highlight/core/languages/html.js"),
  java: () => import("@speed-highlight/core/languages/java.js"),
  json: () => import("@speed-highlight/core/languages/json.js"),
  rs: () => import("@speed-highlight/core/languages/rs.js"),
  sql: () => import("@speed-highlight/core/languages/sql.js"),
  toml: () => import("@speed-highlight/core/languages/toml.js"),
  xml: () => import("@speed-highlight/core/languages/xml.js"),
  yaml: () => import("@speed-highlight/core/languages/yaml.js"),
  lean: () => import("./lean-language.ts"),
};

async function coloredPieces(code: string, language: string): Promise<readonly Piece[] | null> {
  const name = NAMES[language] ?? language;
  if (!Object.hasOwn(languages, name) || code.length > LONGEST) return null;
  const [{ tokenizeWith }, { default: grammar }] = await Promise.all([
    import("@speed-highlight/core/tokenize"),
    languages[name](),
  ]);
  const pieces: Piece[] = [];
  // Languages inside of this one stay plain.
  tokenizeWith(code, grammar as ShjLanguageData, (text, kind) => pieces.push([text, kind ?? null]));
  return pieces;
}

export async function copyText(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    notify(`${what} is copied.`);
  } catch {
    notify("The browser did not allow copying.");
  }
}

interface CodeBlockProps {
  readonly code: string;
  /** As the fence says it. */
  readonly language: string;
  /** Whether more of it may come: then without colors, since every piece would color it again. */
  readonly growing: boolean;
}

export const CodeBlock = memo(({ code, language, growing }: CodeBlockProps) => {
  const [pieces, setPieces] = useState<readonly Piece[] | null>(null);
  const name = /^[\w+#.-]{1,24}/.exec(language)?.[0].toLowerCase() ?? "";
  useEffect(() => {
    let current = true;
    setPieces(null);
    if (!growing)
      coloredPieces(code, name).then(
        (found) => current && setPieces(found),
        () => {},
      );
    return () => {
      current = false;
    };
  }, [code, name, growing]);
  return (
    <figure class="code">
      <figcaption>
        <span>{name || "text"}</span>
        <button type="button" class="quiet" onClick={() => copyText(code, "The code")}>
          Copy
        </button>
      </figcaption>
      <pre tabIndex={0} dir="ltr">
        <code>
          {pieces === null
            ? code
            : pieces.map(([text, kind], i) =>
                kind === null ? (
                  text
                ) : (
                  <span key={i} class={`code-${kind}`}>
                    {text}
                  </span>
                ),
              )}
        </code>
      </pre>
    </figure>
  );
});
