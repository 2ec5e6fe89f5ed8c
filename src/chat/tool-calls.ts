/**
 * Tool calls in streamed replies, as V3 and R1 write them (`function<｜tool▁sep｜>NAME`, arguments in a fenced block)
 * and as V3.1 does (`NAME<｜tool▁sep｜>ARGUMENTS`). Which of the two it is shows in what follows the separator. What
 * comes out does not depend on how the stream is cut, and no half of a control token comes out. A call that does not
 * follow the format, or whose arguments are no JSON object, comes back as text with a flag; if its name is out
 * already, its end says so and carries that text.
 */

import { TOKEN } from "../tokenizer/families.ts";
import { type Marks, NO_MARKS } from "../tokenizer/marks.ts";
import type { ToolCall } from "./messages.ts";

export type ToolPiece =
  | {
      readonly kind: "content";
      readonly text: string;
      /** The text of a call that could not be read, or of its beginning, control tokens included. */
      readonly malformed?: true;
    }
  | { readonly kind: "call"; readonly index: number; readonly id: string; readonly name: string }
  | { readonly kind: "arguments"; readonly index: number; readonly text: string }
  | {
      readonly kind: "end";
      readonly index: number;
      /** Set if the arguments are no JSON object or break off: the call as it was written. */
      readonly malformed?: string;
    };

/** Length of the longest end of `text` that begins, but is not, one of `markers`. */
export function heldBack(text: string, markers: readonly string[]): number {
  const longest = Math.max(0, ...markers.map((marker) => marker.length - 1));
  for (let n = Math.min(text.length, longest); n > 0; n--) {
    const tail = text.slice(text.length - n);
    if (markers.some((marker) => marker.length > n && marker.startsWith(tail))) return n;
  }
  return 0;
}

