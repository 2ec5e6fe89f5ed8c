/** What a chat template does with tools, found out by rendering a conversation with one. */
import type { ChatTemplate } from "../../chat/template.ts";
import { TOKEN } from "../../tokenizer/families.ts";

/** How a template writes calls; a name stands where `name` says. */
export interface CallFormat {
  /** From the token that opens calls to the first call's arguments. */
  opening(name: string): string;
  /** From behind a call's arguments to those of the next; null if the template writes one call only. */
  readonly between: ((name: string) => string) | null;
  /** From behind the last call's arguments to the token that closes calls. */
  readonly closing: string;
}

const NAME = "probe_of_the_name";
const ARGUMENTS = '{"probe":"of the arguments"}';
const WRITTEN_ARGUMENTS = /\{\s*"probe":\s*"of the arguments"\s*\}/;

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

/** What stands around the arguments of `count` calls in one message; null if they are not all written. */
function aroundCalls(template: ChatTemplate, count: number): readonly string[] | null {
  const calls = Array.from({ length: count }, (_, i) => ({
    id: `call_${i}`,
    type: "function" as const,
    function: { name: NAME, arguments: ARGUMENTS },
  }));
  const text = attempt(() =>
    template.render(
      [
        { role: "user", content: "a" },
        { role: "assistant", content: null, tool_calls: calls },
      ],
      { addGenerationPrompt: false },
    ),
  );
  if (text === null) return null;
  const begin = text.lastIndexOf(TOKEN.toolCallsBegin);
  const end = text.lastIndexOf(TOKEN.toolCallsEnd);
  if (begin < 0 || end < begin) return null;
  // Templates that write objects may space them in their own way.
  const around = text.slice(begin, end + TOKEN.toolCallsEnd.length).split(WRITTEN_ARGUMENTS);
  const named = around.slice(0, -1).every((part) => part.includes(NAME));
  return around.length === count + 1 && named ? around : null;
}

/** The template's form of calls; null if it writes none in the family's control tokens. */
export function callFormat(template: ChatTemplate): CallFormat | null {
  const one = aroundCalls(template, 1);
  if (one === null) return null;
  const naming = (text: string) => (name: string) => text.replace(NAME, () => name);
  const two = aroundCalls(template, 2);
  return { opening: naming(one[0]), between: two && naming(two[1]), closing: one[1] };
}
