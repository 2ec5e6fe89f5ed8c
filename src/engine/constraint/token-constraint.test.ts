import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { Random } from "../../tensor/random.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import type { TokenConstraint } from "../constraint.ts";
import {
  type ConstraintOptions,
  choiceConstraint,
  jsonObjectConstraint,
  jsonSchemaConstraint,
  outputConstraint,
} from "./output-constraints.ts";
import { isValid } from "./test-json-validator.ts";
import { tokenTrie } from "./token-trie.ts";

const EOS = 1;
const USER = "<\uFF5CUser\uFF5C>";
let bytes: Tokenizer;
let large: Tokenizer;

beforeAll(async () => {
  bytes = loadTokenizer(await trainBpe([], { vocabSize: 265 }));
  const random = new Random(3);
  const words = ["name", "value", "true", "null", "é", "日本", "😀", "12", "-3.5", "abc", "\\n", "kind"];
  const texts = Array.from({ length: 400 }, () => {
    const word = () => words[random.int(words.length)];
    return `{"${word()}": [${random.int(1000)}, "${word()} ${word()}"], "${word()}":{"a":${word()},"b":"${word()}"}}`;
  });
  large = loadTokenizer(await trainBpe(texts, { vocabSize: 700 }));
});

const options: ConstraintOptions = { eosIds: [EOS] };
const allowedIds = (constraint: TokenConstraint, tokenizer: Tokenizer): number[] => {
  const logits = new Float32Array(tokenizer.vocabSize);
  constraint.mask(logits);
  return Array.from(logits.keys()).filter((id) => logits[id] === 0);
};

/** Follows `text`; "no", "open", "complete" or "finished". */
function follow(constraint: TokenConstraint, tokenizer: Tokenizer, text: string): string {
  const copy = constraint.clone();
  try {
    for (const id of tokenizer.encode(text, { addSpecialTokens: false })) copy.accept(id);
  } catch {
    return "no";
  }
  return copy.finished ? "finished" : copy.complete ? "complete" : "open";
}

/**
 * Random tokens under the mask. After `turn` tokens those that close something are preferred, so that it ends: a
 * prefix of any length is completed. Null if it does not end within `most` tokens.
 */
