/**
 * The `added_tokens` of a `tokenizer.json`: strings that are matched on the raw text before anything else, the longest
 * first at each position. As in the Rust `tokenizers` library, tokens with `normalized: false` are looked for first
 * and the others in what lies between; without a normaliser that only matters where matches overlap.
 * Left out and refused: `lstrip`, `rstrip`, `single_word` (no DeepSeek tokenizer sets them).
 */
import { FormatError } from "../tensor/errors.ts";
import type { AddedTokenJson } from "./schema.ts";

/** Cuts a text into added tokens (their ids) and the stretches between them, in order. */
export type AddedSplitter = (
  text: string,
  onText: (text: string) => void,
  onToken: (id: number) => void,
) => void;

interface TrieNode {
  id: number;
  readonly children: Map<number, TrieNode>;
}

/** Reads and checks the `added_tokens` list; throws FormatError with the token and field at fault. */
export function readAddedTokens(value: unknown): AddedTokenJson[] {
  const where = "tokenizer.json added_tokens";
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new FormatError("not a list", { where, found: typeof value });
  return value.map((item: Partial<AddedTokenJson>, i) => {
    const { id, content } = item ?? {};
    if (!Number.isInteger(id) || (id as number) < 0 || typeof content !== "string" || content === "") {
      throw new FormatError("an added token needs an id and a content", {
        where,
        name: `[${i}]`,
        found: JSON.stringify(item),
      });
    }
    for (const field of ["lstrip", "rstrip", "single_word"] as const) {
      if (item[field]) {
        throw new FormatError(`${field} is not supported`, {
          where,
          name: content,
          expected: false,
          found: true,
        });
      }
    }
    const special = item.special === true;
    return {
      id: id as number,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: item.normalized ?? !special,
      special,
    };
  });
}

/** Whether a spelling is `<|…|>` or `<｜…｜>` (U+FF5C), the rule of llama.cpp's converter for control tokens. */
export function looksLikeControl(content: string): boolean {
  return /^<[|\uFF5C].*[|\uFF5C]>$/s.test(content);
}

/**
 * Whether a token steers the model, so that it must not arise from untrusted text: marked special, or shaped like one,
 * since several official files leave the mark off.
 */
export function isControlToken(token: AddedTokenJson): boolean {
  return token.special || looksLikeControl(token.content);
}

function buildTrie(tokens: readonly AddedTokenJson[]): TrieNode {
  const root: TrieNode = { id: -1, children: new Map() };
  for (const { content, id } of tokens) {
    let node = root;
    for (let i = 0; i < content.length; i++) {
      const code = content.charCodeAt(i);
      let child = node.children.get(code);
      if (!child) {
        child = { id: -1, children: new Map() };
        node.children.set(code, child);
      }
      node = child;
    }
    node.id = id;
  }
  return root;
}

function splitterOf(tokens: readonly AddedTokenJson[]): AddedSplitter {
  if (tokens.length === 0) return (text, onText) => onText(text);
  const root = buildTrie(tokens);
  const firsts = [...root.children.keys()];
  const start = new RegExp(`[${firsts.map((c) => `\\u${c.toString(16).padStart(4, "0")}`).join("")}]`, "g");
  return (text, onText, onToken) => {
    let done = 0;
    let at = 0;
    for (;;) {
      start.lastIndex = at;
      if (!start.test(text)) break;
      const from = start.lastIndex - 1;
      let node: TrieNode | undefined = root;
      let id = -1;
      let end = from;
      for (let i = from; i < text.length; i++) {
        node = node.children.get(text.charCodeAt(i));
        if (!node) break;
        if (node.id >= 0) {
          id = node.id;
          end = i + 1;
        }
      }
      at = id < 0 ? from + 1 : end;
      if (id < 0) continue;
      if (from > done) onText(text.slice(done, from));
      onToken(id);
      done = end;
    }
    if (done < text.length) onText(done === 0 ? text : text.slice(done));
  };
}

/** A splitter over `tokens`; an empty text gives nothing. */
export function buildAddedSplitter(tokens: readonly AddedTokenJson[]): AddedSplitter {
  const raw = splitterOf(tokens.filter((token) => !token.normalized));
  const normalized = splitterOf(tokens.filter((token) => token.normalized));
  return (text, onText, onToken) => {
    if (text !== "") raw(text, (between) => normalized(between, onText, onToken), onToken);
  };
}
