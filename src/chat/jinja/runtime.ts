/**
 * What one rendering may use: steps, characters, depth. A step is about the work of evaluating one node of a template
 * or of copying some characters; whatever can grow with a number or a text in the template pays for it, so that no
 * template keeps its thread for long, and none fills the memory.
 */
import { TemplateError } from "./errors.ts";
import type { Str } from "./text.ts";

export interface Limits {
  /** Steps beyond those that the data's own size allows. */
  readonly steps: number;
  /** Most UTF-16 units of one string, and of the rendered text, beyond the data's own. */
  readonly characters: number;
  /** Most calls of macros within each other. */
  readonly depth: number;
}

/** At most about half a second of work. */
export const DEFAULT_LIMITS: Limits = { steps: 5_000_000, characters: 8_000_000, depth: 200 };

/** Characters that are scanned or copied in one step. */
const CHARACTERS_PER_STEP = 8;

/** Steps between two pauses: well under a millisecond of work. */
const STEPS_PER_SLICE = 5_000;

export class Runtime {
  /** Line of the template that is being rendered. */
  line = 1;
  readonly now: Date;
  readonly #limits: Limits;
  #steps: number;
  /** What `#steps` was at the last pause. */
  #paused: number;
  #room: number;
  readonly #longest: number;
  #depth = 0;

  /** @param size characters and values of the data: work in proportion to it is allowed */
  constructor(limits: Limits, size: number, now: Date) {
    this.#limits = limits;
    this.now = now;
    this.#steps = limits.steps + 2 * size;
    this.#paused = this.#steps;
    this.#longest = limits.characters + 4 * size;
    this.#room = this.#longest;
  }

  /** @throws TemplateError once all steps are used */
  spend(steps: number): void {
    this.#steps -= steps;
    if (this.#steps < 0) {
      throw new TemplateError("limit", `it was stopped after ${this.#limits.steps} steps`);
    }
  }

  /** Whether it is time to pause. */
  due(): boolean {
    if (this.#paused - this.#steps < STEPS_PER_SLICE) return false;
    this.#paused = this.#steps;
    return true;
  }

  /** Pays for work on `length` characters. @throws TemplateError */
  scan(length: number): void {
    this.spend(1 + length / CHARACTERS_PER_STEP);
  }

  /** Pays for counting the characters of a text, if that has yet to be done. @throws TemplateError */
  measure(text: Str): void {
    if (!text.measured) this.scan(4 * text.text.length);
  }

  /** Before a string of `length` units is made. @throws TemplateError if it would be too long */
  reserve(length: number): void {
    if (length > this.#longest) {
      throw new TemplateError("limit", `it was stopped at a text of more than ${this.#longest} characters`);
    }
  }

  /** Before `text` becomes part of the output. @throws TemplateError if the output would be too long */
  write(text: Str): void {
    this.#room -= text.text.length;
    if (this.#room < 0) this.reserve(this.#longest + 1);
  }

  /** Runs the body of a macro. @throws TemplateError if it is nested too deeply */
  nested<T>(body: () => T): T {
    if (this.#depth >= this.#limits.depth) {
      throw new TemplateError("limit", `macros call each other more than ${this.#limits.depth} levels deep`);
    }
    this.#depth++;
    try {
      return body();
    } finally {
      this.#depth--;
    }
  }
}
