/**
 * From the tokens of one choice to its deltas: text that no stop string and no incomplete character can change any
 * more, split into reasoning, content and tool calls, with the log-probabilities of the tokens that spell it.
 */
import { THINK_CLOSE, THINK_OPEN } from "../../chat/provenance.ts";
import { type ReasoningPiece, ReasoningSplitter } from "../../chat/reasoning.ts";
import { ToolCallParser, type ToolPiece, withoutCallTokens } from "../../chat/tool-calls.ts";
import { Marks, NO_MARKS } from "../../tokenizer/marks.ts";
import { StopStrings } from "../../tokenizer/stop-strings.ts";
import type { StreamDecoder, Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { Delta, TokenEntry, TokenProbability, ToolCallPart } from "./protocol.ts";

/** A decided token as the engine gives it. */
export interface ChosenToken {
  readonly id: number;
  readonly logprob?: number;
  readonly top?: readonly { readonly id: number; readonly logprob: number }[];
}

export interface ChoiceOptions {
  readonly stop: readonly string[];
  /** Whether the stop string that was found is part of the text; default false. */
  readonly includeStop?: boolean;
  /** Tokens before which no stop string counts; default 0. */
  readonly minTokens?: number;
  readonly logprobs: boolean;
  /** Tokens that are never printed. */
  readonly silent: ReadonlySet<number>;
  /** Tokens that end the choice: they belong to no text and are not scored. */
  readonly ends: ReadonlySet<number>;
  /** Null for raw completions, whose text is not taken apart. */
  readonly chat: {
    /** Whether the prompt ends inside `<think>`. */
    readonly opensReasoning: boolean;
    /** Whether one space before the content is not a part of it. */
    readonly stripsSpace: boolean;
    readonly tools: boolean;
    /** Whether the answer can be nothing but calls, so that one which breaks off is not content; default false. */
    readonly forcedCalls?: boolean;
    /** Control tokens that the reply is taken apart at. */
    readonly spoken: ReadonlyMap<number, string>;
    readonly parallelToolCalls: boolean;
    readonly callId: (index: number) => string;
  } | null;
}

type News = Omit<Delta, "id" | "choice">;

interface Growing {
  content: string;
  reasoning: string;
  toolCalls: ToolCallPart[];
}

export class ChoiceText {
  readonly #tokenizer: Tokenizer;
  readonly #options: ChoiceOptions;
  readonly #decoder: StreamDecoder;
  readonly #marks: Marks;
  readonly #stops: StopStrings;
  readonly #reasoning: ReasoningSplitter | null;
  readonly #tools: ToolCallParser | null;
  #stripSpace: boolean;
  /** Scored tokens whose text has not come out yet. */
  #pending: TokenEntry[] = [];
  /** UTF-16 units decoded, and of those sure to be output. */
  #decoded = 0;
  #sure = 0;
  #tokens = 0;
  #reasoningTokens = 0;
  #calls = 0;
  #cut = false;
  /** Whether the beginning of a call that is not there yet is left out at the end. */
  #withoutBegun = false;

  /** @param echo what the text begins with before any token */
  constructor(tokenizer: Tokenizer, options: ChoiceOptions, echo = "") {
    const { chat, includeStop = false } = options;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#decoder = tokenizer.streamDecoder();
    this.#marks = chat ? new Marks(chat.spoken.values()) : NO_MARKS;
    this.#stops = new StopStrings(options.stop, includeStop, this.#marks);
    this.#decoded = echo.length;
    this.#sure = echo.length;
    this.#reasoning = chat ? new ReasoningSplitter(chat.opensReasoning, this.#marks) : null;
    this.#tools = chat?.tools ? new ToolCallParser(chat.callId, this.#marks) : null;
    this.#stripSpace = chat?.stripsSpace ?? false;
  }

  /** Whether the text is over: a stop string came, or a call too many. */
  get over(): boolean {
    return this.#stops.found !== null || this.#cut;
  }

  get tokens(): number {
    return this.#tokens;
  }

  get reasoningTokens(): number {
    return this.#reasoningTokens;
  }

  /** Tool calls begun. */
  get calls(): number {
    return this.#calls;
  }

  /** The scored tokens of a prompt whose text is `echo`; the first has nothing before it that could score it. */
  promptEntries(prompt: readonly number[], scores: readonly ChosenToken[], echo: string): TokenEntry[] {
    const decoder = this.#tokenizer.streamDecoder();
    let offset = 0;
    return prompt.map((id, i) => {
      const { logprob, top = [] }: ChosenToken = i === 0 ? { id } : scores[i - 1];
      const entry: TokenEntry = {
        ...this.#scored(id, logprob ?? 0),
        top: top.map((other) => this.#scored(other.id, other.logprob)),
        offset,
        ...(i === 0 ? { first: true } : {}),
      };
      const text = this.#tokenizer.tokenOf(id) === undefined ? "" : decoder.push(id);
      // What the tokenizer puts before a text, and control tokens, are not printed.
      if (echo.startsWith(text, offset)) offset += text.length;
      return entry;
    });
  }

  /** Takes a token; null if nothing can be told yet. */
  push(token: ChosenToken): News | null {
    this.#tokens++;
    if (this.#reasoning?.reasoning) this.#reasoningTokens++;
    const silent = this.#options.silent.has(token.id);
    if (this.#options.logprobs && !this.#options.ends.has(token.id)) this.#pending.push(this.#entry(token));
    // A control token ends a character that was cut off.
    const literal = this.#options.chat?.spoken.get(token.id);
    const text = silent
      ? ""
      : literal === undefined
        ? this.#decoder.push(token.id)
        : this.#decoder.end() + (this.#means(literal) ? this.#marks.of(literal) : "");
    return this.#advance(text, false);
  }

  /**
   * What was held back, once no more tokens come. Of a call whose name was still to come there is nothing to tell if
   * `cut` says that the length ended the tokens: the words that it was begun with are no answer.
   */
  end(cut = false): News | null {
    this.#withoutBegun = cut || (this.#options.chat?.forcedCalls ?? false);
    return this.#advance(this.#decoder.end(), true);
  }

  /** Whether a control token belongs where it stands: a tag of reasoning that does not is not text either. */
  #means(literal: string): boolean {
    if (literal !== THINK_OPEN && literal !== THINK_CLOSE) return true;
    return this.#reasoning?.wants(literal) ?? false;
  }

  #advance(text: string, last: boolean): News | null {
    if (this.#cut) return null;
    this.#decoded += this.#marks.spell(text).length;
    const early = !last && this.#tokens < (this.#options.minTokens ?? 0);
    let sure = early ? text : this.#stops.push(text);
    if (last) sure += this.#stops.end();
    this.#sure += this.#marks.spell(sure).length;
    const growing: Growing = { content: "", reasoning: "", toolCalls: [] };
    this.#split(sure, last ? text : null, growing);
    return this.#news(growing, last && !this.over);
  }

  /** @param half what stands for a character that the end of the tokens cuts; null before the end */
  #split(text: string, half: string | null, growing: Growing): void {
    const splitter = this.#reasoning;
    if (splitter === null) {
      growing.content += text;
      return;
    }
    if (half === null) {
      this.#pieces(splitter.push(text), growing);
      return;
    }
    const cut = text.endsWith(half) ? half : "";
    this.#pieces(splitter.push(text.slice(0, text.length - cut.length)), growing);
    if (splitter.reasoning) this.#pieces(splitter.push(cut), growing);
    this.#pieces(splitter.end(), growing);
    // Within a marker or a call, half a character is not text.
    if (!splitter.reasoning && !this.#tools?.open) this.#pieces(splitter.push(cut), growing);
    for (const part of this.#tools?.end() ?? []) {
      const begun = part.kind === "content" && (part.malformed || this.#options.chat?.forcedCalls);
      if (!begun || !this.#withoutBegun) this.#toolPiece(part, growing);
    }
  }

  #pieces(pieces: readonly ReasoningPiece[], growing: Growing): void {
    for (const piece of pieces) {
      if (piece.kind === "reasoning") growing.reasoning += this.#marks.spell(piece.text);
      else if (this.#tools === null) this.#content(piece.text, growing);
      else for (const part of this.#tools.push(piece.text)) this.#toolPiece(part, growing);
    }
  }

  #content(piece: string, growing: Growing): void {
    const text = this.#marks.spell(piece);
    growing.content += this.#stripSpace && text.startsWith(" ") ? text.slice(1) : text;
    this.#stripSpace = false;
  }

  #toolPiece(piece: ToolPiece, growing: Growing): void {
    if (this.#cut) return;
    if (piece.kind === "content") {
      const text = piece.malformed ? withoutCallTokens(piece.text, this.#marks) : piece.text;
      // The line breaks around calls belong to the format.
      if (text !== "" && (this.#calls === 0 || text.trim() !== "")) this.#content(text, growing);
    } else if (piece.kind === "call") {
      if (piece.index > 0 && !this.#options.chat?.parallelToolCalls) {
        this.#cut = true;
        return;
      }
      this.#calls++;
      growing.toolCalls.push({ index: piece.index, id: piece.id, name: piece.name, arguments: "" });
    } else if (piece.kind === "arguments") {
      growing.toolCalls.push({ index: piece.index, arguments: this.#marks.spell(piece.text) });
    }
    // The end of a call says nothing new; if its arguments are no JSON, the client sees it in them.
  }

  #news({ content, reasoning, toolCalls }: Growing, all: boolean): News | null {
    const logprobs = this.#release(all);
    if (content === "" && reasoning === "" && toolCalls.length === 0 && logprobs.length === 0) return null;
    return {
      ...(content === "" ? {} : { content }),
      ...(reasoning === "" ? {} : { reasoning }),
      ...(toolCalls.length === 0 ? {} : { toolCalls }),
      ...(logprobs.length === 0 ? {} : { logprobs }),
    };
  }

  /** Scored tokens whose text is sure to be output, at least in part; tokens behind a stop string never are. */
  #release(all: boolean): TokenEntry[] {
    let count = 0;
    while (count < this.#pending.length && (all || this.#pending[count].offset < this.#sure)) count++;
    return this.#pending.splice(0, count);
  }

  #entry({ id, logprob = Number.NEGATIVE_INFINITY, top = [] }: ChosenToken): TokenEntry {
    return {
      ...this.#scored(id, logprob),
      top: top.map((other) => this.#scored(other.id, other.logprob)),
      offset: this.#decoded,
    };
  }

  #scored(id: number, logprob: number): TokenProbability {
    // Rows that only pad the vocabulary have no text.
    const known = this.#tokenizer.tokenOf(id) !== undefined;
    return {
      id,
      token: known ? this.#tokenizer.decode([id]) : "",
      bytes: known ? [...this.#tokenizer.bytesOf(id)] : [],
      // JSON has no infinity; OpenAI writes this for what is as good as impossible.
      logprob: Math.max(logprob, -9999),
    };
  }
}
