/**
 * From the tokens of one choice to its deltas: text that no stop string and no incomplete character can change any
 * more, split into reasoning, content and tool calls, with the log-probabilities of the tokens that spell it.
 */
import { type ReplyPiece, ReplyPieces } from "../../chat/reply-pieces.ts";
import { withoutCallTokens } from "../../chat/tool-calls.ts";
import { StopStrings } from "../../tokenizer/stop-strings.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import { GroundingStream, type ImageSize } from "../../vision/grounding.ts";
import type { TokenInside } from "../token-sampler.ts";
import { INSIDE_ALTERNATIVES, type InsideEntry, packedInside } from "./inside.ts";
import type { Delta, GroundedPhrase, TokenEntry, TokenProbability, ToolCallPart } from "./protocol.ts";

/** A decided token as the engine gives it. */
export interface ChosenToken {
  readonly id: number;
  readonly logprob?: number;
  readonly top?: readonly { readonly id: number; readonly logprob: number }[];
  readonly inside?: TokenInside;
}

/** The image that boxes of an answer relate to, by its number from 0. */
export interface GroundingTarget {
  readonly image: number;
  readonly size: ImageSize;
}

export interface ChoiceOptions {
  readonly stop: readonly string[];
  /** Stop strings of the template, never part of the text; default none. */
  readonly ownStops?: readonly string[];
  /** Whether the stop string that was found is part of the text; default false. */
  readonly includeStop?: boolean;
  /** Tokens before which no stop string counts; default 0. */
  readonly minTokens?: number;
  readonly logprobs: boolean;
  /** Most alternatives of a scored token; default: all that it has. */
  readonly alternatives?: number;
  /** Whether it is told what the passes of its tokens show; default false. */
  readonly inside?: boolean;
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
    /** Where boxes are told as numbers too; default null. */
    readonly grounding?: GroundingTarget | null;
    /** Whether the answer can be nothing but calls, so that one which breaks off is not content; default false. */
    readonly forcedCalls?: boolean;
    /** Control tokens that the reply is taken apart at. */
    readonly spoken: ReadonlyMap<number, string>;
    readonly parallelToolCalls: boolean;
    readonly callId: (index: number) => string;
  } | null;
}

type News = Omit<Delta, "id" | "choice">;

/** What is told of a token once its text comes out. */
interface Told {
  /** As in `TokenEntry`. */
  readonly offset: number;
  readonly entry: TokenEntry | null;
  readonly inside: InsideEntry | null;
}

interface Growing {
  content: string;
  reasoning: string;
  toolCalls: ToolCallPart[];
}

/** JSON has no infinity; OpenAI writes this for what is as good as impossible. */
const finite = (logprob: number) => Math.max(logprob, -9999);

