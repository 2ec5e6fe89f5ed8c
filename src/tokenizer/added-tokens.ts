/**
 * The `added_tokens` of a `tokenizer.json`: strings that are matched on the raw text before anything else, the longest
 * first at each position. As in the Rust `tokenizers` library (added_vocabulary.rs), tokens with `normalized: false`
 * are looked for first and the others in what lies between, after normalisation; a token may take the white space
 * beside it (`lstrip`, `rstrip`) or count only between characters that form no word (`single_word`). Ids are what the
 * library gives, whatever the file says: a content of the vocabulary keeps the vocabulary's id, others follow it.
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
  token: AddedTokenJson | null;
  readonly children: Map<number, TrieNode>;
}

function readToken(item: Partial<AddedTokenJson> | null, where: string, name: string): AddedTokenJson {
  const { id, content } = item ?? {};
  if (!Number.isInteger(id) || (id as number) < 0 || typeof content !== "string") {
    throw new FormatError("an added token needs an id and a content", {
      where,
      name,
      found: JSON.stringify(item),
    });
  }
  const special = item?.special === true;
  return {
    id: id as number,
    content,
    single_word: item?.single_word === true,
    lstrip: item?.lstrip === true,
    rstrip: item?.rstrip === true,
    normalized: item?.normalized ?? !special,
    special,
  };
}

/** `added_tokens` of a `tokenizer.json` as they stand there. @throws FormatError with the token at fault */
function readList(value: unknown): AddedTokenJson[] {
  const where = "tokenizer.json added_tokens";
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new FormatError("not a list", { where, found: typeof value });
  return value.map((item, i) => readToken(item, where, `[${i}]`));
}

/**
 * `added_tokens_decoder` of a `tokenizer_config.json`, which transformers adds once the file is read: what fine-tunes
 * add stands there, and flags of the same token replace the file's. @throws FormatError with the token at fault
 */
function readDecoder(value: unknown): AddedTokenJson[] {
  const where = "tokenizer_config.json added_tokens_decoder";
  if (value === undefined || value === null) return [];
  if (typeof value !== "object" || Array.isArray(value)) {
    throw new FormatError("not an object", { where, found: Array.isArray(value) ? "a list" : typeof value });
  }
  const entries = Object.entries(value as Record<string, object>);
  return entries
    .map(([id, item]) => readToken({ ...item, id: Number(id) }, where, id))
    .sort((a, b) => a.id - b.id);
}

/**
 * The added tokens of `tokenizer.json` and, after them, of `tokenizer_config.json`, with the ids that the library gives
 * them beside the model's vocabulary. @throws FormatError with the token and field at fault
 */
export function readAddedTokens(
  vocab: ReadonlyMap<string, number>,
  list: unknown,
  decoder?: unknown,
): AddedTokenJson[] {
  const placed = new Map<string, AddedTokenJson>();
  let next = vocab.size;
  for (const token of [...readList(list), ...readDecoder(decoder)]) {
    if (token.content === "") continue;
    const id = placed.get(token.content)?.id ?? vocab.get(token.content) ?? next++;
    placed.set(token.content, { ...token, id });
  }
  return [...placed.values()];
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
  const root: TrieNode = { token: null, children: new Map() };
  for (const token of tokens) {
    const { content } = token;
    let node = root;
    for (let i = 0; i < content.length; i++) {
      const code = content.charCodeAt(i);
      let child = node.children.get(code);
      if (!child) {
        child = { token: null, children: new Map() };
        node.children.set(code, child);
      }
      node = child;
    }
    node.token = token;
  }
  return root;
}

// What Rust's regex crate calls a word character and white space.
const WORD = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const SPACE = /\p{White_Space}/u;

/** Whether what stands from `from` to `end` touches no word. */
function standsAlone(text: string, from: number, end: number): boolean {
  const pair = from > 1 && text.codePointAt(from - 2)! > 0xffff;
  return !WORD.test(text.slice(from - (pair ? 2 : 1), from)) && !WORD.test(text.slice(end, end + 2));
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
      let from = start.lastIndex - 1;
      let node: TrieNode | undefined = root;
      let token: AddedTokenJson | null = null;
      let end = from;
      for (let i = from; i < text.length; i++) {
        node = node.children.get(text.charCodeAt(i));
        if (!node) break;
        if (node.token) {
          token = node.token;
          end = i + 1;
        }
      }
      at = token ? end : from + 1;
      if (!token || (token.single_word && !standsAlone(text, from, end))) continue;
      if (token.lstrip) while (from > done && SPACE.test(text[from - 1])) from--;
      if (token.rstrip) while (end < text.length && SPACE.test(text[end])) end++;
      if (from > done) onText(text.slice(done, from));
      onToken(token.id);
      done = end;
    }
    if (done < text.length) onText(done === 0 ? text : text.slice(done));
  };
}

/** A splitter over `tokens`; an empty text gives nothing. `normalize` is applied to what no raw token takes. */
export function buildAddedSplitter(
  tokens: readonly AddedTokenJson[],
  normalize: ((text: string) => string) | null = null,
): AddedSplitter {
  const raw = splitterOf(tokens.filter((token) => !token.normalized));
  const others = tokens.filter((token) => token.normalized);
  const normalized = splitterOf(
    normalize === null ? others : others.map((token) => ({ ...token, content: normalize(token.content) })),
  );
  return (text, onText, onToken) => {
    if (text === "") return;
    const inner = (between: string) =>
      normalized(normalize === null ? between : normalize(between), onText, onToken);
    raw(text, inner, onToken);
  };
}
