/**
 * Chat templates: messages to text by the checkpoint's Jinja template (or a built-in one), and on to token ids. What
 * transformers' `apply_chat_template` gives, with one difference: control tokens that messages, tools or variables
 * spell out stay plain text (see provenance.ts). As there, the template alone decides about BOS; nothing is added.
 */
import { Template } from "@huggingface/jinja";
import { fromPlain, toPlain } from "../json/index.ts";
import type { ChatTemplateSource } from "../pretrained/chat-template-source.ts";
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { BUILTIN_TEMPLATES, type BuiltinName, builtinFor, type TemplateHints } from "./builtin.ts";
import { checkMessages, contentOf, type Message, type Tool } from "./messages.ts";
import { ControlSplitter, controlTokens, Marker, THINK_CLOSE, THINK_OPEN, unusedMark } from "./provenance.ts";
import { type ReplyOptions, ReplyReader } from "./reply.ts";

export interface RenderOptions {
  readonly tools?: readonly Tool[];
  /** Whether the text ends where the assistant's answer begins; default true. */
  readonly addGenerationPrompt?: boolean;
  /**
   * Whether the last message, an assistant's, is the beginning of the answer to come: the text ends where its content
   * does, or its reasoning where it has no content. Goes before `addGenerationPrompt`.
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
  readonly ids: number[];
  /** Whether the text ends inside `<think>`, so that the reply begins with reasoning. */
  readonly opensReasoning: boolean;
}

/** What a template does not know about a reply. */
export type ReaderOptions = Pick<ReplyOptions, "stop" | "stopIds" | "tools" | "nextId">;

export interface ChatTemplate {
  /** Where the template is from: a built-in's name or that of a source. */
  readonly name: string;
  readonly builtin: BuiltinName | null;
  readonly source: string;
  /** Tokens that end a reply: EOS, and `<|EOT|>` and `<｜User｜>` where the template writes them. */
  readonly stopIds: readonly number[];
  /** Whether replies begin with one space that is no part of them (`Assistant:` in plain text). */
  readonly stripsSpace: boolean;
  /** The text that the model reads. @throws ConfigError naming template or message */
  render(messages: readonly Message[], options?: RenderOptions): string;
  /** Its token ids; control tokens spelled out in messages, tools and variables are plain text. @throws ConfigError */
  encode(messages: readonly Message[], options?: RenderOptions): number[];
  /** Both at once. @throws ConfigError */
  prompt(messages: readonly Message[], options?: RenderOptions): ChatPrompt;
  /** Reads the reply to a prompt; generation has to end at `stopIds` and the configuration's EOS. @throws ConfigError */
  reader(prompt: Pick<ChatPrompt, "opensReasoning">, options?: ReaderOptions): ReplyReader;
}

function compile(source: string, name: string): Template {
  try {
    return new Template(source);
  } catch (cause) {
    throw new ConfigError(`the chat template does not parse: ${(cause as Error).message}`, {
      where: `chat template "${name}"`,
      hint: "It must be Jinja as transformers has it.",
      cause,
    });
  }
}

/** Whether a template takes the arguments of tool calls as an object, to write them with `tojson`. */
const wantsObjects = (source: string) =>
  /arguments['"]?\]?\s*\)?\s*\|\s*tojson/.test(source) && !/arguments['"]?\]?\s+is\s+string/.test(source);

function argumentsOf(text: string, index: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new ConfigError("the arguments of a tool call are no JSON", {
      where: `messages[${index}]`,
      found: text.slice(0, 80),
      cause,
    });
  }
}

/** Messages as templates expect them: no empty lists, null instead of an empty text beside tool calls. */
function normalise(messages: readonly Message[], objects: boolean): Record<string, unknown>[] {
  return messages.map((message, index) => {
    const { role, tool_calls: calls, reasoning_content: reasoning, tool_call_id: id, name } = message;
    const calling = calls !== undefined && calls.length > 0;
    return {
      role,
      content: calling ? contentOf(message) || null : contentOf(message),
      ...(calling && {
        tool_calls: calls.map(({ id, function: { name, arguments: text } }) => ({
          id,
          type: "function",
          function: { name, arguments: objects ? argumentsOf(text, index) : text },
        })),
      }),
      ...(reasoning != null && { reasoning_content: reasoning }),
      ...(id !== undefined && { tool_call_id: id }),
      ...(name !== undefined && { name }),
    };
  });
}

