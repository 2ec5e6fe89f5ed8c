/**
 * Messages on their way between threads. Structured cloning knows no JSON with its digits: such values travel as text.
 */
import { imagesOf, type Message } from "../../chat/messages.ts";
import { JsonNumber, parseJson, writeJson } from "../../json/index.ts";

/** `value` as it can be posted: values of JSON inside it as text, in a map, which nothing else of the protocol is. */
export function packed(value: unknown): unknown {
  if (value instanceof Map || value instanceof JsonNumber) return new Map([["json", writeJson(value)]]);
  return each(value, packed);
}

/** What was packed, as it was. */
export function unpacked(value: unknown): unknown {
  if (value instanceof Map) {
    return parseJson(value.get("json"), { maxDepth: 1000, maxValues: Number.POSITIVE_INFINITY });
  }
  return each(value, unpacked);
}

function each(value: unknown, body: (item: unknown) => unknown): unknown {
  // Long lists are of token ids.
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(body) : value;
  if (typeof value !== "object" || value === null || ArrayBuffer.isView(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, body(item)]));
}

/** The memory of images in messages that a thread may give away: whole buffers, which nothing else is a part of. */
export function ownedBuffers(messages: readonly Pick<Message, "content">[]): ArrayBuffer[] {
  const bytes = imagesOf(messages).map(({ image }) => (image instanceof Uint8Array ? image : image.rgb));
  const whole = bytes.filter(
    ({ buffer, byteLength }) => buffer instanceof ArrayBuffer && buffer.byteLength === byteLength,
  );
  return [...new Set(whole.map(({ buffer }) => buffer as ArrayBuffer))];
}
