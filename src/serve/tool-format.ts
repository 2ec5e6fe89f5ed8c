/** What a chat template does with tools, found out by rendering a conversation with one. */
import type { ChatTemplate } from "../chat/template.ts";
import { TOKEN } from "../tokenizer/families.ts";

/** How a template writes one call; the name stands where `name` says. */
export interface CallFormat {
  /** From the token that opens calls to the arguments. */
  opening(name: string): string;
  /** From behind the arguments to the token that closes calls. */
  readonly closing: string;
}

const NAME = "probe_of_the_name";
const ARGUMENTS = '{"probe":"of the arguments"}';

const attempt = <T>(body: () => T): T | null => {
  try {
    return body();
  } catch {
    // A template that refuses tools is one without them.
    return null;
  }
};

/** Whether the model is told of the tools. */
export function rendersTools(template: ChatTemplate): boolean {
  const tools = [{ type: "function" as const, function: { name: NAME, parameters: { type: "object" } } }];
  const text = attempt(() => template.render([{ role: "user", content: "a" }], { tools }));
  return text?.includes(NAME) ?? false;
}

/** The template's form of a call; null where it writes none in the family's control tokens. */
export function callFormat(template: ChatTemplate): CallFormat | null {
  const call = { id: "call_0", type: "function" as const, function: { name: NAME, arguments: ARGUMENTS } };
  const text = attempt(() =>
    template.render(
      [
        { role: "user", content: "a" },
        { role: "assistant", content: null, tool_calls: [call] },
      ],
      { addGenerationPrompt: false },
    ),
  );
  if (text === null) return null;
  const begin = text.lastIndexOf(TOKEN.toolCallsBegin);
  const end = text.lastIndexOf(TOKEN.toolCallsEnd);
  if (begin < 0 || end < begin) return null;
  const whole = text.slice(begin, end + TOKEN.toolCallsEnd.length);
  // Templates that write objects may space them in their own way.
  const json = /\{\s*"probe":\s*"of the arguments"\s*\}/.exec(whole);
  if (json === null || !whole.slice(0, json.index).includes(NAME)) return null;
  const opening = whole.slice(0, json.index);
  return {
    opening: (name) => opening.replace(NAME, () => name),
    closing: whole.slice(json.index + json[0].length),
  };
}
