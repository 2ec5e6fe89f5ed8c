/** Lean for the editor: its words, comments and symbols, in the colors that code has everywhere. */
import { HighlightStyle, LanguageSupport, StreamLanguage, syntaxHighlighting } from "@codemirror/language";
import { tags } from "@lezer/highlight";
import { KEYWORDS, NAMES_OF_TYPES, OPERATORS } from "../markdown/lean-language.ts";

interface Inside {
  /** How deep in comments. */
  comment: number;
}

const keyword = new RegExp(`^(?:${KEYWORDS})$`);
const type = new RegExp(`^(?:${NAMES_OF_TYPES})$`);
const operator = new RegExp(`^[${OPERATORS}]+`);

const language = StreamLanguage.define<Inside>({
  name: "lean",
  startState: () => ({ comment: 0 }),
  token(stream, state) {
    if (state.comment > 0 || stream.match("/-")) {
      if (state.comment === 0) state.comment = 1;
      while (!stream.eol() && state.comment > 0) {
        if (stream.match("/-")) state.comment++;
        else if (stream.match("-/")) state.comment--;
        else stream.next();
      }
      return "comment";
    }
    if (stream.eatSpace()) return null;
    if (stream.match("--")) {
      stream.skipToEnd();
      return "comment";
    }
    if (stream.match(/^"(?:\\.|[^"\\])*"?/)) return "string";
    if (stream.match(/^\d+(?:\.\d+)?/)) return "number";
    if (stream.match(/^@\[[^\]]*\]/)) return "meta";
    const word = stream.match(/^[\p{L}_][\p{L}\p{N}_'!?₀-₉]*(?:\.[\p{L}_][\p{L}\p{N}_'!?₀-₉]*)*/u);
    if (word) {
      const name = (word as RegExpMatchArray)[0];
      if (name === "sorry") return "invalid";
      if (keyword.test(name)) return "keyword";
      return type.test(name) ? "typeName" : null;
    }
    if (stream.match(operator)) return "operator";
    stream.next();
    return null;
  },
  languageData: { commentTokens: { line: "--", block: { open: "/-", close: "-/" } } },
});

const colors = HighlightStyle.define([
  { tag: tags.comment, color: "var(--code-comment)", fontStyle: "italic" },
  { tag: tags.string, color: "var(--code-string)" },
  { tag: tags.number, color: "var(--code-number)" },
  { tag: tags.keyword, color: "var(--code-keyword)" },
  { tag: tags.meta, color: "var(--code-comment)" },
  { tag: tags.typeName, color: "var(--code-name)" },
  { tag: tags.operator, color: "var(--code-number)" },
  { tag: tags.invalid, color: "var(--warn)", fontWeight: "600" },
]);

export const lean = () => new LanguageSupport(language, [syntaxHighlighting(colors)]);
