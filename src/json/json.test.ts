import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  canonicalJson,
  equalJson,
  fromPlain,
  JsonNumber,
  JsonSyntaxError,
  type JsonValue,
  PYTHON,
  parseJson,
  parseJsonSlices,
  parsePlain,
  pythonFloat,
  toPlain,
  writeJson,
} from "./index.ts";

const n = (text: string) => new JsonNumber(text);
const failure = (text: string, limits = {}) => {
  try {
    parseJson(text, limits);
  } catch (error) {
    return error as JsonSyntaxError;
  }
  throw new Error(`${text} was read`);
};

describe("reading", () => {
  it("keeps digits and the order of keys", () => {
    const text = '{"b":9223372036854775807,"10":1.0,"2":[1e-07,-0,1E400],"":{}}';
    expect(writeJson(parseJson(text))).toBe(text);
    expect([...(parseJson(text) as Map<string, JsonValue>).keys()]).toEqual(["b", "10", "2", ""]);
  });

  it("agrees with JSON.parse on any value, however it is spaced", () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom(undefined, 1, "\t"), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(toPlain(parseJson(text))).toEqual(JSON.parse(text));
        expect(writeJson(parseJson(text), indent === undefined ? {} : { indent })).toBe(text);
      }),
    );
  });

  it("in slices gives the same, with pauses, and passes over thousands of unwanted keys", () => {
    const text = JSON.stringify({
      list: Array.from({ length: 10_000 }, (_, i) => [i, { i: -i }]),
      end: null,
    });
    const work = parseJsonSlices(text);
    let pauses = 0;
    let result = work.next();
    for (; !result.done; result = work.next()) pauses++;
    expect(pauses).toBe(20);
    expect(writeJson(result.value)).toBe(text);
    expect(parseJsonSlices("null").next()).toEqual({ done: true, value: null });
    const many = JSON.stringify(Object.fromEntries(Array.from({ length: 100_000 }, (_, i) => [`k${i}`, i])));
    expect(writeJson(parseJson(many, { only: new Set(["k7", "k99999"]) }))).toBe('{"k7":7,"k99999":99999}');
    expect(writeJson(parseJson(many, { only: new Set(["k7"]) }))).toBe('{"k7":7}');
  });

  it("accepts and refuses what JSON.parse does", () => {
    const piece = fc.constantFrom(
      ...'{}[],:"\\ \n\t0123-+.eEtruefalsn\u0001\u00e9\ud83d'.split(""),
      "\\u",
      '"a":',
      "1,",
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
        const text = pieces.join("");
        let expected: unknown;
        try {
          expected = JSON.parse(text);
        } catch {
          expect(() => parseJson(text)).toThrow(JsonSyntaxError);
          return;
        }
        expect(toPlain(parseJson(text))).toEqual(expected);
      }),
      { numRuns: 3000 },
    );
  });

  it("reads escapes, lone surrogates and equal keys as JSON.parse does", () => {
    for (const text of ['"\\ud83d\\ude00\\n\\u0000"', '"\\ud800"', '"\ud800"', '{"a":1,"b":2,"a":3}']) {
      expect(toPlain(parseJson(text))).toEqual(JSON.parse(text));
    }
    expect(Object.getOwnPropertyNames(toPlain(parseJson('{"__proto__":1}')))).toEqual(["__proto__"]);
  });

  it("says where a text is wrong", () => {
    expect(failure('{\n "é😀": tru}').message).toBe("'t' where a value is expected at line 2, column 8");
    expect(failure("[1,]")).toMatchObject({ line: 1, column: 4, offset: 3 });
    expect(failure("\ufeff{}").message).toMatch(/^byte-order mark/);
    expect(failure('"a\nb"').message).toMatch(/control character \(10\) inside a string/);
    expect(failure("[1").message).toMatch(/^the text ends where ',' or '\]' is expected/);
    expect(failure("NaN").message).toMatch(/^'N' where a value/);
    expect(failure("").message).toBe("the text ends where a value is expected at line 1, column 1");
  });

  it("bounds depth, length, count and digits", () => {
    expect(failure("[".repeat(1e6)).message).toMatch(/deeper than 512 levels/);
    expect(parseJson("[".repeat(512) + "]".repeat(512))).toBeInstanceOf(Array);
    expect(failure("[1,2,3]", { maxLength: 6 }).message).toMatch(/longer than 6/);
    expect(failure("[1,2,3]", { maxValues: 3 }).message).toMatch(/too many values/);
    expect(failure("{}", { maxValues: 8 }).message).toMatch(/too many values/);
    expect(failure("1".repeat(4301)).message).toMatch(/more than 4300 characters/);
    expect(failure("1e1234567890").message).toMatch(/exponent has more than nine digits/);
  });

  it("makes only the outermost keys that are wanted", () => {
    const text = '{"a":[1,{"x":"]"}],"b":{"b":1.0},"c":"}","d":-2}';
    expect(writeJson(parseJson(text, { only: new Set(["b"]) }))).toBe('{"b":{"b":1.0}}');
    const only = new Set<string>();
    expect(failure('{"a":[1,{]}', { only })).toBeInstanceOf(JsonSyntaxError);
    expect(failure('{"a":[[1', { only }).message).toMatch(/inside an object or array/);
    expect(failure(`{"a":${"[".repeat(1e6)}`, { only }).message).toMatch(/deeper/);
    expect(failure('{"a":1 2}', { only })).toBeInstanceOf(JsonSyntaxError);
  });
});

