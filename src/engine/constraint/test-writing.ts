/** For tests: whether an item lets a text be written. */
import { Grammar, type Item } from "./grammar.ts";

/** Whether `text` can be written, from beginning to end. */
export function accepts(item: Item | null, text: string | Uint8Array): boolean {
  if (item === null) return false;
  const grammar = new Grammar(item);
  let state: ReturnType<Grammar["advance"]> = grammar.start();
  for (const byte of typeof text === "string" ? new TextEncoder().encode(text) : text) {
    state = state && grammar.advance(state, byte);
  }
  return state?.complete ?? false;
}