export class ChoiceText {
  readonly #tokenizer: Tokenizer;
  readonly #options: ChoiceOptions;
  readonly #pieces: ReplyPieces;
  readonly #stops: StopStrings;
  readonly #grounding: GroundingStream | null;
  /** Tokens that are told of and whose text has not come out yet. */
  #pending: Told[] = [];
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
    const { chat, stop, ownStops = [], includeStop = false } = options;
    this.#tokenizer = tokenizer;
    this.#options = options;
    this.#pieces = new ReplyPieces(tokenizer, {
      silent: options.silent,
      spoken: chat?.spoken ?? new Map(),
      opensReasoning: chat?.opensReasoning ?? false,
      stripsSpace: chat?.stripsSpace ?? false,
      tools: chat?.tools ?? false,
      nextId: chat?.callId,
    });
    const included = (found: string) => includeStop && stop.includes(found);
    this.#stops = new StopStrings([...ownStops, ...stop], included, this.#pieces.marks);
    this.#grounding = chat?.grounding ? new GroundingStream(chat.grounding.size) : null;
    this.#decoded = echo.length;
    this.#sure = echo.length;
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
    if (this.#pieces.reasoning) this.#reasoningTokens++;
    const { logprobs, inside = false, ends } = this.#options;
    if ((logprobs || inside) && !ends.has(token.id)) {
      this.#pending.push({
        offset: this.#decoded,
        entry: logprobs ? this.#entry(token) : null,
        inside: inside ? this.#inside(token) : null,
      });
    }
    return this.#advance(this.#pieces.textOf(token.id), false);
  }

  /**
   * What was held back, once no more tokens come. Of a call whose name was still to come there is nothing to tell if
   * `cut` says that the length ended the tokens: the words that it was begun with are no answer.
   */
  end(cut = false): News | null {
    this.#withoutBegun = cut || (this.#options.chat?.forcedCalls ?? false);
    return this.#advance(this.#pieces.half(), true);
  }

  #advance(text: string, last: boolean): News | null {
    if (this.#cut) return null;
    this.#decoded += this.#pieces.marks.spell(text).length;
    const early = !last && this.#tokens < (this.#options.minTokens ?? 0);
    let sure = early ? text : this.#stops.push(text);
    if (last) sure += this.#stops.end();
    this.#sure += this.#pieces.marks.spell(sure).length;
    const growing: Growing = { content: "", reasoning: "", toolCalls: [] };
    this.#split(sure, last ? text : null, growing);
    return this.#news(growing, last && !this.over);
  }

  /** @param half what stands for a character that the end of the tokens cuts; null before the end */
  #split(text: string, half: string | null, growing: Growing): void {
    if (this.#options.chat === null) {
      growing.content += text;
      return;
    }
    const pieces = this.#pieces;
    if (half === null) {
      this.#grow(pieces.push(text), growing);
      return;
    }
    const cut = text.endsWith(half) ? half : "";
    this.#grow(pieces.push(text.slice(0, text.length - cut.length)), growing);
    if (pieces.reasoning) this.#grow(pieces.push(cut), growing);
    this.#grow(pieces.end(), growing);
    // Within a marker or a call, half a character is not text.
    if (!pieces.reasoning && !pieces.inCall) this.#grow(pieces.push(cut), growing);
    const { forcedCalls } = this.#options.chat;
    for (const part of pieces.endCalls()) {
      const begun = part.kind === "content" && (part.malformed || forcedCalls);
      if (!begun || !this.#withoutBegun) this.#grow([part], growing);
    }
  }

  #grow(pieces: readonly ReplyPiece[], growing: Growing): void {
    const { marks } = this.#pieces;
    for (const piece of pieces) {
      if (piece.kind === "reasoning") growing.reasoning += marks.spell(piece.text);
      else if (this.#cut) return;
      else if (piece.kind === "content") {
        const text = piece.malformed ? withoutCallTokens(piece.text, marks) : piece.text;
        // The line breaks around calls belong to the format.
        const shown = text !== "" && (this.#calls === 0 || text.trim() !== "");
        if (shown) growing.content += this.#pieces.content(text);
      } else if (piece.kind === "call") {
        if (piece.index > 0 && !this.#options.chat?.parallelToolCalls) {
          this.#cut = true;
          return;
        }
        this.#calls++;
        growing.toolCalls.push({ index: piece.index, id: piece.id, name: piece.name, arguments: "" });
      } else if (piece.kind === "arguments") {
        growing.toolCalls.push({ index: piece.index, arguments: marks.spell(piece.text) });
      }
      // The end of a call says nothing new; if its arguments are no JSON, the client sees it in them.
    }
  }

  #news({ content, reasoning, toolCalls }: Growing, all: boolean): News | null {
    const told = this.#release(all);
    if (content === "" && reasoning === "" && toolCalls.length === 0 && told.length === 0) return null;
    const logprobs = told.flatMap(({ entry }) => entry ?? []);
    const inside = told.flatMap((each) => each.inside ?? []);
    const grounding = this.#phrases(content);
    return {
      ...(content === "" ? {} : { content }),
      ...(grounding.length === 0 ? {} : { grounding }),
      ...(reasoning === "" ? {} : { reasoning }),
      ...(toolCalls.length === 0 ? {} : { toolCalls }),
      ...(logprobs.length === 0 ? {} : { logprobs }),
      ...(inside.length === 0 ? {} : { inside }),
    };
  }

  /** Phrases whose boxes end in `content`. */
  #phrases(content: string): GroundedPhrase[] {
    const image = this.#options.chat?.grounding?.image ?? 0;
    const events = content === "" ? [] : (this.#grounding?.push(content) ?? []);
    return events.flatMap((event) =>
      "label" in event ? [{ label: event.label, image, boxes: event.boxes }] : [],
    );
  }

  /** Tokens whose text is sure to be output, at least in part; tokens behind a stop string never are. */
  #release(all: boolean): Told[] {
    let count = 0;
    while (count < this.#pending.length && (all || this.#pending[count].offset < this.#sure)) count++;
    return this.#pending.splice(0, count);
  }

  #entry({ id, logprob = Number.NEGATIVE_INFINITY, top = [] }: ChosenToken): TokenEntry {
    return {
      ...this.#scored(id, logprob),
      top: top.slice(0, this.#options.alternatives).map((other) => this.#scored(other.id, other.logprob)),
      offset: this.#decoded,
    };
  }

  #inside({ id, logprob = Number.NEGATIVE_INFINITY, top = [], inside }: ChosenToken): InsideEntry | null {
    if (inside === undefined) return null;
    const textOf = (id: number) => this.#textOf(id);
    const named = (id: number, logprob: number) => ({ id, text: textOf(id), logprob: finite(logprob) });
    const alternatives = top.slice(0, INSIDE_ALTERNATIVES).map((other) => named(other.id, other.logprob));
    return packedInside(named(id, logprob), alternatives, inside, textOf);
  }

  /** Text of one token; rows that only pad the vocabulary have none. */
  #textOf(id: number): string {
    return this.#tokenizer.tokenOf(id) === undefined ? "" : this.#tokenizer.decode([id]);
  }

  #scored(id: number, logprob: number): TokenProbability {
    const known = this.#tokenizer.tokenOf(id) !== undefined;
    return {
      id,
      token: this.#textOf(id),
      bytes: known ? [...this.#tokenizer.bytesOf(id)] : [],
      logprob: finite(logprob),
    };
  }
}