interface Inputs {
  readonly messages: Record<string, unknown>[];
  readonly tools: unknown;
  readonly variables: unknown;
}

/** All strings of a value, keys included. */
function* stringsOf(value: unknown): Generator<string> {
  if (typeof value === "string") yield value;
  else if (typeof value === "object" && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      yield key;
      yield* stringsOf(item);
    }
  }
}

class JinjaTemplate implements ChatTemplate {
  readonly name: string;
  readonly builtin: BuiltinName | null;
  readonly source: string;
  readonly stopIds: readonly number[];
  readonly stripsSpace: boolean;
  readonly #tokenizer: Tokenizer;
  readonly #template: Template;
  /** Used instead where tools are given. */
  readonly #forTools: JinjaTemplate | null;
  readonly #objects: boolean;
  readonly #special: Readonly<Record<string, string>>;
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
    this.#objects = wantsObjects(source);
    this.#control = controlTokens(tokenizer);
    this.#splitter = new ControlSplitter(tokenizer, this.#control);
    const { bos, eos, pad } = tokenizer.specialIds;
    const token = (id: number | undefined) => (id === undefined ? "" : (tokenizer.tokenOf(id) ?? ""));
    this.#special = { bos_token: token(bos), eos_token: token(eos), pad_token: token(pad), unk_token: "" };
    // What comes after a user's token is no part of the answer, though the released models end before it.
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

  #inputs(messages: readonly Message[], { tools, thinking, variables }: RenderOptions): Inputs {
    checkMessages(messages);
    return {
      messages: normalise(messages, this.#objects),
      tools: tools !== undefined && tools.length > 0 ? toPlain(fromPlain(tools)) : null,
      variables: {
        ...(thinking !== undefined && { thinking, enable_thinking: thinking }),
        ...(toPlain(fromPlain(variables ?? {})) as Record<string, unknown>),
      },
    };
  }

