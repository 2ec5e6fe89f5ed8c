/**
 * An unpickler that runs nothing. It knows the opcodes with which `torch.save` writes dicts of tensors (protocols 2 to
 * 5) and the names of globals.ts, and refuses all others with their place, before anything that follows them is read.
 * Work and memory are bounded by the pickle's length: values that are shared stay shared, nothing is walked, and what
 * is built counts against a budget.
 */
import { FormatError } from "../../tensor/errors.ts";
import { allowedGlobal } from "./globals.ts";
import { opcodes as op, opcodeName } from "./opcodes.ts";
import { type BuildContext, build, rebuild, shown, storageRef } from "./rebuild.ts";
import { Dict, type Global, List, Opaque, type PickleValue, type StorageRef, Tuple } from "./values.ts";

/** The pickle goes on behind the bytes that were given: at least `needed` bytes are there in a whole one. */
export class ShortPickle extends FormatError {
  readonly needed: number;

  constructor(where: string, needed: number, found: number) {
    super("a pickle ends early: the file is truncated or damaged", {
      where,
      expected: `at least ${needed} bytes`,
      found,
    });
    this.needed = needed;
  }
}

export interface Unpickled {
  readonly value: PickleValue;
  /** Bytes that the pickle takes. */
  readonly length: number;
  /** Every storage that it refers to, by key. */
  readonly storages: ReadonlyMap<string, StorageRef>;
}

/** Values that a pickle may build, enough for 100,000 tensors: some hundreds of megabytes at most. */
const MAX_VALUES = 1 << 22;
/** Bytes of an integer. */
const MAX_INTEGER = 32;
/** Longest module or name. */
const MAX_NAME = 256;
const NO_CODE_HINT =
  "Nothing in the file was run. Only tensors, parameters and plain values are read; where the file can be trusted, " +
  "save its state dict alone: torch.save(model.state_dict(), ..)";

type Action = () => PickleValue | undefined;

class Machine {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #where: string;
  readonly #part: string;
  readonly #mostValues: number;
  readonly #utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  readonly #stack: PickleValue[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, PickleValue>();
  readonly #context: BuildContext;
  #at = 0;
  #opcodeAt = 0;
  #built = 0;