function sample(constraint: TokenConstraint, tokenizer: Tokenizer, seed: number, turn: number, most = 600) {
  const random = new Random(seed);
  const ids: number[] = [];
  const logits = new Float32Array(tokenizer.vocabSize);
  const bias = Float32Array.from(logits, (_, id) => {
    const text = tokenizer.tokenOf(id) ?? "";
    if (id === EOS) return 40;
    const closes = /^["\]}]+$/.test(text);
    return (closes ? 30 : 0) - (/[[{]/.test(text) ? 60 : 0) - (text.includes(",") ? 10 : 0) - text.length;
  });
  for (let n = 0; n < most; n++) {
    // Some steps stay random, for patterns that ask for what the preference avoids.
    const prefer = n >= turn && random.uniform() < 0.8;
    for (let id = 0; id < logits.length; id++) logits[id] = 4 * random.uniform() + (prefer ? bias[id] : 0);
    constraint.mask(logits);
    let best = 0;
    for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
    expect(logits[best]).toBeGreaterThan(Number.NEGATIVE_INFINITY);
    constraint.accept(best);
    if (best === EOS) return tokenizer.decode(ids);
    ids.push(best);
  }
  return null;
}

const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });
const clean = (schema: Record<string, unknown>) =>
  Object.fromEntries(Object.entries(schema).filter(([, value]) => value !== undefined));
const range = (low: string, high: string, most: number) =>
  fc
    .tuple(maybe(fc.nat(most)), maybe(fc.nat(most)))
    .map(([a, b]) => ({ [low]: a, [high]: b === undefined ? undefined : (a ?? 0) + b }));
const scalar = fc
  .oneof(
    fc.constantFrom(
      { type: "null" },
      { type: "boolean" },
      { type: "number" },
      { type: "integer" },
      { type: "string" },
    ),
    fc
      .constantFrom("date", "time", "date-time", "uuid", "email", "ipv4")
      .map((format) => ({ type: "string", format })),
    fc
      .constantFrom("^a+$", "b[0-9]{2}", "^(x|yé|日)*$", '^["\\\\\\n]{1,3}$', "^\\w{2,5}$", "[^a-z]")
      .map((pattern) => ({
        type: "string",
        pattern,
      })),
    fc
      .tuple(range("minLength", "maxLength", 6), maybe(fc.constantFrom("a", "^.+$")))
      .map(([length, pattern]) => ({
        type: "string",
        ...length,
        pattern,
      })),
    fc
      .tuple(
        fc.constantFrom("integer", "number"),
        range("minimum", "maximum", 500),
        fc.boolean(),
        maybe(fc.constantFrom(1, 3, 0.5)),
      )
      .map(([type, { minimum, maximum }, exclusive, multipleOf]) => ({
        type,
        minimum: minimum === undefined ? undefined : minimum - 250,
        ...(exclusive && maximum !== undefined ? { exclusiveMaximum: maximum + 5 } : { maximum }),
        multipleOf,
      })),
    fc.constantFrom(
      { enum: ["a", "ab", 'q"', 1, null, [1, 2], { k: "v" }] },
      { const: "é" },
      { type: "string", enum: ["one", "two", "three"], minLength: 4 },
      { type: ["string", "null"], maxLength: 2 },
      { type: "integer", nullable: true },
    ),
  )
  .map(clean);
const NAMES = ["a", "ab", "b\n", "é"];
const schemas = fc.letrec<{ any: unknown; object: unknown; array: unknown }>((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    { arbitrary: scalar, weight: 3 },
    { arbitrary: tie("object"), weight: 2 },
    { arbitrary: tie("array"), weight: 1 },
    {
      arbitrary: fc.array(tie("any"), { minLength: 1, maxLength: 3 }).map((anyOf) => ({ anyOf })),
      weight: 1,
    },
    { arbitrary: fc.tuple(tie("object"), tie("object")).map((allOf) => ({ allOf })), weight: 1 },
    {
      arbitrary: fc.array(tie("any"), { minLength: 2, maxLength: 3 }).map((oneOf) => ({ oneOf })),
      weight: 2,
    },
    {
      arbitrary: fc.tuple(tie("any"), tie("any")).map(([some, other]) => ({ allOf: [some, { not: other }] })),
      weight: 2,
    },
    { arbitrary: fc.constant({ anyOf: [{ type: "null" }, { $ref: "#/$defs/r" }] }), weight: 1 },
    { arbitrary: fc.constant(true), weight: 1 },
  ),
  object: fc
    .tuple(
      fc.dictionary(fc.constantFrom(...NAMES), tie("any"), { maxKeys: 3, noNullPrototype: true }),
      fc.subarray(NAMES, { maxLength: 2 }),
      maybe(fc.oneof(fc.boolean(), tie("any"))),
      maybe(fc.constantFrom({ pattern: "^[a-é]" }, { maxLength: 3 })),
    )
    .map(([properties, required, additionalProperties, propertyNames]) =>
      clean({ type: "object", properties, required, additionalProperties, propertyNames }),
    ),
  array: fc
    .tuple(
      maybe(fc.array(tie("any"), { minLength: 1, maxLength: 2 })),
      maybe(tie("any")),
      range("minItems", "maxItems", 2),
    )
    .map(([prefixItems, items, limits]) => clean({ type: "array", prefixItems, items, ...limits })),
}));

/** Schemas with a recursive definition; those that nothing satisfies or that are refused are left out. */
const rooted = schemas.any.map((schema) =>
  typeof schema === "object"
    ? {
        ...schema,
        $defs: {
          r: {
            type: "object",
            properties: {
              next: { anyOf: [{ $ref: "#/$defs/r" }, { type: "null" }] },
              a: { type: "integer" },
            },
            required: ["next"],
          },
        },
      }
    : schema,
);
const made = (schema: unknown, tokenizer: Tokenizer, more: Partial<ConstraintOptions> = {}) => {
  try {
    return jsonSchemaConstraint(schema, tokenizer, { ...options, maxDepth: 4, ...more });
  } catch (error) {
    if (
      /no JSON value satisfies|a listed (object|array) |inside not|combinations/.test(
        (error as Error).message,
      )
    ) {
      return null;
    }
    throw error;
  }
};

