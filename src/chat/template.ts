/**
 * Chat templates: messages to text by the checkpoint's Jinja template (or a built-in one), and on to token ids. What
 * transformers' `apply_chat_template` gives, with one difference: control tokens that messages, tools or variables
 * spell out stay plain text (see provenance.ts). As there, the template alone decides about BOS; nothing is added.
 */
import { fromPlain, type JsonValue, parseJsonSlices } from "../json/index.ts";
import type { ChatTemplateSource } from "../pretrained/chat-template-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { finish, Pace, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { BUILTIN_TEMPLATES, type BuiltinName, builtinFor, type TemplateHints } from "./builtin.ts";
import { type ChatLesson, chatLesson, type LessonChoice } from "./chat-lesson.ts";
import {
  DATA,
  Given,
  JinjaTemplate as Jinja,
  type Str,
  TEMPLATE,
  TemplateError,
  type Watch,
} from "./jinja/index.ts";
import { checkMessages, type Message, type Tool, textOnly } from "./messages.ts";
import {
  ControlSplitter,
  controlTokens,
  isTemplates,
  promptTokens,
  THINK_CLOSE,
  THINK_OPEN,
} from "./provenance.ts";
import { type ReplyOptions, ReplyReader } from "./reply.ts";

export interface RenderOptions {
  readonly tools?: readonly Tool[];
  /** Whether the text ends where the assistant's answer begins; default true. */
  readonly addGenerationPrompt?: boolean;
  /**
   * Whether the last message, an assistant's, is the beginning of the answer to come: the text ends where its content
   * does, or its reasoning if it has no content. Goes before `addGenerationPrompt`.
   */
  readonly continueFinal?: boolean;
  /** Whether the model thinks first; sets `thinking` and `enable_thinking`. Default: the template's own. */
  readonly thinking?: boolean;
  /** Further variables of the template. */
  readonly variables?: Readonly<Record<string, unknown>> | ReadonlyMap<string, unknown>;
}

/** Messages, ready for a model. */
export interface ChatPrompt {
  readonly text: string;
  /** One for each image too, to be replaced by what the image is encoded to. */
  readonly ids: number[];
  /** Where in `ids` the images are, in the order in which the messages have them. */
  readonly places: readonly number[];
  /** Whether the text ends inside `<think>`, so that the reply begins with reasoning. */
  readonly opensReasoning: boolean;
}

export interface LessonOptions extends LessonChoice, Pick<RenderOptions, "tools" | "thinking" | "variables"> {
  /** Further tokens that end answers, beside EOS and `<|EOT|>`: those of the model's configuration. */
  readonly endIds?: readonly number[];
}

/** What a template does not know about a reply. */
export type ReaderOptions = Pick<ReplyOptions, "stop" | "stopIds" | "tools" | "nextId">;

export interface ChatTemplate {
  /** Where the template is from: a built-in's name or that of a source. */
  readonly name: string;
  readonly builtin: BuiltinName | null;
  /** Jinja; empty where code makes the prompts (`visionTemplate`). */
  readonly source: string;
  /** Tokens that end a reply: EOS, and `<|EOT|>` and `<｜User｜>` if the template writes them. */
  readonly stopIds: readonly number[];
  /** Texts that end a reply, beside those that are asked for. `reader` knows them. */
  readonly stopStrings: readonly string[];
  /** Control tokens that stand in replies by their names: the tags of boxes. `reader` knows them. */
  readonly spoken: readonly string[];
  /** Whether replies begin with one space that is not a part of them (`Assistant:` in plain text). */
  readonly stripsSpace: boolean;
  /** The text that the model reads. @throws ConfigError naming template or message */
  render(messages: readonly Message[], options?: RenderOptions): string;
  /** Its token ids; control tokens spelled out in messages, tools and variables are plain text. @throws ConfigError */
  encode(messages: readonly Message[], options?: RenderOptions): number[];
  /** Both at once. @throws ConfigError */
  prompt(messages: readonly Message[], options?: RenderOptions): ChatPrompt;
  /** The same with pauses, so that the caller can do other work in between. @throws ConfigError */
  promptSlices(messages: readonly Message[], options?: RenderOptions): Slices<ChatPrompt>;
  /**
   * A conversation that ends with an answer, and which of its tokens are learned. No token reaches over the border of a
   * learned part: prompts are encoded as they are when a model answers them. @throws ConfigError
   */
  lesson(messages: readonly Message[], options?: LessonOptions): ChatLesson;
  /** Reads the reply to a prompt; generation has to end at `stopIds` and the configuration's EOS. @throws ConfigError */
  reader(prompt: Pick<ChatPrompt, "opensReasoning">, options?: ReaderOptions): ReplyReader;
}

