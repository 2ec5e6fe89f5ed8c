/**
 * Rows of data for post-training in the field's forms, from the JSON of a line:
 *
 *     {"messages": [{"role": "user", "content": ".."}, {"role": "assistant", "content": ".."}]}
 *     {"prompt": "..", "completion": ".."}
 *     {"prompt": "..", "chosen": "..", "rejected": ".."}
 *     {"prompt": "..", "answer": "42", ..}
 *
 * Each text may be a list of messages instead. `conversations` of `from` and `value` (ShareGPT) are read as messages. Pairs whose
 * answers repeat the prompt, with or without a `prompt` beside them, are those of TRL's preference data. Other fields of a row
 * say where it is from and are passed over, except those that would change what is learned; rows of prompts keep them.
 */
import type { Message, Tool } from "../../chat/messages.ts";
import { type JsonFields, LineFields, shown } from "../conversations/fields.ts";
import { parseMessages, parseTools, parseTurns } from "./row-messages.ts";

/** A text as it is, or messages that the chat template puts into one. */
export type TextOrMessages = string | readonly Message[];

/** A conversation of which the assistant's turns are learned. */
export interface ConversationRow {
  readonly form: "conversation";
  readonly messages: readonly Message[];
  readonly tools?: readonly Tool[];
}

/** A prompt and its answer, both text or both messages. */
export interface CompletionRow {
  readonly form: "completion";
  readonly prompt: TextOrMessages;
  readonly completion: TextOrMessages;
  readonly tools?: readonly Tool[];
}

/** A prompt and two answers, all text or all messages. */
export interface PreferenceRow {
  readonly form: "preference";
  readonly prompt: TextOrMessages;
  readonly chosen: TextOrMessages;
  readonly rejected: TextOrMessages;
  readonly tools?: readonly Tool[];
}

/** A prompt to answer, with everything else that its row says. */
export interface PromptRow {
  readonly form: "prompt";
  readonly prompt: TextOrMessages;
  readonly tools?: readonly Tool[];
  /** All fields but `prompt` and `tools`, such as `answer`. */
  readonly fields: JsonFields;
}

/** A row of any fields: what they mean is its reader's. */
export interface FieldsRow {
  readonly form: "fields";
  readonly fields: JsonFields;
}

/** What rows are read for, and what they are then. */
export interface RowKinds {
  readonly supervised: ConversationRow | CompletionRow;
  readonly preference: PreferenceRow;
  readonly prompt: PromptRow;
  readonly fields: FieldsRow;
}

export type RowKind = keyof RowKinds;
export type Row = RowKinds[RowKind];

const EXPECTED: Readonly<Record<RowKind, string>> = {
  supervised: "messages, or prompt and completion",
  preference: "prompt, chosen and rejected",
  prompt: "prompt",
  fields: "any fields",
};

/** Fields that would change what is learned, or how the prompt reads, and that nothing here obeys. */
const UNSUPPORTED = [
  ...["image", "images", "video", "videos", "audio", "audios"],
  ...["functions", "weight", "chat_template_kwargs"],
];

const given = (json: JsonFields, key: string) => json[key] !== undefined && json[key] !== null;

function side(value: unknown, field: string, fields: LineFields): TextOrMessages {
  if (typeof value === "string") return value;
  if (Array.isArray(value)) return parseMessages(value, field, fields);
  return fields.refuse(field, "must be a text or a list of messages", { found: shown(value) });
}

/** An answer: text, or messages that begin with the assistant's and end with it. */
function checkAnswer(answer: TextOrMessages, field: string, fields: LineFields): void {
  if (typeof answer === "string") {
    if (answer === "") fields.refuse(field, "an empty answer", { found: '""' });
    return;
  }
  const [first, last] = [answer[0], answer.at(-1)];
  if (first?.role !== "assistant" || last?.role !== "assistant") {
    fields.refuse(field, "an answer must begin and end with the assistant's turn", {
      found: first === undefined ? "no turn" : `${first.role} to ${last!.role}`,
    });
  }
}

function checkPrompt(prompt: TextOrMessages, field: string, fields: LineFields): void {
  if (typeof prompt === "string") {
    if (prompt === "") fields.refuse(field, "an empty prompt", { found: '""' });
    return;
  }
  const last = prompt.at(-1)?.role;
  if (last === "user" || last === "tool") return;
  fields.refuse(field, "a prompt must end where the assistant's turn begins", {
    expected: "a last message of the user or of a tool",
    found: last ?? "no messages",
  });
}

/** All of a row are texts, or all are messages. */
function checkAlike(parts: Readonly<Record<string, TextOrMessages>>, fields: LineFields): void {
  const kinds = Object.entries(parts).map(([name, part]) => [name, typeof part === "string"] as const);
  const [[first, isText]] = kinds;
  const other = kinds.find(([, text]) => text !== isText);
  if (other === undefined) return;
  fields.refuse(other[0], "texts and messages in one row", {
    expected: isText ? `a text, as ${first} is` : `a list of messages, as ${first} is`,
    found: isText ? "a list" : "a text",
  });
}

function checkConversation(messages: readonly Message[], field: string, fields: LineFields): void {
  const last = messages.at(-1)?.role;
  if (last === "assistant") return;
  // What follows the last answer would not be learned.
  fields.refuse(field, "must end with the assistant's turn", { found: last ?? "no turn" });
}

