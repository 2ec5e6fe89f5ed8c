/** Messages and tools of a row, in the forms in which files and Parquet columns hold them. */
import type { Message, Role, Tool, ToolCall } from "../../chat/messages.ts";
import { type JsonFields, type LineFields, shown } from "../conversations/fields.ts";

const ROLES: ReadonlyMap<string, Role> = new Map([
  ["system", "system"],
  ["user", "user"],
  ["assistant", "assistant"],
  ["tool", "tool"],
]);
const TURN_ROLES: ReadonlyMap<string, Role> = new Map([
  ["system", "system"],
  ["human", "user"],
  ["user", "user"],
  ["gpt", "assistant"],
  ["assistant", "assistant"],
]);
const KEYS = ["role", "content", "reasoning_content", "tool_calls", "tool_call_id", "name"];
/** Far beyond any conversation; templates take time for each. */
const MOST_MESSAGES = 10_000;

/** Parquet columns of lists that differ hold null where a value has no such field. */
function withoutNulls(json: JsonFields): JsonFields {
  return Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
}

/** Text, or the text of parts that are all text. */
function contentOf(value: unknown, field: string, fields: LineFields): string {
  if (!Array.isArray(value)) return fields.text(value, field);
  return value
    .map((part, i) => {
      const at = `${field}[${i}]`;
      const json = withoutNulls(fields.object(part, at));
      if (json.type !== "text") {
        fields.refuse(`${at}.type`, "only text is learned here", {
          expected: "text",
          found: shown(json.type),
          hint: "Models that see are trained by `deepseek-ts train --data`.",
        });
      }
      fields.only(json, ["type", "text"], at);
      return fields.text(json.text, `${at}.text`);
    })
    .join("");
}

function toolCall(value: unknown, field: string, index: number, fields: LineFields): ToolCall {
  const json = withoutNulls(fields.object(value, field));
  fields.only(json, ["id", "type", "function"], field);
  const call = fields.object(json.function, `${field}.function`);
  fields.only(call, ["name", "arguments"], `${field}.function`);
  const { arguments: given } = call;
  const text =
    typeof given === "string" ? given : JSON.stringify(fields.object(given, `${field}.function.arguments`));
  return {
    id: json.id === undefined ? `call_${index}` : fields.text(json.id, `${field}.id`),
    type: "function",
    function: { name: fields.text(call.name, `${field}.function.name`), arguments: text },
  };
}

function message(value: unknown, field: string, fields: LineFields): Message {
  const json = withoutNulls(fields.object(value, field));
  fields.only(json, KEYS, field);
  const role = fields.oneOf(json.role, ROLES, `${field}.role`);
  const calls =
    json.tool_calls === undefined
      ? []
      : fields
          .list(json.tool_calls, `${field}.tool_calls`)
          .map((call, i) => toolCall(call, `${field}.tool_calls[${i}]`, i, fields));
  if (calls.length > 0 && role !== "assistant") {
    fields.refuse(`${field}.tool_calls`, "only an assistant calls tools", { found: role });
  }
  const optional = (key: "reasoning_content" | "tool_call_id" | "name") =>
    json[key] === undefined ? {} : { [key]: fields.text(json[key], `${field}.${key}`) };
  const without = json.content === undefined && calls.length > 0;
  const content = without ? null : contentOf(json.content, `${field}.content`, fields);
  if (content?.trim() === "" && calls.length === 0 && (role === "user" || role === "assistant")) {
    fields.refuse(`${field}.content`, "a turn without text", { found: shown(json.content) });
  }
  return {
    role,
    content,
    ...optional("reasoning_content"),
    ...(calls.length > 0 && { tool_calls: calls }),
    ...optional("tool_call_id"),
    ...optional("name"),
  };
}

function checkCount(list: readonly unknown[], field: string, fields: LineFields): void {
  if (list.length >= 1 && list.length <= MOST_MESSAGES) return;
  fields.refuse(field, "too few or too many messages", {
    expected: `1 to ${MOST_MESSAGES}`,
    found: list.length,
  });
}

/** System first if at all; two turns of one speaker are refused, since most templates run them together. */
function checkOrder(messages: readonly Message[], field: string, fields: LineFields): void {
  messages.forEach(({ role }, i) => {
    const before = messages[i - 1]?.role;
    if (role === "system" && i > 0) {
      fields.refuse(`${field}[${i}]`, "a system text must be the first message", {
        found: `message ${i + 1}`,
      });
    }
    if (role === before && (role === "user" || role === "assistant")) {
      fields.refuse(`${field}[${i}]`, "two turns of one speaker in a row", { found: role });
    }
  });
}

/** Messages of `role` and `content`. @throws FormatError */
export function parseMessages(list: readonly unknown[], field: string, fields: LineFields): Message[] {
  checkCount(list, field, fields);
  const messages = list.map((value, i) => message(value, `${field}[${i}]`, fields));
  checkOrder(messages, field, fields);
  return messages;
}

/** Turns of `from` and `value`. @throws FormatError */
export function parseTurns(list: readonly unknown[], field: string, fields: LineFields): Message[] {
  checkCount(list, field, fields);
  const messages = list.map((value, i): Message => {
    const at = `${field}[${i}]`;
    const json = withoutNulls(fields.object(value, at));
    fields.only(json, ["from", "value"], at);
    const content = fields.text(json.value, `${at}.value`);
    if (content.trim() === "")
      fields.refuse(`${at}.value`, "a turn without text", { found: shown(json.value) });
    return { role: fields.oneOf(json.from, TURN_ROLES, `${at}.from`), content };
  });
  checkOrder(messages, field, fields);
  return messages;
}

/** Tools beside messages: a list, or its JSON as text, as columns hold it. @throws FormatError */
export function parseTools(value: unknown, fields: LineFields): Tool[] {
  let list = value;
  if (typeof value === "string") {
    if (value.trim() === "") return [];
    try {
      list = JSON.parse(value);
    } catch {
      fields.refuse("tools", "not valid JSON", { found: shown(value) });
    }
  }
  return fields.list(list, "tools").map((each, i): Tool => {
    const at = `tools[${i}]`;
    const json = withoutNulls(fields.object(each, at));
    fields.only(json, ["type", "function"], at);
    const call = fields.object(json.function, `${at}.function`);
    fields.text(call.name, `${at}.function.name`);
    return { type: "function", function: call as unknown as Tool["function"] };
  });
}