/** What a template's error says, and where. */
function told(error: unknown): string {
  const line =
    error instanceof TemplateError && error.line !== null ? ` (line ${error.line} of the template)` : "";
  return `${(error as Error).message}${line}`;
}

function compile(source: string, name: string): Jinja {
  try {
    return new Jinja(source);
  } catch (cause) {
    throw new ConfigError(`the chat template does not parse: ${told(cause)}`, {
      where: `chat template "${name}"`,
      hint: "It must be a Jinja template supported by transformers.",
      cause,
    });
  }
}

/** How the arguments of a call reach a template; `index` is the message's. Null: as their text. */
type ArgumentsForm = ((text: string, index: number) => Slices<unknown>) | null;

/** The arguments as an object; undefined if they are no JSON. Some clients send nothing for no arguments. */
function* parsedArguments(text: string): Slices<JsonValue | undefined> {
  if (text.trim() === "") return new Map();
  try {
    return yield* parseJsonSlices(text);
  } catch {
    return undefined;
  }
}

/** What a message costs, in the characters of `Pace`. */
const MESSAGE = 32;

/**
 * Messages as templates expect them: no empty lists, null instead of an empty text beside tool calls. Roles are of a
 * closed set, and templates make control tokens of them, so that they count as the template's own.
 */
function* normalize(messages: readonly Message[], form: ArgumentsForm): Slices<Record<string, unknown>[]> {
  const pace = new Pace();
  const normal: Record<string, unknown>[] = [];
  for (const [index, message] of messages.entries()) {
    const { role, tool_calls: calls, reasoning_content: reasoning, tool_call_id: id, name } = message;
    const calling = calls !== undefined && calls.length > 0;
    const content = textOnly(message, index);
    const written: Record<string, unknown>[] = [];
    for (const { id, function: call } of calls ?? []) {
      const made = { name: call.name, arguments: form ? yield* form(call.arguments, index) : call.arguments };
      written.push({ id, type: "function", function: made });
    }
    normal.push({
      role: new Given(role, TEMPLATE),
      content: calling ? content || null : content,
      ...(calling && { tool_calls: written }),
      ...(reasoning != null && { reasoning_content: reasoning }),
      ...(id !== undefined && { tool_call_id: id }),
      ...(name !== undefined && { name }),
    });
    if (pace.due(MESSAGE)) yield;
  }
  return normal;
}

const PRIVATE_USE = { first: 0xe000, last: 0xf8ff };

/** A character that occurs nowhere in `texts`. */
function unusedMark(texts: string): string {
  const { first, last } = PRIVATE_USE;
  const used = new Uint8Array(last - first + 1);
  for (let i = 0; i < texts.length; i++) {
    const code = texts.charCodeAt(i);
    if (code >= first && code <= last) used[code - first] = 1;
  }
  const unused = used.indexOf(0);
  if (unused >= 0) return String.fromCharCode(first + unused);
  throw new ConfigError(
    "messages hold every private-use character, so that none is left to mark the end with",
    {
      where: "chat template",
    },
  );
}

