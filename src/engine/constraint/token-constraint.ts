/**
 * A grammar over a tokenizer's vocabulary: which tokens may come next. The mask of a stack is that of its topmost item
 * alone (tokens it can read to their end), computed once and shared by all stacks with it on top, and what begins where
 * the item may end: at those nodes of the vocabulary's tree the walk goes on with the rest of the stack. This is the
 * division of XGrammar (arXiv 2411.15100, section 3) into tokens that do and do not depend on the stack. Inside plain
 * strings, where most tokens are allowed, the tree is not walked at all. Left out: text that is forced to come is not
 * skipped ahead.
 */
import { ConfigError, ShapeError } from "../../tensor/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { TokenConstraint } from "../constraint.ts";
import { ControlToken, Grammar, type Item, type ParseState, Terminal } from "./grammar.ts";
import { StringBody, type StringItems } from "./json-string.ts";
import { OUTSIDE, type StringContents, type TokenTrie, tokenTrie } from "./token-trie.ts";

export interface VocabularyOptions {
  /** Tokens that end the output; allowed if it may end. */
  readonly eosIds: readonly number[];
  /** Tokens that exist; rows of a padded head beyond them are never allowed. Default: the tokenizer's. */
  readonly vocabularySize?: number;
}

/** A set of tokens: a list if they are few, else one bit for each id. */
type TokenSet = { readonly ids: Int32Array } | { readonly bits: Int32Array };

/** What an item on top of a stack contributes, whatever lies below it. */
interface ItemMask {
  readonly tokens: TokenSet;
  /** Nodes of the tree, with children, at which the item may have ended. */
  readonly resume: Int32Array;
}

const FEW = 512;
/** Bytes of masks kept. */
const MOST_BYTES = 48 << 20;

function addTo(bits: Int32Array, set: TokenSet): void {
  if ("ids" in set) for (const id of set.ids) bits[id >>> 5] |= 1 << (id & 31);
  else for (let i = 0; i < bits.length; i++) bits[i] |= set.bits[i];
}

function popcount(bits: Int32Array): number {
  let count = 0;
  for (let v of bits) {
    v -= (v >>> 1) & 0x55555555;
    v = (v & 0x33333333) + ((v >>> 2) & 0x33333333);
    count += Math.imul((v + (v >>> 4)) & 0x0f0f0f0f, 0x01010101) >>> 24;
  }
  return count;
}

/** The tokens of `bits`; the bits are taken over if they are many. */
function tokenSet(bits: Int32Array): TokenSet {
  const count = popcount(bits);
  if (count > FEW) return { bits };
  const ids = new Int32Array(count);
  let at = 0;
  bits.forEach((word, i) => {
    for (let rest = word; rest !== 0; rest &= rest - 1) ids[at++] = i * 32 + (31 - Math.clz32(rest & -rest));
  });
  return { ids };
}

/** A grammar together with a vocabulary; shared by all constraints that begin with it. */
class TokenGrammar {
  readonly grammar: Grammar;
  readonly trie: TokenTrie;
  readonly tokenizer: Tokenizer;
  readonly eosIds: ReadonlySet<number>;
  readonly count: number;
  readonly #strings: StringItems;
  #contents: StringContents | null = null;
  #items = new Map<Item | string, ItemMask>();
  #masks = new Map<ParseState, TokenSet>();
  #kept = 0;
  #epoch = 0;

  constructor(root: Item, strings: StringItems, tokenizer: Tokenizer, options: VocabularyOptions) {
    const { eosIds, vocabularySize = tokenizer.vocabSize } = options;
    const where = "constraint";
    if (!Number.isSafeInteger(vocabularySize) || vocabularySize < 1) {
      throw new ConfigError("must be a positive integer", {
        where,
        name: "vocabularySize",
        found: vocabularySize,
      });
    }
    const outside = eosIds.find((id) => !(Number.isInteger(id) && id >= 0 && id < vocabularySize));
    if (eosIds.length === 0 || outside !== undefined) {
      throw new ConfigError("tokens that end the output are missing", {
        where,
        name: "eosIds",
        expected: `ids from 0 to ${vocabularySize - 1}`,
        found: eosIds.length === 0 ? "none" : outside,
      });
    }
    this.grammar = new Grammar(root);
    this.trie = tokenTrie(tokenizer);
    this.tokenizer = tokenizer;
    this.eosIds = new Set(eosIds);
    this.count = vocabularySize;
    this.#strings = strings;
  }

