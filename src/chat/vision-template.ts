/**
 * Prompts of DeepSeek-VL, Janus and DeepSeek-VL2 behind the interface of chat templates. They are made by code, as in the
 * reference: a Jinja template in such a checkpoint is not read.
 */
import { ConfigError } from "../tensor/errors.ts";
import { finish, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type ImageMessage, type PromptPiece, tokenId } from "./image-messages.ts";
import { checkMessages, contentOf, type Message } from "./messages.ts";
import { controlTokens } from "./provenance.ts";
import { ReplyReader } from "./reply.ts";
import type { ChatPrompt, ChatTemplate, ReaderOptions, RenderOptions } from "./template.ts";
import { renderVl, VL_STOP_STRINGS, type VlFamily, vlPieces, vlVoices } from "./vl-prompt.ts";
import { GROUNDING_TAGS, taggedContent, VL2_STOP_STRINGS, VL2_USER, vl2Pieces } from "./vl2-prompt.ts";

/** Whose prompts they are: DeepSeek-VL's, those of the models that draw, or DeepSeek-VL2's. */
export type VisionFamily = VlFamily | "vl2";

/** What a family's prompts differ in. */
interface Family {
  readonly name: string;
  readonly stopStrings: readonly string[];
  readonly stripsSpace: boolean;
  /** Texts of tokens that end an answer, beside EOS. */
  readonly ends: readonly string[];
  readonly spoken: readonly string[];
  /** @param answered whether the last message is an answer that is to be continued: it gets no end */
  pieces(messages: readonly ImageMessage[], tokenizer: Tokenizer, answered: boolean): Slices<PromptPiece[]>;
}

/** BOS and EOS. @throws ConfigError */
export function sentenceTokens({ specialIds: { bos, eos } }: Tokenizer) {
  if (bos !== undefined && eos !== undefined) return { bos, eos };
  throw new ConfigError("the tokenizer does not say how texts begin and end", {
    where: "tokenizer_config.json",
    name: bos === undefined ? "bos_token" : "eos_token",
    hint: "Use the tokenizer files of the model's own folder.",
  });
}

const vl = (family: VlFamily, name: string, stopStrings = VL_STOP_STRINGS): Family => ({
  name,
  stopStrings,
  stripsSpace: true,
  ends: [VL2_USER],
  spoken: [],
  pieces(messages, tokenizer, answered) {
    const parts = renderVl(messages, undefined, vlVoices(tokenizer, family));
    return vlPieces(answered ? parts.slice(0, -1) : parts, tokenizer, family);
  },
});

const families: Readonly<Record<VisionFamily, Family>> = {
  vl: vl("vl", "deepseek-vl"),
  janus: vl("janus", "janus"),
  "janus-pro": vl("janus-pro", "janus-pro", [VL2_USER]),
  janusflow: vl("janusflow", "janusflow"),
  vl2: {
    name: "deepseek-vl2",
    stopStrings: VL2_STOP_STRINGS,
    stripsSpace: false,
    ends: [VL2_USER],
    spoken: GROUNDING_TAGS,
    *pieces(messages, tokenizer, answered) {
      // Boxes of an earlier answer are read again as they were written.
      const read = messages.map((message) =>
        message.role === "assistant"
          ? { ...message, content: taggedContent(message.content, tokenizer) }
          : message,
      );
      const pieces = yield* vl2Pieces(read, tokenizer, sentenceTokens(tokenizer));
      const last = pieces.at(-1);
      if (!answered || last === undefined || !("ids" in last)) return pieces;
      return [...pieces.slice(0, -1), { ...last, ids: last.ids.slice(0, -1) }];
    },
  },
};

/** Refuses what these prompts have no place for. @throws ConfigError */
function checkOptions(name: string, messages: readonly Message[], options: RenderOptions): void {
  const { tools = [], thinking, variables = {}, addGenerationPrompt = true, continueFinal = false } = options;
  const refuse = (message: string, field: string, hint?: string): never => {
    throw new ConfigError(message, { where: `chat template "${name}"`, name: field, hint });
  };
  if (tools.length > 0) refuse("the prompts of this model have no place for tools", "tools");
  if (thinking !== undefined) refuse("this model does not reason before it answers", "thinking");
  const names = variables instanceof Map ? [...variables.keys()] : Object.keys(variables);
  if (names.length > 0) refuse("the prompts of this model have no variables", names[0]);
  const last = messages.at(-1)?.role;
  if (continueFinal && last !== "assistant") refuse("there is no answer to continue", "continueFinal");
  if (!addGenerationPrompt && last === "user") {
    refuse(
      "the prompts of this model end where an answer begins",
      "addGenerationPrompt",
      "Add the answer, or leave the option out.",
    );
  }
}

