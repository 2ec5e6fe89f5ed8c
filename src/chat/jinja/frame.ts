/** Variables while a template runs: one frame for each call of what Python would make a function. */
import type { Runtime } from "./runtime.ts";
import type { Symbols } from "./symbols.ts";
import type { Str } from "./text.ts";
import type { Value } from "./values.ts";

export class Frame {
  readonly rt: Runtime;
  /** The data, and what every template can call. */
  readonly context: ReadonlyMap<string, Value>;
  readonly parent: Frame | null;
  /** Undefined (not a value of templates) for a variable without a value. */
  readonly slots: (Value | undefined)[];
  /** What is rendered so far. */
  out: Str[];

  constructor(
    rt: Runtime,
    context: ReadonlyMap<string, Value>,
    parent: Frame | null,
    size: number,
    out: Str[],
  ) {
    this.rt = rt;
    this.context = context;
    this.parent = parent;
    this.slots = new Array<Value | undefined>(size).fill(undefined);
    this.out = out;
  }
}

/** Where variables of one function lie. */
export class Unit {
  readonly parent: Unit | null;
  readonly #slots = new Map<string, number>();

  constructor(parent: Unit | null) {
    this.parent = parent;
  }

  get size(): number {
    return this.#slots.size;
  }

  /** The slot of a variable of this function. */
  slot(variable: string): number {
    const found = this.#slots.get(variable);
    if (found !== undefined) return found;
    const slot = this.#slots.size;
    this.#slots.set(variable, slot);
    return slot;
  }

  /** How many functions out a variable is, and where. */
  find(variable: string): { hops: number; slot: number } {
    let hops = 0;
    for (let unit: Unit | null = this; unit !== null; unit = unit.parent, hops++) {
      const slot = unit.#slots.get(variable);
      if (slot !== undefined) return { hops, slot };
    }
    return { hops: 0, slot: this.slot(variable) };
  }
}

/** What the compiler knows where it is. */
export interface Scope {
  readonly symbols: Symbols;
  readonly unit: Unit;
  /** Whether `break` and `continue` have a loop. */
  readonly inLoop: boolean;
  /** Whether a filter or test without a name known is found out only when it is reached, as in branches. */
  readonly soft: boolean;
}
