/**
 * Messages, tools and tool calls in the shape of OpenAI's chat interface, with `reasoning_content` as DeepSeek's own
 * interface has it, and the checks that every template relies on. Images stand in messages as parts. Left out: audio,
 * refusals.
 */
import type { JsonObject } from "../json/index.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { RgbImage } from "../vision/image/image.ts";

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

/** An image in a message. Neither bytes nor pixels may change afterwards. */
export interface ImagePart {
  readonly type: "image";
  /** Decoded, or the bytes of a PNG, JPEG, WebP or GIF file. */
  readonly image: RgbImage | Uint8Array;
  /** The file's name, for errors and progress. */
  readonly name?: string;
  /** Whether to turn the image as its file's Exif data say; default false, as in the reference. */
  readonly rotate?: boolean;
  /** Most tiles besides the whole view, 1 or more; default: what the model's resolutions allow. */
  readonly maxTiles?: number;
}

/** Part of a message. A control token (of grounding, for example) is one only where a program names it as one. */
export type MessagePart =
  | { readonly type: "text"; readonly text: string }
  | { readonly type: "token"; readonly token: string }
  | ImagePart;

export interface Message {
  readonly role: Role;
  /** Null or absent only if an assistant does nothing but call tools. */
  readonly content?: string | readonly MessagePart[] | null;
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
    const expected = "a string, or a list of parts";
    if (!Array.isArray(content)) {
      refuse(index, "content must be text", expected, content === null ? "null" : typeof content);
    }
    content.forEach((part: Partial<MessagePart> | null, at) => {
      checkPart(part, `messages[${index}].content[${at}]`);
    });
  });
}

function isImage(image: unknown): image is RgbImage | Uint8Array {
  if (image instanceof Uint8Array) return image.length > 0;
  const { width, height, rgb } = (image ?? {}) as Partial<RgbImage>;
  const whole = (n: unknown): n is number => Number.isSafeInteger(n) && (n as number) > 0;
  return whole(width) && whole(height) && rgb instanceof Uint8Array && rgb.length === width * height * 3;
}

/** @throws ConfigError */
function checkPart(part: Partial<MessagePart> | null, where: string): void {
  const fail = (message: string, expected: unknown, found: unknown): never => {
    throw new ConfigError(message, { where, expected, found });
  };
  switch (part?.type) {
    case "text":
      if (typeof part.text !== "string") fail("a part of text needs its text", "a string", typeof part.text);
      return;
    case "token":
      if (typeof part.token !== "string" || part.token === "") {
        fail("a part that is a control token needs its name", "a string", part.token);
      }
      return;
    case "image": {
      const { image, name, rotate, maxTiles } = part;
      if (!isImage(image)) {
        fail("not an image", "bytes of a file, or width, height and 3 bytes for each pixel", typeof image);
      }
      if (name !== undefined && typeof name !== "string") fail("name must be text", "a string", typeof name);
      if (rotate !== undefined && typeof rotate !== "boolean") {
        fail("rotate is a choice", "true or false", rotate);
      }
      if (maxTiles !== undefined && !(Number.isSafeInteger(maxTiles) && maxTiles >= 1)) {
        fail("maxTiles is a count", "an integer, 1 or more", maxTiles);
      }
      return;
    }
    default:
      fail("unknown kind of part", "text | token | image", (part as { type?: unknown } | null)?.type);
  }
}

/** The text of a message, with the names of control tokens and without images; "" if there is none. */
export function contentOf({ content }: Pick<Message, "content">): string {
  if (typeof content === "string") return content;
  const texts = content?.map((part) =>
    part.type === "text" ? part.text : part.type === "token" ? part.token : "",
  );
  return texts?.join("") ?? "";
}

/** The images of messages, in order. */
export function imagesOf(messages: readonly Pick<Message, "content">[]): ImagePart[] {
  const parts = messages.flatMap(({ content }) => (typeof content === "string" ? [] : (content ?? [])));
  return parts.filter((part) => part.type === "image");
}

/**
 * The text of a message for templates that have no place for anything else.
 * @throws ConfigError if it holds an image or a named control token
 */
export function textOnly({ content }: Pick<Message, "content">, index: number): string {
  if (typeof content === "string") return content;
  const other = content?.find(({ type }) => type !== "text");
  if (other === undefined) return contentOf({ content });
  const image = other.type === "image";
  throw new ConfigError(
    image ? "the chat template has no place for images" : "the chat template has no place for named tokens",
    {
      where: `messages[${index}]`,
      hint: image
        ? "Use a model that sees, such as deepseek-ai/deepseek-vl2-tiny, with its own template."
        : "Leave it out: control tokens are the template's own.",
    },
  );
}
