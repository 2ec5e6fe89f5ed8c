/**
 * Messages, tools and tool calls in the shape of OpenAI's chat interface, with `reasoning_content` as DeepSeek's own
 * interface has it, and the checks that every template relies on. Left out: images, audio, refusals.
 */
import type { JsonObject } from "../json/index.ts";
import { ConfigError } from "../tensor/errors.ts";

export type Role = "system" | "user" | "assistant" | "tool";

/** A call that the model asks for. */
export interface ToolCall {
  readonly id: string;
  readonly type: "function";
  readonly function: {
    readonly name: string;
    /** A JSON object as text. */
    readonly arguments: string;
  };
}

export interface Message {
  readonly role: Role;
  /** Null or absent only if an assistant does nothing but call tools. */
  readonly content?: string | null;
  /** What an assistant thought before it answered; most templates leave it out of the history. */
  readonly reasoning_content?: string | null;
  readonly tool_calls?: readonly ToolCall[];
  /** Of a tool's answer: the call that it answers. */
  readonly tool_call_id?: string;
  readonly name?: string;
}

/** A function that the model may call; `parameters` is a JSON schema, with all its digits if it is a map. */
export interface Tool {
  readonly type: "function";
  readonly function: {
    readonly name: string;
    readonly description?: string;
    readonly parameters?: Readonly<Record<string, unknown>> | JsonObject;
    readonly strict?: boolean;
  };
}

const ROLES: readonly string[] = ["system", "user", "assistant", "tool"];

function refuse(index: number, message: string, expected: unknown, found: unknown): never {
  throw new ConfigError(message, { where: `messages[${index}]`, expected, found });
}

/** Checks what types cannot: messages often come from a file or a request. @throws ConfigError naming the message */
export function checkMessages(messages: readonly Message[]): void {
  if (!Array.isArray(messages)) {
    throw new ConfigError("not a list", { where: "messages", found: typeof messages });
  }
  messages.forEach((message: Partial<Message> | null, index) => {
    if (typeof message !== "object" || message === null) {
      refuse(index, "not a message", "an object with role and content", String(message));
    }
    const { role, content, tool_calls: calls } = message;
    if (!ROLES.includes(role as string)) refuse(index, "unknown role", ROLES.join(" | "), String(role));
    if (calls !== undefined && (role !== "assistant" || !Array.isArray(calls))) {
      refuse(index, "tool_calls belong to an assistant, as a list", "a list", `${role}, ${typeof calls}`);
    }
    for (const call of calls ?? []) {
      const { name, arguments: args } = call?.function ?? {};
      if (typeof name !== "string" || name === "" || typeof args !== "string") {
        refuse(index, "a tool call needs a name and arguments as JSON text", "strings", JSON.stringify(call));
      }
    }
    if (typeof content === "string") return;
    if ((content === null || content === undefined) && (calls?.length ?? 0) > 0) return;
    refuse(index, "content must be text", "a string", content === null ? "null" : typeof content);
  });
}

/** The text of a message; "" if there is none. */
export function contentOf(message: Message): string {
  return message.content ?? "";
}
