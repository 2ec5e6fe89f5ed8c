/** From rows to token ids: what is read, what is learned, and what is cut where a row is longer than the model is to read. */
import type { ChatTemplate } from "../../chat/index.ts";
import type { Message } from "../../chat/messages.ts";
import type { CompletionRow, ConversationRow, PreferenceRow, PromptRow } from "../../data/rows/row.ts";
import { ConfigError } from "../../tensor/errors.ts";
import type { Tokenizer } from "../../tokenizer/tokenizer.ts";
import type { PreferencePair } from "../../train/objectives/preference.ts";
import type { Lesson } from "../../train/packed-rows.ts";

export interface LessonSettings {
  readonly tokenizer: Tokenizer;
  /** Null for a model without one: then rows of messages are refused. */
  readonly template: ChatTemplate | null;
  /** Tokens that end answers by the model's configuration. */
  readonly endIds: readonly number[];
  /** Whether only answers are learned, or all. */
  readonly learn: "answers" | "all";
}

const isText = (value: string | readonly Message[]): value is string => typeof value === "string";

export class RowLessons {
  /** Rows so far whose answer does not stand behind the prompt that a model gets: it opens a thought, and they have none. */
  unprompted = 0;
  readonly #settings: LessonSettings;

  constructor(settings: LessonSettings) {
    this.#settings = settings;
  }

  /** A conversation, or a prompt with its answer. @throws ConfigError for what the template has no place for */
  supervised(row: ConversationRow | CompletionRow): Lesson {
    const { learn } = this.#settings;
    if (row.form === "conversation") return this.#chat(row.messages, row, { learn });
    const { prompt, completion } = row;
    if (!isText(prompt) && !isText(completion)) {
      return this.#chat([...prompt, ...completion], row, { learn, from: prompt.length });
    }
    const read = this.#prompt(prompt as string);
    const written = this.#answer(completion as string);
    const mark = learn === "all" ? 1 : 0;
    const { bos } = this.#settings.tokenizer.specialIds;
    return {
      ids: [...read, ...written],
      learned: [...read.map((id, i) => (i === 0 && id === bos ? 0 : mark)), ...written.map(() => 1)],
    };
  }

  /** The ids of a pair. @throws ConfigError, also where the template gives both answers another prompt */
  pair(row: PreferenceRow): PreferencePair {
    const { prompt, chosen, rejected } = row;
    if (isText(prompt) && isText(chosen) && isText(rejected)) {
      return { prompt: this.#prompt(prompt), chosen: this.#answer(chosen), rejected: this.#answer(rejected) };
    }
    const sides = ([chosen, rejected] as (readonly Message[])[]).map((answer, i) => {
      if (answer.length > 1) {
        throw new ConfigError("a preferred answer of several turns is not learned", {
          where: i === 0 ? "chosen" : "rejected",
          expected: "one message of the assistant",
          found: `${answer.length} messages`,
        });
      }
      const before = prompt as readonly Message[];
      const { ids, learned } = this.#chat([...before, ...answer], row, { from: before.length });
      const from = learned.indexOf(1);
      return { prompt: ids.slice(0, from), answer: ids.slice(from, learned.lastIndexOf(1) + 1) };
    });
    if (sides[0].prompt.join() !== sides[1].prompt.join()) {
      throw new ConfigError("the two answers have different prompts", {
        where: "rejected",
        hint: "Both need reasoning, or neither.",
      });
    }
    return { prompt: sides[0].prompt, chosen: sides[0].answer, rejected: sides[1].answer };
  }

  /** The ids of a prompt, up to where the answer begins. @throws ConfigError */
  prompt({ prompt, tools }: PromptRow): number[] {
    if (isText(prompt)) return this.#prompt(prompt);
    return this.#template().encode(prompt, { ...(tools && { tools }) });
  }

  #template(): ChatTemplate {
    const { template } = this.#settings;
    if (template !== null) return template;
    throw new ConfigError("the model has no chat template, and none that is built in fits", {
      where: "messages",
      hint: "Choose one with --template: llm, coder, v3, .., or a Jinja file.",
    });
  }

  #chat(
    messages: readonly Message[],
    { tools }: Pick<ConversationRow, "tools">,
    options: { readonly learn?: "answers" | "all"; readonly from?: number },
  ): { readonly ids: readonly number[]; readonly learned: readonly number[] } {
    const { endIds } = this.#settings;
    const lesson = this.#template().lesson(messages, { ...options, endIds, ...(tools && { tools }) });
    if (!lesson.prompted) this.unprompted++;
    return lesson;
  }

  /** A text as it is, as `complete` reads it. */
  #prompt(text: string): number[] {
    const { tokenizer } = this.#settings;
    return [...tokenizer.prefixIds, ...tokenizer.encode(text, { addSpecialTokens: false })];
  }

  /** A text with its end token. */
  #answer(text: string): number[] {
    const { tokenizer, endIds } = this.#settings;
    const end = tokenizer.specialIds.eos ?? endIds[0];
    if (end === undefined) {
      throw new ConfigError("the model does not say which token ends a text", {
        where: "tokenizer_config.json",
        name: "eos_token",
        hint: "A model that never learns it never stops.",
      });
    }
    const ids = tokenizer.encode(text, { addSpecialTokens: false });
    return ids.at(-1) === end ? ids : [...ids, end];
  }
}

/** A lesson cut to `length` at its end. */
export function cutLesson({ ids, learned }: Lesson, length: number): Lesson {
  return { ids: Array.from(ids).slice(0, length), learned: Array.from(learned).slice(0, length) };
}

/**
 * A pair cut to `length` tokens with each of its answers: the prompt from the left, down to half of the length, then the answers
 * at their ends. Both keep the same prompt.
 */
export function cutPair({ prompt, chosen, rejected }: PreferencePair, length: number): PreferencePair {
  const longest = Math.max(chosen.length, rejected.length);
  const room = Math.max(length - longest, Math.floor(length / 2));
  const kept = prompt.slice(Math.max(0, prompt.length - room));
  const most = length - kept.length;
  return { prompt: kept, chosen: chosen.slice(0, most), rejected: rejected.slice(0, most) };
}
