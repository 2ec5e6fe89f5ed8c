/**
 * Rows of tasks that models are judged by, from the JSON of a line:
 *
 *     {"context": "..", "choices": ["..", ".."], "gold": 1}      which choice is most likely
 *     {"prompt": "..", "answer": ".."}                           what the model writes, compared or judged
 *     {"prefix": "..", "suffix": "..", "middle": ".."}           what the model writes between two texts
 *     {"text": ".."}                                             how likely a text is
 *
 * `context` and `prompt` may be lists of messages. Other fields say where a row is from; judges see them.
 */
import { type JsonFields, LineFields, shown } from "../data/conversations/fields.ts";
import type { TextOrMessages } from "../data/rows/row.ts";
import { parseMessages } from "../data/rows/row-messages.ts";

export interface JsonRow {
  /** All fields, as logs show them and judges see them. */
  readonly fields: JsonFields;
}

export interface ChoiceRow extends JsonRow {
  readonly form: "choices";
  readonly context: TextOrMessages;
  readonly choices: readonly string[];
  /** Places of the right ones. */
  readonly gold: readonly number[];
}

export interface AnswerRow extends JsonRow {
  readonly form: "answer";
  readonly prompt: TextOrMessages;
  /** Any of them is right; none where a judge knows. */
  readonly answers: readonly string[];
}

export interface InfillRow extends JsonRow {
  readonly form: "infill";
  readonly prefix: string;
  readonly suffix: string;
  readonly middle: string;
}

export interface TextRow extends JsonRow {
  readonly form: "text";
  readonly text: string;
}

export type TaskRow = ChoiceRow | AnswerRow | InfillRow | TextRow;
export type TaskForm = TaskRow["form"];

/** Fields of each form; those that tell it come first. */
const FIELDS: Readonly<Record<TaskForm, readonly string[]>> = {
  choices: ["context", "choices", "gold"],
  answer: ["prompt", "answer"],
  infill: ["prefix", "suffix", "middle"],
  text: ["text"],
};
/** What tells a form from the others, in the order in which they are looked for. */
const TELLING: readonly (readonly [TaskForm, string])[] = [
  ["choices", "choices"],
  ["infill", "middle"],
  ["answer", "prompt"],
  ["text", "text"],
];
const FORMS_TEXT = Object.values(FIELDS)
  .map((names) => names.join(", "))
  .join("; or ");

/** Fields that would change what is asked, and that nothing here obeys. */
const UNSUPPORTED = [
  ...["image", "images", "video", "videos", "audio", "audios", "tools", "functions"],
  ...["chat_template_kwargs"],
];

const MOST_CHOICES = 256;
const MOST_ANSWERS = 256;
/** Characters of all texts of a row that is no document of text. */
export const MOST_CHARACTERS = 1 << 20;
/** Characters of a middle, whose distance to what is written grows with both lengths. */
export const MOST_MIDDLE = 8192;

const given = (json: JsonFields, key: string) => json[key] !== undefined && json[key] !== null;

/** The form that a row has by its fields; null if it is none. */
export function formOf(json: JsonFields): TaskForm | null {
  return TELLING.find(([, key]) => given(json, key))?.[0] ?? null;
}

function asked(value: unknown, field: string, fields: LineFields, isEmptyFine: boolean): TextOrMessages {
  if (typeof value === "string") {
    if (value === "" && !isEmptyFine) fields.refuse(field, "an empty prompt", { found: '""' });
    return value;
  }
  if (!Array.isArray(value)) {
    fields.refuse(field, "must be a text or a list of messages", { found: shown(value) });
  }
  const messages = parseMessages(value, field, fields);
  const last = messages.at(-1)?.role;
  if (last !== "user" && last !== "tool") {
    fields.refuse(field, "must end where the assistant's turn begins", {
      expected: "a last message of the user or of a tool",
      found: last ?? "no messages",
    });
  }
  return messages;
}

function filled(value: unknown, field: string, fields: LineFields): string {
  const text = fields.text(value, field);
  return text === "" ? fields.refuse(field, "empty", { expected: "a text", found: '""' }) : text;
}

function choiceRow(json: JsonFields, fields: LineFields): Omit<ChoiceRow, "fields"> {
  const context = asked(json.context, "context", fields, true);
  const list = fields.list(json.choices, "choices");
  if (list.length < 2 || list.length > MOST_CHOICES) {
    fields.refuse("choices", "wrong number of choices", {
      expected: `2 to ${MOST_CHOICES}`,
      found: list.length,
    });
  }
  const choices = list.map((each, i) => filled(each, `choices[${i}]`, fields));
  const golds = Array.isArray(json.gold) ? json.gold : [json.gold];
  const gold = golds.map((each: unknown, i) => {
    const place = typeof each === "string" ? choices.indexOf(each) : each;
    if (Number.isSafeInteger(place) && (place as number) >= 0 && (place as number) < choices.length) {
      return place as number;
    }
    return fields.refuse(Array.isArray(json.gold) ? `gold[${i}]` : "gold", "no place of a choice", {
      expected: `0 to ${choices.length - 1}, or the text of one`,
      found: shown(each),
    });
  });
  if (gold.length === 0) fields.refuse("gold", "no right choice", { expected: "one or more", found: "[]" });
  return { form: "choices", context, choices, gold };
}