describe("reading for a program", () => {
  it("keeps exactly what stands at the paths", () => {
    const text =
      '{"n":1.0,"list":[{"a":{"10":1.0,"2":9007199254740993}},{"b":2.0},3],"one":{"two":{"z":1.0,"1":2}},"x":[1.50]}';
    const paths = [
      ["list", "*", "a"],
      ["one", "two"],
      ["x", "*"],
      ["one", "missing"],
      ["n", "deeper"],
    ];
    const value = parsePlain(text, paths) as {
      list: { a: JsonValue }[];
      one: { two: JsonValue };
      x: JsonValue[];
    };
    expect(writeJson(value.list[0].a)).toBe('{"10":1.0,"2":9007199254740993}');
    expect(writeJson(value.one.two)).toBe('{"z":1.0,"1":2}');
    expect(writeJson(value.x)).toBe("[1.50]");
    expect(value).toMatchObject({ n: 1, list: [{}, { b: 2 }, 3] });
    expect(parsePlain("[1.0]", [["a"]])).toEqual([1]);
    const named = parsePlain('{"a":{"__proto__":{"b":1.0},"c":"d"}}', [["a", "*"]]) as { a: object };
    expect(Object.getOwnPropertyDescriptor(named.a, "__proto__")?.value).toEqual(parseJson('{"b":1.0}'));
    expect(Object.getPrototypeOf(named.a)).toBe(Object.prototype);
  });

  it("refuses with the place what is no JSON, also where nothing is kept", () => {
    expect(() => parsePlain('{"a":{"b":tru}}', [["c"]])).toThrow(
      "'t' where a value is expected at line 1, column 11",
    );
    expect(() => parsePlain(`{"a":${"[".repeat(200)}`, [], { maxDepth: 100 })).toThrow(/deeper than 100/);
    expect(() => parsePlain("[".repeat(200), [], { maxDepth: 100 })).toThrow(/deeper than 100/);
  });
});

describe("values", () => {
  it("come from a program's values with all digits of whole numbers", () => {
    const value = {
      id: Number("653247040368672768"),
      big: 2n ** 64n,
      far: 1e300,
      u: undefined,
      d: new Date(0),
    };
    const text =
      '{"id":653247040368672768,"big":18446744073709551616,"far":1e+300,"d":"1970-01-01T00:00:00.000Z"}';
    expect(writeJson(fromPlain(value))).toBe(text);
    expect(writeJson(fromPlain([undefined, parseJson("1.0")]))).toBe("[null,1.0]");
    expect(() => fromPlain([Number.NaN])).toThrow(/NaN/);
    const circle: unknown[] = [];
    circle.push(circle);
    expect(() => fromPlain(circle)).toThrow(/deeper/);
    let twice: unknown = 1;
    for (let i = 0; i < 60; i++) twice = [twice, twice];
    expect(() => fromPlain(twice, { maxValues: 1000 })).toThrow(/more than 1000 values/);
    const keyed = fromPlain({ a: 1, b: [2] }, { number: (x, key) => n(`${x}.${key?.length ?? 0}`) });
    expect(writeJson(keyed)).toBe('{"a":1.1,"b":[2.0]}');
  });

  it("are equal by value, whatever their spelling and order", () => {
    const same = (a: string, b: string) => {
      const equal = equalJson(parseJson(a), parseJson(b));
      expect(canonicalJson(parseJson(a)) === canonicalJson(parseJson(b))).toBe(equal);
      return equal;
    };
    expect(same('{"a":1,"b":[1e1]}', '{"b":[10.0],"a":1.00}')).toBe(true);
    expect(same("9007199254740993", "9007199254740992")).toBe(false);
    expect(same('{"a":1}', '{"b":1}')).toBe(false);
    expect(same("1", "true")).toBe(false);
    expect(same("[]", "{}")).toBe(false);
    expect(same("-0", "0.0")).toBe(true);
  });
});