/** A row before its tools are read. */
type Bare<R> = R extends unknown ? Omit<R, "tools"> : never;

function supervisedRow(json: JsonFields, fields: LineFields): Bare<ConversationRow | CompletionRow> {
  const turns = (["messages", "conversations"] as const).filter((key) => given(json, key));
  if (turns.length === 0 && given(json, "prompt") && given(json, "completion")) {
    const prompt = side(json.prompt, "prompt", fields);
    const completion = side(json.completion, "completion", fields);
    checkAlike({ prompt, completion }, fields);
    checkPrompt(prompt, "prompt", fields);
    checkAnswer(completion, "completion", fields);
    return { form: "completion", prompt, completion };
  }
  if (turns.length !== 1 || given(json, "completion")) refuseForm("supervised", json, fields);
  const [key] = turns;
  const messages =
    key === "messages"
      ? parseMessages(fields.list(json[key], key), key, fields)
      : parseTurns(fields.list(json[key], key), key, fields);
  checkConversation(messages, key, fields);
  return { form: "conversation", messages };
}

const same = (a: Message | undefined, b: Message | undefined) =>
  a !== undefined && b !== undefined && JSON.stringify(a) === JSON.stringify(b);

function preferenceRow(json: JsonFields, fields: LineFields): Bare<PreferenceRow> {
  if (!given(json, "chosen") || !given(json, "rejected")) refuseForm("preference", json, fields);
  let chosen = side(json.chosen, "chosen", fields);
  let rejected = side(json.rejected, "rejected", fields);
  checkAlike({ chosen, rejected }, fields);
  let prompt: TextOrMessages;
  const repeats = (answer: TextOrMessages) => typeof answer !== "string" && answer[0]?.role !== "assistant";
  if (repeats(chosen) && repeats(rejected)) {
    // Whole conversations: the prompt is what both begin with.
    const [a, b] = [chosen as readonly Message[], rejected as readonly Message[]];
    let common = 0;
    while (common < Math.min(a.length, b.length) - 1 && same(a[common], b[common])) common++;
    // An answer may be the same in both up to a turn in its middle: the prompt ends before an assistant's turn.
    while (common > 0 && a[common].role !== "assistant") common--;
    if (common === 0) {
      fields.refuse("rejected", "chosen and rejected are conversations that begin differently", {
        expected: "the same messages before the answers",
        found: shown(b[0]),
      });
    }
    prompt = a.slice(0, common);
    [chosen, rejected] = [a.slice(common), b.slice(common)];
  } else {
    if (!given(json, "prompt")) {
      fields.refuse("prompt", "a pair without its prompt", {
        expected: "prompt, or chosen and rejected as whole conversations",
        found: Object.keys(json).slice(0, 8),
      });
    }
    prompt = side(json.prompt, "prompt", fields);
    checkAlike({ prompt, chosen, rejected }, fields);
  }
  checkPrompt(prompt, "prompt", fields);
  checkAnswer(chosen, "chosen", fields);
  checkAnswer(rejected, "rejected", fields);
  if (JSON.stringify(chosen) === JSON.stringify(rejected)) {
    fields.refuse("rejected", "both answers are the same", { found: shown(json.rejected) });
  }
  return { form: "preference", prompt, chosen, rejected };
}

function promptRow(json: JsonFields, fields: LineFields): Bare<PromptRow> {
  if (!given(json, "prompt")) refuseForm("prompt", json, fields);
  const { prompt: value, tools: _, ...rest } = json;
  const prompt = side(value, "prompt", fields);
  checkPrompt(prompt, "prompt", fields);
  return { form: "prompt", prompt, fields: rest };
}

function refuseForm(kind: RowKind, json: JsonFields, fields: LineFields): never {
  fields.refuse("", "not a row of this kind of data", {
    expected: EXPECTED[kind],
    found: Object.keys(json).slice(0, 8),
    ...(typeof json.text === "string" && { hint: "Plain texts are for `deepseek-ts train`." }),
  });
}

/**
 * The row of a parsed line; `where` names file and line.
 * @throws FormatError with the field that is missing, malformed, or not supported
 */
export function parseRow<K extends RowKind>(kind: K, value: unknown, where: string): RowKinds[K] {
  const fields = new LineFields(where, {});
  const json = fields.object(value, "");
  if (kind === "fields") return { form: "fields", fields: json } as RowKinds[K];
  if (kind !== "prompt") {
    for (const key of UNSUPPORTED) {
      if (given(json, key) && !(Array.isArray(json[key]) && json[key].length === 0)) {
        fields.refuse(key, "not supported in this kind of data", { found: shown(json[key]) });
      }
    }
  }
  const make = { supervised: supervisedRow, preference: preferenceRow, prompt: promptRow }[
    kind as Exclude<RowKind, "fields">
  ];
  const row = make(json, fields);
  const tools = given(json, "tools") ? parseTools(json.tools, fields) : [];
  return { ...row, ...(tools.length > 0 && { tools }) } as RowKinds[K];
}

/** What decides on which side of a split a row is: its prompt, so that answers to one question are never torn apart. */
export function splitText(row: Row): string {
  if (row.form === "fields") return JSON.stringify(row.fields);
  if (row.form !== "conversation") return JSON.stringify(row.prompt);
  const first = row.messages.findIndex(({ role }) => role === "assistant");
  return JSON.stringify(row.messages.slice(0, first));
}
