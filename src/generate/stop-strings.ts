/**
 * Cuts a stream of text at the first stop string. Text that may be the beginning of one is held back, so that what
 * comes out does not depend on how the stream is cut into pieces.
 */
import { ConfigError } from "../tensor/errors.ts";

export class StopStrings {
  readonly #strings: readonly string[];
  #held = "";
  /** The stop string that was found. */
  found: string | null = null;

  /** @throws ConfigError for an empty string */
  constructor(strings: readonly string[]) {
    if (strings.includes("")) throw new ConfigError("a stop string must not be empty", { name: "stop" });
    // Of two that end at one place the longer begins earlier.
    this.#strings = [...strings].sort((a, b) => b.length - a.length);
  }

  /**
   * The text that is sure to come before any stop string. Of several stop strings the one that ends first counts:
   * it is the one found when the text arrives letter by letter. Nothing comes out after it.
   */
  push(text: string): string {
    if (this.found !== null) return "";
    const all = this.#held + text;
    let end = Number.POSITIVE_INFINITY;
    for (const string of this.#strings) {
      const at = all.indexOf(string);
      if (at < 0 || at + string.length >= end) continue;
      end = at + string.length;
      this.found = string;
    }
    if (this.found !== null) {
      this.#held = "";
      return all.slice(0, end - this.found.length);
    }
    const kept = this.#beginning(all);
    this.#held = all.slice(all.length - kept);
    return all.slice(0, all.length - kept);
  }

  /** What is held back, once no more text comes. */
  end(): string {
    const held = this.#held;
    this.#held = "";
    return held;
  }

  /** Length of the longest end of `text` that begins a stop string. */
  #beginning(text: string): number {
    const longest = Math.min(text.length, (this.#strings[0]?.length ?? 0) - 1);
    for (let n = longest; n > 0; n--) {
      const tail = text.slice(text.length - n);
      if (this.#strings.some((string) => string.length > n && string.startsWith(tail))) return n;
    }
    return 0;
  }
}