describe("constrained output", () => {
  it("is valid against random schemas, wherever random sampling turns to its end", () => {
    let ended = 0;
    let open = 0;
    fc.assert(
      fc.property(rooted, fc.nat(), fc.nat(60), fc.boolean(), (schema, seed, turn, small) => {
        const tokenizer = small ? bytes : large;
        const constraint = made(schema, tokenizer);
        if (constraint === null) return;
        const text = sample(constraint, tokenizer, seed, turn);
        if (text === null) open++;
        else {
          ended++;
          const value = JSON.parse(text);
          if (!isValid(schema, value)) throw new Error(`${text} is not valid`);
          expect(text.replace(/"(\\.|[^"\\])*"/g, '""')).not.toMatch(/\s{2}|\n|[^,:] /);
        }
      }),
      { numRuns: 200 },
    );
    expect(ended).toBeGreaterThan(120);
    expect(open).toBeLessThan(30);
  });

  it("masks exactly the tokens that the automaton refuses byte by byte", () => {
    fc.assert(
      fc.property(rooted, fc.nat(), fc.nat(12), (schema, seed, steps) => {
        const constraint = made(schema, large);
        if (constraint === null) return;
        const random = new Random(seed);
        for (let n = 0; n <= steps; n++) {
          const allowed = new Set(allowedIds(constraint, large));
          for (let id = 0; id < large.vocabSize; id++) {
            const copy = constraint.clone();
            let taken = true;
            try {
              copy.accept(id);
            } catch {
              taken = false;
            }
            if (taken !== allowed.has(id)) throw new Error(`${id} ${large.tokenOf(id)}: taken ${taken}`);
          }
          const next = [...allowed].filter((id) => id !== EOS);
          if (next.length === 0) break;
          constraint.accept(next[random.int(next.length)]);
        }
      }),
      { numRuns: 40 },
    );
  });

  it("forbids exactly what cannot become one of all possible outputs", () => {
    // Schemas with few texts; each is listed together with its schema, apart from the grammar.
    type Finite = { schema: unknown; texts: string[] };
    const leaf: fc.Arbitrary<Finite> = fc.constantFrom(
      { schema: { type: "boolean" }, texts: ["true", "false"] },
      {
        schema: { type: "integer", minimum: -2, maximum: 11 },
        texts: Array.from({ length: 14 }, (_, i) => `${i - 2}`),
      },
      {
        schema: { type: "integer", minimum: 90, maximum: 130, multipleOf: 10 },
        texts: ["90", "100", "110", "120", "130"],
      },
      {
        schema: { type: "string", pattern: "^[aé]{1,2}$" },
        texts: ['"a"', '"é"', '"aa"', '"aé"', '"éa"', '"éé"'],
      },
      { schema: { enum: ["abc", "ab", 12, 123, null] }, texts: ['"abc"', '"ab"', "12", "123", "null"] },
      { schema: { type: ["null", "boolean"] }, texts: ["null", "true", "false"] },
      { schema: false, texts: [] },
    );
    const product = (lists: string[][]): string[][] =>
      lists.reduce<string[][]>((all, list) => all.flatMap((row) => list.map((item) => [...row, item])), [[]]);
    const array = (items: Finite, min: number, max: number): Finite => ({
      schema: { type: "array", items: items.schema, minItems: min, maxItems: max },
      texts: Array.from({ length: max - min + 1 }, (_, i) => i + min).flatMap((n) =>
        product(Array.from({ length: n }, () => items.texts)).map((row) => `[${row.join()}]`),
      ),
    });
    const object = (a: Finite, b: Finite, required: string[]): Finite => {
      const choices = [a, b].map(({ texts }, i) => {
        const name = ["k", "kind"][i];
        return [...(required.includes(name) ? [] : [""]), ...texts.map((text) => `"${name}":${text}`)];
      });
      return {
        schema: { type: "object", properties: { k: a.schema, kind: b.schema }, required },
        texts: product(choices).map((row) => `{${row.filter((part) => part !== "").join()}}`),
      };
    };
    const finite = fc.letrec<{ any: Finite }>((tie) => ({
      any: fc.oneof(
        { depthSize: "small", maxDepth: 2 },
        { arbitrary: leaf, weight: 2 },
        {
          arbitrary: fc.tuple(tie("any"), fc.nat(1), fc.nat(1)).map(([x, a, b]) => array(x, a, a + b)),
          weight: 1,
        },
        {
          arbitrary: fc
            .tuple(tie("any"), tie("any"), fc.subarray(["k", "kind"]))
            .map(([a, b, r]) => object(a, b, r)),
          weight: 2,
        },
        {
          arbitrary: fc.tuple(tie("any"), tie("any")).map(([a, b]) => ({
            schema: { anyOf: [a.schema, b.schema] },
            texts: [...a.texts, ...b.texts],
          })),
          weight: 1,
        },
      ),
    })).any;
    const utf8 = new TextEncoder();
    const latin1 = (list: Uint8Array) => String.fromCharCode(...list);
    fc.assert(
      fc.property(
        finite.filter(({ texts }) => texts.length < 3000),
        fc.nat(),
        fc.boolean(),
        ({ schema, texts }, seed, small) => {
          const tokenizer = small ? bytes : large;
          const constraint = made(schema, tokenizer, { spaces: 0 });
          expect(constraint === null).toBe(texts.length === 0);
          if (constraint === null) return;
          const random = new Random(seed);
          let left = [...new Set(texts)].map((text) => latin1(utf8.encode(text)));
          const strings = Array.from({ length: tokenizer.vocabSize }, (_, id) =>
            tokenizer.specialTokens.has(id) ? null : latin1(tokenizer.bytesOf(id)),
          );
          for (;;) {
            const expected: number[] = [];
            strings.forEach((string, id) => {
              if (id === EOS ? left.includes("") : string && left.some((text) => text.startsWith(string)))
                expected.push(id);
            });
            expect(constraint.complete).toBe(left.includes(""));
            expect(constraint.finished).toBe(left.length === 1 && left[0] === "");
            expect(allowedIds(constraint, tokenizer)).toEqual(expected);
            const next = expected[random.int(expected.length)];
            constraint.accept(next);
            if (next === EOS) break;
            const string = strings[next]!;
            left = left.filter((text) => text.startsWith(string)).map((text) => text.slice(string.length));
          }
        },
      ),
      { numRuns: 150 },
    );
  });

  it("is a JSON object in object mode, to the depth that is allowed", () => {
    for (let seed = 0; seed < 30; seed++) {
      const tokenizer = seed % 2 === 0 ? bytes : large;
      const text = sample(jsonObjectConstraint(tokenizer, options), tokenizer, seed, 10 * seed);
      if (text === null) continue;
      expect(Object.getPrototypeOf(JSON.parse(text))).toBe(Object.prototype);
    }
    const deep = jsonObjectConstraint(bytes, options);
    expect(follow(deep, bytes, `{"a":${"[".repeat(63)}1`)).toBe("open");
    expect(follow(deep, bytes, `{"a":${"[".repeat(63)}[`)).toBe("no");
    expect(follow(deep, bytes, `{"a":{"b": [1, 2,{}]},"a":"\\ud83d\\ude00\\u00e9\\/"}`)).toBe("finished");
    for (const wrong of [
      "[",
      '"',
      " ",
      "\n",
      '{"a" ',
      '{"a":  ',
      '{"a":01',
      '{"a":1,}',
      '{"a":"\\ud83d"',
      '{"a":"\\ude00',
    ]) {
      expect([wrong, follow(deep, bytes, wrong)]).toEqual([wrong, "no"]);
    }
  });

  it("lets characters be split over tokens and keeps them whole", () => {
    const constraint = jsonSchemaConstraint({ type: "string", maxLength: 2 }, bytes, options);
    const id = (byte: number) =>
      Array.from({ length: 259 }, (_, i) => i)
        .slice(3)
        .find((i) => bytes.bytesOf(i)[0] === byte)!;
    const state = (...list: number[]) => {
      const copy = constraint.clone();
      for (const byte of list) copy.accept(id(byte));
      return new Set(allowedIds(copy, bytes).map((i) => bytes.bytesOf(i)[0]));
    };
    const between = (low: number, high: number) =>
      new Set(Array.from({ length: high - low + 1 }, (_, i) => low + i));
    expect(state(0x22, 0xe6)).toEqual(between(0x80, 0xbf));
    expect(state(0x22, 0xe0)).toEqual(between(0xa0, 0xbf));
    expect(state(0x22, 0xed)).toEqual(between(0x80, 0x9f));
    expect(state(0x22, 0xf4)).toEqual(between(0x80, 0x8f));
    expect(state(0x22, 0xf0, 0x9f)).toEqual(between(0x80, 0xbf));
    const first = state(0x22);
    for (const never of [0x00, 0x1f, 0x0a, 0x80, 0xbf, 0xc0, 0xc1, 0xf5, 0xff])
      expect(first.has(never)).toBe(false);
    // Two characters of four bytes each, then nothing but the quote.
    expect(state(0x22, ...new TextEncoder().encode("😀😀"))).toEqual(new Set([0x22]));
  });
});