/** Models leave out the first of these at times. */
const BEGINNINGS: readonly string[] = [TOKEN.toolCallsBegin, TOKEN.toolCallBegin];
/** What ends or divides a call, if there is none. */
const STRAY: readonly string[] = [TOKEN.toolCallEnd, TOKEN.toolCallsEnd, TOKEN.toolSep];
/** The control tokens that calls are written with. */
export const CALL_TOKENS: readonly string[] = [...BEGINNINGS, ...STRAY];
/** What may stand between the arguments' last character and the end of the call. */
const TAIL = /\s*(?:`{1,3}\s*)?$/;
const FENCE = /^\s*```(?:json)?[^\S\n]*\n/;
const FENCE_BEGINNING = /^\s*(?:`{1,2}|```(?:j|js|jso|json)?[^\S\n]*)?$/;
/** Names are shorter, and hold no control token. */
const MOST_HEAD = 1024;
const CONTROL = "<\uFF5C";

/** `text` without control tokens of calls, nor a part of one at its end; what only spells one that has a mark stays. */
export function withoutCallTokens(text: string, marks = NO_MARKS): string {
  let rest = text;
  for (const token of CALL_TOKENS) rest = rest.replaceAll(marks.of(token), "");
  return rest.slice(0, rest.length - heldBack(rest, marks.spelled(CALL_TOKENS)));
}

type CallToken = "toolCallsBegin" | "toolCallBegin" | "toolCallEnd" | "toolCallsEnd" | "toolSep";
type State = "text" | "between" | "head" | "name" | "fence" | "arguments";

export class ToolCallParser {
  readonly #nextId: (index: number) => string;
  readonly #marks: Marks;
  /** The control tokens as they stand in the text. */
  readonly #token: Readonly<Record<CallToken, string>>;
  /** Those whose text counts. */
  readonly #spelled: readonly string[];
  #state: State = "text";
  #held = "";
  /** The present call as it was written. */
  #raw = "";
  #arguments = "";
  #fenced = false;
  #index = -1;

  /**
   * @param nextId ids of calls; default `call_0`, `call_1`, ..
   * @param marks control tokens that come by their ids (tokenizer/marks.ts), in the pieces too; default: the text counts
   */
  constructor(nextId: (index: number) => string = (index) => `call_${index}`, marks = NO_MARKS) {
    this.#nextId = nextId;
    this.#marks = marks;
    this.#token = {
      toolCallsBegin: marks.of(TOKEN.toolCallsBegin),
      toolCallBegin: marks.of(TOKEN.toolCallBegin),
      toolCallEnd: marks.of(TOKEN.toolCallEnd),
      toolCallsEnd: marks.of(TOKEN.toolCallsEnd),
      toolSep: marks.of(TOKEN.toolSep),
    };
    this.#spelled = marks.spelled(CALL_TOKENS);
  }

  /** Calls that have begun. */
  get calls(): number {
    return this.#index + 1;
  }

  /** Whether the text so far ends within a call, or in what may begin one. */
  get open(): boolean {
    return this.#state !== "text" || this.#held !== "";
  }

  push(text: string): ToolPiece[] {
    this.#held += text;
    const pieces: ToolPiece[] = [];
    while (this.#step(pieces)) {
      // Every step uses up some text or goes to another state.
    }
    return pieces;
  }

  /** What is held back, once no more text comes. */
  end(): ToolPiece[] {
    const pieces: ToolPiece[] = [];
    if (this.#state === "arguments" || this.#state === "fence") {
      const rest = this.#held;
      this.#held = "";
      pieces.push({ kind: "end", index: this.#index, malformed: this.#raw + rest });
    } else if (this.#state === "text") {
      // A lone "<" is as likely text.
      const begun = this.#held.startsWith(CONTROL);
      if (this.#held !== "")
        pieces.push({ kind: "content", text: this.#held, ...(begun ? { malformed: true } : {}) });
    } else if (this.#state !== "between" || this.#held.trim() !== "" || this.#raw !== "") {
      pieces.push({ kind: "content", text: this.#raw + this.#held, malformed: true });
    }
    this.#held = "";
    this.#raw = "";
    this.#state = "text";
    return pieces;
  }

  #use(length: number): string {
    const used = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return used;
  }

  /** Whether a name would hold a control token, or in models without marks the beginning of one. */
  #controls(text: string): boolean {
    return this.#marks.in(text) || (this.#spelled.length > 0 && text.includes(CONTROL));
  }

  /** Gives up on a call before its name is out: what was used of it is text, and the rest is read as such. */
  #giveUp(pieces: ToolPiece[]): true {
    pieces.push({ kind: "content", text: this.#raw, malformed: true });
    this.#raw = "";
    this.#state = "text";
    return true;
  }

  #step(pieces: ToolPiece[]): boolean {
    switch (this.#state) {
      case "text":
        return this.#text(pieces);
      case "between":
        return this.#between(pieces);
      case "head":
        return this.#head(pieces);
      case "name":
        return this.#name(pieces);
      case "fence":
        return this.#fence();
      case "arguments":
        return this.#body(pieces);
    }
  }

  #text(pieces: ToolPiece[]): boolean {
    const found = CALL_TOKENS.map((name) => ({ name, token: this.#marks.of(name) }))
      .map((each) => ({ ...each, at: this.#held.indexOf(each.token) }))
      .filter(({ at }) => at >= 0)
      .sort((a, b) => a.at - b.at)[0];
    const length = found?.at ?? this.#held.length - heldBack(this.#held, this.#spelled);
    if (length > 0) pieces.push({ kind: "content", text: this.#use(length) });
    if (found === undefined) return false;
    if (STRAY.includes(found.name)) {
      pieces.push({ kind: "content", text: this.#use(found.token.length), malformed: true });
      return true;
    }
    this.#state = "between";
    if (found.name === TOKEN.toolCallsBegin) this.#raw = this.#use(found.token.length);
    return true;
  }

  /** Before the first call, between two, or behind the last. */
  #between(pieces: ToolPiece[]): boolean {
    const blank = this.#held.length - this.#held.trimStart().length;
    const rest = this.#held.slice(blank);
    const { toolCallsBegin, toolCallBegin, toolCallsEnd } = this.#token;
    for (const token of [toolCallBegin, toolCallsEnd]) {
      if (!rest.startsWith(token)) continue;
      this.#raw += this.#use(blank + token.length);
      if (token === toolCallBegin) this.#state = "head";
      else if (this.#raw.startsWith(toolCallsBegin)) return this.#giveUp(pieces);
      else {
        this.#raw = "";
        this.#state = "text";
      }
      return true;
    }
    if ([toolCallBegin, toolCallsEnd].some((token) => token.startsWith(rest))) return false;
    if (this.#raw !== "") return this.#giveUp(pieces);
    // Behind a whole call without the closing token: text again.
    this.#state = "text";
    return true;
  }

  #head(pieces: ToolPiece[]): boolean {
    const at = this.#held.indexOf(this.#token.toolSep);
    const head = this.#held.slice(0, at < 0 ? this.#held.length - heldBack(this.#held, this.#spelled) : at);
    const broken = head.length > MOST_HEAD || this.#controls(head);
    if (at < 0 && !broken) return false;
    if (broken || head.trim() === "") return this.#giveUp(pieces);
    this.#raw += this.#use(at + this.#token.toolSep.length);
    this.#arguments = head.trim();
    this.#state = "name";
    return true;
  }

  /** Behind the separator: V3.1's arguments begin with a brace, V3 has the name and a line break. */
  #name(pieces: ToolPiece[]): boolean {
    const rest = this.#held.trimStart();
    if (rest === "") return false;
    let name = this.#arguments;
    this.#fenced = !rest.startsWith("{") && !rest.startsWith("`");
    if (this.#fenced) {
      const end = this.#held.indexOf("\n", this.#held.length - rest.length);
      const line = end < 0 ? this.#held : this.#held.slice(0, end);
      if (this.#controls(line) || line.length > MOST_HEAD) return this.#giveUp(pieces);
      if (end < 0) return false;
      name = line.trim();
      this.#raw += this.#use(end);
    }
    this.#index++;
    this.#arguments = "";
    pieces.push({ kind: "call", index: this.#index, id: this.#nextId(this.#index), name });
    this.#state = "fence";
    return true;
  }

  /** The fence before the arguments, if there is one. */
  #fence(): boolean {
    const found = FENCE.exec(this.#held);
    if (found) this.#raw += this.#use(found[0].length);
    else if (FENCE_BEGINNING.test(this.#held)) return false;
    else this.#raw += this.#use(this.#held.length - this.#held.trimStart().length);
    this.#state = "arguments";
    return true;
  }

  #body(pieces: ToolPiece[]): boolean {
    const end = this.#token.toolCallEnd;
    const at = this.#held.indexOf(end);
    let text = at < 0 ? this.#held : this.#held.slice(0, at);
    if (at < 0) text = text.slice(0, text.length - heldBack(text, this.#marks.spelled([TOKEN.toolCallEnd])));
    const args = text.replace(TAIL, "");
    if (args !== "") pieces.push({ kind: "arguments", index: this.#index, text: args });
    this.#arguments += args;
    this.#raw += this.#use(at < 0 ? args.length : at + end.length);
    if (at < 0) return false;
    const malformed = isObject(this.#marks.spell(this.#arguments)) ? {} : { malformed: this.#raw };
    pieces.push({ kind: "end", index: this.#index, ...malformed });
    this.#raw = "";
    this.#state = "between";
    return true;
  }
}

function isObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value);
  } catch {
    return false;
  }
}

export interface ParsedReply {
  /** The text around the calls, calls that could not be read included. */
  readonly content: string;
  readonly calls: readonly ToolCall[];
  /** Whether there was a call that could not be read. */
  readonly malformed: boolean;
}

/** Collects pieces into text and calls. */
export class ToolCallCollector {
  #content = "";
  readonly #calls: { id: string; name: string; text: string; done: boolean }[] = [];
  #malformed = false;

  add(piece: ToolPiece): void {
    if (piece.kind === "content") {
      this.#content += piece.text;
      this.#malformed ||= piece.malformed === true;
    } else if (piece.kind === "call") {
      this.#calls.push({ id: piece.id, name: piece.name, text: "", done: false });
    } else if (piece.kind === "arguments") {
      this.#calls[this.#calls.length - 1].text += piece.text;
    } else {
      const call = this.#calls[this.#calls.length - 1];
      call.done = piece.malformed === undefined;
      if (piece.malformed === undefined) return;
      this.#content += piece.malformed;
      this.#malformed = true;
    }
  }

  get result(): ParsedReply {
    const calls = this.#calls
      .filter(({ done }) => done)
      .map(({ id, name, text }): ToolCall => ({ id, type: "function", function: { name, arguments: text } }));
    return { content: this.#content, calls, malformed: this.#malformed };
  }
}

/** Text and calls of a whole reply. */
export function parseToolCalls(text: string): ParsedReply {
  const parser = new ToolCallParser();
  const collector = new ToolCallCollector();
  for (const piece of [...parser.push(text), ...parser.end()]) collector.add(piece);
  return collector.result;
}
