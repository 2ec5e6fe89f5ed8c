/**
 * What a model reads of a row: examples before the question, the chat template if one is applied, token ids. Texts are joined as in
 * lm-evaluation-harness: one space before an answer, an empty line between examples. A text that ends in white space gets no space.
 */
import type { Message } from "../chat/messages.ts";
import type { ChatTemplate } from "../chat/template.ts";
import type { TextOrMessages } from "../data/rows/row.ts";
import { ConfigError } from "../tensor/errors.ts";
import { Random } from "../tensor/random.ts";
import { withOpening } from "../tokenizer/opening.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import type { AnswerRow, ChoiceRow, TaskRow } from "./rows.ts";

/** Between a question and its answer, and between two examples. */
export const ANSWER_DELIMITER = " ";
export const SHOT_DELIMITER = "\n\n";

export interface PromptSettings {
  /** Whether texts are put into the chat template as a user's messages; messages always are. */
  readonly chat?: boolean;
  /** The system's message, with the chat template. */
  readonly system?: string;
  /** Whether BOS comes first; default: what the tokenizer itself adds. The template alone decides about its own. */
  readonly bos?: boolean;
}

/** Reads texts and messages for one model. */
export interface PromptReader {
  readonly tokenizer: Tokenizer;
  /** Null: none that fits. */
  readonly template: ChatTemplate | null;
  readonly settings: PromptSettings;
}

/** An example with its answer. */
export interface Shot {
  readonly asked: TextOrMessages;
  readonly answer: string;
}

/** A question as the model reads it. */
export interface ReadPrompt {
  readonly text: string;
  readonly ids: readonly number[];
  /** Whether the chat template made it: an answer is a turn of its own then. */
  readonly chat: boolean;
}

/** An example of a row; null for forms that have none. */
export function shotOf(row: TaskRow): Shot | null {
  if (row.form === "choices") return { asked: row.context, answer: row.choices[row.gold[0]] };
  if (row.form === "answer" && row.answers.length > 0) return { asked: row.prompt, answer: row.answers[0] };
  return null;
}

/**
 * Examples for each question: the same ones in the same order, drawn by `seed`, so that what stands before all questions is read
 * once; a question that is one of them has another in its place.
 */
export class ShotDrawing {
  readonly #rows: readonly TaskRow[];
  readonly #order: readonly number[];
  readonly #count: number;

  /** @param isOwn whether the questions come from the same rows @throws ConfigError for too few rows, or of another form */
  constructor(name: string, rows: readonly TaskRow[], count: number, seed: number, isOwn: boolean) {
    const usable = rows.flatMap((row, i) => (shotOf(row) === null ? [] : [i]));
    const needed = count === 0 ? 0 : count + (isOwn ? 1 : 0);
    if (usable.length < needed) {
      throw new ConfigError("too few rows to draw examples from", {
        ...{ where: name, expected: `${needed} rows with an answer`, found: usable.length },
        hint: "Ask for fewer examples, or name a file to draw them from.",
      });
    }
    this.#rows = rows;
    this.#count = count;
    this.#order = new Random(seed).shuffle(usable).slice(0, needed);
  }