  /** Tokens other than EOS that may come in `state`. @throws ConfigError if nothing may, nor the end */
  allowed(state: ParseState): TokenSet {
    if (this.#epoch !== this.grammar.epoch) {
      this.#epoch = this.grammar.epoch;
      this.#masks = new Map();
    }
    let mask = this.#masks.get(state);
    if (mask === undefined) {
      mask = this.#compute(state);
      this.#keep(mask);
      this.#masks.set(state, mask);
    }
    return mask;
  }

  #keep(set: TokenSet): void {
    this.#kept += 200 + ("ids" in set ? set.ids.byteLength : set.bits.byteLength);
    if (this.#kept <= MOST_BYTES) return;
    this.#kept = 0;
    this.#items = new Map();
    this.#masks = new Map();
  }

  #bits(): Int32Array {
    return new Int32Array((Math.max(this.count, this.trie.vocabSize) + 31) >>> 5);
  }

  #compute(state: ParseState): TokenSet {
    const bits = this.#bits();
    for (const { item, rest } of state.stacks) {
      if (item instanceof ControlToken) {
        bits[item.id >>> 5] |= 1 << (item.id & 31);
        continue;
      }
      const { tokens, resume } = this.#itemMask(item!);
      addTo(bits, tokens);
      if (resume.length === 0) continue;
      const below = this.grammar.only(rest!);
      if (below.readsBytes) for (const node of resume) this.#walk(node, below, bits, null);
    }
    for (const id of this.eosIds) bits[id >>> 5] &= ~(1 << (id & 31));
    for (let id = this.count; id < bits.length * 32; id++) bits[id >>> 5] &= ~(1 << (id & 31));
    if (!state.complete && bits.every((word) => word === 0)) {
      const bytes = Array.from({ length: 256 }, (_, b) => b).filter((b) => this.grammar.advance(state, b));
      throw new ConfigError("no token of the vocabulary can continue the output", {
        where: "constraint",
        expected: `a token that begins with ${bytes.map((b) => `0x${b.toString(16).padStart(2, "0")}`).join(", ")}`,
        found: "none",
        hint: "A vocabulary must spell every byte that the grammar asks for.",
      });
    }
    return tokenSet(bits);
  }

  #itemMask(item: Item): ItemMask {
    if (item instanceof StringBody) return this.#stringMask(item);
    const alike = item instanceof Terminal ? item.alike(this.trie.deepest) : item;
    let mask = this.#items.get(alike);
    if (mask === undefined) {
      const bits = this.#bits();
      const resume: number[] = [];
      this.#walk(0, this.grammar.alone(alike), bits, resume);
      mask = { tokens: tokenSet(bits), resume: Int32Array.from(resume) };
      this.#keep(mask.tokens);
      this.#items.set(alike, mask);
    }
    return mask;
  }

  #stringMask(body: StringBody): ItemMask {
    this.#contents ??= this.trie.strings(this.#strings.character);
    const { characters, closing, before, most } = this.#contents;
    // No token reaches further than the longest, so limits beyond it are alike.
    const min = Math.min(body.min, most + 1);
    const max = Math.min(body.max, most + 1);
    const key = `${min},${max}`;
    let mask = this.#items.get(key);
    if (mask === undefined) {
      const { tokens, twins, ends } = this.trie;
      const bits = this.#bits();
      for (let id = 0; id < characters.length; id++) {
        if (characters[id] <= max && characters[id] !== OUTSIDE) bits[id >>> 5] |= 1 << (id & 31);
      }
      const resume: number[] = [];
      for (let i = 0; i < closing.length; i++) {
        if (before[i] < min || before[i] > max) continue;
        const node = closing[i];
        for (let id = tokens[node]; id >= 0; id = twins[id]) bits[id >>> 5] |= 1 << (id & 31);
        if (ends[node] > node + 1) resume.push(node);
      }
      mask = { tokens: tokenSet(bits), resume: Int32Array.from(resume) };
      this.#keep(mask.tokens);
      this.#items.set(key, mask);
    }
    return mask;
  }

  /** Adds the tokens below `from` that `state` can read; `ended` takes the nodes at which it may have ended. */
  #walk(from: number, state: ParseState, bits: Int32Array, ended: number[] | null): void {
    const { bytes, depths, ends, tokens, twins } = this.trie;
    const { grammar } = this;
    const base = depths[from];
    const last = ends[from];
    const states: ParseState[] = [state];
    for (let node = from + 1; node < last; ) {
      const depth = depths[node] - base;
      const above = states[depth - 1];
      const byte = bytes[node];
      const next = above.next?.[byte];
      const reached = next === undefined ? grammar.advance(above, byte) : next;
      if (reached === null) {
        node = ends[node];
        continue;
      }
      states[depth] = reached;
      for (let id = tokens[node]; id >= 0; id = twins[id]) bits[id >>> 5] |= 1 << (id & 31);
      if (ended !== null && reached.complete && ends[node] > node + 1) ended.push(node);
      node++;
    }
  }
}

