/**
 * A conversation with a model: history, streamed replies, and one cache from which every turn reuses what it shares
 * with the turn before. Nothing is dropped when the context is full: positions are part of what a latent cache holds,
 * so that it cannot be shifted, and the caller decides what to forget.
 */

import {
  checkMessages,
  contentOf,
  imagesOf,
  type Message,
  type MessagePart,
  type Tool,
} from "../chat/messages.ts";
import type { ReplyText } from "../chat/reply.ts";
import type { ReplyPiece } from "../chat/reply-pieces.ts";
import type { ChatTemplate, RenderOptions } from "../chat/template.ts";
import type { TokenModel } from "../models/token-model.ts";
import type { EncodedImage } from "../models/vision-language.ts";
import type { Cache } from "../nn/cache.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { begin, type GeneratedToken, type GenerateOptions, type GenerationStats, run } from "./generate.ts";
import type { ImageEncoder, ImageProgress, PlannedImage } from "./image-encoder.ts";
import { chatPrompt, expandedIds } from "./image-prompt.ts";
import { beginningOf, type Contents, commonPrefix, contentsOf, type Prompt } from "./prompt.ts";

export type SourceOptions = Omit<GenerateOptions, "cache">;

/** One reply's tokens. */
export interface TokenStream {
  /** Ending the iteration early frees what it holds. */
  readonly tokens: AsyncGenerator<GeneratedToken, void>;
  /** What has been done so far. */
  stats(): GenerationStats;
}

/** What generates for a conversation: a model with its own cache, or an engine that serves several. */
export interface TokenSource extends Disposable {
  /** Most tokens of prompt and reply together. */
  readonly context: number;
  /** Rows of the head. */
  readonly vocabularySize: number;
  readonly eosIds: readonly number[];
  /** Nothing happens before the first token is asked for. @throws ConfigError at once */
  generate(prompt: Prompt, options: SourceOptions): TokenStream;
}

/** Generates with one cache that keeps what the next prompt shares with the last. */
export class ModelSource implements TokenSource {
  readonly #model: TokenModel;
  #cache: Cache | null = null;
  /** What the cache holds. */
  #held: Contents = { tokens: [], spans: [] };
  readonly context: number;
  readonly vocabularySize: number;
  readonly eosIds: readonly number[];

  constructor(model: TokenModel) {
    this.#model = model;
    this.context = model.config.maxPositions;
    this.vocabularySize = model.config.vocabSize;
    this.eosIds = model.config.eosTokenIds;
  }

  /** The cache, cut to what it shares with `prompt`; the last token is always read anew, for its logits. */
  #prepare(prompt: Contents): Cache {
    const { length } = prompt.tokens;
    this.#cache ??= this.#model.createCache(Math.min(this.context, length + 256));
    this.#cache.truncate(Math.min(commonPrefix(this.#held, prompt), length - 1));
    return this.#cache;
  }

  /** Drafting needs the states of the whole prompt and goes without the cache. @throws ConfigError at once */
  generate(prompt: Prompt, options: SourceOptions): TokenStream {
    const model = this.#model;
    let recorder = begin(model, prompt, options);
    if (options.speculative) {
      return { tokens: run(model, prompt, options, recorder), stats: () => recorder.stats() };
    }
    const seen = contentsOf(prompt);
    const prepare = () => this.#prepare(seen);
    const keep = (cache: Cache) => {
      this.#held = beginningOf(seen, cache.length);
    };
    const tokens = (async function* () {
      const cache = prepare();
      const settings = { ...options, cache };
      recorder = begin(model, prompt, settings);
      try {
        for await (const token of run(model, prompt, settings, recorder)) {
          seen.tokens.push(token.id);
          yield token;
        }
      } finally {
        keep(cache);
      }
    })();
    return { tokens, stats: () => recorder.stats() };
  }

  /** Reads everything anew for the next reply: what the cache holds is of the old weights after these changed. */
  clearCache(): void {
    this.#held = { tokens: [], spans: [] };
  }

  [Symbol.dispose](): void {
    this.#cache?.[Symbol.dispose]();
    this.#cache = null;
    this.clearCache();
  }
}

export interface ConversationOptions {
  /** Text of the system message. */
  readonly system?: string | null;
  readonly tools?: readonly Tool[];
  /** Encodes the images of messages; without one they are refused. It stays the caller's. */
  readonly images?: ImageEncoder | null;
}

/** Options of one reply; `maxTokens` defaults to what the context has room for and is cut to it. */
export interface ReplySettings
  extends Omit<GenerateOptions, "maxTokens" | "cache" | "stopIds" | "vocabularySize">,
    Pick<RenderOptions, "thinking" | "variables"> {
  readonly maxTokens?: number;
  readonly stop?: string | readonly string[];
}

export interface ReplyStats extends GenerationStats {
  readonly reasoningTokens: number;
  readonly stopString: string | null;
  /** Prompt tokens that stand for images. */
  readonly imageTokens: number;
  /** Spent on images before the prompt was read; about 0 if all of them were kept. */
  readonly imageMs: number;
}

