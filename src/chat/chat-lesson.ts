/**
 * A conversation as training reads it: token ids, and which of them the model has to produce. The rule is that of the template:
 * what stands behind the generation prompt of an answer is the answer's, its end token included (DeepSeek's released fine-tuning
 * scripts; `{% generation %}` of transformers marks the same).
 */
import { ConfigError } from "../tensor/errors.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { finish, type Slices } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { type AnswerSpan, answerSpans, type TextSpan } from "./answer-spans.ts";
import { data, join, literal, type Str } from "./jinja/index.ts";
import { contentOf, type Message } from "./messages.ts";
import { THINK_CLOSE, THINK_OPEN } from "./provenance.ts";
import { splitReasoning } from "./reasoning.ts";

export interface LessonChoice {
  /** `answers` (default): what the model has to produce by itself; `all`: everything but the token that texts begin with. */
  readonly learn?: "answers" | "all";
  /** The first message whose answer is learned; default 0. */
  readonly from?: number;
}

/** A conversation as training reads it. */
export interface ChatLesson {
  readonly text: string;
  readonly ids: readonly number[];
  /** For each id 1 if it is learned, else 0. */
  readonly learned: readonly number[];
  /** The answers in `text` that are learned. */
  readonly spans: readonly TextSpan[];
  /**
   * Whether the last answer stands behind the prompt that a model gets to answer; not where that opens a thought and the answer
   * has none.
   */
  readonly prompted: boolean;
}

/** A template, as far as a lesson needs it. */
export interface Voice {
  readonly name: string;
  readonly tokenizer: Tokenizer;
  /** Tokens that may end an answer. */
  readonly endIds: readonly number[];
  run(
    messages: readonly Message[],
    options: { readonly addGenerationPrompt: boolean; readonly thinking?: boolean },
  ): Slices<Str>;
  ids(rendered: Str): Slices<number[]>;
}

/** What an assistant thought before an answer, in a field of its own or in `<think>` before its content. */
function thoughtOf(message: Message): { readonly reasoning: string; readonly content: string } | null {
  const content = contentOf(message);
  if (message.reasoning_content) return { reasoning: message.reasoning_content, content };
  if (!content.trimStart().startsWith(THINK_OPEN)) return null;
  const split = splitReasoning(content);
  return split.reasoning === "" ? null : split;
}

const withoutBlanks = (text: string) => text.replace(/\s+/g, "");

/** Texts of the tokens that end answers: a user's token stands before the next question and ends none. */
function endTexts({ tokenizer, endIds }: Voice): string[] {
  const user = tokenizer.idOf(TOKEN.user);
  const ids = new Set(endIds.filter((id) => id !== user));
  return [...ids].flatMap((id) => tokenizer.tokenOf(id) ?? []);
}

/** @throws ConfigError if the last message is no answer, the template refuses it, or does not say where answers end */
export function* chatLesson(
  voice: Voice,
  messages: readonly Message[],
  { learn = "answers", from = 0 }: LessonChoice,
): Slices<ChatLesson> {
  const last = messages.at(-1);
  if (last?.role !== "assistant") {
    throw new ConfigError("there is no answer to learn", {
      where: `messages[${messages.length - 1}]`,
      expected: "a last message of the assistant",
      found: last?.role ?? "no messages",
    });
  }
  const { name } = voice;
  const open = (before: readonly Message[]) => finish(voice.run(before, { addGenerationPrompt: true }));
  const ends = endTexts(voice);
  const firsts = messages.slice(0, from).filter(({ role }) => role === "assistant").length;
  const whole = yield* voice.run(messages, { addGenerationPrompt: false });
  const thought = thoughtOf(last);
  const { reasoning_content: _, ...bare } = last;
  const read =
    thought === null ? messages : [...messages.slice(0, -1), { ...bare, content: thought.content }];
  const plain = thought === null ? whole : yield* voice.run(read, { addGenerationPrompt: false });
  // Templates differ in the blanks between a thought that they cut off and the answer.
  if (thought === null || withoutBlanks(plain.text) !== withoutBlanks(whole.text)) {
    const spans = answerSpans({ messages, whole, ends, name }, open);
    return yield* marked(voice, whole, spans.slice(firsts), learn);
  }
  // Most leave reasoning out: the answer stands behind the prompt that opens it, as a model writes it.
  const spans = answerSpans({ messages: read, whole: plain, ends, name }, open);
  const begun = yield* voice.run(messages.slice(0, -1), { addGenerationPrompt: true, thinking: true });
  const answer = spans.at(-1)!;
  const before = spans.at(-2)?.to ?? 0;
  if (!begun.text.trimEnd().endsWith(THINK_OPEN) || !begun.text.startsWith(plain.text.slice(0, before))) {
    throw new ConfigError("the chat template has no place for reasoning", {
      where: `chat template "${name}"`,
      name: `messages[${messages.length - 1}]`,
      hint: "Leave the reasoning out, or use a model whose prompts open it.",
    });
  }
  // R1 writes its thoughts on lines of their own, V3.1 does not.
  const lines = begun.text.endsWith("\n");
  const rendered = join([
    begun,
    data(`${thought.reasoning.trim()}${lines ? "\n" : ""}`),
    literal(THINK_CLOSE + (lines ? "\n\n" : "")),
    plain.slice(answer.from, answer.to),
  ]);
  const written = { from: begun.text.length, to: rendered.text.length, prompted: true };
  return yield* marked(voice, rendered, [...spans.slice(firsts, -1), written], learn);
}

function* marked(
  { tokenizer, ids: encode }: Voice,
  rendered: Str,
  answers: readonly AnswerSpan[],
  learn: "answers" | "all",
): Slices<ChatLesson> {
  const ids: number[] = [];
  const learned: number[] = [];
  const add = (part: readonly number[], mark: number) => {
    for (const id of part) {
      ids.push(id);
      learned.push(mark);
    }
  };
  const other = learn === "all" ? 1 : 0;
  let at = 0;
  // Each part by itself, so that no token reaches over a border.
  for (const { from, to } of answers) {
    add(yield* encode(rendered.slice(at, from)), other);
    add(yield* encode(rendered.slice(from, to)), 1);
    at = to;
  }
  if (at < rendered.text.length) add(yield* encode(rendered.slice(at)), other);
  if (ids.length > 0 && ids[0] === tokenizer.specialIds.bos) learned[0] = 0;
  const spans = answers.map(({ from, to }) => ({ from, to }));
  return { text: rendered.text, ids, learned, spans, prompted: answers.at(-1)!.prompted };
}
