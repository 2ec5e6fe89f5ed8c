/** The machine that reads pickles: what it refuses, where it says so, and that random programs stay bounded. */
import { describe, expect, it } from "vitest";
import { FormatError } from "../../tensor/errors.ts";
import { Random } from "../../tensor/random.ts";
import { opcodes as op } from "./opcodes.ts";
import { ShortPickle, unpickle } from "./pickle.ts";
import { le, pickled, pickledTensor, stridesOf } from "./testing.ts";
import { type Dict, type List, PickledTensor, type Tuple } from "./values.ts";

const { text, global, integer, tuple, whole } = pickled;
const read = (bytes: Uint8Array, mostValues?: number) =>
  unpickle(bytes, "a.bin", "archive/data.pkl", 1000, mostValues);

describe("unpickle", () => {
  it("builds plain values of protocols 2 to 5", () => {
    const value = (...parts: number[][]) => read(whole(...parts)).value;
    expect(value([op.NONE])).toBeNull();
    expect(value([op.NEWTRUE])).toBe(true);
    expect(value([op.BININT, ...le(0xfffffffe, 4)])).toBe(-2);
    expect(value([op.BININT2, 1, 2])).toBe(513);
    expect(value([op.LONG1, 0])).toBe(0);
    expect(value([op.LONG1, 1, 0xff])).toBe(-1);
    expect(value([op.LONG1, 9, ...le(1n << 64n, 9)])).toBe(1n << 64n);
    expect(value([op.BINFLOAT, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0])).toBe(1.5);
    expect(value(text("é"))).toBe("é");
    expect(value([op.SHORT_BINSTRING, 1, 0x61])).toBe("a");
    expect(value([op.BINUNICODE8, ...le(1, 8), 0x61])).toBe("a");
    const list = value([
      op.EMPTY_LIST,
      op.BININT1,
      1,
      op.APPEND,
      op.MARK,
      op.BININT1,
      2,
      op.NONE,
      op.APPENDS,
    ]);
    expect((list as List).items).toEqual([1, 2, null]);
    const dict = value([op.EMPTY_DICT, ...text("a"), op.BININT1, 1, op.SETITEM]) as Dict;
    expect([dict.size, dict.get("a")]).toEqual([1, 1]);
    const pair = value([op.BININT1, 7, op.BINPUT, 3, op.BINGET, 3, op.TUPLE2]) as Tuple;
    expect(pair.items).toEqual([7, 7]);
    for (const protocol of [2, 3, 4, 5]) {
      expect(read(Uint8Array.of(op.PROTO, protocol, op.FRAME, ...le(2, 8), op.NONE, op.STOP)).length).toBe(
        13,
      );
    }
  });

  it("takes an OrderedDict of pairs, as Python 2 wrote it, and one with attributes", () => {
    const pairs = [
      op.EMPTY_LIST,
      op.EMPTY_LIST,
      ...text("a"),
      op.APPEND,
      op.BININT1,
      5,
      op.APPEND,
      op.APPEND,
    ];
    const { value } = read(
      whole(global("collections", "OrderedDict"), pairs, [op.TUPLE1, op.REDUCE, op.EMPTY_DICT, op.BUILD]),
    );
    expect([...(value as Dict).entries()]).toEqual([["a", 5]]);
  });

  it("describes tensors without reading them", () => {
    const tensor = { name: "t", dtype: "BF16", shape: [2, 3], strides: [1, 2], offset: 4, key: "k" } as const;
    const { value, storages } = read(whole(pickledTensor(tensor, 20)));
    expect(value).toBeInstanceOf(PickledTensor);
    expect(value).toMatchObject({ dtype: "BF16", shape: [2, 3], strides: [1, 2], offset: 4, count: 6 });
    expect(storages.get("k")).toMatchObject({ dtype: "BF16", bytes: 40 });
  });

  const call = (module: string, name: string, ...args: number[][]) => [
    ...global(module, name),
    ...tuple(...args),
    op.REDUCE,
  ];
  const tensor = (shape: number[], strides: number[], offset: number, count = 4) =>
    pickledTensor({ name: "t", dtype: "F32", shape, strides, offset, key: "0" }, count);

  it.each<[string, number[], RegExp]>([
    [
      "a global of no list",
      global("os", "system"),
      /byte 2 of archive\/data.pkl.*found: "os.system".*Nothing in the file was run/,
    ],
    ["a neighbor of an allowed one", global("torch._utils", "_rebuild_qtensor"), /_rebuild_qtensor/],
    ["an allowed name of another module", global("torch", "_rebuild_tensor_v2"), /Python code/],
    [
      "names that only joined are allowed",
      [...text("torch\n_utils"), ...text("x"), op.STACK_GLOBAL],
      /Python code/,
    ],
    [
      "a name that is not text",
      [op.NONE, ...text("x"), op.STACK_GLOBAL],
      /names a global by a value that is not text/,
    ],
    ["a very long name", global("m".repeat(300), "x"), /too long/],
    ["INST", [0x69], /INST \(0x69\)/],
    ["NEWOBJ", [op.NONE, op.EMPTY_TUPLE, 0x81], /NEWOBJ/],
    [
      "an integer of 33 bytes",
      [op.LONG1, 33, ...new Array<number>(33).fill(1)],
      /integer in the pickle is too long.*32/,
    ],
    ["an extension code", [0x82, 1], /EXT1/],
    ["an opcode that is none", [0xff], /unknown \(0xff\)/],
    ["a second beginning", [op.PROTO, 2], /PROTO/],
    ["a call of no function", [op.NONE, op.EMPTY_TUPLE, op.REDUCE], /calls a value that is not a function/],
    ["a call of a storage type", call("torch", "FloatStorage"), /calls a value that is not a function/],
    [
      "arguments that are no tuple",
      [...global("collections", "OrderedDict"), op.NONE, op.REDUCE],
      /arguments/,
    ],
    ["an OrderedDict of numbers", call("collections", "OrderedDict", integer(3)), /an OrderedDict/],
    ["attributes of a list", [op.EMPTY_LIST, op.EMPTY_DICT, op.BUILD], /sets attributes/],
    ["a stack that is empty", [op.NONE, op.TUPLE2], /stack underflow/],
    ["a value below a mark", [op.NONE, op.MARK, op.NONE, op.TUPLE2], /stack underflow/],
    ["no mark", [op.TUPLE], /missing mark/],
    ["a mark left", [op.MARK, op.NONE], /leaves extra values/],
    ["two values", [op.NONE, op.NONE], /leaves extra values/],
    ["a kept value that is none", [op.BINGET, 0], /memo entry.*found: 0/],
    [
      "a key twice",
      [op.EMPTY_DICT, op.MARK, ...text("a"), op.NONE, ...text("a"), op.NONE, op.SETITEMS],
      /duplicate key.*"a"/,
    ],
    ["a key without a value", [op.EMPTY_DICT, op.MARK, op.NONE, op.SETITEMS], /key without a value/],
    ["items of a list", [op.EMPTY_LIST, op.NONE, op.NONE, op.SETITEM], /not a dict/],
    ["text that is no UTF-8", [op.BINUNICODE, ...le(1, 4), 0xff], /UTF-8/],
    ["a persistent id that is text", [...text("0"), op.BINPERSID], /not a storage.*found: "0"/],
    [
      "a storage of a dtype",
      [
        ...tuple(text("storage"), global("torch", "float32"), text("0"), text("cpu"), integer(1)),
        op.BINPERSID,
      ],
      /type of a storage.*torch.float32/,
    ],
    [
      "a storage larger than the file",
      tensor([1], [1], 0, 251),
      /claims more than the file holds.*at most 250/,
    ],
    [
      "a storage of two dtypes",
      [
        op.MARK,
        ...tensor([1], [1], 0),
        ...pickledTensor({ name: "u", dtype: "I32", shape: [1], key: "0" }, 4),
        op.TUPLE,
      ],
      /described in two ways/,
    ],
    [
      "a tensor beyond its storage",
      tensor([2], [1], 3),
      /reaches beyond its storage "0".*at most 4.*offset 3/,
    ],
    ["a stride beyond its storage", tensor([2, 2], [3, 1], 0), /reaches beyond/],
    ["a negative size", tensor([-1], [1], 0), /shape of a tensor/],
    ["a negative stride", tensor([2], [-1], 3), /strides of a tensor/],
    ["a negative offset", tensor([1], [1], -1), /offset of a tensor/],
    ["a tensor blown up by strides of 0", tensor([2 ** 30, 2 ** 30], [0, 0], 0), /larger than the file/],
    ["an empty tensor of unsafe sizes", tensor([0, 2 ** 40, 2 ** 40], [0, 0, 0], 0), /larger than the file/],
    ["strides that wrap around", tensor([2, 2], [2 ** 52, 2 ** 52], 2 ** 52), /larger than|reaches beyond/],
    ["more strides than sizes", tensor([1], [1, 1], 0), /strides of a tensor.*expected: 1.*found: 2/],
    ["65 axes", tensor(new Array(65).fill(1), new Array(65).fill(1), 0), /at most 64 axes/],
    ["a tensor of nothing", call("torch._utils", "_rebuild_tensor_v2"), /wrong number of arguments/],
    [
      "a parameter of nothing",
      call("torch._utils", "_rebuild_parameter", [op.NONE], [op.NONE], [op.NONE]),
      /a parameter/,
    ],
  ])("refuses %s", (_, program, message) => {
    let error: unknown;
    try {
      read(whole(program));
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(FormatError);
    expect((error as Error).message).toMatch(message);
    expect((error as Error).message).toMatch(/^a\.bin: .*byte \d+ of archive\/data\.pkl/);
  });

  it("refuses conjugated tensors and other protocols", () => {
    const plain = [...pickledTensor({ name: "t", dtype: "F32", shape: [1], key: "0" }, 4)];
    // The tuple of arguments ends before REDUCE; a seventh part says what is to be done with the values.
    const marked = plain.toSpliced(-2, 0, op.EMPTY_DICT, ...text("conj"), op.NEWTRUE, op.SETITEM);
    expect(() => read(whole(marked))).toThrow(/conjugated/);
    expect(() => read(whole(plain.toSpliced(-2, 0, op.EMPTY_DICT)))).not.toThrow();
    expect(() => read(Uint8Array.of(op.PROTO, 6, op.NONE, op.STOP))).toThrow(/protocol.*2 to 5.*6/);
    expect(() => read(Uint8Array.of(0x28, op.NONE, op.STOP))).toThrow(/not a pickle/);
  });

  it("says how much more a pickle needs where it ends early", () => {
    const program = whole(text("x".repeat(50)));
    for (let length = 0; length < program.length; length++) {
      let error: unknown;
      try {
        read(program.subarray(0, length));
      } catch (e) {
        error = e;
      }
      expect(error).toBeInstanceOf(ShortPickle);
      const { needed } = error as ShortPickle;
      expect(needed).toBeGreaterThan(length);
      expect(needed).toBeLessThanOrEqual(program.length);
    }
    expect(() => read(whole([op.BINUNICODE8, ...le(1n << 60n, 8)]))).toThrow(ShortPickle);
  });

  it("refuses more values than checkpoints have", () => {
    const many = (code: number, n: number) => new Array<number>(n).fill(code);
    const most = 10_000;
    expect(() => read(whole([op.MARK], many(op.NONE, most - 2), [op.TUPLE]), most)).not.toThrow();
    for (const code of [op.NONE, op.MARK, op.EMPTY_DICT, op.EMPTY_LIST, op.EMPTY_TUPLE]) {
      expect(() => read(whole([op.MARK], many(code, most), [op.TUPLE]), most)).toThrow(/too many values/);
    }
    expect(() => read(whole([op.NONE], many(op.MEMOIZE, most)), most)).toThrow(/too many values/);
    // Pairs that are kept once and copied again and again count each time.
    const pairs = Array.from({ length: 100 }, (_, i) => [op.BININT2, ...le(i, 2), op.NONE, op.TUPLE2]).flat();
    const list = [op.EMPTY_LIST, op.MARK, ...pairs, op.APPENDS, op.TUPLE1, op.BINPUT, 2];
    const dict = [...global("collections", "OrderedDict"), op.BINPUT, 3];
    const copies = (n: number) =>
      Array.from({ length: n }, () => [op.BINGET, 3, op.BINGET, 2, op.REDUCE]).flat();
    expect(() => read(whole([op.MARK], dict, list, copies(50), [op.TUPLE]), most)).not.toThrow();
    expect(() => read(whole([op.MARK], dict, list, copies(100), [op.TUPLE]), most)).toThrow(
      /too many values/,
    );
  });

  it("random programs end in FormatError or a value", () => {
    const random = new Random(7);
    const pieces: (() => number[])[] = [
      ...Object.values(op).map((code) => () => [code]),
      () => [random.int(256)],
      () => [op.BINUNICODE, ...le(random.int(6), 4), ...text("storage").slice(5)],
      () => [op.BINPUT, random.int(4)],
      () => [op.BINGET, random.int(4)],
      () => [op.LONG_BINPUT, ...le(random.int(2 ** 31), 4)],
      () => [op.LONG1, random.int(12), ...le(random.int(2 ** 31), 8)],
      () => integer(random.int(300)),
      () => text(["storage", "cpu", "0", "state_dict", "__proto__"][random.int(5)]),
      () => global("torch", ["FloatStorage", "Size", "device", "float32"][random.int(4)]),
      () =>
        global(
          "torch._utils",
          `_rebuild_${["tensor_v2", "tensor_v3", "tensor", "parameter"][random.int(4)]}`,
        ),
      () => global("collections", "OrderedDict"),
      () => tuple(integer(random.int(5)), integer(random.int(5))),
      () =>
        tensor([random.int(4), random.int(4)], stridesOf([2, random.int(4)]), random.int(3), random.int(20)),
      () => [op.MARK],
    ];
    const seen = { value: 0, refused: 0 };
    for (let round = 0; round < 8000; round++) {
      const program = Array.from({ length: random.int(14) }, () =>
        pieces[random.int(pieces.length)](),
      ).flat();
      try {
        read(whole(program));
        seen.value++;
      } catch (error) {
        if (!(error instanceof FormatError)) throw error;
        seen.refused++;
      }
    }
    expect(seen.value).toBeGreaterThan(20);
    expect(seen.refused).toBeGreaterThan(4000);
  });
});
