/**
 * From the tokens of a reply to what a client shows: reasoning, text and tool calls, as they come. Tokens marked
 * special, and those that a template's reader names, are left out, except those of tool calls and `<think>`, which are read. Stop strings count in all of it.
 */
import { fimSentinels } from "../tokenizer/fim.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ToolCall } from "./messages.ts";
import { type ReplyPiece, ReplyPieces, spokenTokens } from "./reply-pieces.ts";
import { ToolCallCollector } from "./tool-calls.ts";

export interface ReplyOptions {
  /** Whether the prompt ends inside `<think>` (`ChatPrompt.opensReasoning`). */
  readonly opensReasoning?: boolean;
  /** Whether one leading space is dropped (`ChatTemplate.stripsSpace`). */
  readonly stripsSpace?: boolean;
  readonly stop?: string | readonly string[];
  /** Tokens that end the reply and are not printed (`ChatTemplate.stopIds` and the configuration's EOS). */
  readonly stopIds?: readonly number[];
  /** Further tokens that are not printed; `ChatTemplate.reader` gives all control tokens. */
  readonly silentIds?: Iterable<number>;
  /** Control tokens that stand in the text by their names (`ChatTemplate.spoken`). */
  readonly spoken?: readonly string[];
  /** Whether tool calls are read; otherwise their tokens are left out and their text is text. Default true. */
  readonly tools?: boolean;
  /** Id of the call with this index. */
  readonly nextId?: (index: number) => string;
}

/** A reply as far as it has come. */
export interface ReplyText {
  readonly reasoning: string;
  readonly content: string;
  readonly calls: readonly ToolCall[];
  /** Whether there was a call that could not be read; it stands in `content`. */
  readonly malformed: boolean;
}

/** Reads one reply, token by token. */
export class ReplyReader {
  readonly #pieces: ReplyPieces;
  readonly #stops: StopStrings;
  readonly #collector = new ToolCallCollector();
  #reasoning = "";
  /** Tokens of reasoning so far. */
  reasoningTokens = 0;

  /** @throws ConfigError for an empty stop string */
  constructor(tokenizer: Tokenizer, options: ReplyOptions = {}) {
    const { stop = [], stopIds = [], silentIds = [], tools = true, nextId } = options;
    const { opensReasoning = false, stripsSpace = false } = options;
    const { bos, eos } = tokenizer.specialIds;
    const spoken = spokenTokens(tokenizer, tools, options.spoken);
    const special = [...tokenizer.specialTokens, ...fimSentinels(tokenizer), bos, eos];
    const silent = new Set(
      [...special, ...silentIds, ...stopIds].filter(
        (id): id is number => id !== undefined && !spoken.has(id),
      ),
    );
    this.#pieces = new ReplyPieces(tokenizer, { silent, spoken, opensReasoning, stripsSpace, tools, nextId });
    this.#stops = new StopStrings(typeof stop === "string" ? [stop] : stop, false, this.#pieces.marks);
  }

  /** The stop string that was found: the reply ends there. */
  get stopString(): string | null {
    return this.#stops.found;
  }

  /** What came so far, without what is held back. */
  get result(): ReplyText {
    return { reasoning: this.#reasoning, ...this.#collector.result };
  }

  push(token: { readonly id: number } | number): ReplyPiece[] {
    if (this.#pieces.reasoning) this.reasoningTokens++;
    const text = this.#pieces.textOf(typeof token === "number" ? token : token.id);
    return this.#shown(this.#pieces.push(this.#stops.push(text)));
  }

  /** What is held back, once no more tokens come; a character that was begun and not finished is not a text. */
  end(): ReplyPiece[] {
    const pieces = [
      ...this.#pieces.push(this.#stops.end()),
      ...this.#pieces.end(),
      ...this.#pieces.endCalls(),
    ];
    return this.#shown(pieces);
  }

  /** With names for the marks of control tokens that stand in texts. */
  #spelled(piece: ReplyPiece): ReplyPiece {
    const { marks } = this.#pieces;
    if (piece.kind === "content") return { ...piece, text: this.#pieces.content(piece.text) };
    if (piece.kind === "reasoning" || piece.kind === "arguments") {
      return { ...piece, text: marks.spell(piece.text) };
    }
    if (piece.kind !== "end" || piece.malformed === undefined) return piece;
    return { ...piece, malformed: marks.spell(piece.malformed) };
  }

  #shown(pieces: readonly ReplyPiece[]): ReplyPiece[] {
    const shown = pieces.map((piece) => this.#spelled(piece));
    for (const piece of shown) {
      if (piece.kind === "reasoning") this.#reasoning += piece.text;
      else this.#collector.add(piece);
    }
    // A lone space that is stripped leaves nothing.
    return shown.filter((piece) => piece.kind !== "content" || piece.text !== "");
  }
}
