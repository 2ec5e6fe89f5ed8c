/**
 * Cuts a stream of text at the first stop string. Text that may be the beginning of one is held back, so that what
 * comes out does not depend on how the stream is cut into pieces.
 *
 * All strings are followed at once (Aho and Corasick, CACM 18, 1975): the work depends on the text alone, however many
 * strings there are, and the depth of the present node is the length of what must be held back.
 */
import { ConfigError } from "../tensor/errors.ts";
import { type Marks, NO_MARKS } from "./marks.ts";

/** Most units of UTF-16 in all strings together: each is a node. */
const MOST_UNITS = 1 << 16;

interface Node {
  readonly next: Map<number, Node>;
  /** Units from the root: the longest end of the text that begins a stop string. */
  readonly depth: number;
  /** The longest shorter end that also begins one. */
  fail: Node | null;
  /** The longest stop string that ends here. */
  found: string | null;
}

function newNode(depth: number): Node {
  return { next: new Map(), depth, fail: null, found: null };
}

function automaton(strings: readonly string[]): Node {
  const root = newNode(0);
  for (const string of strings) {
    let node = root;
    for (let i = 0; i < string.length; i++) {
      const unit = string.charCodeAt(i);
      let next = node.next.get(unit);
      if (next === undefined) {
        next = newNode(i + 1);
        node.next.set(unit, next);
      }
      node = next;
    }
    node.found = string;
  }
  // By depth, so that shorter ends are known.
  const queue = [root];
  for (const node of queue) {
    for (const [unit, next] of node.next) {
      next.fail = node === root ? root : step(root, node.fail!, unit);
      next.found ??= next.fail.found;
      queue.push(next);
    }
  }
  return root;
}

/** The node after one more unit of text. */
function step(root: Node, from: Node, unit: number): Node {
  let node: Node | null = from;
  while (node !== null) {
    const next = node.next.get(unit);
    if (next !== undefined) return next;
    node = node.fail;
  }
  return root;
}

export class StopStrings {
  readonly #root: Node;
  readonly #included: (found: string) => boolean;
  readonly #marks: Marks;
  #node: Node;
  #held = "";
  /** The stop string that was found. */
  found: string | null = null;

  /**
   * @param included whether the stop string itself comes out, or of which this is so
   * @param marks control tokens in the text: they count as their names, of which no half comes out
   * @throws ConfigError for an empty string or one with half a character, and for more text than a program would look for
   */
  constructor(
    strings: readonly string[],
    included: boolean | ((found: string) => boolean) = false,
    marks = NO_MARKS,
  ) {
    const units = strings.reduce((sum, { length }) => sum + length, 0);
    if (strings.includes("")) throw new ConfigError("a stop string must not be empty", { name: "stop" });
    // Half of a pair would cut a character.
    const broken = strings.find((string) => /\p{Cs}/u.test(string));
    if (broken !== undefined) {
      throw new ConfigError("a stop string holds half a character", {
        name: "stop",
        found: JSON.stringify(broken),
      });
    }
    if (units > MOST_UNITS) {
      const detail = { name: "stop", expected: `at most ${MOST_UNITS} characters`, found: units };
      throw new ConfigError("the stop strings are too long", detail);
    }
    this.#root = automaton(strings);
    this.#node = this.#root;
    this.#included = typeof included === "boolean" ? () => included : included;
    this.#marks = marks;
  }

  /**
   * The text that is sure to come before any stop string. Of several stop strings the one that ends first counts, of
   * those that end at one place the longest. Nothing comes out after it.
   */
  push(text: string): string {
    if (this.found !== null) return "";
    for (let i = 0; i < text.length; ) {
      const mark = this.#marks.beginning(text, i);
      const beyond = mark ? this.#follow(mark.name, 0, mark.name.length) : this.#follow(text, i, i + 1);
      i += mark?.length ?? 1;
      const { found } = this.#node;
      if (beyond === null || found === null) continue;
      this.found = found;
      const all = this.#held + text.slice(0, i);
      this.#held = "";
      return this.#included(found) ? all : all.slice(0, this.#marks.back(all, found.length + beyond));
    }
    const all = this.#held + text;
    const sure = this.#marks.back(all, this.#node.depth);
    this.#held = all.slice(sure);
    return all.slice(0, sure);
  }

  /** Takes units up to the end of a stop string; how many stand behind it, null if there is none. */
  #follow(text: string, from: number, to: number): number | null {
    for (let i = from; i < to; i++) {
      this.#node = step(this.#root, this.#node, text.charCodeAt(i));
      if (this.#node.found !== null) return to - i - 1;
    }
    return null;
  }

  /** What is held back, once no more text comes. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }
}