class GrammarConstraint implements TokenConstraint {
  readonly #shared: TokenGrammar;
  #state: ParseState;
  #ended = false;

  constructor(shared: TokenGrammar, state: ParseState) {
    this.#shared = shared;
    this.#state = state;
  }

  get complete(): boolean {
    return this.#state.complete;
  }

  get finished(): boolean {
    return this.#ended || (this.#state.complete && this.#state.stacks.length === 0);
  }

  mask(logits: Float32Array): void {
    const { count, eosIds } = this.#shared;
    if (logits.length < count) {
      throw new ShapeError("fewer logits than tokens", {
        where: "constraint",
        expected: `at least ${count}`,
        found: logits.length,
        hint: "Set vocabularySize to the number of rows of the model's head.",
      });
    }
    this.#state = this.#shared.grammar.renew(this.#state);
    const allowed = this.#ended ? { ids: new Int32Array(0) } : this.#shared.allowed(this.#state);
    const ends = this.complete ? Array.from(eosIds, (id) => [id, logits[id]] as const) : [];
    if ("ids" in allowed) {
      const kept = Float32Array.from(allowed.ids, (id) => logits[id]);
      logits.fill(Number.NEGATIVE_INFINITY);
      kept.forEach((value, i) => {
        logits[allowed.ids[i]] = value;
      });
    } else {
      const { bits } = allowed;
      for (let i = 0; i < bits.length; i++) {
        for (let rest = ~bits[i]; rest !== 0; rest &= rest - 1) {
          const id = i * 32 + (31 - Math.clz32(rest & -rest));
          if (id < logits.length) logits[id] = Number.NEGATIVE_INFINITY;
        }
      }
      if (logits.length > bits.length * 32) logits.fill(Number.NEGATIVE_INFINITY, bits.length * 32);
    }
    for (const [id, value] of ends) logits[id] = value;
  }

  accept(id: number): void {
    const { grammar, eosIds, trie, tokenizer, count } = this.#shared;
    const refuse = (): never => {
      throw new ConfigError("the token is not allowed here", {
        where: "constraint",
        name: `id ${id}`,
        found: JSON.stringify(tokenizer.tokenOf(id) ?? "no token"),
        hint: "Choose from logits that `mask` was applied to.",
      });
    };
    if (eosIds.has(id)) {
      if (!this.complete) refuse();
      this.#ended = true;
      return;
    }
    if (this.#ended || !(id >= 0 && id < count)) refuse();
    const start = grammar.renew(this.#state);
    let state: ParseState | null = null;
    if (trie.has(id)) {
      state = start;
      for (const byte of tokenizer.bytesOf(id)) {
        state = grammar.advance(state, byte);
        if (state === null) break;
      }
    }
    this.#state = grammar.advanceToken(start, id, state) ?? refuse();
  }

  clone(): TokenConstraint {
    const copy = new GrammarConstraint(this.#shared, this.#state);
    copy.#ended = this.#ended;
    return copy;
  }
}

/**
 * A constraint at its beginning. `root` must be alive; `strings` are the items its plain strings were made of. Clones
 * share what is computed, so a server keeps one for each schema and clones it for each request.
 * @throws ConfigError for ids out of range
 */
export function grammarConstraint(
  root: Item,
  strings: StringItems,
  tokenizer: Tokenizer,
  options: VocabularyOptions,
): TokenConstraint {
  const shared = new TokenGrammar(root, strings, tokenizer, options);
  return new GrammarConstraint(shared, shared.grammar.start());
}