  /** @param own place of the question among the rows; null if it is none of them */
  for(own: number | null): Shot[] {
    const places = this.#order.filter((place) => place !== own).slice(0, this.#count);
    return places.map((place) => shotOf(this.#rows[place])!);
  }
}

/** What stands between a text and what follows it. */
const gap = (text: string) => (text === "" || text.trimEnd() !== text ? "" : ANSWER_DELIMITER);

const asMessages = (asked: TextOrMessages): readonly Message[] =>
  typeof asked === "string" ? [{ role: "user", content: asked }] : asked;

/** Ids of a text behind what comes before every text. */
function textIds({ tokenizer, settings: { bos } }: PromptReader, text: string): number[] {
  const ids = tokenizer.encode(text, { addSpecialTokens: false, parseSpecial: false });
  if (bos === undefined) return withOpening(tokenizer, ids);
  return bos ? [openingToken(tokenizer, "bos"), ...ids] : ids;
}

/** The token before a text that has nothing before it: BOS, else EOS. @throws ConfigError */
export function openingToken(tokenizer: Tokenizer, name: "bos" | "either" = "either"): number {
  const { bos, eos } = tokenizer.specialIds;
  const id = bos ?? (name === "either" ? eos : undefined);
  if (id !== undefined) return id;
  throw new ConfigError("the tokenizer has no token for the beginning of a text", {
    ...{ where: "evaluate", expected: name === "bos" ? "a BOS token" : "a BOS or an EOS token" },
  });
}

/** The messages that the template gets. @throws ConfigError without a template */
function chatPrompt(
  { template, settings: { system } }: PromptReader,
  asked: TextOrMessages,
  shots: readonly Shot[],
): ReadPrompt {
  if (template === null) {
    throw new ConfigError("the model has no chat template, and none that is built in fits", {
      ...{ where: "evaluate", expected: "texts, without a chat template", found: "messages" },
    });
  }
  const given = asMessages(asked);
  const [first] = given;
  if (system !== undefined && first.role === "system") {
    throw new ConfigError("two system messages", {
      ...{ where: "evaluate", name: "system", found: "a row that brings its own" },
    });
  }
  const before = system === undefined ? [] : [{ role: "system", content: system } as const];
  // A row's own system message stays in front of the examples.
  const own = first.role === "system" ? given.slice(0, 1) : [];
  const examples = shots.flatMap((shot) => [
    ...asMessages(shot.asked).filter(({ role }) => role !== "system"),
    { role: "assistant", content: shot.answer } as const,
  ]);
  const messages = [...before, ...own, ...examples, ...given.slice(own.length)];
  const { text, ids } = template.prompt(messages);
  return { text, ids, chat: true };
}

/** A question behind its examples. @throws ConfigError */
export function readPrompt(
  reader: PromptReader,
  asked: TextOrMessages,
  shots: readonly Shot[] = [],
): ReadPrompt {
  const parts = [asked, ...shots.map((shot) => shot.asked)];
  if (reader.settings.chat || parts.some((part) => typeof part !== "string")) {
    return chatPrompt(reader, asked, shots);
  }
  const examples = shots.map((shot) => {
    const question = shot.asked as string;
    return question + gap(question) + shot.answer + SHOT_DELIMITER;
  });
  const text = examples.join("") + asked;
  return { text, ids: textIds(reader, text), chat: false };
}

/** A question and what may follow it, as ids. */
export interface Continued {
  readonly prompt: readonly number[];
  readonly continuation: readonly number[];
  /** What follows, as text. */
  readonly text: string;
}

/**
 * What follows a question, as the model would read both: white space at the question's end belongs to what follows, and where the two
 * meet in one token so does that token. @throws ConfigError for a text without tokens
 */
export function continued(reader: PromptReader, read: ReadPrompt, choice: string): Continued {
  const { tokenizer, template } = reader;
  const plain = { addSpecialTokens: false, parseSpecial: false };
  if (read.chat) {
    const text = (template!.stripsSpace ? " " : "") + choice;
    return { prompt: read.ids, continuation: tokenizer.encode(text, plain), text };
  }
  const context = read.text.trimEnd();
  const text = read.text.slice(context.length) + gap(read.text) + choice;
  if (context === "") {
    const opening = textIds(reader, "");
    const prompt = opening.length > 0 ? opening : [openingToken(tokenizer)];
    return { prompt, continuation: tokenizer.encode(text, plain), text };
  }
  const [before, whole] = [textIds(reader, context), textIds(reader, context + text)];
  let common = 0;
  while (common < before.length && before[common] === whole[common]) common++;
  // A first token that both are a part of has nothing before it.
  const prompt = common > 0 ? whole.slice(0, common) : [openingToken(tokenizer)];
  return { prompt, continuation: whole.slice(common), text };
}

/** What is asked of a row. */
export const askedOf = (row: ChoiceRow | AnswerRow): TextOrMessages =>
  row.form === "choices" ? row.context : row.prompt;