class JinjaTemplate implements ChatTemplate {
  readonly name: string;
  readonly builtin: BuiltinName | null;
  readonly source: string;
  readonly stopIds: readonly number[];
  readonly stopStrings: readonly string[] = [];
  readonly spoken: readonly string[] = [];
  readonly stripsSpace: boolean;
  readonly #tokenizer: Tokenizer;
  readonly #template: Jinja;
  /** Used instead if tools are given. */
  readonly #forTools: JinjaTemplate | null;
  readonly #special: Readonly<Record<string, Given>>;
  readonly #control: ReadonlyMap<string, number>;
  readonly #splitter: ControlSplitter;

  constructor(
    tokenizer: Tokenizer,
    source: string,
    name: string,
    builtin: BuiltinName | null,
    forTools: JinjaTemplate | null,
  ) {
    this.#tokenizer = tokenizer;
    this.source = source;
    this.name = name;
    this.builtin = builtin;
    this.#forTools = forTools;
    this.#template = compile(source, name);
    this.#control = controlTokens(tokenizer);
    this.#splitter = new ControlSplitter(tokenizer, promptTokens(tokenizer));
    const { bos, eos, pad } = tokenizer.specialIds;
    const token = (id: number | undefined) =>
      new Given(id === undefined ? "" : (tokenizer.tokenOf(id) ?? ""), TEMPLATE);
    this.#special = {
      bos_token: token(bos),
      eos_token: token(eos),
      pad_token: token(pad),
      unk_token: token(undefined),
    };
    // What comes after a user's token is not a part of the answer, though the released models end before it.
    const ends = [TOKEN.eot, TOKEN.user].filter((token) => source.includes(token));
    const ids = [eos, ...ends.map((token) => tokenizer.idOf(token))];
    this.stopIds = [...new Set(ids)].filter((id) => id !== undefined);
    this.stripsSpace = this.#findsSpace();
  }

  /** Whether an earlier answer stands one space behind where the generation prompt ends. */
  #findsSpace(): boolean {
    const user: Message = { role: "user", content: "a" };
    try {
      const open = this.render([user]);
      const answered = this.render([user, { role: "assistant", content: "b" }], {
        addGenerationPrompt: false,
      });
      return answered.startsWith(`${open} b`);
    } catch {
      // A template that refuses this conversation says so when it is used.
      return false;
    }
  }

  /**
   * Renders with the arguments of calls as objects, as transformers gets them from servers; as their text if the
   * template fails on an object, or prints one as Python would.
   */
  *#run(messages: readonly Message[], options: RenderOptions): Slices<Str> {
    checkMessages(messages);
    if (!messages.some(({ tool_calls: calls }) => (calls?.length ?? 0) > 0)) {
      return yield* this.#once(messages, options, null);
    }
    const watch: Watch = { printed: false, asked: false };
    let broken: { index: number; text: string } | null = null;
    const asObject: ArgumentsForm = function* (text, index) {
      const parsed = yield* parsedArguments(text);
      if (parsed === undefined) broken ??= { index, text };
      return new Given(parsed ?? {}, DATA, watch);
    };
    let rendered: Str | null = null;
    let problem: unknown;
    try {
      rendered = yield* this.#once(messages, options, asObject);
    } catch (error) {
      problem = error;
    }
    // Assigned in the function above, which the compiler does not see.
    const noJson = broken as { index: number; text: string } | null;
    if (rendered !== null && !watch.printed) {
      if (noJson === null) return rendered;
      if (!watch.asked) {
        throw new ConfigError("the arguments of a tool call are no JSON", {
          where: `messages[${noJson.index}]`,
          found: noJson.text.slice(0, 80),
        });
      }
    }
    try {
      return yield* this.#once(messages, options, null);
    } catch (error) {
      if (rendered !== null && noJson === null) return rendered;
      throw problem ?? error;
    }
  }

  *#once(messages: readonly Message[], options: RenderOptions, form: ArgumentsForm): Slices<Str> {
    const { tools = [], thinking, variables = {}, addGenerationPrompt = true } = options;
    const given = variables instanceof Map ? Object.fromEntries(variables) : variables;
    const normal = yield* normalize(messages, form);
    try {
      return yield* this.#template.renderSlices({
        ...this.#special,
        ...(thinking !== undefined && { thinking, enable_thinking: thinking }),
        ...given,
        messages: normal,
        // As transformers has it, they are there even if nothing was given.
        tools: tools.length > 0 ? fromPlain(tools) : null,
        documents: (given as Record<string, unknown>).documents ?? null,
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new ConfigError(`the chat template refuses: ${told(cause)}`, {
        where: `chat template "${this.name}"`,
        cause,
      });
    }
  }

  #for(options: RenderOptions): JinjaTemplate {
    return this.#forTools !== null && (options.tools?.length ?? 0) > 0 ? this.#forTools : this;
  }

  render(messages: readonly Message[], options: RenderOptions = {}): string {
    return finish(this.#for(options).#run(messages, options)).text;
  }

  encode(messages: readonly Message[], options: RenderOptions = {}): number[] {
    return this.prompt(messages, options).ids;
  }

  prompt(messages: readonly Message[], options: RenderOptions = {}): ChatPrompt {
    return finish(this.promptSlices(messages, options));
  }

  *promptSlices(messages: readonly Message[], options: RenderOptions = {}): Slices<ChatPrompt> {
    if (options.continueFinal) return yield* this.#for(options).#continued(messages, options);
    const rendered = yield* this.#for(options).#run(messages, options);
    const { text } = rendered;
    const end = text.trimEnd().length;
    const open = end - THINK_OPEN.length;
    const opensReasoning = open >= 0 && text.startsWith(THINK_OPEN, open) && isTemplates(rendered, open, end);
    return { text, ids: yield* this.#ids(rendered), places: [], opensReasoning };
  }

  *#ids(rendered: Str): Slices<number[]> {
    const pace = new Pace();
    const ids: number[] = [];
    for (const piece of yield* this.#splitter.split(rendered)) {
      if (typeof piece === "number") ids.push(piece);
      else for (const id of yield* this.#plain(piece)) ids.push(id);
      if (pace.due(typeof piece === "number" ? 1 : piece.length)) yield;
    }
    return ids;
  }

  lesson(messages: readonly Message[], options: LessonOptions = {}): ChatLesson {
    return finish(this.#for(options).#lesson(messages, options));
  }

  *#lesson(
    messages: readonly Message[],
    { learn, from, endIds, ...rest }: LessonOptions,
  ): Slices<ChatLesson> {
    const voice = {
      name: this.name,
      tokenizer: this.#tokenizer,
      endIds: [...this.stopIds, ...(endIds ?? [])],
      run: (read: readonly Message[], more: RenderOptions) => this.#run(read, { ...rest, ...more }),
      ids: (rendered: Str) => this.#ids(rendered),
    };
    return yield* chatLesson(voice, messages, { learn, from });
  }

  /**
   * A prompt that ends where the content of the last message does. As in transformers a mark behind the content shows
   * the place, and if the template trims contents, the content is trimmed too.
   */
  *#continued(messages: readonly Message[], options: RenderOptions): Slices<ChatPrompt> {
    const last = messages.at(-1);
    if (last?.role !== "assistant" || (last.tool_calls?.length ?? 0) > 0) {
      throw new ConfigError("there is no answer to continue", {
        where: `messages[${messages.length - 1}]`,
        expected: "a last message of the assistant, without tool calls",
        found: last?.role ?? "no messages",
      });
    }
    const content = textOnly(last, messages.length - 1);
    if (last.reasoning_content)
      return yield* this.#continuedReasoning(messages, last.reasoning_content, content, options);
    const mark = unusedMark(JSON.stringify([messages, this.source]));
    const marked = [...messages.slice(0, -1), { ...last, content: `${content}${mark} ` }];
    const rendered = yield* this.#run(marked, { ...options, addGenerationPrompt: false });
    const whole = rendered.text;
    const end = whole.lastIndexOf(mark);
    if (end < 0) {
      throw new ConfigError("the template leaves out the message that is to be continued", {
        where: `chat template "${this.name}"`,
      });
    }
    const kept = rendered.slice(0, end);
    const trimmed = whole[end + mark.length] !== " ";
    const prompt = trimmed ? kept.slice(0, kept.text.trimEnd().length) : kept;
    return { text: prompt.text, ids: yield* this.#ids(prompt), places: [], opensReasoning: false };
  }

  /** A prompt that ends inside the reasoning of the answer, or in the content behind it; templates render neither. */
  *#continuedReasoning(
    messages: readonly Message[],
    reasoning: string,
    content: string,
    options: RenderOptions,
  ): Slices<ChatPrompt> {
    const { thinking = true } = options;
    const begun = yield* this.promptSlices(messages.slice(0, -1), {
      ...options,
      continueFinal: false,
      addGenerationPrompt: true,
      thinking,
    });
    if (!begun.opensReasoning) {
      throw new ConfigError("the prompt opens no reasoning that could be continued", {
        where: `chat template "${this.name}"`,
        name: "reasoning_content",
        hint: "Remove the reasoning, or enable thinking.",
      });
    }
    const inside = content === "";
    const close = this.#control.get(THINK_CLOSE);
    const closing = inside ? [] : close === undefined ? yield* this.#plain(THINK_CLOSE) : [close];
    return {
      text: begun.text + reasoning + (inside ? "" : THINK_CLOSE + content),
      ids: [...begun.ids, ...(yield* this.#plain(reasoning)), ...closing, ...(yield* this.#plain(content))],
      places: [],
      opensReasoning: inside,
    };
  }

  reader({ opensReasoning }: Pick<ChatPrompt, "opensReasoning">, options: ReaderOptions = {}): ReplyReader {
    const { stopIds = [], ...rest } = options;
    return new ReplyReader(this.#tokenizer, {
      ...rest,
      opensReasoning,
      stripsSpace: this.stripsSpace,
      stopIds: [...this.stopIds, ...stopIds],
      silentIds: this.#control.values(),
    });
  }

  #plain(text: string): Slices<number[]> {
    return this.#tokenizer.encodeSlices(text, { addSpecialTokens: false, parseSpecial: false });
  }
}

