/**
 * A conversation in the terminal: messages, slash commands, replies as they are generated. Input and output are passed
 * in, so that tests can play the user.
 */

import { contentOf, type ImagePart, imagesOf, type Message } from "../chat/messages.ts";
import type { Conversation, Reply, ReplyEvent } from "../engine/conversation.ts";
import { processReplies, type ReplyTask } from "../engine/reply-job.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import { nearestName } from "../tensor/check-value.ts";
import { DeepseekError } from "../tensor/errors.ts";
import { formatCount, formatPercent, plural } from "../text/units.ts";
import type { ChatDraw } from "./chat-drawing.ts";
import { type ChatSettings, replySettings, replyStats, SETTINGS, shown } from "./chat-settings.ts";
import { imageProgressText, withImageParts } from "./image-files.ts";
import { savedMessages, savedText } from "./saved-conversation.ts";

export type Line =
  | { readonly kind: "line"; readonly text: string }
  /** Ctrl-C. */
  | { readonly kind: "interrupt" }
  /** Ctrl-D, or the end of the input. */
  | { readonly kind: "end" };

export interface ChatTerminal {
  /** Asks for a line, which begins as `initial`. */
  readLine(prompt: string, initial?: string): Promise<Line>;
  /** A note or a thought is set apart from replies. */
  write(text: string, style?: "note" | "thought"): void;
  /** Runs `body` with a signal that Ctrl-C aborts. */
  stoppable<T>(body: (signal: AbortSignal) => Promise<T>): Promise<T>;
  readFile(path: string): Promise<string>;
  /** Reads a picture. @throws ImageError, FileError */
  readImage(path: string): Promise<ImagePart>;
  /** Shows a line about work that takes long, in place of the last one; null removes it. */
  status(text: string | null): void;
  /** Writes a file; with `force` also over a conversation that was saved before. @throws ConfigError, FileError */
  writeFile(path: string, text: string, force: boolean): Promise<void>;
}

interface Command {
  readonly usage: string;
  readonly help: string;
  /** False ends the conversation. */
  readonly run: (argument: string) => Promise<boolean> | boolean;
}

/** Names of the commands, for completion. */
export const COMMAND_NAMES = [
  "help",
  "system",
  "reset",
  "undo",
  "retry",
  "edit",
  "image",
  "draw",
  "history",
  "save",
  "load",
  "stats",
  "set",
  "tokens",
  "quit",
] as const;

type CommandName = (typeof COMMAND_NAMES)[number];

export interface ChatLoopOptions {
  /** The first line. */
  readonly greeting: string;
  /** Whether figures follow every reply. */
  readonly stats?: boolean;
  /** Pictures that join the first message. */
  readonly images?: readonly ImagePart[];
  /** Refuses pictures where the model sees none. @throws ConfigError */
  readonly checkSees?: () => void;
  /** What `/draw` does. */
  readonly draw?: ChatDraw;
}

/**
 * Talks until the user leaves. Errors that were foreseen are shown, and the conversation goes on. Resolves to the text
 * that `/save` would write, or null if there is nothing that was not saved.
 */
export async function chatLoop(
  conversation: Conversation,
  terminal: ChatTerminal,
  settings: ChatSettings,
  options: ChatLoopOptions,
): Promise<string | null> {
  const loop = new ChatLoop(conversation, terminal, settings, options);
  await loop.run();
  return loop.unsaved;
}

/** A reply that is asked for, without the settings. */
type Asked = ReplyTask extends infer T ? (T extends ReplyTask ? Omit<T, "settings"> : never) : never;

/** The conversation holds the replies; of their jobs none needs to be kept. */
const LIMITS = { maxEvents: 1024, maxEnded: 1 };

/** Milliseconds in which pictures are encoded without a word. */
const QUIET_MS = 1000;

const imageNames = (images: readonly ImagePart[]) =>
  images.map(({ name }) => `[${name ?? "picture"}]`).join(" ");

/** A message as a line shows it. */
function shownMessage(message: Message): string {
  const images = imagesOf([message]);
  return [...(images.length > 0 ? [imageNames(images)] : []), contentOf(message)].join(" ");
}

class ChatLoop {
  readonly #queue = new MemoryQueue(LIMITS);
  readonly #conversation: Conversation;
  readonly #terminal: ChatTerminal;
  readonly #settings: ChatSettings;
  readonly #options: ChatLoopOptions;
  readonly #commands: Readonly<Record<CommandName, Command>>;
  #replies = 0;
  #written = 0;
  #last: Reply | null = null;
  /** The text of the file that was written or read last. */
  #saved = "";
  /** Pictures that join the next message. */
  #pending: readonly ImagePart[];

