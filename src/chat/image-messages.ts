/**
 * Messages with images, and the pieces that prompts of DeepSeek-VL and VL2 are made of. Text is encoded without control
 * tokens: what a user writes never becomes one, and an image stands only where a message says so.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { plainStretches } from "./provenance.ts";

/** `MessagePart` of any image: where images are counted, not seen. */
export type ContentPart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "token"; readonly token: string }
  | { readonly type: "image" };

export interface ImageMessage {
  readonly role: "system" | "user" | "assistant";
  readonly content: string | readonly ContentPart[];
}

/** Token ids, or the place of the next image. `learned`: whether training learns them. */
export type PromptPiece =
  | { readonly ids: readonly number[]; readonly learned: boolean }
  | { readonly image: number };

/**
 * The parts of a text whose markers are trusted: a training file, a program's own words. Do not give it what others write.
 * @param image text that stands for an image @param tokens control tokens that become such
 */
export function markedContent(text: string, image: string, tokens: readonly string[] = []): ContentPart[] {
  const parts: ContentPart[] = [];
  let rest = text;
  while (rest !== "") {
    let first = rest.length;
    let marker = "";
    for (const each of [image, ...tokens]) {
      const at = rest.indexOf(each);
      if (at >= 0 && at < first) [first, marker] = [at, each];
    }
    if (first > 0) parts.push({ type: "text", text: rest.slice(0, first) });
    if (marker !== "") parts.push(marker === image ? { type: "image" } : { type: "token", token: marker });
    rest = rest.slice(first + marker.length);
  }
  return parts;
}

/** What Python's `str.strip` takes off: not what JavaScript's `trim` does. */
const SPACE = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const LEADING = new RegExp(`^${SPACE}`);
const TRAILING = new RegExp(`${SPACE}$`);

/** What a message consists of; nothing where its text is empty. */
export function contentParts<P extends ContentPart = ContentPart>(
  content: string | readonly (ContentPart | P)[],
): (ContentPart | P)[] {
  const parts = typeof content === "string" ? [{ type: "text", text: content } as const] : content;
  return parts.filter((part) => part.type !== "text" || part.text !== "");
}

/** The same without white space at its ends. */
export function strippedParts<P extends ContentPart = ContentPart>(
  content: string | readonly (ContentPart | P)[],
): (ContentPart | P)[] {
  const parts = contentParts(content);
  const strip = (index: () => number, pattern: RegExp) => {
    for (let at = index(); at >= 0 && at < parts.length; at = index()) {
      const part = parts[at];
      if (part.type !== "text") return;
      const text = part.text.replace(pattern, "");
      parts[at] = { ...part, text };
      if (text !== "") return;
      parts.splice(at, 1);
    }
  };
  strip(() => 0, LEADING);
  strip(() => parts.length - 1, TRAILING);
  return parts;
}

/**
 * Refuses what the templates have no place for: they tell speakers by the message's place, so that another order would be
 * rendered with the wrong separators. A system message comes first, then user and assistant in turn. @throws ConfigError
 */
export function checkTurns(messages: readonly ImageMessage[]): void {
  const first = messages[0]?.role === "system" ? 1 : 0;
  messages.forEach(({ role, content }, index) => {
    const where = `messages[${index}]`;
    if (role === "system" && typeof content !== "string" && content.some(({ type }) => type === "image")) {
      throw new ConfigError("a system message has no place for images", { where });
    }
    if (index < first) return;
    const expected = (index - first) % 2 === 0 ? "user" : "assistant";
    if (role === expected) return;
    throw new ConfigError("messages of user and assistant in turn, after at most one of system", {
      where,
      expected,
      found: role,
    });
  });
  if (messages.length > first) return;
  throw new ConfigError("a conversation needs a message of the user", { where: "messages" });
}

/** What a prompt is joined from: ids, the place of an image, or a run of text, learned as a whole or from a place on. */
type Written = PromptPiece | { readonly text: string; readonly learned: boolean; readonly from?: number };

/** Joins the pieces of a prompt. Text is encoded in whole runs: tokens may reach over the places where it was put together. */
export class PieceWriter {
  readonly #tokenizer: Tokenizer;
  readonly #written: Written[] = [];
  #images = 0;

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** What has been written; long texts are encoded with pauses. */
  *pieces(): Slices<PromptPiece[]> {
    const pieces: PromptPiece[] = [];
    const push = (ids: readonly number[], learned: boolean) => {
      const last = pieces.at(-1);
      if (last !== undefined && "ids" in last && last.learned === learned) {
        pieces[pieces.length - 1] = { ids: [...last.ids, ...ids], learned };
      } else if (ids.length > 0) pieces.push({ ids, learned });
    };
    for (const each of this.#written) {
      if ("image" in each) {
        pieces.push(each);
        continue;
      }
      const ids = "ids" in each ? each.ids : yield* this.#plain(each.text);
      if (!("text" in each) || each.from === undefined) {
        push(ids, each.learned);
        continue;
      }
      const before = yield* this.#plain(each.text.slice(0, each.from));
      let same = 0;
      while (same < before.length && before[same] === ids[same]) same++;
      push(ids.slice(0, same), false);
      push(ids.slice(same), true);
    }
    return pieces;
  }

  /** Control tokens in the text stay plain characters. */
  *#plain(text: string): Slices<number[]> {
    const options = { addSpecialTokens: false, parseSpecial: false };
    const ids: number[] = [];
    for (const stretch of plainStretches(this.#tokenizer, text)) {
      for (const id of yield* this.#tokenizer.encodeSlices(stretch, options)) ids.push(id);
    }
    return ids;
  }

  ids(ids: readonly number[], learned: boolean): void {
    this.#written.push({ ids, learned });
  }

  text(text: string, learned: boolean): void {
    if (text === "") return;
    const last = this.#written.at(-1);
    if (last !== undefined && "text" in last && last.learned === learned && last.from === undefined) {
      this.#written[this.#written.length - 1] = { text: last.text + text, learned };
    } else this.#written.push({ text, learned });
  }

  /**
   * Text that is learned and encoded together with the text before it: a token that reaches over both is learned, as is
   * the first one that differs from those of the text before it alone.
   */
  learnedText(text: string): void {
    const last = this.#written.at(-1);
    if (text === "") return;
    if (last === undefined || !("text" in last) || last.learned || last.from !== undefined) {
      this.text(text, true);
    } else
      this.#written[this.#written.length - 1] = { ...last, text: last.text + text, from: last.text.length };
  }

  /** @throws ConfigError for a token that the vocabulary lacks */
  parts(parts: readonly ContentPart[], learned: boolean): void {
    for (const part of parts) {
      if (part.type === "text") this.text(part.text, learned);
      else if (part.type === "token") this.ids([tokenId(this.#tokenizer, part.token)], learned);
      else this.#written.push({ image: this.#images++ });
    }
  }
}

/** @throws ConfigError for a token that the vocabulary lacks */
export function tokenId(tokenizer: Tokenizer, token: string): number {
  const id = tokenizer.idOf(token);
  if (id !== undefined) return id;
  throw new ConfigError("the tokenizer lacks a token that prompts with images need", {
    where: "tokenizer.json",
    name: token,
    hint: "Use the tokenizer.json of the model's own folder.",
  });
}
