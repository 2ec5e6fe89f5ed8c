/**
 * Where tokens stand in the text of their answer. A chunk brings text and the tokens that spell it, but some tokens spell nothing
 * that is shown (the end of reasoning, calls), some a part of a character, and the text behind a token may be held back until
 * no stop string can begin there. So a place is told only where the text there is the token's own, or where its chunk begins.
 */

/** Which text of the answer a token is a part of. */
export type Channel = "reasoning" | "content";

export interface Place {
  readonly channel: Channel;
  /** Characters of the channel before the token. */
  readonly start: number;
}

/** What stands for bytes that are no whole character. */
const HALF = "\uFFFD";

export const isWhole = (text: string) => text !== "" && !text.includes(HALF);

export class Placement {
  readonly #text = { reasoning: "", content: "" };
  readonly #at = { reasoning: 0, content: 0 };
  /** Where the last chunk began. */
  #chunk = { reasoning: 0, content: 0 };
  /** Whether text is missing, so that nothing can be placed any more. */
  #lost = false;

  /** Text of the answer so far, in characters. */
  get lengths(): { readonly reasoning: number; readonly content: number } {
    return { reasoning: this.#text.reasoning.length, content: this.#text.content.length };
  }

  textBefore({ channel, start }: Place): string {
    return this.#text[channel].slice(0, start);
  }

  /** All that came. */
  get reasoning(): string {
    return this.#text.reasoning;
  }

  get content(): string {
    return this.#text.content;
  }

  lose(): void {
    this.#lost = true;
  }

  /** Takes the text of a chunk. */
  push(reasoning: string, content: string): void {
    this.#chunk = this.lengths;
    this.#text.reasoning += reasoning;
    this.#text.content += content;
  }

  /** The places of the tokens that came with the last chunk, null where they are not known. */
  place(tokens: readonly string[]): readonly (Place | null)[] {
    if (this.#lost) return tokens.map(() => null);
    const places = tokens.map((): Place | null => null);
    let broken = false;
    for (const [i, token] of tokens.entries()) {
      // Inside a character that came in parts, there is no place to begin.
      const found: Place | null = broken && !isWhole(token) ? null : this.#find(token, tokens.slice(i));
      broken = found === null || !isWhole(token);
      if (found === null) continue;
      places[i] = found;
      if (isWhole(token)) this.#at[found.channel] = found.start + this.#width(found, token);
    }
    // The rest of a character that was cut is out by now.
    if (broken)
      for (const channel of ["reasoning", "content"] as const) this.#at[channel] = this.lengths[channel];
    return places;
  }

  #width({ channel, start }: Place, token: string): number {
    return this.#fits(channel, start, token) ? token.length : token.trimStart().length;
  }

  /** Whether the token's text stands there, as far as text has come. */
  #fits(channel: Channel, start: number, token: string): boolean {
    const rest = this.#text[channel].slice(start, start + token.length);
    return rest !== "" && token.startsWith(rest);
  }

  /** @param rest the token and those behind it, where the end of the chunk may say where it begins */
  #find(token: string, rest: readonly string[]): Place | null {
    if (token === "") return null;
    for (const channel of ["reasoning", "content"] as const) {
      const [text, start, from] = [this.#text[channel], this.#at[channel], this.#chunk[channel]];
      if (text.length === from) continue;
      if (start < text.length) {
        if (this.#fits(channel, start, token)) return { channel, start };
        // The first bytes of a character stand where the text has come to.
        if (token.startsWith(HALF)) return { channel, start };
        // The space before an answer belongs to the prompt.
        if (start === 0 && this.#fits(channel, 0, token.trimStart())) return { channel, start: 0 };
      }
      const joined = rest.join("");
      const end = text.length - joined.length;
      if (joined !== "" && end >= from && text.endsWith(joined)) return { channel, start: end };
    }
    return null;
  }
}
