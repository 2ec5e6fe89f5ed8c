/**
 * From the tokens of a reply to what a client shows: reasoning, text and tool calls, as they come. Tokens marked
 * special, and those that a template's reader names, are left out, except those of tool calls and `<think>`, which are read. Stop strings count in all of it.
 */
import { Marks } from "../tokenizer/marks.ts";
import { StopStrings } from "../tokenizer/stop-strings.ts";
import type { StreamDecoder, Tokenizer } from "../tokenizer/tokenizer.ts";
import type { ToolCall } from "./messages.ts";
import { THINK_CLOSE, THINK_OPEN } from "./provenance.ts";
import { ReasoningSplitter } from "./reasoning.ts";
import { CALL_TOKENS, ToolCallCollector, ToolCallParser, type ToolPiece } from "./tool-calls.ts";

export type ReplyPiece = { readonly kind: "reasoning"; readonly text: string } | ToolPiece;

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

const READ: readonly string[] = [THINK_OPEN, THINK_CLOSE, ...CALL_TOKENS];
const THINK: readonly string[] = [THINK_OPEN, THINK_CLOSE];

/** Reads one reply, token by token. */
export class ReplyReader {
  readonly #decoder: StreamDecoder;
  readonly #silent: ReadonlySet<number>;
  readonly #read: ReadonlyMap<number, string>;
  readonly #marks: Marks;
  readonly #stops: StopStrings;
  readonly #splitter: ReasoningSplitter;
  readonly #parser: ToolCallParser | null;
  readonly #collector = new ToolCallCollector();
  #stripsSpace: boolean;
  #reasoning = "";
  /** Tokens of reasoning so far. */
  reasoningTokens = 0;

  /** @throws ConfigError for an empty stop string */
  constructor(tokenizer: Tokenizer, options: ReplyOptions = {}) {
    const { stop = [], stopIds = [], silentIds = [], tools = true, opensReasoning = false } = options;
    const { fimBegin, fimHole, fimEnd, bos, eos } = tokenizer.specialIds;
    this.#decoder = tokenizer.streamDecoder();
    this.#read = new Map(
      READ.filter((token) => tools || THINK.includes(token))
        .map((token) => [tokenizer.idOf(token), token] as const)
        .filter((entry): entry is readonly [number, string] => entry[0] !== undefined),
    );
    const silent = [
      ...tokenizer.specialTokens,
      ...silentIds,
      ...stopIds,
      fimBegin,
      fimHole,
      fimEnd,
      bos,
      eos,
    ];
    this.#silent = new Set(silent.filter((id): id is number => id !== undefined && !this.#read.has(id)));
    this.#marks = new Marks(this.#read.values());
    this.#stops = new StopStrings(typeof stop === "string" ? [stop] : stop, false, this.#marks);
    this.#splitter = new ReasoningSplitter(opensReasoning, this.#marks);
    this.#parser = tools ? new ToolCallParser(options.nextId, this.#marks) : null;
    this.#stripsSpace = options.stripsSpace ?? false;
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
    const id = typeof token === "number" ? token : token.id;
    if (this.#splitter.reasoning) this.reasoningTokens++;
    if (this.#silent.has(id)) return [];
    // A control token ends a character that was cut off.
    const literal = this.#read.get(id);
    const shown =
      literal === undefined || (THINK.includes(literal) && !this.#splitter.wants(literal))
        ? ""
        : this.#marks.of(literal);
    const text = literal === undefined ? this.#decoder.push(id) : this.#decoder.end() + shown;
    return this.#text(this.#stops.push(text));
  }

  /** What is held back, once no more tokens come; a character that was begun and not finished is not a text. */
  end(): ReplyPiece[] {
    const pieces = this.#text(this.#stops.end());
    for (const { kind, text } of this.#splitter.end()) this.#split(pieces, kind, text);
    for (const piece of this.#parser?.end() ?? []) this.#give(pieces, piece);
    return pieces;
  }

  #text(text: string): ReplyPiece[] {
    const pieces: ReplyPiece[] = [];
    if (text === "") return pieces;
    const body = this.#stripsSpace && text.startsWith(" ") ? text.slice(1) : text;
    this.#stripsSpace = false;
    for (const { kind, text: part } of this.#splitter.push(body)) this.#split(pieces, kind, part);
    return pieces;
  }

  #split(pieces: ReplyPiece[], kind: "reasoning" | "content", text: string): void {
    if (kind === "reasoning") {
      const shown = this.#marks.spell(text);
      this.#reasoning += shown;
      pieces.push({ kind, text: shown });
    } else if (this.#parser === null) this.#give(pieces, { kind, text });
    else for (const piece of this.#parser.push(text)) this.#give(pieces, piece);
  }

  /** With names for the marks of control tokens that stand in content or arguments. */
  #spelled(piece: ToolPiece): ToolPiece {
    if (piece.kind === "content" || piece.kind === "arguments") {
      return { ...piece, text: this.#marks.spell(piece.text) };
    }
    if (piece.kind !== "end" || piece.malformed === undefined) return piece;
    return { ...piece, malformed: this.#marks.spell(piece.malformed) };
  }

  #give(pieces: ReplyPiece[], piece: ToolPiece): void {
    const shown = this.#spelled(piece);
    this.#collector.add(shown);
    pieces.push(shown);
  }
}
