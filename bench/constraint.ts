/**
 * Masks of constrained output over a vocabulary of 100,000 tokens: building the tree of its bytes, the first mask of a
 * kind of state, later masks in fresh states, masks that are known, and accepting. The vocabulary is made up: pieces of
 * words with and without a space before them, digits, punctuation as in code and JSON, characters of several bytes.
 */

import {
  type ConstraintOptions,
  jsonSchemaConstraint,
  outputConstraint,
} from "../src/engine/constraint/output-constraints.ts";
import { tokenTrie } from "../src/engine/constraint/token-trie.ts";
import type { TokenConstraint } from "../src/engine/constraint.ts";
import { Random } from "../src/tensor/random.ts";
import { BYTE_TO_CHAR, textToByteChars } from "../src/tokenizer/byte-alphabet.ts";
import { loadTokenizer, type Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { median } from "./support/numbers.ts";

export const name = "constraint";

const EOS = 0;

function vocabulary(size: number): Tokenizer {
  const random = new Random(1);
  const vocab = new Map<string, number>([["<eos>", EOS]]);
  const add = (token: string) => {
    if (vocab.size < size && !vocab.has(token)) vocab.set(token, vocab.size);
  };
  for (const char of BYTE_TO_CHAR) add(char);
  for (let n = 0; n < 1000; n++) for (const width of [1, 2, 3]) add(String(n).padStart(width, "0"));
  for (let n = 1; n <= 80; n++) for (const blank of [" ", "\n", "\t"]) add(textToByteChars(blank.repeat(n)));
  const marks = ['"', "{", "}", "[", "]", ":", ",", "'", "(", ")", ";", ".", "\\", "\n", " ", "=", "_", "-"];
  for (const a of marks)
    for (const b of marks) for (const c of ["", ...marks]) add(textToByteChars(a + b + c));
  const syllables = [
    "ba",
    "con",
    "de",
    "er",
    "in",
    "ing",
    "ka",
    "lo",
    "ment",
    "na",
    "or",
    "pre",
    "re",
    "st",
    "ter",
    "un",
  ];
  const wide = ["é", "ü", "日", "本", "語", "的", "一", "是", "я", "н", "😀"];
  const pick = (list: readonly string[]) => list[random.int(list.length)];
  while (vocab.size < size) {
    const kind = random.int(20);
    const word = Array.from({ length: 1 + random.int(4) }, () => pick(kind < 3 ? wide : syllables)).join("");
    const whole = kind < 10 ? ` ${word}` : kind < 12 ? word[0].toUpperCase() + word.slice(1) : word;
    add(textToByteChars(kind === 19 ? pick(marks) + whole : kind === 18 ? whole + pick(marks) : whole));
  }
  const eos = { id: EOS, content: "<eos>", special: true };
  const decoder = { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: false };
  return loadTokenizer({
    added_tokens: [eos],
    pre_tokenizer: { ...decoder, use_regex: true },
    decoder,
    model: { type: "BPE", vocab: Object.fromEntries(vocab), merges: [] },
  });
}

const SCHEMA = {
  type: "object",
  properties: {
    title: { type: "string" },
    short: { type: "string", maxLength: 40 },
    code: { type: "string", pattern: "^[a-z]{1,30}(-[a-z]+)*$" },
    count: { type: "integer", minimum: 0, maximum: 5000 },
    kind: { enum: ["alpha", "beta", "gamma"] },
    tags: { type: "array", items: { type: "string" } },
    more: {},
  },
  required: ["title", "short", "code", "count", "kind", "tags", "more"],
};
const TEXT =
  '{"title": "the container of strings \\"quoted\\" 日本", "short": "interesting", "code": "pre-constant", ' +
  '"count": 1234, "kind": "beta", "tags": ["one", "two", "three"], "more": {"a": [1.5, true, {"b": "x"}]}}';

export async function run(log: (line: string) => void): Promise<{ metrics: Record<string, number> }> {
  const metrics: Record<string, number> = {};
  const report = (key: string, value: number, unit: string) => {
    metrics[key] = value;
    log(`${key.padEnd(44)} ${value.toFixed(3).padStart(10)} ${unit}`);
  };
  const timed = <T>(body: () => T): [T, number] => {
    const start = performance.now();
    const value = body();
    return [value, performance.now() - start];
  };
  const tokenizer = vocabulary(100_000);
  const options: ConstraintOptions = { eosIds: [EOS] };
  const [trie, built] = timed(() => tokenTrie(tokenizer));
  report("tree ms", built, "ms");
  const arrays = [trie.bytes, trie.depths, trie.ends, trie.tokens, trie.twins];
  report("tree MiB", arrays.reduce((sum, { byteLength }) => sum + byteLength, 0) / 2 ** 20, "MiB");
  log(`${trie.size} nodes`);

  const [constraint, compiled] = timed(() => jsonSchemaConstraint(SCHEMA, tokenizer, options));
  report("compile ms", compiled, "ms");
  const logits = new Float32Array(tokenizer.vocabSize);
  const ids = tokenizer.encode(TEXT, { addSpecialTokens: false });
  /** Milliseconds of each mask and accept along TEXT. */
  const walk = (from: TokenConstraint) => {
    const copy = from.clone();
    return ids.map((id) => {
      const [, mask] = timed(() => copy.mask(logits));
      const [, accept] = timed(() => copy.accept(id));
      return { mask, accept };
    });
  };
  const cold = walk(constraint).map(({ mask }) => mask);
  report("first walk, mask, median ms", median(cold), "ms");
  report("first walk, mask, mean ms", cold.reduce((a, b) => a + b, 0) / cold.length, "ms");
  report("first walk, mask, most ms", Math.max(...cold), "ms");
  const rounds = Array.from({ length: 5 }, () => walk(constraint));
  const least = ids.map((_, i) => Math.min(...rounds.map((round) => round[i].mask)));
  report("later walks, mask, median ms", median(least), "ms");
  report("later walks, mask, most ms", Math.max(...least), "ms");
  report("accept, median ms", median(rounds.flat().map(({ accept }) => accept)), "ms");

  // Fresh states of a kind already met: strings below a stack that was never there before.
  const nested = jsonSchemaConstraint({}, tokenizer, { ...options, maxDepth: 500 });
  const [bracket, quote] = tokenizer.encode('["', { addSpecialTokens: false });
  const fresh: number[] = [];
  for (let i = 0; i < 200; i++) {
    nested.accept(bracket);
    const inside = nested.clone();
    inside.accept(quote);
    fresh.push(timed(() => inside.mask(logits))[1]);
  }
  report("inside a string on a new stack, median ms", median(fresh.slice(1)), "ms");
  const lengths: number[] = [];
  for (let most = 1; most <= 100; most++) {
    const limited = jsonSchemaConstraint({ type: "string", maxLength: most }, tokenizer, options);
    limited.accept(quote);
    lengths.push(timed(() => limited.mask(logits))[1]);
  }
  report("first mask inside a limited string, median ms", median(lengths), "ms");
  const free = outputConstraint({ sequence: [{ freeText: true }, { text: "<end>" }] }, tokenizer, options);
  report("first mask of free text before a text, ms", timed(() => free.mask(logits))[1], "ms");
  return { metrics };
}
