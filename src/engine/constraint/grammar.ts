/**
 * A pushdown automaton on bytes (and on control tokens, which are not bytes). What is still to come is a stack of items;
 * stacks are immutable linked lists that share their lower parts, so a state is copied by reference. Where the input
 * can be read in several ways the state holds several stacks. States and transitions are built when first needed and
 * kept, which makes walking a whole vocabulary cheap. Items count (lengths, elements) by themselves: a limit of a
 * million costs no more than one of three.
 */
import { ConfigError } from "../../tensor/errors.ts";
import { type Dfa, stepDfa } from "./automaton.ts";

/** Something that may stand on a stack. One object stands for one meaning: sharing is by identity. */
export abstract class Item {
  /** Whether some finite output satisfies the item; found by `markAlive`. */
  alive = false;
}

/** An item that reads bytes. */
export abstract class Terminal extends Item {
  override alive = true;
  /** Whether the item may end before the next byte. */
  abstract readonly final: boolean;
  /** Whether the item can read anything. */
  abstract readonly reads: boolean;
  /** The stack after `byte` with this item on top of `rest`; null if the byte is not allowed. */
  abstract step(byte: number, rest: Cell): Cell | null;

  /** An item that reads the same as this one as far as `most` bytes go. */
  alike(_most: number): Terminal {
    return this;
  }
}

/** An item that is one control token, known by its id alone. */
export class ControlToken extends Item {
  override alive = true;
  readonly id: number;

  constructor(id: number) {
    super();
    this.id = id;
  }
}

/** An item that is replaced by other items before anything is read. */
export abstract class Rule extends Item {
  /** Whether the item is alive as far as its parts are known to be. */
  abstract check(): boolean;
  /** Items that the replacement may begin with, without anything read before. */
  abstract openings(): readonly Item[];
  /** The stacks that take the place of this item on top of `rest`. */
  abstract expand(rest: Cell): readonly Cell[];
}

class DfaItem extends Terminal {
  readonly #family: DfaFamily;
  readonly #state: number;
  readonly final: boolean;
  readonly reads: boolean;

  constructor(family: DfaFamily, state: number) {
    super();
    const { accepting, offsets } = family.dfa;
    this.#family = family;
    this.#state = state;
    this.final = accepting[state] === 1;
    this.reads = offsets[state + 1] > offsets[state];
  }

  step(byte: number, rest: Cell): Cell | null {
    const to = stepDfa(this.#family.dfa, this.#state, byte);
    if (to < 0) return null;
    const next = this.#family.at(to);
    return next.reads ? rest.push(next) : rest;
  }
}

/** The items of the states of one automaton. */
export class DfaFamily {
  readonly dfa: Dfa;
  readonly #items: DfaItem[] = [];

  constructor(dfa: Dfa) {
    this.dfa = dfa;
  }

  at(state: number): Terminal {
    this.#items[state] ??= new DfaItem(this, state);
    return this.#items[state];
  }
}

/** What `dfa` (over bytes) accepts. */
export function dfaItem(dfa: Dfa): Item {
  return new DfaFamily(dfa).at(0);
}

export class Sequence extends Rule {
  readonly parts: readonly Item[];

  constructor(parts: readonly Item[]) {
    super();
    this.parts = parts;
  }

  check(): boolean {
    return this.parts.every((part) => part.alive);
  }

  openings(): readonly Item[] {
    // Later parts open as well if earlier ones may be empty; only rules can be, since empty texts are left out.
    const solid = this.parts.findIndex((part) => !(part instanceof Rule));
    return solid < 0 ? this.parts : this.parts.slice(0, solid);
  }

  expand(rest: Cell): readonly Cell[] {
    return [this.parts.reduceRight((below, part) => below.push(part), rest)];
  }
}

/** One of several items; also the placeholder of a rule that is defined later. */
export class Choice extends Rule {
  branches: readonly Item[];

  constructor(branches: readonly Item[] = []) {
    super();
    this.branches = branches;
  }

  check(): boolean {
    return this.branches.some((branch) => branch.alive);
  }

  openings(): readonly Item[] {
    return this.branches;
  }

  expand(rest: Cell): readonly Cell[] {
    return this.branches.filter((branch) => branch.alive).map((branch) => rest.push(branch));
  }
}

/** `part`, from `min` to `max` times. `part` must not be empty. */
export class Repeat extends Rule {
  readonly #part: Item;
  readonly #min: number;
  readonly #max: number;
  #rest: Repeat | null = null;