export interface Reply extends ReplyText {
  readonly stats: ReplyStats;
  /** The message in the history; null if nothing was written. */
  readonly message: Message | null;
}

/** Part of a reply, or before it the view of an image that is encoded next. */
export type ReplyEvent = ReplyPiece | ({ readonly kind: "image" } & ImageProgress);

export type ReplyStream = AsyncGenerator<ReplyEvent, Reply>;

export class Conversation implements Disposable {
  readonly template: ChatTemplate;
  readonly tokenizer: Tokenizer;
  readonly #source: TokenSource;
  readonly #images: ImageEncoder | null;
  tools: readonly Tool[];
  /** Text of the system message; null: none. */
  system: string | null;
  /** Replaced, never changed, so that a stream sees whether it is still the one it was made for. */
  #history: readonly Message[] = [];
  #calls = 0;
  #busy = false;

  /** @param model a model, or what generates in its place; a source given is disposed with the conversation */
  constructor(
    model: TokenModel | TokenSource,
    tokenizer: Tokenizer,
    template: ChatTemplate,
    options: ConversationOptions = {},
  ) {
    this.#source = "generate" in model ? model : new ModelSource(model);
    this.tokenizer = tokenizer;
    this.template = template;
    this.#images = options.images ?? null;
    this.system = options.system ?? null;
    this.tools = options.tools ?? [];
  }

  /** Most tokens of prompt and reply together. */
  get context(): number {
    return this.#source.context;
  }

  /** All messages, the system message first. */
  get messages(): readonly Message[] {
    const { system } = this;
    return system === null ? this.#history : [{ role: "system", content: system }, ...this.#history];
  }

  /** The user's messages, in order. */
  get turns(): readonly Message[] {
    return this.#history.filter(({ role }) => role === "user");
  }

