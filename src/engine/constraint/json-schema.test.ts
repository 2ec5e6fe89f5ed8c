import { beforeAll, describe, expect, it } from "vitest";
import { JsonNumber, parseJson } from "../../json/index.ts";
import { ConfigError } from "../../tensor/errors.ts";
import { loadTokenizer, type Tokenizer } from "../../tokenizer/tokenizer.ts";
import { trainBpe } from "../../tokenizer/train-bpe.ts";
import type { JsonOptions } from "./json-schema.ts";
import { jsonSchemaConstraint } from "./output-constraints.ts";

let bytes: Tokenizer;

beforeAll(async () => {
  bytes = loadTokenizer(await trainBpe([], { vocabSize: 265 }));
});

const compile = (schema: unknown, more: JsonOptions = {}) =>
  jsonSchemaConstraint(schema, bytes, { eosIds: [1], ...more });

/** Which of the texts the schema lets be written from beginning to end. */
function written(schema: unknown, texts: string[], more: JsonOptions = {}): string[] {
  const constraint = compile(schema, more);
  return texts.filter((text) => {
    const copy = constraint.clone();
    try {
      for (const id of bytes.encode(text, { addSpecialTokens: false })) copy.accept(id);
    } catch {
      return false;
    }
    return copy.complete;
  });
}

