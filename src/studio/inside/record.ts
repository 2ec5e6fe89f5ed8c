/**
 * The inside of one answer as the events of its job tell it: tokens with their probabilities, alternatives and experts, in typed
 * arrays. Of an answer at most 16,384 tokens are kept, and at most as many as fit 32 MiB: some 11,000 of DeepSeek-V3, whose tokens take 464 experts.
 */
import { signal } from "@preact/signals";
import type { InsideFigures, InsideNews, InsidePicture, InsideToken, JobEvent } from "../backend/wire.ts";
import { type Channel, Placement } from "./placement.ts";

export const MOST_TOKENS = 16_384;
export const MOST_BYTES = 32 * 2 ** 20;
/** Alternatives of a token. */
const ALTERNATIVES = 5;
/** Experts of a token; what has more is not of this family. */
const MOST_EXPERTS = 4096;
/** Characters of a token's text. */
const MOST_TEXT = 256;
/** Bytes of a token beside its experts. */
const TOKEN_BYTES = 60;
const EXPERT_BYTES = 6;

const CHANNELS: readonly (Channel | null)[] = [null, "reasoning", "content"];

export interface Alternative {
  readonly id: number;
  readonly text: string;
  readonly logprob: number;
}

export interface RecordedToken extends Alternative {
  readonly drafted: boolean;
  /** Text of the draft that was refused in its place. */
  readonly refused: string | null;
  /** Likeliest first. */
  readonly alternatives: readonly Alternative[];
}

/** `whole`: the job has ended. `gone`: the server knows the job no longer. */
export type Reading = "reading" | "paused" | "whole" | "gone";

type Numbers =
  | Int32Array<ArrayBuffer>
  | Float32Array<ArrayBuffer>
  | Uint16Array<ArrayBuffer>
  | Uint8Array<ArrayBuffer>;

/** The same numbers with room for more. */
function grown<T extends Numbers>(array: T, length: number): T {
  const larger = new (array.constructor as new (length: number) => T)(length);
  larger.set(array);
  return larger;
}

export class InsideRecord {
  /** Rises when something came. */
  readonly version = signal(0);
  state: Reading = "paused";
  /** Why it cannot be read now. */
  fault: string | null = null;
  /** Number of the last event. */
  after = 0;
  /** Tokens that are kept. */
  count = 0;
  /** Tokens beyond the bound. */
  beyond = 0;
  /** Whether the server had dropped events before they were read. */
  missing = false;
  /** Layers with experts, and experts of a token in each; 0 for models without. */
  layers = 0;
  topK = 0;
  /** The largest weight. */
  mostWeight = 0;
  /** Whether drafts were made. */
  drafts = false;
  pictures: readonly InsidePicture[] = [];
  figures: InsideFigures | null = null;
  /** Times of the first and the last token, in milliseconds since 1970. */
  firstAt: number | null = null;
  lastAt = 0;
  readonly placement = new Placement();
  #most = MOST_TOKENS;
  #room = 0;
  #ids = new Int32Array(0);
  #logprobs = new Float32Array(0);
  #drafted = new Uint8Array(0);
  #refused = new Int32Array(0);
  #starts = new Int32Array(0);
  #channels = new Uint8Array(0);
  #otherIds = new Int32Array(0);
  #otherLogprobs = new Float32Array(0);
  #others = new Uint8Array(0);
  #experts = new Uint16Array(0);
  #weights = new Float32Array(0);
  readonly #texts = new Map<number, string>();
  #textBytes = 0;

  /** Bytes that it takes. */
  get bytes(): number {
    const { layers, topK } = this;
    return this.#room * (TOKEN_BYTES + EXPERT_BYTES * layers * topK) + this.#textBytes;
  }

  /** Whether anything of the inside came. */
  get told(): boolean {
    return this.count > 0 || this.figures !== null || this.pictures.length > 0;
  }

  read({ number, time, event }: JobEvent): void {
    if (number > this.after + 1 && !this.missing) {
      this.missing = true;
      this.placement.lose();
    }
    this.after = number;
    if (event.type === "chunk") {
      const choices = event.chunk.choices as readonly ChunkChoice[] | undefined;
      const { delta, text } = choices?.[0] ?? {};
      this.placement.push(delta?.reasoning_content ?? "", delta?.content ?? text ?? "");
    } else if (event.type === "inside") this.#take(event, time);
    else if (event.type === "end") this.state = "whole";
  }

