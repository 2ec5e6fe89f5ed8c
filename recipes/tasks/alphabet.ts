/** Characters as tokens, behind padding and the end: the vocabulary of small models that learn a task. */
export const [PAD, END] = [0, 1];

export interface Alphabet {
  /** Tokens, with padding and the end. */
  readonly size: number;
  /** @throws Error for a character that it does not have */
  encode(text: string): number[];
  /** Text of the characters among `ids`. */
  decode(ids: readonly number[]): string;
}

export function alphabet(characters: string): Alphabet {
  const all = Array.from(characters);
  const ids = new Map(all.map((each, i) => [each, i + END + 1]));
  return {
    size: all.length + END + 1,
    encode: (text) =>
      Array.from(text, (each) => {
        const id = ids.get(each);
        if (id === undefined) throw new Error(`no token for ${JSON.stringify(each)}`);
        return id;
      }),
    decode: (tokens) => tokens.flatMap((id) => (id > END ? [all[id - END - 1]] : [])).join(""),
  };
}