/** @throws ConfigError for calls of tools and their results */
function spoken(messages: readonly Message[]): ImageMessage[] {
  return messages.map(({ role, content, tool_calls: calls = [] }, index) => {
    if (role !== "tool" && calls.length === 0) return { role, content: content ?? "" };
    throw new ConfigError("the prompts of this model have no place for tools", {
      where: `messages[${index}]`,
      found: role,
    });
  });
}

class VisionTemplate implements ChatTemplate {
  readonly name: string;
  readonly builtin = null;
  readonly source = "";
  readonly stopIds: readonly number[];
  readonly stopStrings: readonly string[];
  readonly spoken: readonly string[];
  readonly stripsSpace: boolean;
  readonly #tokenizer: Tokenizer;
  readonly #family: Family;
  /** Shown in the places of images. */
  readonly #image: string;

  constructor(tokenizer: Tokenizer, family: Family, image: string) {
    this.#tokenizer = tokenizer;
    this.#family = family;
    this.#image = image;
    this.name = family.name;
    this.stopStrings = family.stopStrings;
    this.spoken = family.spoken;
    this.stripsSpace = family.stripsSpace;
    const ids = [tokenizer.specialIds.eos, ...family.ends.map((token) => tokenizer.idOf(token))];
    this.stopIds = ids.filter((id) => id !== undefined);
  }

  render(messages: readonly Message[], options: RenderOptions = {}): string {
    return this.prompt(messages, options).text;
  }

  encode(messages: readonly Message[], options: RenderOptions = {}): number[] {
    return this.prompt(messages, options).ids;
  }

  prompt(messages: readonly Message[], options: RenderOptions = {}): ChatPrompt {
    return finish(this.promptSlices(messages, options));
  }

  *promptSlices(messages: readonly Message[], options: RenderOptions = {}): Slices<ChatPrompt> {
    checkMessages(messages);
    checkOptions(this.name, messages, options);
    const { continueFinal = false } = options;
    if (continueFinal && contentOf(messages.at(-1)!).trim() === "") {
      throw new ConfigError("there is no answer to continue", {
        where: `messages[${messages.length - 1}]`,
        expected: "text",
        found: "an empty message",
      });
    }
    const pieces = yield* this.#family.pieces(spoken(messages), this.#tokenizer, continueFinal);
    const ids: number[] = [];
    const places: number[] = [];
    for (const piece of pieces) {
      if ("image" in piece) {
        places.push(ids.length);
        ids.push(tokenId(this.#tokenizer, this.#image));
      } else for (const id of piece.ids) ids.push(id);
    }
    return { text: this.#tokenizer.decode(ids), ids, places, opensReasoning: false };
  }

  lesson(): never {
    throw new ConfigError("models that see are trained on conversations with images", {
      where: `chat template "${this.name}"`,
      hint: "Use deepseek-ts train --data.",
    });
  }

  reader(_: Pick<ChatPrompt, "opensReasoning">, options: ReaderOptions = {}): ReplyReader {
    const { stop = [], stopIds = [], ...rest } = options;
    return new ReplyReader(this.#tokenizer, {
      ...rest,
      tools: false,
      spoken: this.spoken,
      stripsSpace: this.stripsSpace,
      stop: [...this.stopStrings, ...(typeof stop === "string" ? [stop] : stop)],
      stopIds: [...this.stopIds, ...stopIds],
      silentIds: controlTokens(this.#tokenizer).values(),
    });
  }
}

/**
 * The prompts of a model that sees. Text of messages becomes neither an image nor a control token.
 * @param image text of the token that is shown in an image's place
 * @throws ConfigError if the tokenizer lacks it
 */
export function visionTemplate(tokenizer: Tokenizer, family: VisionFamily, image: string): ChatTemplate {
  tokenId(tokenizer, image);
  return new VisionTemplate(tokenizer, families[family], image);
}
