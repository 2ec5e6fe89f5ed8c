/**
 * Conversations as JSON files: messages in OpenAI's form, pictures in them as data URLs, so that a saved conversation
 * needs no other file.
 */
import type { ImagePart, Message, MessagePart } from "../chat/messages.ts";
import { withoutMark } from "../files/utf8.ts";
import { ConfigError } from "../tensor/errors.ts";
import { dataUrlBytes, isDataUrl } from "../vision/image/data-url.ts";
import { BYTE_LIMIT } from "../vision/image/decode.ts";
import { readImageHeader } from "../vision/image/read-header.ts";

/** What tells a conversation that this program saved from other files. */
const SAVED_FORMAT = "deepseek-ts conversation";

/** A part of a message as it is saved. */
function savedPart(part: MessagePart): object {
  if (part.type !== "image") return part;
  const { type: _, image, ...rest } = part;
  if (!(image instanceof Uint8Array)) {
    throw new ConfigError("only pictures from files can be saved", {
      where: "conversation",
      found: "pixels",
    });
  }
  const { format } = readImageHeader(image, part.name);
  const data = Buffer.from(image.buffer, image.byteOffset, image.length).toString("base64");
  return { type: "image_url", image_url: { url: `data:image/${format};base64,${data}` }, ...rest };
}

/** The text of the file. */
export function savedText(messages: readonly Message[]): string {
  const saved = messages.map((message) => {
    const { content } = message;
    return typeof content === "string" || content == null
      ? message
      : { ...message, content: content.map(savedPart) };
  });
  return `${JSON.stringify({ format: SAVED_FORMAT, messages: saved }, null, 2)}\n`;
}

/** Whether a file's text is a conversation that `/save` wrote. */
export function isSavedConversation(text: string): boolean {
  try {
    return (JSON.parse(text) as { format?: unknown } | null)?.format === SAVED_FORMAT;
  } catch {
    return false;
  }
}

/** A part of a saved message: a picture has its bytes again, and what else it may be `checkMessages` says. @throws */
function loadedPart(part: unknown, where: string): unknown {
  const { type, image_url: image, name, rotate, maxTiles, ...rest } = (part ?? {}) as Record<string, unknown>;
  if (type !== "image_url") return part;
  const url = typeof image === "string" ? image : (image as { url?: unknown } | null)?.url;
  if (typeof url !== "string" || !isDataUrl(url)) {
    throw new ConfigError("pictures in a conversation's file are data URLs", {
      where,
      expected: "data:image/..;base64,..",
      found: typeof url === "string" ? url.slice(0, 40) : typeof url,
      hint: "Download the picture, and show it with /image FILE.",
    });
  }
  const [unknown] = Object.keys(rest);
  if (unknown !== undefined) throw new ConfigError("unknown field of a picture", { where, name: unknown });
  const bytes = dataUrlBytes(url, typeof name === "string" ? name : where, BYTE_LIMIT);
  const fields = { name, rotate, maxTiles };
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  return { type: "image", image: bytes, ...Object.fromEntries(given) } as ImagePart;
}

/** Reads messages out of a saved file: our own form, or a list of messages. Their form is for `checkMessages` to see. */
export function savedMessages(text: string, path: string): readonly Message[] {
  let value: unknown;
  try {
    value = JSON.parse(withoutMark(text));
  } catch (cause) {
    throw new ConfigError("not valid JSON", { where: path, cause });
  }
  const messages = Array.isArray(value) ? value : (value as { messages?: unknown } | null)?.messages;
  if (!Array.isArray(messages)) {
    throw new ConfigError("no messages", {
      where: path,
      expected: "a list of messages, or an object with one",
    });
  }
  return messages.map((message, index) => {
    const { content } = (message ?? {}) as { content?: unknown };
    if (!Array.isArray(content)) return message;
    const where = (at: number) => `${path}: messages[${index}].content[${at}]`;
    return { ...message, content: content.map((part, at) => loadedPart(part, where(at))) };
  }) as Message[];
}