  #take({ tokens, pictures, figures }: InsideNews, time: number): void {
    if (pictures) this.pictures = pictures;
    if (figures) this.figures = figures;
    if (tokens.length === 0) return;
    this.firstAt ??= time;
    this.lastAt = time;
    const places = this.placement.place(tokens.map(({ text }) => text));
    for (const [i, token] of tokens.entries()) {
      if (!this.#reserve(token)) {
        this.beyond++;
        continue;
      }
      const place = places[i];
      this.#starts[this.count] = place?.start ?? 0;
      this.#channels[this.count] = CHANNELS.indexOf(place?.channel ?? null);
      this.#keep(token);
      this.count++;
    }
  }

  /** Makes room for a token; false where the bound is reached. */
  #reserve({ experts }: InsideToken): boolean {
    if (this.count === 0 && experts.length > 0) {
      const topK = experts[0].ids.length;
      if (experts.length * topK <= MOST_EXPERTS) {
        this.layers = experts.length;
        this.topK = topK;
      }
      const each = TOKEN_BYTES + EXPERT_BYTES * this.layers * this.topK;
      this.#most = Math.min(MOST_TOKENS, Math.floor(MOST_BYTES / each));
    }
    if (this.count < this.#room) return true;
    if (this.#room >= this.#most) return false;
    const room = Math.min(this.#most, Math.max(256, 2 * this.#room));
    this.#room = room;
    this.#ids = grown(this.#ids, room);
    this.#logprobs = grown(this.#logprobs, room);
    this.#drafted = grown(this.#drafted, room);
    this.#refused = grown(this.#refused, room);
    this.#starts = grown(this.#starts, room);
    this.#channels = grown(this.#channels, room);
    this.#others = grown(this.#others, room);
    this.#otherIds = grown(this.#otherIds, room * ALTERNATIVES);
    this.#otherLogprobs = grown(this.#otherLogprobs, room * ALTERNATIVES);
    this.#experts = grown(this.#experts, room * this.layers * this.topK);
    this.#weights = grown(this.#weights, room * this.layers * this.topK);
    return true;
  }

  #name(id: number, text: string): void {
    if (this.#texts.has(id)) return;
    this.#texts.set(id, text.slice(0, MOST_TEXT));
    this.#textBytes += 64 + 2 * Math.min(text.length, MOST_TEXT);
  }

  #keep({ id, text, logprob, alternatives, from, refused, experts }: InsideToken): void {
    const at = this.count;
    this.#name(id, text);
    this.#ids[at] = id;
    this.#logprobs[at] = logprob;
    this.#drafted[at] = from === "drafted" ? 1 : 0;
    this.#refused[at] = refused?.id ?? -1;
    if (refused) this.#name(refused.id, refused.text);
    if (refused || from === "drafted") this.drafts = true;
    const others = alternatives.slice(0, ALTERNATIVES);
    this.#others[at] = others.length;
    for (const [i, other] of others.entries()) {
      this.#name(other.id, other.text);
      this.#otherIds[at * ALTERNATIVES + i] = other.id;
      this.#otherLogprobs[at * ALTERNATIVES + i] = other.logprob;
    }
    const { layers, topK } = this;
    for (let layer = 0; layer < layers; layer++) {
      for (let k = 0; k < topK; k++) {
        const weight = experts[layer]?.weights[k] ?? 0;
        const i = (at * layers + layer) * topK + k;
        this.#experts[i] = experts[layer]?.ids[k] ?? 0;
        this.#weights[i] = weight;
        if (weight > this.mostWeight) this.mostWeight = weight;
      }
    }
  }

  textOf(at: number): string {
    return this.#texts.get(this.#ids[at]) ?? "";
  }

  logprobOf(at: number): number {
    return this.#logprobs[at];
  }

  token(at: number): RecordedToken {
    const refused = this.#refused[at];
    return {
      id: this.#ids[at],
      text: this.textOf(at),
      logprob: this.#logprobs[at],
      drafted: this.#drafted[at] === 1,
      refused: refused < 0 ? null : (this.#texts.get(refused) ?? ""),
      alternatives: Array.from({ length: this.#others[at] }, (_, i) => {
        const id = this.#otherIds[at * ALTERNATIVES + i];
        return { id, text: this.#texts.get(id) ?? "", logprob: this.#otherLogprobs[at * ALTERNATIVES + i] };
      }),
    };
  }

  /** Whether a token's place in the text is known. */
  isPlaced(at: number): boolean {
    return this.#channels[at] !== 0;
  }

  /** What this job wrote before a token, with other text in the token's place; null where the place is not known. */
  onward(at: number, text: string): { readonly reasoning: string; readonly content: string } | null {
    const channel = CHANNELS[this.#channels[at]];
    if (channel === null) return null;
    const before = this.placement.textBefore({ channel, start: this.#starts[at] });
    if (channel === "reasoning") return { reasoning: before + text, content: "" };
    // A first space that the prompt had is no part of the content.
    const own = this.textOf(at);
    const stripped = before === "" && own.startsWith(" ") && !this.placement.content.startsWith(" ");
    return { reasoning: this.placement.reasoning, content: before + (stripped ? text.trimStart() : text) };
  }

  /** @param k 0 for the expert with the largest weight */
  expertOf(at: number, layer: number, k: number): number {
    return this.#experts[(at * this.layers + layer) * this.topK + k];
  }

  weightOf(at: number, layer: number, k: number): number {
    return this.#weights[(at * this.layers + layer) * this.topK + k];
  }

  /** Weight of an expert; 0 where it was not chosen. */
  weightOfExpert(at: number, layer: number, expert: number): number {
    for (let k = 0; k < this.topK; k++)
      if (this.expertOf(at, layer, k) === expert) return this.weightOf(at, layer, k);
    return 0;
  }

  /** How often each expert of a layer was chosen, by its number; as long as `experts` or as the largest number asks. */
  timesOf(layer: number, experts: number): Uint32Array {
    let most = experts - 1;
    for (let at = 0; at < this.count; at++)
      for (let k = 0; k < this.topK; k++) most = Math.max(most, this.expertOf(at, layer, k));
    const times = new Uint32Array(most + 1);
    for (let at = 0; at < this.count; at++)
      for (let k = 0; k < this.topK; k++) times[this.expertOf(at, layer, k)]++;
    return times;
  }
}

interface ChunkChoice {
  readonly text?: string;
  readonly delta?: { readonly content?: string | null; readonly reasoning_content?: string | null };
}