function answerRow(json: JsonFields, fields: LineFields, isJudged: boolean): Omit<AnswerRow, "fields"> {
  const prompt = asked(json.prompt, "prompt", fields, false);
  const list: readonly unknown[] = Array.isArray(json.answer) ? json.answer : [json.answer];
  if (!given(json, "answer")) {
    if (isJudged) return { form: "answer", prompt, answers: [] };
    fields.refuse("answer", "nothing to compare with", {
      expected: "a text, a number, or a list of them",
      found: "nothing",
      hint: "Rows without answers need a judge: --reward or --reward-command.",
    });
  }
  if (list.length === 0 || list.length > MOST_ANSWERS) {
    fields.refuse("answer", "wrong number of answers", {
      expected: `1 to ${MOST_ANSWERS}`,
      found: list.length,
    });
  }
  const answers = list.map((each, i) => {
    const text = typeof each === "number" ? String(each) : each;
    if (typeof text === "string" && text.trim() !== "") return text;
    // What the judge makes of it is the judge's.
    if (isJudged) return "";
    const field = Array.isArray(json.answer) ? `answer[${i}]` : "answer";
    return fields.refuse(field, "must be a text or a number", { found: shown(each) });
  });
  return { form: "answer", prompt, answers: answers.filter((text) => text !== "") };
}

function infillRow(json: JsonFields, fields: LineFields): Omit<InfillRow, "fields"> {
  const prefix = fields.text(json.prefix, "prefix");
  const suffix = fields.text(json.suffix, "suffix");
  const middle = filled(json.middle, "middle", fields);
  if (middle.length > MOST_MIDDLE) {
    fields.refuse("middle", "too long", {
      expected: `at most ${MOST_MIDDLE} characters`,
      found: middle.length,
    });
  }
  return { form: "infill", prefix, suffix, middle };
}

export interface RowRules {
  /** The form that it must have; default: any. */
  readonly form?: TaskForm;
  /** Whether a judge looks at answers, so that rows may do without. */
  readonly isJudged?: boolean;
}

/**
 * The row of a parsed line; `where` names file and line.
 * @throws FormatError with the field that is missing, malformed, or not supported
 */
export function taskRow(value: unknown, where: string, { form, isJudged = false }: RowRules = {}): TaskRow {
  const fields = new LineFields(where, {});
  const json = fields.object(value, "");
  const found = formOf(json);
  if (found === null) {
    return fields.refuse("", "not a row of a task", {
      expected: FORMS_TEXT,
      found: Object.keys(json).slice(0, 8),
    });
  }
  if (form !== undefined && found !== form) {
    fields.refuse("", "rows of several forms in one task", {
      expected: FIELDS[form].join(", "),
      found: FIELDS[found].filter((key) => given(json, key)).join(", "),
      hint: "Put them into files of their own.",
    });
  }
  for (const key of UNSUPPORTED) {
    if (given(json, key) && !(Array.isArray(json[key]) && json[key].length === 0)) {
      fields.refuse(key, "not supported in tasks", { found: shown(json[key]) });
    }
  }
  const own = found === "text" ? textRow(json, fields) : shortRow(found, json, fields, isJudged);
  return { ...own, fields: json } as TaskRow;
}

const textRow = (json: JsonFields, fields: LineFields): Omit<TextRow, "fields"> => ({
  form: "text",
  text: filled(json.text, "text", fields),
});

function shortRow(
  form: Exclude<TaskForm, "text">,
  json: JsonFields,
  fields: LineFields,
  isJudged: boolean,
): Omit<ChoiceRow | AnswerRow | InfillRow, "fields"> {
  const size = FIELDS[form].reduce((sum, key) => sum + charactersIn(json[key]), 0);
  if (size > MOST_CHARACTERS) {
    fields.refuse("", "the row is too long", {
      expected: `at most ${MOST_CHARACTERS} characters in ${FIELDS[form].join(", ")}`,
      found: size,
    });
  }
  if (form === "choices") return choiceRow(json, fields);
  return form === "answer" ? answerRow(json, fields, isJudged) : infillRow(json, fields);
}

/** Characters of the texts in a value. */
function charactersIn(value: unknown): number {
  if (typeof value === "string") return value.length;
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, each) => sum + charactersIn(each), 0);
}
