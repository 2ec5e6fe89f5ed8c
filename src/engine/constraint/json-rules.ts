/**
 * The structure of JSON as grammar rules: objects, arrays, any value to a limited depth. Written compactly, with at most
 * a given number of spaces after `:` and `,` and no other whitespace, so that no endless blanks arise.
 */
import { finish } from "../../tokenizer/slices.ts";
import { type Budget, type Dfa, DfaBuilder, literalsDfa } from "./automaton.ts";
import { type Cell, Choice, dfaItem, type Item, Rule, Sequence } from "./grammar.ts";
import { numberDfa } from "./json-number.ts";
import { StringItems } from "./json-string.ts";

/** A declared property. */
export interface Property {
  readonly name: string;
  readonly required: boolean;
  readonly value: Item;
}

/** Properties that are not declared. */
export interface Additional {
  /** The quoted name. */
  readonly name: Item;
  readonly value: Item;
}

const utf8 = new TextEncoder();

/** Items that need no schema, shared within one grammar; also the list of all rules made. */
export class JsonItems {
  readonly budget: Budget;
  readonly strings: StringItems;
  readonly rules: Rule[] = [];
  readonly close: { readonly object: Item; readonly array: Item };
  readonly comma: Item;
  readonly colon: Item;
  readonly #spaces: number;
  readonly #values: Item[] = [];
  readonly #shared = new Map<string, Item>();

  constructor(budget: Budget, spaces: number) {
    this.budget = budget;
    this.#spaces = spaces;
    this.strings = new StringItems(budget);
    this.close = { object: this.text("}"), array: this.text("]") };
    this.comma = this.spaced(",");
    this.colon = this.spaced(":");
  }

  /** Registers a rule, so that `markAlive` sees it. */
  rule<R extends Rule>(rule: R): R {
    this.budget.spend(20);
    this.rules.push(rule);
    return rule;
  }

  /** A literal text, not empty. */
  text(text: string): Item {
    return this.#once(`text ${text}`, () => finish(literalsDfa([utf8.encode(text)]))!);
  }

  /** The parts one after the other, with spaces allowed after `:` and `,`. */
  spaced(...parts: readonly string[]): Item {
    return this.#once(`spaced ${JSON.stringify(parts)}`, () => {
      const links: (readonly [byte: number, to: number])[][] = [[]];
      let open = [0];
      for (const part of parts) {
        for (const byte of utf8.encode(part)) {
          const next = links.push([]) - 1;
          for (const state of open) links[state].push([byte, next]);
          open = [next];
        }
        if (part !== ":" && part !== ",") continue;
        for (let i = 0; i < this.#spaces; i++) {
          const next = links.push([]) - 1;
          links[open[open.length - 1]].push([0x20, next]);
          open.push(next);
        }
      }
      const out = new DfaBuilder(null);
      links.forEach((list, state) => {
        out.begin(open.includes(state));
        for (const [byte, to] of list.sort((a, b) => a[0] - b[0])) out.add(byte, byte, to);
      });
      return out.build()!;
    });
  }

  #once(key: string, make: () => Dfa): Item {
    let item = this.#shared.get(key);
    if (item === undefined) {
      item = dfaItem(make());
      this.#shared.set(key, item);
    }
    return item;
  }

  /** A string of `min` to `max` characters, without further restriction. */
  string(min = 0, max = Number.POSITIVE_INFINITY): Item {
    return this.rule(new Sequence([this.text('"'), this.strings.body(min, max)]));
  }

  literals(texts: readonly string[]): Item {
    return dfaItem(finish(literalsDfa(texts.map((text) => utf8.encode(text))))!);
  }

  number(): Item {
    const none = { integer: false, minima: [], maxima: [], steps: [] };
    return this.#once("number", () => finish(numberDfa(none, this.budget))!);
  }

  /** Any JSON value with at most `depth` objects and arrays inside each other. */
  value(depth: number): Item {
    for (let d = this.#values.length; d <= depth; d++) {
      const flat = [this.string(), this.number(), this.literals(["true", "false", "null"])];
      const nested = d === 0 ? [] : [this.object(d), this.array(d)];
      this.#values.push(this.rule(new Choice([...flat, ...nested])));
    }
    return this.#values[depth];
  }

  /** Any object with at most `depth` objects and arrays inside each other, itself included. */
  object(depth: number): Item {
    return this.rule(new ObjectRule(this, [], { name: this.string(), value: this.value(depth - 1) }));
  }

  array(depth: number): Item {
    return this.rule(new ArrayRule(this, [], this.value(depth - 1), 0, Number.POSITIVE_INFINITY));
  }
}

