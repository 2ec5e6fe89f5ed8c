/** A path of turns as the body of `/v1/chat/completions` or `/v1/completions`. */
import type { PlainObject } from "../backend/wire.ts";
import type { Conversation, Settings, Turn } from "./conversation.ts";

/** Settings that are sent as they are. */
const PLAIN = [
  "temperature",
  "top_p",
  "top_k",
  "min_p",
  "repetition_penalty",
  "max_tokens",
  "seed",
  "grounding",
] as const;

/** A setting that cannot be sent: what is wrong with it. */
class SettingError extends Error {
  override name = "SettingError";
}

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SettingError(`${what} is not JSON: ${(error as Error).message}`);
  }
}

function settingFields(settings: Settings, raw: boolean): PlainObject {
  const fields: Record<string, unknown> = {};
  for (const name of PLAIN) {
    if (settings[name] !== undefined && !(raw && name === "grounding")) fields[name] = settings[name];
  }
  const stop = settings.stop?.split("\n").filter((line) => line !== "") ?? [];
  if (stop.length > 0) fields.stop = stop;
  if (settings.schema?.trim()) {
    const schema = parsed(settings.schema, "The schema");
    fields.response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
  }
  if (raw) {
    if (settings.suffix) fields.suffix = settings.suffix;
    return fields;
  }
  if (settings.thinking !== undefined) fields.thinking = { type: settings.thinking };
  if (settings.tools?.trim()) {
    const tools = parsed(settings.tools, "The list of tools");
    if (!Array.isArray(tools)) throw new SettingError("The list of tools must be a JSON array.");
    fields.tools = tools;
  }
  return fields;
}

function contentOf(turn: Turn, pictures: ReadonlyMap<string, string>): unknown {
  if (turn.pictures.length === 0) return turn.content;
  return [
    ...turn.pictures.map((hash) => ({ type: "image_url", image_url: { url: pictures.get(hash) } })),
    ...(turn.content === "" ? [] : [{ type: "text", text: turn.content }]),
  ];
}

function messageOf(turn: Turn, pictures: ReadonlyMap<string, string>, continued: boolean): PlainObject {
  if (turn.role === "tool") return { role: "tool", tool_call_id: turn.callId, content: turn.content };
  if (turn.role === "user") return { role: "user", content: contentOf(turn, pictures) };
  return {
    role: "assistant",
    content: turn.content,
    ...(continued && turn.reasoning !== "" ? { reasoning_content: turn.reasoning } : {}),
    ...(turn.calls.length > 0
      ? {
          tool_calls: turn.calls.map((call) => ({
            id: call.id,
            type: "function",
            function: { name: call.name, arguments: call.arguments },
          })),
        }
      : {}),
  };
}

/**
 * @param path up to what the answer follows; with `goOn`, its last turn is the answer's beginning
 * @param pictures of the path by their hash, as data URLs
 * @throws SettingError
 */
export function answerBody(
  conversation: Pick<Conversation, "mode" | "system" | "settings">,
  path: readonly Turn[],
  model: string,
  pictures: ReadonlyMap<string, string>,
  goOn = false,
): PlainObject {
  const { mode, system, settings } = conversation;
  const shared = { model, stream: true, stream_options: { include_usage: true } };
  if (mode === "raw") {
    const prompt = path.map(({ content }) => content).join("");
    return { ...shared, ...settingFields(settings, true), prompt };
  }
  const messages = path.map((turn, i) => messageOf(turn, pictures, goOn && i === path.length - 1));
  if (system.trim() !== "") messages.unshift({ role: "system", content: system });
  return {
    ...shared,
    ...settingFields(settings, false),
    messages,
    ...(goOn ? { continue_final_message: true, add_generation_prompt: false } : {}),
  };
}