  constructor(
    conversation: Conversation,
    terminal: ChatTerminal,
    settings: ChatSettings,
    options: ChatLoopOptions,
  ) {
    processReplies(this.#queue, conversation);
    this.#conversation = conversation;
    this.#terminal = terminal;
    this.#settings = settings;
    this.#options = options;
    this.#pending = options.images ?? [];
    const command = (usage: string, help: string, run: Command["run"]): Command => ({ usage, help, run });
    const going = (body: (argument: string) => void) => (argument: string) => {
      body(argument);
      return true;
    };
    this.#commands = {
      help: command(
        "/help",
        "show this list",
        going(() => this.#help()),
      ),
      system: command(
        "/system [TEXT]",
        "show or set the system message; - removes it",
        going((text) => this.#system(text)),
      ),
      reset: command(
        "/reset",
        "start over; keeps the system message",
        going(() => this.#reset()),
      ),
      undo: command(
        "/undo",
        "remove the last message and its reply",
        going(() => this.#undo()),
      ),
      retry: command("/retry", "generate another reply to the last message", () => this.#retry()),
      edit: command("/edit [N]", "edit message N (default: the last) and continue from there", (n) =>
        this.#edit(n),
      ),
      image: command(
        "/image [FILE]",
        "show the model a picture with the next message; - removes it",
        (path) => this.#image(path),
      ),
      draw: command("/draw PROMPT", "draw a picture and save it as a PNG file", (prompt) =>
        this.#draw(prompt),
      ),
      history: command(
        "/history",
        "show the conversation",
        going(() => this.#history()),
      ),
      save: command("/save [--force] FILE", "save the conversation as a JSON file", (path) =>
        this.#save(path),
      ),
      load: command("/load FILE", "load a conversation from a file", (path) => this.#load(path)),
      stats: command(
        "/stats",
        "show token counts and speeds of the last reply",
        going(() => this.#stats()),
      ),
      set: command(
        "/set [NAME VALUE]",
        "show all settings, or change one",
        going((text) => this.#set(text)),
      ),
      tokens: command(
        "/tokens",
        "show how much of the context is used",
        going(() => this.#tokens()),
      ),
      quit: command("/quit", "exit (also Ctrl-D)", () => false),
    };
  }

  get unsaved(): string | null {
    const { messages, turns } = this.#conversation;
    const text = savedText(messages);
    return turns.length === 0 || text === this.#saved ? null : text;
  }

  async run(): Promise<void> {
    this.#note(this.#options.greeting);
    if (this.#pending.length > 0) this.#note(`${imageNames(this.#pending)} with the first message`);
    let interrupted = false;
    for (;;) {
      const line = await this.#message("> ");
      if (line.kind === "end" || (line.kind === "interrupt" && interrupted)) break;
      interrupted = line.kind === "interrupt";
      if (line.kind === "interrupt") {
        this.#note("Press Ctrl-C again, or Ctrl-D, to exit.");
        continue;
      }
      try {
        if (!(await this.#act(line.text))) break;
      } catch (error) {
        if (!(error instanceof DeepseekError) && !(error instanceof Error && "code" in error)) throw error;
        this.#note(`error: ${error.message}`);
      }
    }
  }

  #note(text: string): void {
    this.#terminal.write(`${text}\n`, "note");
  }

  /** One message: a line, lines ended by backslashes, or a block between lines of three quotes. */
  async #message(prompt: string, initial?: string): Promise<Line> {
    const first = await this.#terminal.readLine(prompt, initial);
    if (first.kind !== "line") return first;
    let text = first.text;
    const block = text.trimStart().startsWith('"""');
    if (block) text = text.trimStart().slice(3);
    const open = () => (block ? !text.trimEnd().endsWith('"""') : text.endsWith("\\"));
    while (open()) {
      const next = await this.#terminal.readLine(". ");
      if (next.kind !== "line") return next;
      text = `${block ? text : text.slice(0, -1)}\n${next.text}`;
    }
    if (block) text = text.trimEnd().slice(0, -3).replace(/^\n/, "").replace(/\n$/, "");
    return { kind: "line", text };
  }

  async #act(text: string): Promise<boolean> {
    if (text.trim() === "") return true;
    // Two slashes begin a message that begins with one.
    if (!text.startsWith("/") || text.startsWith("//")) {
      const message = text.replace(/^\/\//, "/");
      const images = this.#pending;
      if (await this.#reply({ ask: "send", content: withImageParts(images, message) })) this.#pending = [];
      return true;
    }
    const [, name, argument] = /^\/(\S*)\s*([\s\S]*)$/.exec(text)!;
    if (Object.hasOwn(this.#commands, name)) {
      return this.#commands[name as CommandName].run(argument.trim());
    }
    const near = nearestName(name, COMMAND_NAMES);
    const hint = near === null ? "/help lists the commands." : `Did you mean /${near}?`;
    this.#note(`no such command: /${name}. ${hint} Begin with // to send it as a message.`);
    return true;
  }

  /** Whether there was an answer: else the message left no trace. */
  async #reply(asked: Asked): Promise<boolean> {
    const terminal = this.#terminal;
    const began = performance.now();
    const reply = await terminal.stoppable(async (signal) => {
      const task = { ...asked, settings: replySettings(this.#settings, this.#replies) };
      const job = await this.#queue.add<ReplyTask, ReplyEvent, Reply>("reply", task);
      const stop = () => void job.cancel();
      if (signal.aborted) stop();
      else signal.addEventListener("abort", stop, { once: true });
      let style: "thought" | undefined;
      let ended = true;
      const show = (text: string, as?: "thought") => {
        if (as !== style && !ended) terminal.write("\n");
        style = as;
        ended = text.endsWith("\n");
        terminal.write(text, as);
      };
      for await (const { event: piece } of job.events()) {
        if (piece.kind === "image") {
          // What takes no second needs no line.
          if (performance.now() - began > QUIET_MS) terminal.status(imageProgressText(piece));
          continue;
        }
        terminal.status(null);
        if (piece.kind === "reasoning") show(piece.text, "thought");
        else if (piece.kind === "content" || piece.kind === "arguments") show(piece.text);
        else if (piece.kind === "call") show(`[${piece.name} `);
        else show(piece.malformed === undefined ? "]" : "] (not a valid call)");
      }
      terminal.status(null);
      if (!ended) terminal.write("\n");
      return job.result();
    });
    this.#replies++;
    this.#written += reply.stats.generatedTokens;
    this.#last = reply;
    const { stopReason } = reply.stats;
    if (stopReason === "aborted") this.#note("(stopped)");
    else if (stopReason === "length") {
      const full = reply.stats.promptTokens + reply.stats.generatedTokens >= this.#conversation.context;
      this.#note(
        full
          ? "(context full; /undo, /edit or /reset frees space)"
          : "(token limit reached; see /set max-tokens)",
      );
    }
    if (reply.message === null) this.#note("(no reply; the message was removed)");
    if (this.#options.stats) this.#note(replyStats(reply));
    return reply.message !== null;
  }

  #help(): void {
    const all = Object.values(this.#commands);
    const width = Math.max(...all.map(({ usage }) => usage.length));
    this.#note(all.map(({ usage, help }) => `  ${usage.padEnd(width)}  ${help}`).join("\n"));
    this.#note('End a line with \\ to continue it, or put several lines between """. Ctrl-C stops a reply.');
  }

  #system(text: string): void {
    if (text === "") this.#note(this.#conversation.system ?? "(no system message)");
    else {
      this.#conversation.system = text === "-" ? null : text;
      this.#note(text === "-" ? "system message removed" : "system message set");
    }
  }

  #reset(): void {
    this.#conversation.reset();
    this.#note("conversation cleared; system message kept");
  }

  #undo(): void {
    const taken = this.#conversation.undo();
    this.#note(taken === null ? "nothing to undo" : `removed: ${shownMessage(taken)}`);
    const images = taken === null ? [] : imagesOf([taken]);
    if (images.length === 0) return;
    // Most messages are taken back to ask better about the same picture.
    this.#pending = [...images, ...this.#pending];
    this.#note(`${imageNames(images)} with the next message; /image - removes it`);
  }

  async #image(path: string): Promise<boolean> {
    this.#options.checkSees?.();
    if (path === "-") this.#pending = [];
    else if (path !== "") this.#pending = [...this.#pending, await this.#terminal.readImage(path)];
    this.#note(
      this.#pending.length === 0 ? "no picture" : `${imageNames(this.#pending)} with the next message`,
    );
    return true;
  }

  async #draw(prompt: string): Promise<boolean> {
    const { draw } = this.#options;
    if (prompt === "" || draw === undefined) {
      this.#note(draw === undefined ? "this model draws no pictures" : "usage: /draw PROMPT");
      return true;
    }
    const terminal = this.#terminal;
    const path = await terminal
      .stoppable((signal) => draw(prompt, signal, (text) => terminal.status(text)))
      .finally(() => terminal.status(null));
    this.#note(path === null ? "(stopped)" : `drew ${path}; /image ${path} shows it to the model`);
    return true;
  }

  async #retry(): Promise<boolean> {
    if (this.#settings.temperature === 0) {
      this.#note("(at temperature 0 the reply will be the same; try /set temperature 0.7)");
    }
    await this.#reply({ ask: "regenerate" });
    return true;
  }

  async #edit(argument: string): Promise<boolean> {
    const { turns } = this.#conversation;
    const turn = argument === "" ? turns.length : Number(argument);
    const old = Number.isInteger(turn) ? turns[turn - 1] : undefined;
    if (old === undefined) {
      this.#note(turns.length === 0 ? "no messages yet" : `messages are numbered 1 to ${turns.length}`);
      return true;
    }
    const content = contentOf(old);
    // A line editor shows one line.
    const several = content.includes("\n");
    if (several) this.#note(content);
    const line = await this.#message(`${turn}> `, several ? undefined : content);
    if (line.kind !== "line" || line.text.trim() === "") {
      this.#note("unchanged");
      return true;
    }
    await this.#reply({ ask: "edit", turn, content: withImageParts(imagesOf([old]), line.text) });
    return true;
  }

  #history(): void {
    const { messages } = this.#conversation;
    if (messages.length === 0) this.#note("no messages yet");
    let turn = 0;
    for (const message of messages) {
      const { role, tool_calls: calls = [] } = message;
      const label = role === "user" ? `${++turn}> ` : role === "assistant" ? "" : `(${role}) `;
      const called = calls.map((call) => `[${call.function.name} ${call.function.arguments}]`);
      this.#note(label + [shownMessage(message), ...called].filter(Boolean).join("\n"));
    }
  }

  async #save(argument: string): Promise<boolean> {
    const [, force, path] = /^(--force(?:\s+|$))?([\s\S]*)$/.exec(argument)!;
    if (path === "") this.#note("usage: /save [--force] FILE");
    else {
      const { messages } = this.#conversation;
      const text = savedText(messages);
      await this.#terminal.writeFile(path, text, force !== undefined);
      this.#saved = text;
      this.#note(`saved ${plural(messages.length, "message")} to ${path}`);
    }
    return true;
  }

  async #load(path: string): Promise<boolean> {
    if (path === "") this.#note("usage: /load FILE");
    else {
      const messages = savedMessages(await this.#terminal.readFile(path), path);
      this.#conversation.load(messages);
      this.#saved = savedText(this.#conversation.messages);
      this.#note(`loaded ${plural(messages.length, "message")}; /history shows them`);
    }
    return true;
  }

  #stats(): void {
    if (this.#last === null) this.#note("no reply yet");
    else
      this.#note(
        `${replyStats(this.#last)}\ntotal: ${this.#replies === 1 ? "1 reply" : `${formatCount(this.#replies)} replies`}, ${plural(this.#written, "token")}`,
      );
  }

  #set(argument: string): void {
    const settings = this.#settings;
    const [name, value, ...rest] = argument.split(/\s+/);
    if (name === "") {
      const lines = Object.entries(SETTINGS).map(([known, { key }]) => `  ${known} ${shown(settings[key])}`);
      this.#note(lines.join("\n"));
      return;
    }
    const setting = Object.hasOwn(SETTINGS, name) ? SETTINGS[name] : undefined;
    if (setting === undefined) {
      this.#note(`no such setting: ${name}. Settings: ${Object.keys(SETTINGS).join(", ")}.`);
      return;
    }
    const parsed = rest.length > 0 ? undefined : setting.parse(value ?? "");
    if (parsed === undefined) {
      this.#note(`${name}: expected ${setting.expected}`);
      return;
    }
    Object.assign(settings, { [setting.key]: parsed });
    this.#note(`${name} ${shown(parsed)}`);
  }

  #tokens(): void {
    const { context } = this.#conversation;
    const thinking = this.#settings.thinking ?? undefined;
    const used = this.#conversation.messages.length === 0 ? 0 : this.#conversation.countTokens({ thinking });
    this.#note(`${formatCount(used)} of ${formatCount(context)} tokens (${formatPercent(used / context)})`);
  }
}
