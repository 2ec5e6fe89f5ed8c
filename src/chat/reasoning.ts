/**
 * Splits a streamed reply at `<think>..</think>` into reasoning and answer. What comes out does not depend on how the
 * stream is cut into pieces, and no half of a tag comes out. White space around the reasoning is dropped. Tags that come
 * as marks (tokenizer/marks.ts) are dropped if they mean nothing.
 */
import { type Marks, NO_MARKS } from "../tokenizer/marks.ts";
import { THINK_CLOSE, THINK_OPEN } from "./provenance.ts";
import { heldBack } from "./tool-calls.ts";

export interface ReasoningPiece {
  readonly kind: "reasoning" | "content";
  /** Never empty. */
  readonly text: string;
}

const TAGS: readonly string[] = [THINK_OPEN, THINK_CLOSE];

type State = "start" | "reasoning" | "gap" | "content";

export class ReasoningSplitter {
  readonly #open: string;
  readonly #close: string;
  readonly #marks: Marks;
  #state: State;
  #held = "";
  /** Whether reasoning text has come out, so that held white space belongs to it. */
  #spoken = false;

  /**
   * @param inside whether the prompt has opened the tag already
   * @param marks control tokens that come by their ids; default: the text counts
   */
  constructor(inside: boolean, marks = NO_MARKS) {
    this.#open = marks.of(THINK_OPEN);
    this.#close = marks.of(THINK_CLOSE);
    this.#marks = marks;
    this.#state = inside ? "reasoning" : "start";
  }

  /** Whether the reply is, so far, within its reasoning. */
  get reasoning(): boolean {
    return this.#state === "reasoning";
  }

  /** Whether a tag that comes as a control token means anything here; elsewhere it is not a part of the text. */
  wants(tag: string): boolean {
    if (tag === THINK_CLOSE) return this.#state === "reasoning";
    return this.#state === "start" ? this.#held.trim() === "" : this.#state === "reasoning" && !this.#spoken;
  }

  push(text: string): ReasoningPiece[] {
    this.#held += text;
    const pieces: ReasoningPiece[] = [];
    if (this.#state === "start") this.#start();
    if (this.#state === "reasoning") this.#think(pieces);
    if (this.#state === "gap") this.#gap();
    if (this.#state === "content") this.#drop(TAGS);
    if (this.#state === "content") this.#emit(pieces, "content", this.#take(this.#held.length));
    return pieces;
  }

  /** What is held back, once no more text comes. */
  end(): ReasoningPiece[] {
    const pieces: ReasoningPiece[] = [];
    const rest = this.#take(this.#held.length);
    if (this.#state === "reasoning")
      this.#emit(pieces, "reasoning", this.#spoken ? rest.trimEnd() : rest.trim());
    else if (this.#state !== "gap") this.#emit(pieces, "content", rest);
    return pieces;
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }

  #emit(pieces: ReasoningPiece[], kind: ReasoningPiece["kind"], text: string): void {
    if (text !== "") pieces.push({ kind, text });
  }

  #drop(tags: readonly string[]): void {
    this.#held = this.#marks.drop(this.#held, tags);
  }

  /** Only a tag at the very beginning opens reasoning. */
  #start(): void {
    const [head, ...rest] = this.#held.split(this.#open);
    this.#held = [this.#marks.drop(head, [THINK_CLOSE]), ...rest].join(this.#open);
    const text = this.#held.trimStart();
    if (text.startsWith(this.#open)) {
      this.#held = text.slice(this.#open.length);
      this.#state = "reasoning";
    } else if (!this.#open.startsWith(text)) this.#state = "content";
  }

  #think(pieces: ReasoningPiece[]): void {
    while (!this.#spoken) {
      // Models repeat the tag that the prompt has opened.
      const text = this.#held.trimStart();
      if (text.startsWith(this.#open)) this.#held = text.slice(this.#open.length);
      else if (this.#open.startsWith(text)) return;
      else break;
    }
    this.#drop([THINK_OPEN]);
    const end = this.#held.indexOf(this.#close);
    const body = end < 0 ? this.#held : this.#held.slice(0, end);
    let safe = end < 0 ? body.length - heldBack(body, this.#marks.spelled([THINK_CLOSE])) : end;
    // White space waits: it may be the last before the tag.
    safe = body.slice(0, safe).trimEnd().length;
    const text = this.#take(safe);
    const spoken = this.#spoken ? text : text.trimStart();
    this.#emit(pieces, "reasoning", spoken);
    if (spoken !== "") this.#spoken = true;
    if (end < 0) return;
    this.#held = this.#held.slice(this.#held.indexOf(this.#close) + this.#close.length);
    this.#state = "gap";
  }

  #gap(): void {
    this.#drop(TAGS);
    this.#held = this.#held.trimStart();
    if (this.#held !== "") this.#state = "content";
  }
}

/** Reasoning and answer of a whole reply. */
export function splitReasoning(text: string, inside = false): { reasoning: string; content: string } {
  const splitter = new ReasoningSplitter(inside);
  const result = { reasoning: "", content: "" };
  for (const piece of [...splitter.push(text), ...splitter.end()]) result[piece.kind] += piece.text;
  return result;
}
