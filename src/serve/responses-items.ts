/**
 * Input items of POST /v1/responses as messages. What one answer left as several items (reasoning, text, calls) is one
 * message of the assistant again, as templates expect it.
 */
import type { ToolCall } from "../chat/messages.ts";
import { placedContent, type RequestMessage } from "./content-parts.ts";
import type { InputItem } from "./responses-fields.ts";

/** Marks reasoning that this server has given out. */
const CARRIED = "deepseek-ts.";

/**
 * Reasoning for `encrypted_content`, which clients send back as it is. It is encoded, not encrypted: the same text
 * stands open beside it, and nothing is kept here that could hold a key to it.
 */
export const carryReasoning = (text: string): string => CARRIED + Buffer.from(text).toString("base64url");

/** Reasoning out of `encrypted_content`; "" if another server has written it. */
function carriedReasoning(carried: string): string {
  return carried.startsWith(CARRIED)
    ? Buffer.from(carried.slice(CARRIED.length), "base64url").toString()
    : "";
}

/** The one name that a template can show of a function in a namespace. */
export const qualified = (namespace: string | null | undefined, name: string): string =>
  namespace ? `${namespace}.${name}` : name;

interface Answer {
  reasoning: string;
  content: string | null;
  calls: ToolCall[];
}

/** Reads items one by one. */
class Conversation {
  readonly messages: RequestMessage[] = [];
  #answer: Answer | null = null;

  /** @param at its place in the input */
  add(item: InputItem, at: number): void {
    switch (item.type) {
      case "message":
        if (item.role === "assistant") this.#text(item.content ?? "");
        else if (item.role === "user") {
          const content = placedContent(item.content, `input[${at}].content`, "image_url");
          this.#other({ role: "user", content });
        } else this.#other({ role: "system", content: item.content });
        break;
      case "reasoning": {
        const text = item.content || item.summary || carriedReasoning(item.encrypted_content ?? "");
        // It comes first in an answer.
        if (this.#answer !== null && (this.#answer.content !== null || this.#answer.calls.length > 0))
          this.end();
        this.#open().reasoning += text;
        break;
      }
      case "function_call":
        this.#call(item.call_id, qualified(item.namespace, item.name), item.arguments);
        break;
      case "custom_tool_call":
        this.#call(item.call_id, item.name, JSON.stringify({ input: item.input }));
        break;
      case "function_call_output":
      case "custom_tool_call_output":
        this.#other({ role: "tool", tool_call_id: item.call_id, content: item.output });
    }
  }

  #open(): Answer {
    this.#answer ??= { reasoning: "", content: null, calls: [] };
    return this.#answer;
  }

  #text(text: string): void {
    if (this.#answer !== null && this.#answer.content !== null) this.end();
    this.#open().content = text;
  }

  #call(id: string, name: string, args: string): void {
    this.#open().calls.push({ id, type: "function", function: { name, arguments: args } });
  }

  #other(message: RequestMessage): void {
    this.end();
    this.messages.push(message);
  }

  /** The answer that is being read is over. */
  end(): void {
    if (this.#answer === null) return;
    const { reasoning, content, calls } = this.#answer;
    this.#answer = null;
    if (reasoning === "" && content === null && calls.length === 0) return;
    this.messages.push({
      role: "assistant",
      content: content ?? "",
      ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
      ...(calls.length === 0 ? {} : { tool_calls: calls }),
    });
  }
}

/** The messages of a conversation: `instructions` first, as the system's. */
export function messagesOf(
  input: string | readonly InputItem[],
  instructions: string | null | undefined,
): RequestMessage[] {
  const system: RequestMessage[] = instructions ? [{ role: "system", content: instructions }] : [];
  if (typeof input === "string") return [...system, { role: "user", content: input }];
  const conversation = new Conversation();
  for (const [at, item] of input.entries()) conversation.add(item, at);
  conversation.end();
  return [...system, ...conversation.messages];
}
