/**
 * The byte strings of a vocabulary as a prefix tree in flat arrays, in the order of a walk: a node's subtree follows
 * it, so that walking is a loop and skipping a subtree one jump. Control tokens are not bytes and are left out, as are
 * ids without a token. Built once for a tokenizer and kept as long as it.
 */
import { FormatError } from "../../tensor/errors.ts";
import { isControlToken } from "../../tokenizer/added-tokens.ts";
import { finish, Pace, type Slices } from "../../tokenizer/slices.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { type Dfa, stepDfa } from "./automaton.ts";

/** Which tokens may stand inside a plain JSON string, and where they close it. */
export interface StringContents {
  /** Characters that a token begins or completes inside a string; OUTSIDE if it does not stay inside. */
  readonly characters: Uint16Array;
  /** Nodes after a closing quote. */
  readonly closing: Int32Array;
  /** Characters before each of those quotes. */
  readonly before: Uint16Array;
  /** Most characters of a token. */
  readonly most: number;
}

export const OUTSIDE = 0xffff;

export interface TokenTrie {
  readonly vocabSize: number;
  /** Number of nodes; node 0 is the root, the empty string. */
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly depths: Uint16Array;
  /** The first node after the subtree of each node. */
  readonly ends: Int32Array;
  /** A token that ends at each node, -1 if none does. */
  readonly tokens: Int32Array;
  /** A further token of the same bytes for each token, -1 if there is none. */
  readonly twins: Int32Array;
  /** Length of the longest token in bytes. */
  readonly deepest: number;
  /** Whether an id is in the tree. */
  has(id: number): boolean;
  /** Tokens inside JSON strings, given the automaton of one character; computed once. */
  strings(character: Dfa): StringContents;
}

const tries = new WeakMap<Tokenizer, TokenTrie>();

/** The tree of a tokenizer, built at the first call. @throws FormatError for a token of 65,535 bytes or more */
export function tokenTrie(tokenizer: Tokenizer): TokenTrie {
  return finish(tokenTrieSlices(tokenizer));
}

/** The same with pauses. @throws FormatError */
export function* tokenTrieSlices(tokenizer: Tokenizer): Slices<TokenTrie> {
  const known = tries.get(tokenizer);
  if (known !== undefined) return known;
  const trie = yield* build(tokenizer);
  tries.set(tokenizer, trie);
  return trie;
}

/** What a token costs, in the characters of `Pace`. */
const TOKEN = 16;

/** The bytes of all tokens that are text, one character for each byte. */
function* byteStrings(
  tokenizer: Tokenizer,
): Slices<{ ids: Int32Array; strings: string[]; present: Uint8Array }> {
  const { vocabSize, specialTokens } = tokenizer;
  const pace = new Pace();
  const latin1 = new Array<string>(vocabSize);
  /** Ids by their first two bytes: sorted one by one, so that no sort is long. */
  const groups = new Map<number, number[]>();
  const present = new Uint8Array(vocabSize);
  for (let id = 0; id < vocabSize; id++) {
    const content = tokenizer.tokenOf(id);
    if (content === undefined) continue;
    const special = specialTokens.has(id);
    const marks = {
      id,
      content,
      special,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
    };
    if (isControlToken(marks)) continue;
    const bytes = tokenizer.bytesOf(id);
    if (bytes.length === 0) continue;
    if (bytes.length >= OUTSIDE) {
      throw new FormatError("token is too long", {
        where: "token trie",
        name: `id ${id}`,
        found: bytes.length,
      });
    }
    let string = "";
    for (const byte of bytes) string += String.fromCharCode(byte);
    latin1[id] = string;
    present[id] = 1;
    const key = bytes[0] * 256 + (bytes[1] ?? 0);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [id]);
    else group.push(id);
    if (pace.due(TOKEN)) yield;
  }
  const ids: number[] = [];
  for (const key of [...groups.keys()].sort((a, b) => a - b)) {
    const group = groups.get(key)!;
    group.sort((a, b) => (latin1[a] < latin1[b] ? -1 : latin1[a] > latin1[b] ? 1 : a - b));
    for (const id of group) ids.push(id);
    if (pace.due(TOKEN * group.length)) yield;
  }
  return { ids: Int32Array.from(ids), strings: latin1, present };
}

function commonPrefix(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let n = 0;
  while (n < most && a.charCodeAt(n) === b.charCodeAt(n)) n++;
  return n;
}

function* build(tokenizer: Tokenizer): Slices<TokenTrie> {
  const { ids, strings, present } = yield* byteStrings(tokenizer);
  const pace = new Pace();
  let size = 1;
  let deepest = 0;
  for (let i = 0; i < ids.length; i++) {
    const string = strings[ids[i]];
    size += string.length - (i === 0 ? 0 : commonPrefix(strings[ids[i - 1]], string));
    deepest = Math.max(deepest, string.length);
    if (pace.due(string.length)) yield;
  }
  const bytes = new Uint8Array(size);
  const depths = new Uint16Array(size);
  const ends = new Int32Array(size);
  const tokens = new Int32Array(size).fill(-1);
  const twins = new Int32Array(tokenizer.vocabSize).fill(-1);
  const path = new Int32Array(deepest + 1);
  let depth = 0;
  let count = 1;
  const close = (to: number) => {
    for (; depth > to; depth--) ends[path[depth]] = count;
  };
  for (let i = 0; i < ids.length; i++) {
    const string = strings[ids[i]];
    close(i === 0 ? 0 : commonPrefix(strings[ids[i - 1]], string));
    while (depth < string.length) {
      bytes[count] = string.charCodeAt(depth);
      depths[count] = ++depth;
      path[depth] = count++;
    }
    const node = path[depth];
    twins[ids[i]] = tokens[node];
    tokens[node] = ids[i];
    if (pace.due(string.length)) yield;
  }
  close(0);
  ends[0] = count;

  let known: StringContents | null = null;
  const trie: TokenTrie = {
    vocabSize: tokenizer.vocabSize,
    size,
    bytes,
    depths,
    ends,
    tokens,
    twins,
    deepest,
    has: (id) => present[id] === 1,
    strings(character) {
      known ??= stringContents(trie, character);
      return known;
    },
  };
  return trie;
}

function stringContents(trie: TokenTrie, character: Dfa): StringContents {
  const { size, bytes, depths, ends, tokens, twins, deepest } = trie;
  // A table instead of the automaton's ranges: this loop visits most of the tree.
  const table = new Int16Array(character.size * 256);
  for (let i = 0; i < table.length; i++) table[i] = stepDfa(character, i >> 8, i & 255);
  const characters = new Uint16Array(trie.vocabSize).fill(OUTSIDE);
  const closing: number[] = [];
  const before: number[] = [];
  const states = new Int32Array(deepest + 1);
  const counts = new Int32Array(deepest + 1);
  let most = 0;
  for (let node = 1; node < size; ) {
    const depth = depths[node];
    const state = states[depth - 1];
    const count = counts[depth - 1];
    if (state === 0 && bytes[node] === 0x22) {
      closing.push(node);
      before.push(count);
      node = ends[node];
      continue;
    }
    const to = table[state * 256 + bytes[node]];
    if (to < 0) {
      node = ends[node];
      continue;
    }
    states[depth] = character.accepting[to] ? 0 : to;
    counts[depth] = state === 0 ? count + 1 : count;
    most = Math.max(most, counts[depth]);
    for (let id = tokens[node]; id >= 0; id = twins[id]) characters[id] = counts[depth];
    node++;
  }
  return { characters, closing: Int32Array.from(closing), before: Uint16Array.from(before), most };
}