/** An object whose declared properties come in their order, then the others. */
export class ObjectRule extends Rule {
  readonly #json: JsonItems;
  readonly #properties: readonly Property[];
  readonly #additional: Additional | null;
  readonly #tails: Tail[] = [];

  constructor(json: JsonItems, properties: readonly Property[], additional: Additional | null) {
    super();
    this.#json = json;
    this.#properties = properties;
    this.#additional = additional;
  }

  check(): boolean {
    return this.#properties.every(({ required, value }) => !required || value.alive);
  }

  openings(): readonly Item[] {
    return [];
  }

  expand(rest: Cell): readonly Cell[] {
    return [rest.push(this.#tail(0, true)).push(this.#json.text("{"))];
  }

  /** What may follow the properties before number `from`; `first` if there was none. */
  #tail(from: number, first: boolean): Tail {
    const index = 2 * from + (first ? 1 : 0);
    this.#tails[index] ??= new Tail((rest) => this.#continue(rest, from, first));
    return this.#tails[index];
  }

  #continue(rest: Cell, from: number, first: boolean): Cell[] {
    const { close, comma, colon } = this.#json;
    const out: Cell[] = [];
    for (let i = from; i < this.#properties.length; i++) {
      const { name, required, value } = this.#properties[i];
      if (value.alive) {
        const quoted = JSON.stringify(name);
        const key = first ? this.#json.spaced(quoted, ":") : this.#json.spaced(",", quoted, ":");
        out.push(
          rest
            .push(this.#tail(i + 1, false))
            .push(value)
            .push(key),
        );
      }
      if (required) return out;
    }
    const extra = this.#additional;
    if (extra?.value.alive && extra.name.alive) {
      const entry = rest
        .push(this.#tail(this.#properties.length, false))
        .push(extra.value)
        .push(colon)
        .push(extra.name);
      out.push(first ? entry : entry.push(comma));
    }
    out.push(rest.push(close.object));
    return out;
  }
}

/** The part of an object or array from some point on; not empty, and alive since its owner is. */
class Tail extends Rule {
  readonly #expand: (rest: Cell) => readonly Cell[];

  constructor(expand: (rest: Cell) => readonly Cell[]) {
    super();
    this.alive = true;
    this.#expand = expand;
  }

  check(): boolean {
    return true;
  }

  openings(): readonly Item[] {
    return [];
  }

  expand(rest: Cell): readonly Cell[] {
    return this.#expand(rest);
  }
}

/** An array of `min` to `max` elements: those of `prefix` first, then `items` (null: no more). */
export class ArrayRule extends Rule {
  readonly #json: JsonItems;
  readonly #prefix: readonly Item[];
  readonly #items: Item | null;
  readonly #min: number;
  readonly #max: number;
  readonly #tails = new Map<number, Tail>();

  constructor(json: JsonItems, prefix: readonly Item[], items: Item | null, min: number, max: number) {
    super();
    this.#json = json;
    this.#prefix = prefix;
    this.#items = items;
    this.#min = min;
    this.#max = max;
  }

  #element(index: number): Item | null {
    const item = index < this.#prefix.length ? this.#prefix[index] : this.#items;
    return item?.alive && index < this.#max ? item : null;
  }

  check(): boolean {
    if (this.#min > this.#max) return false;
    // Past the prefix all elements are alike.
    const differing = Math.min(this.#min, this.#prefix.length + 1);
    for (let i = 0; i < differing; i++) if (!this.#element(i)) return false;
    return true;
  }

  openings(): readonly Item[] {
    return [];
  }

  expand(rest: Cell): readonly Cell[] {
    return [rest.push(this.#tail(0)).push(this.#json.text("["))];
  }

  /** What may follow `count` elements. */
  #tail(count: number): Tail {
    // Where there is no upper limit, counting ends once it no longer matters.
    const enough = Math.max(this.#min, this.#prefix.length, 1);
    const kept = this.#max === Number.POSITIVE_INFINITY ? Math.min(count, enough) : count;
    let tail = this.#tails.get(kept);
    if (tail === undefined) {
      tail = new Tail((rest) => this.#continue(rest, kept));
      this.#tails.set(kept, tail);
    }
    return tail;
  }

  #continue(rest: Cell, count: number): Cell[] {
    const { close, comma } = this.#json;
    const out = count >= this.#min ? [rest.push(close.array)] : [];
    const element = this.#element(count);
    if (element) {
      const entry = rest.push(this.#tail(count + 1)).push(element);
      out.push(count === 0 ? entry : entry.push(comma));
    }
    return out;
  }
}