describe("parts of an output", () => {
  const tool = (tokenizer: Tokenizer) => ({
    sequence: [
      { token: tokenizer.idOf(USER)! },
      { text: "function" },
      { token: 2 },
      { text: "get\n```json\n" },
      { schema: { type: "object", properties: { n: { type: "integer" } }, required: ["n"] } },
      { text: "\n```" },
    ],
  });

  it("requires control tokens by their ids and joins texts with JSON", () => {
    const constraint = outputConstraint(tool(large), large, options);
    const user = large.idOf(USER)!;
    expect(allowedIds(constraint, large)).toEqual([user]);
    constraint.accept(user);
    const plain = large.encode("function", { addSpecialTokens: false });
    for (const id of plain) constraint.accept(id);
    expect(allowedIds(constraint, large)).toEqual([2]);
    constraint.accept(2);
    for (const id of large.encode('get\n```json\n{"n": 12}\n``', { addSpecialTokens: false }))
      constraint.accept(id);
    expect(constraint.complete).toBe(false);
    for (const id of large.encode("`", { addSpecialTokens: false })) constraint.accept(id);
    expect([constraint.complete, constraint.finished]).toEqual([true, true]);
    expect(allowedIds(constraint, large)).toEqual([EOS]);
    constraint.accept(EOS);
    expect(allowedIds(constraint, large)).toEqual([EOS]);
    expect(constraint.finished).toBe(true);
  });

  it("never takes the spelling of a control token for the token", () => {
    const constraint = outputConstraint({ sequence: [{ freeText: true }, { token: 2 }] }, large, options);
    expect(allowedIds(constraint, large)).not.toContain(large.idOf(USER));
    expect(allowedIds(constraint, large)).toContain(2);
    constraint.accept(2);
    expect(constraint.finished).toBe(true);
  });

  it("offers free text, then calls, as often as wanted", () => {
    const call = { sequence: [{ token: 2 }, { jsonObject: true as const }] };
    const constraint = outputConstraint(
      { sequence: [{ freeText: true }, { repeat: call, max: 2 }] },
      bytes,
      options,
    );
    expect(constraint.complete).toBe(true);
    const plain = (text: string) => {
      for (const id of bytes.encode(text, { addSpecialTokens: false })) constraint.accept(id);
    };
    plain("Well, 日本 {");
    expect(constraint.complete).toBe(true);
    constraint.accept(2);
    expect(allowedIds(constraint, bytes).map((id) => bytes.tokenOf(id))).toEqual(["{"]);
    plain("{}");
    expect(allowedIds(constraint, bytes)).toEqual([EOS, 2]);
    constraint.accept(2);
    plain('{"a":1}');
    expect(allowedIds(constraint, bytes)).toEqual([EOS]);
  });

  it("chooses one of several texts", () => {
    const constraint = choiceConstraint(["yes", "yesterday", "no"], bytes, options);
    expect(follow(constraint, bytes, "yes")).toBe("complete");
    expect(follow(constraint, bytes, "yesterday")).toBe("finished");
    expect(follow(constraint, bytes, "not")).toBe("no");
    expect(() => choiceConstraint([], bytes, options)).toThrow("1 or more texts");
  });

  it("copies states that go their own ways", () => {
    const constraint = choiceConstraint(["ab", "ac"], bytes, options);
    constraint.accept(bytes.encode("a", { addSpecialTokens: false })[0]);
    const copy = constraint.clone();
    copy.accept(bytes.encode("c", { addSpecialTokens: false })[0]);
    expect([constraint.complete, copy.complete]).toEqual([false, true]);
    constraint.accept(bytes.encode("b", { addSpecialTokens: false })[0]);
    expect(constraint.complete).toBe(true);
  });
});

