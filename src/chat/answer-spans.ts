/**
 * Which parts of a rendered conversation a model has to produce: what follows the generation prompt of each answer, up to and
 * with the token that ends it. Found by rendering the conversation up to each answer, so that any template serves.
 */
import { ConfigError } from "../tensor/errors.ts";
import type { Str } from "./jinja/index.ts";
import type { Message } from "./messages.ts";
import { isTemplates } from "./provenance.ts";

/** A part of a text, in UTF-16 units. */
export interface TextSpan {
  readonly from: number;
  readonly to: number;
}

/** An answer, and whether it stands behind all of the generation prompt that a model gets. */
export interface AnswerSpan extends TextSpan {
  readonly prompted: boolean;
}

export interface RenderedConversation {
  readonly messages: readonly Message[];
  /** All messages, rendered without a generation prompt. */
  readonly whole: Str;
  /** Texts of the tokens that end an answer. */
  readonly ends: readonly string[];
  /** The template's name, for errors. */
  readonly name: string;
}

function commonLength(a: string, b: string): number {
  const most = Math.min(a.length, b.length);
  let at = 0;
  while (at < most && a.charCodeAt(at) === b.charCodeAt(at)) at++;
  return at;
}

/** Where the first token that ends an answer and that the template wrote ends, from `from` on; -1 if there is none. */
function endAfter(whole: Str, from: number, ends: readonly string[]): number {
  let found = -1;
  let nearest = whole.text.length;
  for (const end of ends) {
    for (
      let at = whole.text.indexOf(end, from);
      at >= 0 && at < nearest;
      at = whole.text.indexOf(end, at + 1)
    ) {
      if (!isTemplates(whole, at, at + end.length)) continue;
      nearest = at;
      found = at + end.length;
    }
  }
  return found;
}

/**
 * The answers of a conversation, in their order. `open` renders the messages before an answer with the generation prompt.
 * @throws ConfigError if the template rewrites what it rendered before, or ends no answer
 */
export function answerSpans(
  { messages, whole, ends, name }: RenderedConversation,
  open: (before: readonly Message[]) => Str,
): AnswerSpan[] {
  const where = `chat template "${name}"`;
  const spans: AnswerSpan[] = [];
  for (const [index, { role }] of messages.entries()) {
    if (role !== "assistant") continue;
    const begun = open(messages.slice(0, index));
    const from = commonLength(begun.text, whole.text);
    // Of the prompt only its own last words may differ: earlier answers are shown without `<think>`.
    if (from < (spans.at(-1)?.to ?? 0) || !isTemplates(begun, from, begun.text.length)) {
      throw new ConfigError("the chat template shows earlier turns otherwise once others follow", {
        where,
        name: `messages[${index}]`,
        hint: "Give each answer as a row of its own: its conversation so far as prompt, and the answer as completion.",
      });
    }
    const to = endAfter(whole, from, ends);
    const next = messages.findIndex((message, i) => i > index && message.role === "assistant");
    if (to < 0 || (next < 0 && whole.text.slice(to).trim() !== "")) {
      throw new ConfigError("the chat template writes no end token behind an answer", {
        where,
        name: `messages[${index}]`,
        expected: ends.join(" or "),
        found: JSON.stringify(whole.text.slice(-40)),
        hint: "A model that never learns it never stops. Use a template that ends answers, or the right eos_token.",
      });
    }
    spans.push({ from, to, prompted: from === begun.text.length });
  }
  return spans;
}