/**
 * The template of a checkpoint; if `source` is null, the built-in one that fits (see `builtinFor`).
 * @throws ConfigError if none fits, or the source is no Jinja
 */
export function chatTemplate(
  tokenizer: Tokenizer,
  source: ChatTemplateSource,
  hints: TemplateHints = {},
): ChatTemplate {
  if (source === null) return builtinTemplate(tokenizer, builtinFor(tokenizer, hints));
  if (typeof source === "string") return new JinjaTemplate(tokenizer, source, "default", null, null);
  const { tool_use: forTools } = source;
  const name = "default" in source ? "default" : Object.keys(source)[0];
  if (name === undefined || (name !== "default" && Object.keys(source).length > 1)) {
    throw new ConfigError("several chat templates, and none of them is the default", {
      where: "chat template",
      expected: "one named default",
      found: Object.keys(source),
    });
  }
  const tool =
    forTools === undefined || name === "tool_use"
      ? null
      : new JinjaTemplate(tokenizer, forTools, "tool_use", null, null);
  return new JinjaTemplate(tokenizer, source[name], name, null, tool);
}

/** A built-in template by name. @throws ConfigError for another name */
export function builtinTemplate(tokenizer: Tokenizer, name: string): ChatTemplate {
  if (!Object.hasOwn(BUILTIN_TEMPLATES, name)) {
    throw new ConfigError("no such built-in template", {
      where: "chat template",
      expected: Object.keys(BUILTIN_TEMPLATES).join(" | "),
      found: name,
    });
  }
  const known = name as BuiltinName;
  return new JinjaTemplate(tokenizer, BUILTIN_TEMPLATES[known], name, known, null);
}