const cases: [name: string, schema: unknown, yes: string[], no: string[]][] = [
  [
    "properties in order, required ones always",
    { type: "object", properties: { a: { type: "integer" }, b: { type: "null" }, c: true }, required: ["b"] },
    ['{"b":null}', '{"a": 1, "b": null, "c": [{"x": "y"}]}'],
    [
      "{}",
      '{"a":1}',
      '{"b":null,"a":1}',
      '{"b":null,"d":1}',
      '{"b":null,"b":null}',
      '{"b":null,}',
      '{"b" :null}',
    ],
  ],
  [
    "additional properties by a schema, declared names not among them",
    { properties: { ab: { type: "null" } }, additionalProperties: { type: "integer" } },
    ["{}", '{"ab":null,"a":1,"abc":2}', '{"a":1}', '{"é\\n":1}'],
    ['{"ab":1}', '{"a":null}', '{"a":1,"ab":2}', '{"\\u0061b":1}'],
  ],
  ["free objects", { type: "object" }, ['{"a":{"b":[]}}', '{"\\u0061":1}'], ["[]", "{a:1}"]],
  [
    "names by a schema",
    { type: "object", propertyNames: { enum: ["x", "y.z"] }, additionalProperties: { type: "integer" } },
    ['{"y.z":1,"x":2}'],
    ['{"yaz":1}'],
  ],
  ["required without properties", { required: ["q"] }, ['{"q":[]}'], ["{}", '{"r":1}']],
  [
    "tuples",
    {
      prefixItems: [{ type: "integer" }, { type: "string" }],
      items: { type: "null" },
      minItems: 1,
      maxItems: 4,
    },
    ["[1]", '[1,"a"]', '[1, "a", null, null]'],
    ["[]", '["a"]', '[1,"a",1]', '[1,"a",null,null,null]'],
  ],
  ["older tuples", { items: [{ const: 1 }], additionalItems: false }, ["[1]", "[]"], ["[1,1]"]],
  ["no items", { type: "array", items: false }, ["[]"], ["[1]"]],
  [
    "types in a list",
    { type: ["integer", "null", "string"], maxLength: 1 },
    ["1", "null", '"a"'],
    ["1.5", '"ab"', "true"],
  ],
  ["nullable", { type: "string", nullable: true }, ["null", '""'], ["1"]],
  [
    "enum with other keywords",
    { enum: ["a", "abc", 5, 7, 12], type: ["string", "integer"], maxLength: 1, minimum: 6 },
    ['"a"', "7"],
    ['"abc"', "5"],
  ],
  ["const", { const: { a: [1, "é"] } }, ['{"a":[1,"é"]}'], ['{"a":[1, "é"]}', "{}"]],
  [
    "lengths in characters",
    { type: "string", minLength: 2, maxLength: 2 },
    ['"😀é"', '"\\ud83d\\ude00\\n"'],
    ['"😀"', '"abc"'],
  ],
  ["patterns anywhere", { pattern: "b+c" }, ['"abbcd"', '"bc"'], ['"bb"', '""']],
  [
    "patterns and lengths",
    { pattern: "^a*b?$", minLength: 2, maxLength: 3 },
    ['"ab"', '"aaa"'],
    ['"b"', '"aaaa"', '"abb"'],
  ],
  [
    "characters to escape in patterns",
    { pattern: '^["\\\\\\n\\x01]+$' },
    ['"\\"\\\\\\n\\u0001"'],
    ['"\\u000a"', '"a"'],
  ],
  [
    "dates",
    { format: "date" },
    ['"2024-02-29"', '"2000-02-29"', '"2023-12-31"'],
    ['"2023-02-29"', '"1900-02-29"', '"2023-04-31"', '"2023-13-01"', '"2023-1-1"'],
  ],
  [
    "times",
    { format: "date-time" },
    ['"2024-02-29T23:59:59Z"', '"2024-01-01T00:00:00.123Z"'],
    [
      '"2024-01-01"',
      '"2024-01-01T24:00:00Z"',
      '"2024-01-01T00:00:00"',
      '"2024-01-01T00:00:00.123+02:30"',
      '"2024-01-01T00:00:00.1234567890Z"',
      '"0000-01-01T00:00:00Z"',
    ],
  ],
  [
    "a format in a wider form where a pattern asks for it",
    { format: "date-time", pattern: "\\+02:00$" },
    ['"2024-01-01T00:00:00+02:00"'],
    ['"2024-01-01T00:00:00Z"', '"a+02:00"'],
  ],
  [
    "a pattern that contradicts the format, which is an annotation then",
    { format: "date", pattern: "^\\d{2}\\.\\d{2}$" },
    ['"01.02"'],
    ['"2024-01-01"'],
  ],
  ["unknown formats are annotations", { type: "string", format: "flavor" }, ['"anything"'], ["1"]],
  [
    "addresses",
    { format: "uri" },
    ['"https://a.example/b?c=%20#d"', '"mailto:a@b.c"', '"s3://bucket/key"', '"urn:isbn:1"', '"file:///a"'],
    ['"a/b"', '"https://"', '"http://a b.c/"', '"https://a.example/%2"', '"1:2"', '"https:a"'],
  ],
  [
    "durations",
    { format: "duration" },
    ['"P1Y2M3D"', '"PT4H"', '"P3DT4H5M6S"'],
    ['"P"', '"P1DT"', '"PT1H6S"', '"P1W"'],
  ],
  ["times of day", { format: "time" }, ['"23:59:59.5Z"'], ['"23:59"', '"24:00:00Z"', '"23:59:59"']],
  [
    "addresses of hosts",
    { format: "ipv6" },
    ['"::1"', '"2001:db8::a:b"'],
    ['":::"', '"1::2::3"', '"12345::"'],
  ],
  [
    "whole numbers of so many bits",
    { type: "integer", format: "int32" },
    ["2147483647", "-2147483648"],
    ["2147483648", "-2147483649"],
  ],
  [
    "listed values none of which has the format",
    { format: "date", enum: ["soon", "later"] },
    ['"soon"', '"later"'],
    ['"2024-01-02"'],
  ],
  [
    "lookahead",
    { pattern: "^(?!\\.)(?!.*\\.\\.)[a-z0-9._+-]+@([a-z0-9-]+\\.)+[a-z]{2,}$" },
    ['"ab.c@ex.org"'],
    ['".ab@ex.org"', '"a..b@ex.org"', '"ab@ex"'],
  ],
  [
    "wide repetition",
    { pattern: "^.{1,255}$" },
    ['"a"', '"é日😀"'],
    ['""', '"a\\nb"', `"${"a".repeat(256)}"`],
  ],
  [
    "wide repetition beside lengths",
    { pattern: "^\\S{2,65535}$", maxLength: 3 },
    ['"ab"', '"abc"'],
    ['"a"', '"abcd"', '"a b"'],
  ],
  [
    "integers",
    { type: "integer", minimum: 9, exclusiveMaximum: 101 },
    ["9", "10", "100"],
    ["8", "101", "09", "1e1", "-9"],
  ],
  ["draft 4 bounds", { type: "integer", minimum: 5, exclusiveMinimum: true, maximum: 6 }, ["6"], ["5", "7"]],
  ["numbers", { minimum: -0.5, maximum: 10 }, ["-0.5", "0", "9.99", "10.00"], ["-0.51", "10.01", "1e1"]],
  ["cents", { type: "number", multipleOf: 0.01 }, ["1", "1.5", "-2.25", "3.100"], ["1.005"]],
  [
    "anyOf beside other keywords",
    {
      type: "object",
      properties: { a: { type: "integer" }, b: { type: "integer" } },
      anyOf: [{ required: ["a"] }, { required: ["b"] }],
    },
    ['{"a":1}', '{"b":1}', '{"a":1,"b":2}'],
    ["{}"],
  ],
  [
    "oneOf as exactly one",
    { oneOf: [{ type: "integer" }, { type: "number" }] },
    ["1.5"],
    ["1", "1.0", "null"],
  ],
  [
    "oneOf of steps",
    { type: "integer", oneOf: [{ multipleOf: 3 }, { multipleOf: 5 }] },
    ["3", "10", "-9"],
    ["15", "0", "4", "30"],
  ],
  [
    "oneOf of overlapping intervals, patterns and lists",
    {
      oneOf: [
        { type: "integer", minimum: 0, maximum: 10 },
        { type: "integer", minimum: 5, maximum: 20 },
        { type: "string", pattern: "^a" },
        { type: "string", maxLength: 2 },
        { enum: ["a", "zzz", null] },
        { const: 30 },
      ],
    },
    ["4", "11", '"abc"', '"b"', '"zzz"', "null", "30"],
    ["5", "10", '"a"', '"ab"', '"bcd"', "21"],
  ],
  [
    "oneOf of objects told apart by a constant",
    {
      oneOf: ["a", "b"].map((kind) => ({
        type: "object",
        properties: { kind: { const: kind }, v: { type: "integer" } },
        required: ["kind"],
      })),
    },
    ['{"kind":"a"}', '{"kind":"b","v":1}'],
    ['{"kind":"c"}', '{"v":1}'],
  ],
  [
    "oneOf of objects that overlap",
    {
      oneOf: [
        { type: "object", properties: { a: { type: "integer" } }, additionalProperties: false },
        {
          type: "object",
          properties: { a: { type: "integer" }, b: { type: "null" } },
          additionalProperties: false,
        },
      ],
    },
    ['{"b":null}', '{"a":1,"b":null}'],
    ["{}", '{"a":1}'],
  ],
  [
    "properties that never occur",
    {
      type: "object",
      properties: { a: { type: "boolean" }, b: { not: {} } },
      required: ["a"],
      additionalProperties: false,
    },
    ['{"a":true}'],
    ['{"a":true,"b":1}', '{"a":true,"b":null}'],
  ],
  ["not of a type", { not: { type: ["null", "object"] } }, ["1", "1.5", '"a"', "[]", "true"], ["null", "{}"]],
  [
    "not beside other keywords",
    { type: "string", maxLength: 3, not: { anyOf: [{ pattern: "^a" }, { enum: ["b", "c"] }] } },
    ['"d"', '"bb"', '""'],
    ['"a"', '"ab"', '"b"', '"c"', '"dddd"', "1"],
  ],
  [
    "not of objects and lists",
    {
      type: ["object", "array"],
      not: { type: ["object", "array"], required: ["a"], minItems: 2, properties: { b: { type: "null" } } },
    },
    ["[]", "[1]", '{"b":1}', '{"b":null}'],
    ["[1,2]"],
  ],
  ["not of not", { not: { not: { type: "integer" } } }, ["1"], ["1.5", "null"]],
  ["not false", { not: false, type: "null" }, ["null"], ["1"]],
  [
    "allOf",
    {
      allOf: [
        { type: "object", properties: { a: { type: "number", minimum: 3 } }, required: ["a"] },
        { properties: { a: { type: "integer", maximum: 5 }, b: { type: "null" } } },
        { $ref: "#/$defs/more" },
      ],
      $defs: { more: { properties: { c: { const: 1 } }, required: ["c"] } },
    },
    ['{"a":4,"c":1}', '{"a":3,"b":null,"c":1}'],
    ['{"a":6,"c":1}', '{"a":3.5,"c":1}', '{"a":4}'],
  ],
  [
    "allOf with a closed object",
    {
      allOf: [
        { properties: { a: true }, additionalProperties: false },
        { properties: { a: { type: "null" }, b: true } },
      ],
    },
    ['{"a":null}', "{}"],
    ['{"a":1}', '{"b":1}'],
  ],
  [
    "recursion",
    {
      $ref: "#/definitions/a~1b",
      definitions: { "a/b": { type: "array", items: { $ref: "#/definitions/a~1b" }, maxItems: 1 } },
    },
    ["[]", "[[[[]]]]"],
    ["[[],[]]", "[1]"],
  ],
  ["the root by reference", { properties: { x: { $ref: "#" } } }, ['{"x":{"x":{}}}'], ['{"x":1}']],
  ["anything", true, ["null", '{"a":[1.5e3]}', '"x"'], ["nul", ""]],
  [
    "names that objects inherit",
    { properties: { __proto__x: true, constructor: { type: "null" } }, required: ["constructor"] },
    ['{"constructor":null}'],
    ["{}"],
  ],
];

