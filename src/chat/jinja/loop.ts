/** The variable `loop` of for loops: where the loop is, what comes next, and its recursion. */
import { fail } from "./errors.ts";
import { equal } from "./operators.ts";
import type { Runtime } from "./runtime.ts";
import { literal, type Str } from "./text.ts";
import { Builtin, HostObject, iterate, type Kwargs, sizeOf, Tuple, Undefined, type Value } from "./values.ts";

export interface LoopOptions {
  readonly depth: number;
  /** Renders the loop's body for the items of another sequence, if the loop is recursive. */
  readonly recurse: ((items: Value, depth: number) => Value) | null;
}

export type Recurse = LoopOptions["recurse"];

export class LoopContext extends HostObject {
  readonly type = "LoopContext";
  readonly #source: Value;
  #iterator: Iterator<Value, unknown>;
  readonly #options: LoopOptions;
  readonly #rt: Runtime;
  #index = -1;
  #length: number | undefined;
  /** Read ahead, for `last` and `nextitem`. */
  #after: Value | undefined;
  #current: Value | undefined;
  #before: Value | undefined;
  #changed: Value | undefined;

  /** @throws TemplateError if `source` cannot be iterated */
  constructor(rt: Runtime, source: Value, options: LoopOptions) {
    super();
    this.#rt = rt;
    this.#source = source;
    this.#iterator = iterate(source)[Symbol.iterator]();
    this.#options = options;
  }

  #read(): Value | undefined {
    const { done, value } = this.#iterator.next();
    return done ? undefined : (value as Value);
  }

  /** The next item; undefined (not a value of templates) behind the last. */
  next(): Value | undefined {
    const item = this.#after !== undefined ? this.#after : this.#read();
    this.#after = undefined;
    if (item === undefined) return undefined;
    this.#index++;
    this.#before = this.#current;
    this.#current = item;
    return item;
  }

  #peek(): Value | undefined {
    if (this.#after === undefined) this.#after = this.#read();
    return this.#after;
  }

  override size(): number {
    return this.length;
  }

  get length(): number {
    if (this.#length !== undefined) return this.#length;
    const known = sizeOf(this.#source);
    if (known !== undefined) this.#length = known;
    else {
      const rest: Value[] = [];
      for (let item = this.#read(); item !== undefined; item = this.#read()) {
        this.#rt.spend(1);
        rest.push(item);
      }
      this.#iterator = rest[Symbol.iterator]();
      this.#length = rest.length + this.#index + 1 + (this.#after === undefined ? 0 : 1);
    }
    return this.#length;
  }

  attribute(name: string): Value | undefined {
    switch (name) {
      case "index":
        return this.#index + 1;
      case "index0":
        return this.#index;
      case "first":
        return this.#index === 0;
      case "last":
        return this.#peek() === undefined;
      case "length":
        return this.length;
      case "revindex":
        return this.length - this.#index;
      case "revindex0":
        return this.length - this.#index - 1;
      case "depth":
        return this.#options.depth + 1;
      case "depth0":
        return this.#options.depth;
      case "previtem":
        return this.#before ?? (this.#index > 0 ? null : new Undefined("there is no previous item"));
      case "nextitem": {
        const next = this.#peek();
        return next === undefined ? new Undefined("there is no next item") : next;
      }
      case "cycle":
        return new Builtin((_rt, args, kwargs) => {
          if (kwargs.size > 0) fail("cycle() takes no keyword arguments");
          if (args.length === 0) fail("no items for cycling given");
          return args[this.#index % args.length];
        }, "method");
      case "changed":
        return new Builtin((rt, args, kwargs) => {
          if (kwargs.size > 0) fail("changed() takes no keyword arguments");
          const value = new Tuple(args);
          const changed = this.#changed === undefined || !equal(rt, this.#changed, value);
          if (changed) this.#changed = value;
          return changed;
        }, "method");
    }
    return undefined;
  }

  override call(_rt: Runtime, args: readonly Value[], kwargs: Kwargs): Value {
    const { recurse, depth } = this.#options;
    if (args.length !== 1 || kwargs.size > 0) fail("loop() takes one argument");
    if (recurse === null) fail("The loop must have the 'recursive' marker to be called recursively.");
    return recurse(args[0], depth + 1);
  }

  override repr(): Str {
    return literal(`<LoopContext ${this.#index + 1}/${this.length}>`);
  }
}