  constructor(part: Item, min: number, max: number) {
    super();
    this.#part = part;
    this.#min = min;
    this.#max = max;
  }

  check(): boolean {
    return this.#min === 0 || (this.#max >= this.#min && this.#part.alive);
  }

  openings(): readonly Item[] {
    return [this.#part];
  }

  expand(rest: Cell): readonly Cell[] {
    const out: Cell[] = this.#min === 0 ? [rest] : [];
    if (this.#max > 0 && this.#part.alive) {
      if (this.#min === 0 && this.#max === Number.POSITIVE_INFINITY) this.#rest = this;
      this.#rest ??= new Repeat(this.#part, Math.max(0, this.#min - 1), this.#max - 1);
      this.#rest.alive = true;
      out.push(rest.push(this.#rest).push(this.#part));
    }
    return out;
  }
}

/** Cells of one generation of caches are numbered together. */
interface Arena {
  cells: number;
}

/** A stack: an item on top of another stack. The empty stack has no item. */
export class Cell {
  readonly item: Item | null;
  readonly rest: Cell | null;
  readonly id: number;
  readonly #arena: Arena;
  #above: Map<Item, Cell> | null = null;
  /** The state in which this stack alone is to come, once it was needed. */
  state: ParseState | null = null;

  constructor(item: Item | null, rest: Cell | null, arena: Arena) {
    this.item = item;
    this.rest = rest;
    this.#arena = arena;
    this.id = arena.cells++;
  }

  /** This stack with `item` on top: the same object each time. */
  push(item: Item): Cell {
    this.#above ??= new Map();
    let cell = this.#above.get(item);
    if (cell === undefined) {
      cell = new Cell(item, this, this.#arena);
      this.#above.set(item, cell);
    }
    return cell;
  }
}

/** Everything that may still come: stacks with a terminal or control token on top. */
export class ParseState {
  readonly stacks: readonly Cell[];
  /** Whether the output may end. */
  readonly complete: boolean;
  /** Whether some byte may come. */
  readonly readsBytes: boolean;
  /** Number of the generation of caches it belongs to. */
  readonly epoch: number;
  /** A successor and its byte: the only one that most states are ever asked for. */
  lone: ParseState | null = null;
  loneByte = -1;
  /** Successors by byte, once a second one was asked for; undefined if not yet known. */
  next: (ParseState | null | undefined)[] | null = null;

  constructor(stacks: readonly Cell[], complete: boolean, epoch: number) {
    this.stacks = stacks;
    this.complete = complete;
    this.epoch = epoch;
    this.readsBytes = stacks.some((cell) => cell.item instanceof Terminal);
  }
}

const MOST_STACKS = 2048;
const MOST_CELLS = 300_000;
const MOST_STATES = 20_000;

export class Grammar {
  readonly #root: Item;
  #epoch = 0;
  #arena: Arena = { cells: 0 };
  #bottom = new Cell(null, null, this.#arena);
  #states = new Map<string, ParseState>();

  /** @param root an item that is alive */
  constructor(root: Item) {
    this.#root = root;
  }

  /** The state before any output. */
  start(): ParseState {
    return this.only(this.#bottom.push(this.#root));
  }

  /** The state in which nothing but `item` is to come. */
  alone(item: Item): ParseState {
    return this.only(this.#bottom.push(item));
  }

  /** The state in which the stack `cell` is to come. */
  only(cell: Cell): ParseState {
    cell.state ??= this.#close([cell]);
    return cell.state;
  }

  /** The state after `byte`; null if it is not allowed. */
  advance(state: ParseState, byte: number): ParseState | null {
    if (state.loneByte === byte) return state.lone;
    const known = state.next?.[byte];
    if (known !== undefined) return known;
    const cells: Cell[] = [];
    for (const { item, rest } of state.stacks) {
      const cell = item instanceof Terminal ? item.step(byte, rest!) : null;
      if (cell !== null) cells.push(cell);
    }
    const next = cells.length === 0 ? null : cells.length === 1 ? this.only(cells[0]) : this.#close(cells);
    if (state.loneByte < 0) {
      state.loneByte = byte;
      state.lone = next;
    } else {
      state.next ??= new Array(256).fill(undefined);
      state.next[byte] = next;
    }
    return next;
  }

  /** The state after control token `id`, or after what led to `other`; null if neither is possible. */
  advanceToken(state: ParseState, id: number, other: ParseState | null): ParseState | null {
    const cells = state.stacks.flatMap(({ item, rest }) =>
      item instanceof ControlToken && item.id === id ? [rest!] : [],
    );
    if (cells.length === 0) return other;
    const joined = this.#close(cells);
    if (other === null) return joined;
    const stacks = new Set([...joined.stacks, ...other.stacks]);
    return this.#intern([...stacks], joined.complete || other.complete);
  }

  /**
   * `state`, in new caches if the old ones have grown beyond their limit: what a long-lived grammar keeps stays
   * bounded. To be called between tokens.
   */
  renew(state: ParseState): ParseState {
    if (this.#arena.cells > MOST_CELLS || this.#states.size > MOST_STATES) {
      this.#epoch++;
      this.#arena = { cells: 0 };
      this.#bottom = new Cell(null, null, this.#arena);
      this.#states = new Map();
    }
    if (state.epoch === this.#epoch) return state;
    const copies = new Map<Cell, Cell>();
    const stacks = state.stacks.map((cell) => this.#copy(cell, copies));
    return this.#intern(stacks, state.complete);
  }

  /** Number of the present generation of caches. */
  get epoch(): number {
    return this.#epoch;
  }

  #copy(cell: Cell, copies: Map<Cell, Cell>): Cell {
    const above: Cell[] = [];
    let at = cell;
    while (at.item !== null && !copies.has(at)) {
      above.push(at);
      at = at.rest!;
    }
    let copy = copies.get(at) ?? this.#bottom;
    for (let i = above.length - 1; i >= 0; i--) {
      copy = copy.push(above[i].item!);
      copies.set(above[i], copy);
    }
    return copy;
  }

  /** Replaces rules on top until every stack reads something. */
  #close(cells: readonly Cell[]): ParseState {
    const seen = new Set(cells);
    const stacks: Cell[] = [];
    let complete = false;
    for (const cell of seen) {
      const { item, rest } = cell;
      if (item === null) complete = true;
      else if (item instanceof Rule) for (const next of item.expand(rest!)) seen.add(next);
      else {
        if (item instanceof Terminal && item.final) seen.add(rest!);
        if (!(item instanceof Terminal) || item.reads) stacks.push(cell);
      }
      if (seen.size > 4 * MOST_STACKS || stacks.length > MOST_STACKS) {
        throw new ConfigError("the output can be read in too many ways at once", {
          where: "constraint",
          expected: `at most ${MOST_STACKS}`,
          found: stacks.length,
          hint: "Make the alternatives of the grammar (anyOf) differ earlier, or merge those that overlap.",
        });
      }
    }
    return this.#intern(stacks, complete);
  }

  #intern(stacks: Cell[], complete: boolean): ParseState {
    stacks.sort((a, b) => a.id - b.id);
    const key = `${complete ? 1 : 0}${stacks.map((cell) => cell.id).join()}`;
    let state = this.#states.get(key);
    if (state === undefined) {
      state = new ParseState(stacks, complete, this.#epoch);
      this.#states.set(key, state);
    }
    return state;
  }
}

/** Finds which rules some finite output satisfies; the rest keep `alive` false and are never entered. */
export function markAlive(rules: readonly Rule[]): void {
  // Parts are mostly made after the rules that use them: from the end few rounds are needed.
  for (let changed = true; changed; ) {
    changed = false;
    for (let i = rules.length - 1; i >= 0; i--) {
      if (rules[i].alive || !rules[i].check()) continue;
      rules[i].alive = true;
      changed = true;
    }
  }
}

/** A rule that can reach itself before anything is read, for which no automaton exists; undefined if none does. */
export function leftRecursive(rules: readonly Rule[]): Rule | undefined {
  const done = new Set<Item>();
  for (const root of rules) {
    const path: { rule: Rule; next: Iterator<Item> }[] = [];
    const open = new Set<Item>();
    const enter = (rule: Rule) => {
      open.add(rule);
      path.push({ rule, next: rule.openings()[Symbol.iterator]() });
    };
    if (!done.has(root)) enter(root);
    while (path.length > 0) {
      const { rule, next } = path[path.length - 1];
      const { value, done: ended } = next.next();
      if (ended) {
        path.pop();
        open.delete(rule);
        done.add(rule);
      } else if (open.has(value)) return value as Rule;
      else if (value instanceof Rule && !done.has(value)) enter(value);
    }
  }
  return undefined;
}