  constructor(bytes: Uint8Array, where: string, part: string, fileSize: number, mostValues: number) {
    this.#mostValues = mostValues;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#where = where;
    this.#part = part;
    this.#context = {
      fileSize,
      storages: new Map(),
      fail: (message, expected, found) => this.#fail(message, expected, found),
      spend: (values) => this.#spend(values),
    };
  }

  /** Refuses the file, naming the opcode's place. */
  #fail(message: string, expected?: unknown, found?: unknown, hint?: string): never {
    throw new FormatError(message, {
      where: this.#where,
      name: `byte ${this.#opcodeAt} of ${this.#part}`,
      ...(expected !== undefined && { expected }),
      ...(found !== undefined && { found }),
      hint,
    });
  }

  #spend(values: number): void {
    this.#built += values;
    if (this.#built <= this.#mostValues) return;
    this.#fail("the pickle holds too many values", `at most ${this.#mostValues}`);
  }

  /** Passes `length` bytes and gives their place. */
  #take(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw new ShortPickle(this.#where, at + length, this.#bytes.length);
    this.#at = at + length;
    return at;
  }

  #u8 = (): number => this.#bytes[this.#take(1)];
  #u32 = (): number => this.#view.getUint32(this.#take(4), true);

  #u64(): number {
    const value = this.#view.getBigUint64(this.#take(8), true);
    // Whatever is more than can be there is refused when it is taken.
    return value > BigInt(Number.MAX_SAFE_INTEGER) ? Number.MAX_SAFE_INTEGER : Number(value);
  }

  #text(length: number): string {
    const at = this.#take(length);
    return this.#decoded(at, at + length);
  }

  #decoded(begin: number, end: number): string {
    try {
      return this.#utf8.decode(this.#bytes.subarray(begin, end));
    } catch {
      return this.#fail("text in the pickle is not valid UTF-8");
    }
  }

  #line(): string {
    const begin = this.#at;
    const end = this.#bytes.indexOf(10, begin);
    const length = (end < 0 ? this.#bytes.length : end) - begin;
    if (length > MAX_NAME) this.#fail("a name in the pickle is too long", `at most ${MAX_NAME} bytes`);
    if (end < 0) throw new ShortPickle(this.#where, this.#bytes.length + 1, this.#bytes.length);
    this.#at = end + 1;
    return this.#decoded(begin, end);
  }

  /** A signed little-endian integer; the longest there is, the magic number of the stream, has 10 bytes. */
  #long(length: number): number | bigint {
    if (length > MAX_INTEGER)
      this.#fail("an integer in the pickle is too long", `at most ${MAX_INTEGER}`, length);
    const at = this.#take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(this.#bytes[at + i]);
    value = BigInt.asIntN(8 * length, value);
    const plain = Number(value);
    return Number.isSafeInteger(plain) ? plain : value;
  }

  #push(value: PickleValue): void {
    this.#spend(1);
    this.#stack.push(value);
  }

  #mark(): undefined {
    this.#spend(1);
    this.#marks.push(this.#stack.length);
  }

  #pop(): PickleValue {
    const floor = this.#marks.at(-1) ?? 0;
    if (this.#stack.length <= floor) this.#fail("stack underflow in the pickle");
    return this.#stack.pop()!;
  }

  #top(): PickleValue {
    const floor = this.#marks.at(-1) ?? 0;
    if (this.#stack.length <= floor) this.#fail("stack underflow in the pickle");
    return this.#stack[this.#stack.length - 1];
  }

  /** Everything above the last mark. */
  #marked(): PickleValue[] {
    const mark = this.#marks.pop();
    if (mark === undefined) return this.#fail("the pickle refers to a missing mark");
    return this.#stack.splice(mark);
  }

  #tuple(length: number): Tuple {
    const floor = this.#marks.at(-1) ?? 0;
    if (this.#stack.length - length < floor) this.#fail("stack underflow in the pickle");
    return new Tuple(this.#stack.splice(this.#stack.length - length));
  }

  #get(index: number): PickleValue {
    const value = this.#memo.get(index);
    if (value !== undefined) return value;
    return this.#fail("the pickle refers to a memo entry that does not exist", "a kept one", index);
  }

  #put(index: number): undefined {
    this.#spend(1);
    this.#memo.set(index, this.#top());
  }

  #append(items: PickleValue[]): undefined {
    const list = this.#top();
    if (!(list instanceof List)) return this.#fail("the pickle appends to a value that is not a list");
    list.append(items);
  }

  #setItems(items: readonly PickleValue[]): undefined {
    const dict = this.#top();
    if (!(dict instanceof Dict)) return this.#fail("the pickle sets items of a value that is not a dict");
    if (items.length % 2 !== 0) this.#fail("the pickle sets a key without a value");
    if (dict.size === 0) this.#spend(4);
    for (let i = 0; i < items.length; i += 2) {
      if (dict.has(items[i])) this.#fail("duplicate key in a dict", "one", shown(items[i]));
      dict.set(items[i], items[i + 1]);
    }
  }

  #global(module: string, name: string): Global {
    const found = allowedGlobal(module, name);
    if (found) return found;
    const shown = `${module}.${name}`.slice(0, 2 * MAX_NAME);
    return this.#fail(
      "the file refers to Python code that tensors do not need",
      "names that rebuild tensors",
      JSON.stringify(shown),
      NO_CODE_HINT,
    );
  }

  #stackGlobal(): Global {
    const name = this.#pop();
    const module = this.#pop();
    if (typeof module !== "string" || typeof name !== "string") {
      return this.#fail("the pickle names a global by a value that is not text");
    }
    return this.#global(module, name);
  }

  #reduce(): PickleValue {
    const args = this.#pop();
    const callable = this.#pop();
    return rebuild(callable, args, this.#context);
  }

  #build(): undefined {
    const state = this.#pop();
    build(this.#top(), state, this.#context);
  }

  run(): Unpickled {
    if (this.#u8() !== op.PROTO) this.#fail("not a pickle of protocol 2 or later");
    const protocol = this.#u8();
    if (protocol < 2 || protocol > 5) this.#fail("pickle protocol", "2 to 5", protocol);
    const actions = this.#actions();
    for (;;) {
      this.#opcodeAt = this.#at;
      const code = this.#u8();
      if (code === op.STOP) break;
      const value = (actions[code] ?? this.#refuse(code))();
      if (value !== undefined) this.#push(value);
    }
    const value = this.#pop();
    if (this.#stack.length > 0 || this.#marks.length > 0)
      this.#fail("the pickle leaves extra values on its stack");
    return { value, length: this.#at, storages: this.#context.storages };
  }

  /** What each opcode does, by its code; if that gives a value, it is pushed. */
  #actions(): (Action | undefined)[] {
    const actions: [number, Action][] = [
      // Frames only group opcodes for readers of streams; a wrong length shows where its bytes are missing.
      [op.FRAME, () => void this.#u64()],
      [op.MARK, () => this.#mark()],
      [op.NONE, () => null],
      [op.NEWTRUE, () => true],
      [op.NEWFALSE, () => false],
      [op.BININT, () => this.#view.getInt32(this.#take(4), true)],
      [op.BININT1, () => this.#u8()],
      [op.BININT2, () => this.#view.getUint16(this.#take(2), true)],
      [op.LONG1, () => this.#long(this.#u8())],
      [op.BINFLOAT, () => this.#view.getFloat64(this.#take(8), false)],
      [op.BINUNICODE, () => this.#text(this.#u32())],
      [op.BINSTRING, () => this.#text(this.#u32())],
      [op.SHORT_BINUNICODE, () => this.#text(this.#u8())],
      [op.SHORT_BINSTRING, () => this.#text(this.#u8())],
      [op.BINUNICODE8, () => this.#text(this.#u64())],
      [op.SHORT_BINBYTES, () => this.#opaque(this.#u8())],
      [op.BINBYTES, () => this.#opaque(this.#u32())],
      [op.BINBYTES8, () => this.#opaque(this.#u64())],
      [op.EMPTY_TUPLE, () => this.#tuple(0)],
      [op.TUPLE1, () => this.#tuple(1)],
      [op.TUPLE2, () => this.#tuple(2)],
      [op.TUPLE3, () => this.#tuple(3)],
      [op.TUPLE, () => new Tuple(this.#marked())],
      [op.EMPTY_LIST, () => new List()],
      [op.EMPTY_DICT, () => new Dict()],
      [op.APPEND, () => this.#append([this.#pop()])],
      [op.APPENDS, () => this.#append(this.#marked())],
      [op.SETITEM, () => this.#setItems([this.#pop(), this.#pop()].reverse())],
      [op.SETITEMS, () => this.#setItems(this.#marked())],
      [op.BINPUT, () => this.#put(this.#u8())],
      [op.LONG_BINPUT, () => this.#put(this.#u32())],
      [op.MEMOIZE, () => this.#put(this.#memo.size)],
      [op.BINGET, () => this.#get(this.#u8())],
      [op.LONG_BINGET, () => this.#get(this.#u32())],
      [op.GLOBAL, () => this.#global(this.#line(), this.#line())],
      [op.STACK_GLOBAL, () => this.#stackGlobal()],
      [op.REDUCE, () => this.#reduce()],
      [op.BUILD, () => this.#build()],
      [op.BINPERSID, () => storageRef(this.#pop(), this.#context)],
    ];
    const table = new Array<Action | undefined>(256).fill(undefined);
    for (const [code, action] of actions) table[code] = action;
    return table;
  }

  #refuse(code: number): never {
    return this.#fail(
      "unsupported pickle opcode",
      "those of dicts of tensors",
      opcodeName(code),
      NO_CODE_HINT,
    );
  }

  #opaque(length: number): Opaque {
    this.#take(length);
    return new Opaque("bytes");
  }
}

/**
 * Reads the pickle at the start of `bytes`. `part` says in errors where it lies; `fileSize` bounds what its tensors may
 * claim. @throws ShortPickle if it does not end within the bytes, FormatError
 */
export function unpickle(
  bytes: Uint8Array,
  where: string,
  part: string,
  fileSize: number,
  mostValues = MAX_VALUES,
): Unpickled {
  return new Machine(bytes, where, part, fileSize, mostValues).run();
}