  /** Tokens of the prompt for the next reply, as the history stands. @throws ConfigError */
  countTokens(settings: RenderOptions = {}): number {
    const { messages, tools } = this;
    const prompt = this.template.prompt(messages, { tools, ...settings });
    return expandedIds(prompt, this.#plan(messages)).length;
  }

  /** How the images of messages stand in the prompt. @throws ConfigError, ImageError */
  #plan(messages: readonly Message[]): PlannedImage[] {
    const images = imagesOf(messages);
    if (images.length === 0) return [];
    if (this.#images !== null) return this.#images.plan(images);
    throw new ConfigError("the conversation has no encoder for images", {
      where: "Conversation",
      found: `${images.length} image${images.length === 1 ? "" : "s"}`,
      hint: "Give it a model that sees, and an ImageEncoder as the option images.",
    });
  }

  /** Replaces everything by `messages`; leading system messages become the system text. @throws ConfigError */
  load(messages: readonly Message[]): void {
    this.#free("load");
    checkMessages(messages);
    const leading = messages.findIndex(({ role }) => role !== "system");
    const count = leading < 0 ? messages.length : leading;
    this.system = count === 0 ? null : messages.slice(0, count).map(contentOf).join("\n\n");
    this.#history = messages.slice(count);
  }

  /** Forgets all messages but the system's. */
  reset(): void {
    this.#free("reset");
    this.#history = [];
  }

  /** Takes back the last user message and all that came after it: that message, or null if there is none. */
  undo(): Message | null {
    this.#free("undo");
    const at = this.#history.findLastIndex(({ role }) => role === "user");
    if (at < 0) return null;
    const taken = this.#history[at];
    this.#history = this.#history.slice(0, at);
    return taken;
  }

  /**
   * Answers a user's message, of text or of parts. A message that gets no answer leaves no trace.
   * @throws ConfigError, ImageError at once
   */
  send(content: string | readonly MessagePart[], settings: ReplySettings = {}): ReplyStream {
    this.#free("send");
    return this.#reply([...this.#history, { role: "user", content }], settings);
  }

  /** Goes on after tool results, given as messages of role `tool`. @throws ConfigError at once */
  sendToolResults(results: readonly Message[], settings: ReplySettings = {}): ReplyStream {
    this.#free("sendToolResults");
    const other = results.find(({ role }) => role !== "tool");
    if (other !== undefined || results.length === 0) {
      throw new ConfigError("messages must have the role tool", {
        where: "Conversation.sendToolResults",
        found: other?.role ?? "none",
      });
    }
    return this.#reply([...this.#history, ...results], settings);
  }

  /** Answers the last user message anew; the old answer stays until there is a new one. @throws ConfigError */
  regenerate(settings: ReplySettings = {}): ReplyStream {
    this.#free("regenerate");
    const at = this.#history.findLastIndex(({ role }) => role === "user");
    if (at < 0) throw new ConfigError("no message to regenerate a reply for", { where: "Conversation" });
    return this.#reply(this.#history.slice(0, at + 1), settings);
  }

  /**
   * Puts `content` in place of the user's message number `turn` (from 1), forgets what came after it and answers.
   * @throws ConfigError at once
   */
  edit(turn: number, content: string | readonly MessagePart[], settings: ReplySettings = {}): ReplyStream {
    this.#free("edit");
    const places = this.#history.flatMap(({ role }, i) => (role === "user" ? [i] : []));
    const at = places[turn - 1];
    if (at === undefined) {
      throw new ConfigError("no such message", {
        where: "Conversation.edit",
        expected: places.length === 0 ? "a message to edit; there is none yet" : `1 to ${places.length}`,
        found: turn,
      });
    }
    return this.#reply([...this.#history.slice(0, at), { role: "user", content }], settings);
  }

  #free(what: string): void {
    if (!this.#busy) return;
    throw new ConfigError("a reply is still being generated", {
      where: `Conversation.${what}`,
      hint: "Read it to the end, or call return() on its stream.",
    });
  }

  #reply(history: readonly Message[], settings: ReplySettings): ReplyStream {
    const { thinking, variables, stop, maxTokens: most, ...sampling } = settings;
    const { system, template, tokenizer, tools } = this;
    const source = this.#source;
    const messages: readonly Message[] =
      system === null ? history : [{ role: "system", content: system }, ...history];
    const prompt = template.prompt(messages, { tools, thinking, variables });
    const images = imagesOf(messages);
    const planned = this.#plan(messages);
    const ids = expandedIds(prompt, planned);
    const imageTokens = planned.reduce((sum, { tokens }) => sum + tokens, 0);
    const room = source.context - ids.length;
    if (room < 1) {
      throw new ConfigError("the conversation exceeds the model's context", {
        where: "Conversation",
        expected: `at most ${source.context - 1} tokens`,
        found: imageTokens === 0 ? ids.length : `${ids.length}, of which ${imageTokens} of images`,
        hint: `Free at least ${1 - room} tokens: remove or shorten messages, or start over.`,
      });
    }
    const stopIds = [...new Set([...source.eosIds, ...template.stopIds])];
    const first = this.#calls;
    const reader = template.reader(prompt, { stop, stopIds, nextId: (index) => `call_${first + index}` });
    const options: SourceOptions = {
      ...sampling,
      maxTokens: Math.min(most ?? room, room),
      stopIds,
      vocabularySize: Math.min(tokenizer.vocabSize, source.vocabularySize),
    };
    // With images only a prompt of the same length: options are refused before any image is encoded.
    let stream = source.generate(ids, options);
    const encoder = this.#images;
    let imageMs = 0;
    const encode = async function* (): AsyncGenerator<ReplyEvent, readonly EncodedImage[]> {
      if (encoder === null || images.length === 0) return [];
      const since = performance.now();
      const steps = encoder.encodeSteps(images, sampling.signal);
      for (;;) {
        const { done, value } = await steps.next();
        imageMs = performance.now() - since;
        if (done) return value;
        yield { kind: "image", ...value };
      }
    };
    const before = this.#history;
    const start = () => {
      this.#free("reply");
      if (this.#history !== before) {
        throw new ConfigError("the conversation has changed since this reply was requested", {
          where: "Conversation",
          hint: "Read the reply before sending anything else.",
        });
      }
      this.#busy = true;
    };
    // The answer so far becomes part of the history, even if the reader stops early.
    const finish = (): Message | null => {
      this.#busy = false;
      const { reasoning, content, calls } = reader.result;
      this.#calls += calls.length;
      if (content === "" && calls.length === 0) return null;
      const message: Message = {
        role: "assistant",
        content: content === "" ? null : content,
        ...(reasoning !== "" && { reasoning_content: reasoning }),
        ...(calls.length > 0 && { tool_calls: calls }),
      };
      this.#history = [...history, message];
      return message;
    };
    return (async function* (): ReplyStream {
      start();
      let message: Message | null = null;
      let encoded: readonly EncodedImage[] = [];
      try {
        encoded = yield* encode();
        if (encoded.length > 0) stream = source.generate(chatPrompt(prompt, encoded), options);
        for await (const token of stream.tokens) {
          yield* reader.push(token);
          if (reader.stopString !== null) break;
        }
        yield* reader.end();
      } catch (error) {
        // Stopped while images were encoded: a reply of nothing, as if it were stopped before its first token.
        if (encoded.length > 0 || images.length === 0 || !sampling.signal?.aborted) throw error;
      } finally {
        for (const each of encoded) each[Symbol.dispose]();
        message = finish();
      }
      const { reasoningTokens, stopString } = reader;
      const stats = { ...stream.stats(), reasoningTokens, stopString, imageTokens, imageMs };
      if (stopString !== null) stats.stopReason = "stop";
      return { ...reader.result, stats, message };
    })();
  }

  /** Frees the cache. */
  [Symbol.dispose](): void {
    this.#source[Symbol.dispose]();
  }
}