describe("vocabularies", () => {
  it("masks rows beyond the vocabulary and refuses too few logits", () => {
    const constraint = jsonSchemaConstraint({ type: "string" }, bytes, options);
    constraint.accept(bytes.encode('"', { addSpecialTokens: false })[0]);
    const logits = new Float32Array(bytes.vocabSize + 100);
    constraint.mask(logits);
    expect(logits.slice(bytes.vocabSize).every((value) => value === Number.NEGATIVE_INFINITY)).toBe(true);
    expect(logits.some((value) => value === 0)).toBe(true);
    expect(() => constraint.mask(new Float32Array(10))).toThrow("fewer logits");
  });

  it("says which byte no token spells", () => {
    // The token of byte b > 0x20 is b - 30: those of "{" and "~" are just left out.
    const constraint = jsonSchemaConstraint({ const: {} }, bytes, { ...options, vocabularySize: 93 });
    const short = jsonSchemaConstraint({ const: "~" }, bytes, { ...options, vocabularySize: 96 });
    expect(() => constraint.mask(new Float32Array(93))).toThrow("0x7b");
    short.accept(bytes.encode('"', { addSpecialTokens: false })[0]);
    expect(() => short.mask(new Float32Array(96))).toThrow("0x7e");
  });

  it("refuses ids out of range", () => {
    expect(() => jsonSchemaConstraint({}, bytes, { eosIds: [] })).toThrow("eosIds");
    expect(() => jsonSchemaConstraint({}, bytes, { eosIds: [9999] })).toThrow("9999");
    expect(() => outputConstraint({ token: -1 }, bytes, options)).toThrow("not a token");
    const constraint = jsonSchemaConstraint({ type: "null" }, bytes, options);
    for (const id of [EOS, 0, -1, 1e6, bytes.encode("x", { addSpecialTokens: false })[0]]) {
      expect(() => constraint.accept(id)).toThrow("not allowed here");
    }
  });

  it("holds every token once, in the tree of its bytes", () => {
    const trie = tokenTrie(large);
    expect(tokenTrie(large)).toBe(trie);
    const path: number[] = [];
    const found = new Set<number>();
    for (let node = 1; node < trie.size; node++) {
      path.length = trie.depths[node] - 1;
      path.push(trie.bytes[node]);
      for (let id = trie.tokens[node]; id >= 0; id = trie.twins[id]) {
        expect([...large.bytesOf(id)]).toEqual(path);
        found.add(id);
      }
    }
    expect(found.size).toBe(large.vocabSize - large.specialTokens.size);
  });

  it("stays small over long outputs and many requests", () => {
    const constraint = jsonSchemaConstraint(
      { type: "array", items: { type: "integer" }, maxItems: 1e9 },
      bytes,
      options,
    );
    const [open, one, comma] = bytes.encode("[1,", { addSpecialTokens: false });
    constraint.accept(open);
    const logits = new Float32Array(bytes.vocabSize);
    for (let i = 0; i < 12_000; i++) {
      constraint.accept(one);
      constraint.accept(comma);
    }
    constraint.mask(logits);
    expect(logits[one]).toBe(0);
    expect(logits[comma]).toBe(Number.NEGATIVE_INFINITY);
  });
});