describe("numbers", () => {
  const decimals = fc
    .tuple(fc.bigInt(-(10n ** 25n), 10n ** 25n), fc.integer({ min: 0, max: 12 }))
    .map(([digits, places]) => ({ digits, places, text: `${digits}e-${places}` }));

  it("compare exactly at any length and size", () => {
    fc.assert(
      fc.property(decimals, decimals, (a, b) => {
        const [x, y] = [a.digits * 10n ** BigInt(b.places), b.digits * 10n ** BigInt(a.places)];
        expect(n(a.text).compare(n(b.text))).toBe(x < y ? -1 : x > y ? 1 : 0);
      }),
    );
    expect(n("9223372036854775808").compare(n("9223372036854775807"))).toBe(1);
    expect(n("-1e400").compare(n("-1e399"))).toBe(-1);
    expect(n("1e-400").compare(n("0"))).toBe(1);
    expect(n("1e999999999").compare(n("9e999999998"))).toBe(1);
  });

  it("know multiples exactly", () => {
    fc.assert(
      fc.property(decimals, decimals, fc.bigInt(-(10n ** 9n), 10n ** 9n), (a, b, k) => {
        fc.pre(b.digits !== 0n);
        const [x, y] = [a.digits * 10n ** BigInt(b.places), b.digits * 10n ** BigInt(a.places)];
        expect(n(a.text).isMultipleOf(n(b.text))).toBe(x % y === 0n);
        expect(n(`${b.digits * k}e-${b.places}`).isMultipleOf(n(b.text))).toBe(true);
      }),
    );
    expect(n("0.3").isMultipleOf(n("0.1"))).toBe(true);
    expect(n("1e999999999").isMultipleOf(n("7"))).toBe(false);
    expect(n("1e999999999").isMultipleOf(n("64e-3"))).toBe(true);
    expect(n("7e-999999999").isMultipleOf(n("7"))).toBe(false);
    expect(() => n("1").isMultipleOf(n("0.0"))).toThrow(/0/);
  });

  it("tell whole values from whole spellings", () => {
    expect(["1", "1.0", "1e3", "1.5", "0.0", "1e-1", "10e-1"].map((t) => n(t).isInteger)).toEqual([
      true,
      true,
      true,
      false,
      true,
      false,
      true,
    ]);
    expect(["1", "-0", "1.0", "1e3"].map((t) => n(t).isIntegerText)).toEqual([true, true, false, false]);
    expect(n("-9223372036854775808").toBigInt()).toBe(-(2n ** 63n));
    expect(n("12.50e1").toBigInt()).toBe(125n);
    expect(n("0e5").toBigInt()).toBe(0n);
    expect(() => n("1e999999").toBigInt()).toThrow(/100000 digits/);
    expect(() => n("0.5").toBigInt()).toThrow(/whole/);
    for (const text of ["", "01", "1.", "+1", "NaN", "1e", "0x1", " 1"])
      expect(() => n(text)).toThrow(RangeError);
  });
});

describe("writing", () => {
  it("spells numbers as Python does after reading them", () => {
    // Python 3: json.dumps(json.loads(TEXT), ensure_ascii=False)
    const pairs = {
      "9223372036854775807": "9223372036854775807",
      "1.0": "1.0",
      "1.10": "1.1",
      "1e-07": "1e-07",
      "0.0001": "0.0001",
      "0.00001": "1e-05",
      "1E5": "100000.0",
      "123456789012345678.0": "1.2345678901234568e+17",
      "1e16": "1e+16",
      "9999999999999998.0": "9999999999999998.0",
      "-0": "0",
      "-0.0": "-0.0",
      "1e400": "Infinity",
      "5e-324": "5e-324",
      "0.1": "0.1",
    };
    for (const [text, expected] of Object.entries(pairs)) {
      expect(writeJson(parseJson(text), PYTHON)).toBe(expected);
    }
    expect(writeJson(parseJson('{"a":[1,{}],"é":[]}'), PYTHON)).toBe('{"a": [1, {}], "é": []}');
    fc.assert(
      fc.property(fc.double({ noNaN: true, noDefaultInfinity: true }), (value) => {
        expect(Object.is(Number(pythonFloat(value)), value)).toBe(true);
      }),
    );
  });

  it("indents, escapes and sorts as asked", () => {
    const value = parseJson('{"b":[1,2],"\uffee":"é\\u0001","\ud83d\ude00":{},"a":[]}');
    expect(writeJson(value, { ascii: true, sortKeys: true })).toBe(
      '{"a":[],"b":[1,2],"\\uffee":"\\u00e9\\u0001","\\ud83d\\ude00":{}}',
    );
    expect(writeJson(value, { indent: 2 })).toBe(JSON.stringify(toPlain(value), null, 2));
    expect(writeJson(parseJson("[[],1]"), { indent: "\t", comma: ", " })).toBe("[\n\t[], \n\t1\n]");
  });
});