describe("jsonSchemaConstraint", () => {
  it.each(cases)("writes %s", (_, schema, yes, no) => {
    expect(written(schema, [...yes, ...no])).toEqual(yes);
  });

  it("has a property called __proto__", () => {
    const schema = JSON.parse('{"properties":{"__proto__":{"type":"integer"}},"required":["__proto__"]}');
    expect(written(schema, ['{"__proto__":1}', "{}"])).toEqual(['{"__proto__":1}']);
  });

  it("keeps bounds, listed values and constants to the digit", () => {
    const int64 = '{"type":"integer","minimum":-9223372036854775808,"maximum":9223372036854775807}';
    const edges = ["9223372036854775807", "-9223372036854775808"];
    const beyond = ["9223372036854775808", "9223372036854775900", "-9223372036854775809"];
    expect(written(parseJson(int64), [...edges, ...beyond])).toEqual(edges);
    // A program cannot write the bound; the double it gets instead still means it.
    expect(written(JSON.parse(int64), [...edges, ...beyond])).toEqual(edges);
    const id = '{"enum":[653247040368672769,1.0,1e-07,{"10":1,"2":9007199254740993}]}';
    const texts = ["653247040368672769", "1.0", "1e-07", '{"10":1,"2":9007199254740993}'];
    expect(written(parseJson(id), [...texts, "653247040368672768", "1", '{"2":1}'])).toEqual(texts);
    expect(written(parseJson('{"type":"integer","enum":[1.0,1.5]}'), ["1.0", "1.5"])).toEqual(["1.0"]);
    const both = '{"allOf":[{"enum":[9007199254740993,2]},{"enum":[9007199254740992,2.0]}]}';
    expect(written(parseJson(both), ["2", "9007199254740993"])).toEqual(["2"]);
    const nanoseconds = { type: "number", minimum: 1.6e18, maximum: 1.9e18 };
    expect(written(nanoseconds, ["1700000000000000000", "15"])).toEqual(["1700000000000000000"]);
    const far = '{"type":"integer","enum":[36028797018963969],"multipleOf":9007199254740993}';
    expect(() => compile(parseJson(far))).toThrow("no listed value");
  });

  it("writes properties in the order of the schema, index-like names too", () => {
    const schema = parseJson('{"properties":{"b":{"type":"null"},"10":{"type":"null"},"2":{"type":"null"}}}');
    const texts = ['{"b":null,"10":null,"2":null}', '{"2":null,"10":null,"b":null}'];
    expect(written(schema, texts)).toEqual(texts.slice(0, 1));
  });

  it("puts as many spaces as it is told", () => {
    const texts = ["[1,2]", "[1, 2]", "[1,  2]", "[ 1,2]", "[1 ,2]"];
    const schema = { type: "array", items: { type: "integer" } };
    expect(written(schema, texts, { spaces: 0 })).toEqual(["[1,2]"]);
    expect(written(schema, texts)).toEqual(["[1,2]", "[1, 2]"]);
    expect(written(schema, texts, { spaces: 2 })).toEqual(["[1,2]", "[1, 2]", "[1,  2]"]);
    expect(() => compile(schema, { spaces: -1 })).toThrow("spaces");
    expect(() => compile(schema, { maxDepth: 0 })).toThrow("maxDepth");
  });

  it("leaves out what nothing satisfies and refuses a whole schema of that kind", () => {
    const endless = { type: "object", properties: { a: { $ref: "#/$defs/e" } }, required: ["a"] };
    const schema = { $defs: { e: endless }, properties: { x: { $ref: "#/$defs/e" }, y: { type: "null" } } };
    expect(written(schema, ["{}", '{"y":null}', '{"x":{'])).toEqual(["{}", '{"y":null}']);
    expect(() => compile({ $ref: "#/$defs/e", $defs: { e: endless } })).toThrow("endless");
  });

  const at = (inner: unknown) => ({ type: "object", properties: { "a/b": inner } });
  it.each<[string, unknown, string]>([
    ["unsupported keywords", at({ contains: {} }), "#/properties/a~1b/contains"],
    ["names inside not", at({ not: { propertyNames: { maxLength: 1 } } }), "propertyNames inside not"],
    ["not anything", { not: {} }, "a schema is false"],
    ["patternProperties", at({ patternProperties: { a: true } }), "patternProperties is not supported"],
    ["uniqueItems", at({ uniqueItems: true }), "uniqueItems is not supported"],
    ["if", at({ if: {} }), "if is not supported"],
    ["unknown types", at({ type: "float" }), "#/properties/a~1b/type"],
    ["references outside", at({ $ref: "https://example.com/x" }), "only references within"],
    ["references to nothing", at({ $ref: "#/$defs/x" }), "points to nothing"],
    ["references to inherited things", at({ $ref: "#/constructor" }), "points to nothing"],
    ["circular references", { $ref: "#/$defs/a", $defs: { a: { $ref: "#/$defs/a" } } }, "refers to itself"],
    [
      "circular anyOf",
      { $ref: "#/$defs/a", $defs: { a: { anyOf: [{ type: "null" }, { $ref: "#/$defs/a" }] } } },
      "itself",
    ],
    [
      "circular anyOf beside others",
      { $ref: "#/$defs/a", $defs: { a: { minimum: 1, anyOf: [{ $ref: "#/$defs/a" }] } } },
      "anyOf",
    ],
    ["impossible bounds", at({ $ref: "#/$defs/i", $defs: {} }), "points to nothing"],
    ["nothing in an interval", { type: "integer", minimum: 3, maximum: 2 }, "no number is within the bounds"],
    ["contradicting types", { allOf: [{ type: "null" }, { type: "string" }] }, "no type is left"],
    ["false", false, "a schema is false"],
    ["negative lengths", at({ minLength: -1 }), "#/properties/a~1b/minLength"],
    ["text for a number", at({ maximum: "5" }), "#/properties/a~1b/maximum"],
    ["steps of zero", at({ multipleOf: 0 }), "must be above 0"],
    ["lookbehind", at({ pattern: "(?<=a)b" }), "#/properties/a~1b/pattern"],
    ["schemas that are none", at(5), "must be an object or a boolean"],
    ["null", null, "must be an object or a boolean"],
    ["lists for schemas", at([]), "must be an object or a boolean"],
    [
      "listed objects beside properties",
      { enum: [{ a: 1 }], properties: { a: true } },
      "a listed object beside",
    ],
  ])("refuses %s by name", (_, schema, message) => {
    expect(() => compile(schema)).toThrow(ConfigError);
    expect(() => compile(schema)).toThrow(message);
  });

  const nested = (depth: number): unknown => (depth === 0 ? {} : { items: nested(depth - 1) });
  const loop: Record<string, unknown> = { type: "array" };
  loop.items = loop;
  const chain = Object.fromEntries(
    Array.from({ length: 100 }, (_, i) => [
      `a${i}`,
      { anyOf: [{ $ref: `#/$defs/a${i + 1}` }, { $ref: `#/$defs/a${i + 1}` }] },
    ]),
  );
  it.each<[string, unknown, string]>([
    ["deep nesting", nested(500), "nested too deeply"],
    ["objects in a circle", loop, "nested deeper"],
    ["a million values", { enum: Array.from({ length: 1e6 }, (_, i) => i) }, "more than 1000000 values"],
    ["many values", { enum: Array.from({ length: 2e5 }, (_, i) => i) }, "too large"],
    ["too many values", { enum: Array.from({ length: 20_000 }, (_, i) => i) }, "too many values"],
    ["long values", { enum: ["x".repeat(1e6)] }, "values are too long"],
    ["long names", at({ properties: { ["x".repeat(1e5)]: true } }), "too long"],
    ["huge least lengths", at({ type: "string", minLength: 1e9 }), "minLength"],
    ["huge least counts", at({ type: "array", minItems: 1e9 }), "minItems"],
    [
      "huge exact lengths beside a pattern",
      at({ pattern: "^([a-w]{1,60}x)*$", minLength: 1e5, maxLength: 1e5 }),
      "#/properties/a~1b",
    ],
    ["exploding patterns", at({ pattern: "(a|b)*a(a|b){60}" }), "#/properties/a~1b/pattern"],
    ["steps without end", at({ type: "number", multipleOf: new JsonNumber("1e-999") }), "multipleOf"],
    [
      "combinations of anyOf",
      {
        type: "object",
        allOf: Array.from({ length: 30 }, (_, i) => ({
          anyOf: [{ required: [`a${i}`] }, { required: [`b${i}`] }],
        })),
      },
      "anyOf",
    ],
    [
      "many properties",
      { properties: Object.fromEntries(Array.from({ length: 2000 }, (_, i) => [`p${i}`, true])) },
      "too many properties",
    ],
  ])("refuses %s, with the place", (_, schema, message) => {
    expect(() => compile(schema)).toThrow(message);
  });

  it("takes limits that only seem hostile", () => {
    const schema = {
      type: "array",
      maxItems: 1e9,
      items: { anyOf: [{ type: "string", maxLength: 1e9, pattern: "b" }, { $ref: "#/$defs/a0" }] },
      $defs: { ...chain, a100: { type: "null" } },
    };
    expect(written(schema, ['["abc",null]'])).toEqual(['["abc",null]']);
    const wide = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`p${i}`, { type: "integer" }]));
    expect(written({ properties: wide }, ['{"p7":1,"p999":2}', '{"p999":1,"p7":2}'])).toEqual([
      '{"p7":1,"p999":2}',
    ]);
  });

  it("says when an output can be read in too many ways", () => {
    const list = (maxItems: number) => ({ type: "array", items: { $ref: "#/$defs/n" }, maxItems });
    const constraint = compile({ $ref: "#/$defs/n", $defs: { n: { anyOf: [list(2), list(3)] } } });
    const [open] = bytes.encode("[", { addSpecialTokens: false });
    expect(() => {
      for (let i = 0; i < 40; i++) constraint.accept(open);
    }).toThrow("too many ways");
  });
});
