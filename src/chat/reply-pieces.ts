/**
 * What all readers of replies share: from the ids of a reply to its text, in which control tokens stand as marks
 * (tokenizer/marks.ts), and from that text to reasoning, content and tool calls. In between a reader looks for stop
 * strings; what it makes of the pieces is its own.
 */
import { Marks } from "../tokenizer/marks.ts";
import type { StreamDecoder, Tokenizer } from "../tokenizer/tokenizer.ts";
import { THINK_CLOSE, THINK_OPEN } from "./provenance.ts";
import { type ReasoningPiece, ReasoningSplitter } from "./reasoning.ts";
import { CALL_TOKENS, ToolCallParser, type ToolPiece } from "./tool-calls.ts";

export type ReplyPiece = { readonly kind: "reasoning"; readonly text: string } | ToolPiece;

const TAGS: readonly string[] = [THINK_OPEN, THINK_CLOSE];

/**
 * Control tokens that replies are taken apart at, by id; those of calls only if `withTools`.
 * @param text further ones that stand in the text by their names (`ChatTemplate.spoken`)
 */
export function spokenTokens(
  tokenizer: Tokenizer,
  withTools: boolean,
  text: readonly string[] = [],
): ReadonlyMap<number, string> {
  const spoken = new Map<number, string>();
  for (const token of withTools ? [...TAGS, ...CALL_TOKENS, ...text] : [...TAGS, ...text]) {
    const id = tokenizer.idOf(token);
    if (id !== undefined) spoken.set(id, token);
  }
  return spoken;
}

export interface PiecesOptions {
  /** Tokens that are not printed; they count before `spoken`. */
  readonly silent: ReadonlySet<number>;
  readonly spoken: ReadonlyMap<number, string>;
  /** Whether the prompt ends inside `<think>`. */
  readonly opensReasoning: boolean;
  /** Whether one space at the beginning of the content is no part of it. */
  readonly stripsSpace: boolean;
  /** Whether tool calls are read; otherwise their text is content. */
  readonly tools: boolean;
  /** Id of the call with this index; default `call_0`, `call_1`, .. */
  readonly nextId?: (index: number) => string;
}

export class ReplyPieces {
  /** How control tokens stand in texts and pieces; `marks.spell` gives back their names. */
  readonly marks: Marks;
  readonly #decoder: StreamDecoder;
  readonly #silent: ReadonlySet<number>;
  readonly #spoken: ReadonlyMap<number, string>;
  readonly #splitter: ReasoningSplitter;
  readonly #parser: ToolCallParser | null;
  #stripsSpace: boolean;

  constructor(tokenizer: Tokenizer, options: PiecesOptions) {
    this.#decoder = tokenizer.streamDecoder();
    this.#silent = options.silent;
    this.#spoken = options.spoken;
    this.marks = new Marks(options.spoken.values());
    this.#splitter = new ReasoningSplitter(options.opensReasoning, this.marks);
    this.#parser = options.tools ? new ToolCallParser(options.nextId, this.marks) : null;
    this.#stripsSpace = options.stripsSpace;
  }

  /** Whether the reply is, so far, within its reasoning. */
  get reasoning(): boolean {
    return this.#splitter.reasoning;
  }

  /** Whether the text so far ends within a call, or in what may begin one. */
  get inCall(): boolean {
    return this.#parser?.open ?? false;
  }

  /** The text that a token adds. */
  textOf(id: number): string {
    if (this.#silent.has(id)) return "";
    const control = this.#spoken.get(id);
    if (control === undefined) return this.#decoder.push(id);
    // A tag of reasoning where it means nothing is not a part of the text.
    const counts = !TAGS.includes(control) || this.#splitter.wants(control);
    // A control token ends a character that was cut off.
    return this.#decoder.end() + (counts ? this.marks.of(control) : "");
  }

  /** What stands for a character that was begun and not finished. */
  half(): string {
    return this.#decoder.end();
  }

  /** The pieces that become sure by some more text. */
  push(text: string): ReplyPiece[] {
    if (text === "") return [];
    return this.#read(this.#splitter.push(text));
  }

  /** What is held back because a tag of reasoning might begin with it, once no more text comes. */
  end(): ReplyPiece[] {
    return this.#read(this.#splitter.end());
  }

  /** What is held back of calls, once no more text comes. */
  endCalls(): ToolPiece[] {
    return this.#parser?.end() ?? [];
  }

  /** The text of content as it is shown: without one space at its beginning where that is no part of it. */
  content(text: string): string {
    const shown = this.marks.spell(text);
    const strips = this.#stripsSpace;
    this.#stripsSpace = false;
    return strips && shown.startsWith(" ") ? shown.slice(1) : shown;
  }

  #read(pieces: readonly ReasoningPiece[]): ReplyPiece[] {
    return pieces.flatMap((piece): ReplyPiece[] => {
      if (piece.kind === "reasoning" || this.#parser === null) return [piece];
      return this.#parser.push(piece.text);
    });
  }
}
