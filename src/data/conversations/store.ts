/**
 * A file of conversations, one a line, for training in any order: every line is checked once when the store is opened, and
 * read again when it is asked for, so that only places are held in memory. Runs in Node and, over a Blob or bytes, in browsers.
 */
import { type ByteSource, readExactly } from "../../checkpoint/byte-source.ts";
import { ConfigError, FormatError } from "../../tensor/errors.ts";
import { hashHex } from "../hash.ts";
import type { ConversationRules } from "./fields.ts";
import { type LinePlace, lineJson, lineName, linesOf, lineText } from "./json-lines.ts";
import { type ImageConversation, type ImageSource, imagesOf } from "./messages.ts";
import { parseConversation } from "./parse-conversation.ts";

export interface ConversationOptions extends ConversationRules {
  /** Longest line in bytes; default 16 MiB. */
  readonly maxLineBytes?: number;
  /** Called with every image, when the store is opened; what it throws names the line. */
  readonly checkImage?: (image: ImageSource) => Promise<void>;
  /** Called now and then while the store is opened, with the bytes checked and those of the file. */
  readonly onProgress?: (checked: number, bytes: number) => void;
  readonly signal?: AbortSignal;
}

const MAX_LINE_BYTES = 16 << 20;
const TOO_LONG = "Put images into files and name them, or raise maxLineBytes.";
/** Lines between two calls of `onProgress`. */
const PROGRESS_LINES = 1000;

/** Conversations of a file, by number. */
export class ConversationStore implements AsyncDisposable {
  readonly name: string;
  /** How many images each conversation has; 0 is text alone. */
  readonly imageCounts: Uint32Array;
  /** Of each conversation whether it is a picture with its caption. */
  readonly captioned: readonly boolean[];
  /** A hash of all lines, so that a run can tell whether it goes on with the same data. */
  readonly fingerprint: string;
  readonly #source: ByteSource;
  readonly #places: readonly LinePlace[];
  readonly #rules: ConversationRules;

  /** @internal Use `readConversations`. */
  constructor(
    source: ByteSource,
    places: readonly LinePlace[],
    { imageCounts, captioned }: Pick<ConversationStore, "imageCounts" | "captioned">,
    fingerprint: string,
    rules: ConversationRules,
  ) {
    this.name = source.name;
    this.imageCounts = imageCounts;
    this.captioned = captioned;
    this.fingerprint = fingerprint;
    this.#source = source;
    this.#places = places;
    this.#rules = rules;
  }

  /** Number of conversations. */
  get size(): number {
    return this.#places.length;
  }

  /** The line of a conversation in the file, from 1. @throws ConfigError for a number without a conversation */
  lineOf(index: number): number {
    return this.#placeOf(index).number;
  }

  /** A conversation. @throws ConfigError for a number without one, FormatError if the file changed since it was opened */
  async read(index: number): Promise<ImageConversation<ImageSource>> {
    const { number, offset, length } = this.#placeOf(index);
    const where = lineName(this.name, number);
    const bytes = await readExactly(this.#source, offset, length);
    let problem: unknown;
    try {
      const json = lineJson(this.name, number, lineText(this.name, { number, bytes }));
      const conversation = parseConversation(json, where, this.#rules);
      const same = imagesOf(conversation).length === this.imageCounts[index];
      if (same && (conversation.captioned ?? false) === this.captioned[index]) return conversation;
    } catch (cause) {
      if (!(cause instanceof FormatError)) throw cause;
      problem = cause;
    }
    throw new FormatError("the line changed after the file was opened", {
      where,
      hint: "Leave data files alone while they are read; open the file again.",
      cause: problem,
    });
  }

  async close(): Promise<void> {
    await this.#source.close?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #placeOf(index: number): LinePlace {
    const place = this.#places[index];
    if (place !== undefined) return place;
    throw new ConfigError("no such conversation", {
      where: this.name,
      expected: `0 to ${this.size - 1}`,
      found: index,
    });
  }
}

/**
 * Checks all lines of a source and returns its conversations; the store closes the source.
 * @throws FormatError naming file, line and field, or for a file without conversations; the signal's reason if it is aborted
 */
export async function readConversations(
  source: ByteSource,
  options: ConversationOptions = {},
): Promise<ConversationStore> {
  const { maxLineBytes = MAX_LINE_BYTES, checkImage, onProgress, signal, ...rules } = options;
  const places: LinePlace[] = [];
  const counts: number[] = [];
  const captioned: boolean[] = [];
  let fingerprint = "";
  for await (const line of linesOf(source, maxLineBytes, TOO_LONG)) {
    signal?.throwIfAborted();
    const { number, offset, length } = line;
    const where = lineName(source.name, number);
    const text = lineText(source.name, line);
    const conversation = parseConversation(lineJson(source.name, number, text), where, rules);
    const images = imagesOf(conversation);
    for (const [i, image] of checkImage === undefined ? [] : images.entries()) {
      await checkImage!(image).catch((cause: unknown) => {
        if (!(cause instanceof FormatError)) throw cause;
        throw new FormatError(cause.message, { where, name: `image ${i + 1} of ${images.length}`, cause });
      });
    }
    places.push({ number, offset, length });
    counts.push(images.length);
    captioned.push(conversation.captioned ?? false);
    fingerprint = hashHex(fingerprint + hashHex(text));
    if (places.length % PROGRESS_LINES === 0) onProgress?.(offset + length, source.size);
  }
  if (places.length === 0) {
    throw new FormatError("no conversations", { where: source.name, expected: "a JSON object on each line" });
  }
  onProgress?.(source.size, source.size);
  const kinds = { imageCounts: Uint32Array.from(counts), captioned };
  return new ConversationStore(source, places, kinds, fingerprint, rules);
}