  #run({ messages, tools, variables }: Inputs, { addGenerationPrompt = true }: RenderOptions): string {
    try {
      return this.#template.render({
        ...this.#special,
        ...(variables as Record<string, unknown>),
        messages,
        ...(tools !== null && { tools }),
        add_generation_prompt: addGenerationPrompt,
      });
    } catch (cause) {
      throw new ConfigError(`the chat template refuses: ${(cause as Error).message}`, {
        where: `chat template "${this.name}"`,
        cause,
      });
    }
  }

  #for(options: RenderOptions): JinjaTemplate {
    return this.#forTools !== null && (options.tools?.length ?? 0) > 0 ? this.#forTools : this;
  }

  render(messages: readonly Message[], options: RenderOptions = {}): string {
    const chosen = this.#for(options);
    return chosen.#run(chosen.#inputs(messages, options), options);
  }

  encode(messages: readonly Message[], options: RenderOptions = {}): number[] {
    return this.prompt(messages, options).ids;
  }

  prompt(messages: readonly Message[], options: RenderOptions = {}): ChatPrompt {
    const chosen = this.#for(options);
    if (options.continueFinal) return chosen.#continued(messages, options);
    const { text, inert } = chosen.#texts(messages, options);
    return { text, ids: chosen.#ids(text, inert), opensReasoning: /<think>\s*$/.test(text) };
  }

  #texts(messages: readonly Message[], options: RenderOptions): { text: string; inert: Set<number> } {
    const inputs = this.#inputs(messages, options);
    const text = this.#run(inputs, options);
    return { text, inert: this.#inert(inputs, options, text) };
  }

  #ids(text: string, inert: ReadonlySet<number>): number[] {
    const ids: number[] = [];
    for (const piece of this.#splitter.split(text, inert)) {
      if (typeof piece === "number") ids.push(piece);
      else for (const id of this.#plain(piece)) ids.push(id);
    }
    return ids;
  }

  /**
   * A prompt that ends where the content of the last message does. As in transformers a mark behind the content shows
   * the place, and where the template trims contents, the content is trimmed too.
   */
  #continued(messages: readonly Message[], options: RenderOptions): ChatPrompt {
    const last = messages.at(-1);
    if (last?.role !== "assistant" || (last.tool_calls?.length ?? 0) > 0) {
      throw new ConfigError("there is no answer to continue", {
        where: `messages[${messages.length - 1}]`,
        expected: "a last message of the assistant, without tool calls",
        found: last?.role ?? "no messages",
      });
    }
    const content = contentOf(last);
    if (last.reasoning_content)
      return this.#continuedReasoning(messages, last.reasoning_content, content, options);
    const mark = unusedMark([...stringsOf(this.#inputs(messages, options)), this.source]);
    const marked = [...messages.slice(0, -1), { ...last, content: `${content}${mark} ` }];
    const { text: whole, inert } = this.#texts(marked, { ...options, addGenerationPrompt: false });
    const end = whole.lastIndexOf(mark);
    if (end < 0) {
      throw new ConfigError("the template leaves out the message that is to be continued", {
        where: `chat template "${this.name}"`,
      });
    }
    const kept = whole.slice(0, end);
    const text = whole[end + mark.length] === " " ? kept : kept.trimEnd();
    return { text, ids: this.#ids(text, inert), opensReasoning: false };
  }

  /** A prompt that ends inside the reasoning of the answer, or in the content behind it; templates render neither. */
  #continuedReasoning(
    messages: readonly Message[],
    reasoning: string,
    content: string,
    options: RenderOptions,
  ): ChatPrompt {
    const { thinking = true } = options;
    const begun = this.prompt(messages.slice(0, -1), {
      ...options,
      continueFinal: false,
      addGenerationPrompt: true,
      thinking,
    });
    if (!begun.opensReasoning) {
      throw new ConfigError("the prompt opens no reasoning that could be continued", {
        where: `chat template "${this.name}"`,
        name: "reasoning_content",
        hint: "Leave the reasoning out, or let the model think.",
      });
    }
    const inside = content === "";
    const close = this.#control.get(THINK_CLOSE);
    const closing = inside ? [] : close === undefined ? this.#plain(THINK_CLOSE) : [close];
    return {
      text: begun.text + reasoning + (inside ? "" : THINK_CLOSE + content),
      ids: [...begun.ids, ...this.#plain(reasoning), ...closing, ...this.#plain(content)],
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

  #plain(text: string): number[] {
    return this.#tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
  }

  /** Positions of `text` at which contents, not the template, spell what could be a control token. */
  #inert(inputs: Inputs, options: RenderOptions, text: string): Set<number> {
    const mark = unusedMark([...stringsOf(inputs), this.source, text]);
    const marker = new Marker(this.#control.keys(), mark);
    // Templates look for these in earlier answers, and cut them there.
    const own = [...this.#control.keys()].filter((token) => token !== THINK_OPEN && token !== THINK_CLOSE);
    const inAnswers = new Marker(own, mark);
    const marked = {
      messages: inputs.messages.map((message) => {
        const marks = message.role === "assistant" ? inAnswers : marker;
        return { ...(marks.markAll(message) as Record<string, unknown>), role: message.role };
      }),
      tools: marker.markAll(inputs.tools),
      variables: marker.markAll(inputs.variables),
    };
    if (marker.count + inAnswers.count === 0) return new Set();
    const result = marker.unmark(this.#run(marked, options));
    if (result.text === text) return result.inert;
    throw new ConfigError("the template takes contents apart where they could hold a control token", {
      where: `chat template "${this.name}"`,
      expected: "contents that come out as they went in",
      found: `another text (${result.text.length} instead of ${text.length} characters)`,
      hint: "Remove what looks like a control token (<|..|>) from the messages, or give another template.",
    });
  }
}

/**
 * The template of a checkpoint; where `source` is null, the built-in one that fits (see `builtinFor`).
 * @throws ConfigError where none fits, or the source is no Jinja
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
