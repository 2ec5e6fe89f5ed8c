/**
 * The `added_tokens` of a `tokenizer.json`: strings that are matched on the raw text before anything else, the longest
 * first at each position. As in the Rust `tokenizers` library (added_vocabulary.rs), tokens with `normalized: false`
 * are looked for first and the others in what lies between, after normalization; a token may take the white space
 * beside it (`lstrip`, `rstrip`) or count only between characters that form no word (`single_word`). Ids are what the
 * library gives, whatever the file says: a content of the vocabulary keeps the vocabulary's id, others follow it.
 */
import { FormatError } from "../tensor/errors.ts";
import type { AddedTokenJson } from "./schema.ts";
import { LONG_TEXT, normalizeSlices, Pace, type Slices } from "./slices.ts";

type OnText = (text: string) => void;
type OnToken = (id: number) => void;
type OnLongText = (text: string) => Slices<void>;

/** Cuts a text into added tokens (their ids) and the stretches between them, in order. */
export interface AddedSplitter {
  (text: string, onText: OnText, onToken: OnToken): void;
  /** The same with pauses; stretches over `LONG_TEXT` go to `onLongText`. */
  slices(text: string, onText: OnText, onLongText: OnLongText, onToken: OnToken): Slices<void>;
}

interface TrieNode {
  token: AddedTokenJson | null;
  readonly children: Map<number, TrieNode>;
}

function readToken(item: Partial<AddedTokenJson> | null, where: string, name: string): AddedTokenJson {
  const { id, content } = item ?? {};
  if (!Number.isInteger(id) || (id as number) < 0 || typeof content !== "string") {
    throw new FormatError("an added token must have an id and content", {
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

/** The places of added tokens in one text, from left to right. */
class Search {
  /** The token found: where it begins and ends, with the white space that it takes, and its id. */
  from = 0;
  end = 0;
  id = -1;
  /** Where the next search begins. */
  at = 0;
  readonly #text: string;
  readonly #root: TrieNode;
  /** All first units of tokens. */
  readonly #start: RegExp;

  constructor(text: string, root: TrieNode, start: RegExp) {
    this.#text = text;
    this.#root = root;
    this.#start = start;
  }

  /** Looks at the next place where a token may begin: null if there is none, else whether one does. */
  next(): boolean | null {
    const text = this.#text;
    this.#start.lastIndex = this.at;
    if (!this.#start.test(text)) return null;
    const done = this.end;
    let from = this.#start.lastIndex - 1;
    let node: TrieNode | undefined = this.#root;
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
    this.at = token ? end : from + 1;
    if (!token || (token.single_word && !standsAlone(text, from, end))) return false;
    if (token.lstrip) while (from > done && SPACE.test(text[from - 1])) from--;
    if (token.rstrip) while (end < text.length && SPACE.test(text[end])) end++;
    this.from = from;
    this.end = end;
    this.id = token.id;
    return true;
  }
}

function splitterOf(tokens: readonly AddedTokenJson[]): AddedSplitter {
  if (tokens.length === 0) {
    const whole = (text: string, onText: OnText) => onText(text);
    return Object.assign(whole, {
      slices: (text: string, _onText: OnText, onLongText: OnLongText) => onLongText(text),
    });
  }
  const root = buildTrie(tokens);
  const firsts = [...root.children.keys()];
  const start = new RegExp(`[${firsts.map((c) => `\\u${c.toString(16).padStart(4, "0")}`).join("")}]`, "g");
  function split(text: string, onText: OnText, onToken: OnToken): void {
    const search = new Search(text, root, start);
    for (let done = 0; ; ) {
      const found = search.next();
      if (found === null) {
        if (done < text.length) onText(done === 0 ? text : text.slice(done));
        return;
      }
      if (!found) continue;
      if (search.from > done) onText(text.slice(done, search.from));
      onToken(search.id);
      done = search.end;
    }
  }
  function* slices(text: string, onText: OnText, onLongText: OnLongText, onToken: OnToken): Slices<void> {
    const search = new Search(text, root, start);
    const pace = new Pace();
    for (let done = 0; ; ) {
      const found = search.next();
      if (found === false) {
        if (pace.due(1)) yield;
        continue;
      }
      const to = found === null ? text.length : search.from;
      if (to - done > LONG_TEXT) yield* onLongText(text.slice(done, to));
      else if (to > done) onText(text.slice(done, to));
      if (found === null) return;
      onToken(search.id);
      if (pace.due(search.end - done)) yield;
      done = search.end;
    }
  }
  return Object.assign(split, { slices });
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
  function split(text: string, onText: OnText, onToken: OnToken): void {
    if (text === "") return;
    const inner = (between: string) =>
      normalized(normalize === null ? between : normalize(between), onText, onToken);
    raw(text, inner, onToken);
  }
  function slices(text: string, onText: OnText, onLongText: OnLongText, onToken: OnToken): Slices<void> {
    const inner = (between: string) =>
      normalized(normalize === null ? between : normalize(between), onText, onToken);
    function* innerLong(between: string): Slices<void> {
      const normal = normalize === null ? between : yield* normalizeSlices(between, normalize);
      yield* normalized.slices(normal, onText, onLongText, onToken);
    }
    return raw.slices(text, inner, innerLong, onToken);
  }
  return Object.assign(split, { slices });
}
