/**
 * Where a checkpoint keeps its chat template: `chat_template.jinja`, `chat_template.json`, `tokenizer_config.json` (in
 * this order, as transformers looks), or the metadata of a GGUF file.
 */
import type { FileTree } from "../checkpoint/byte-source.ts";
import type { GgufMetadata } from "../checkpoint/gguf/types.ts";
import { parseJsonObject } from "../checkpoint/strict-json.ts";
import { ConfigError } from "../tensor/errors.ts";

/** Jinja source, or several by name (`default`, `tool_use`); null if there is none. */
export type ChatTemplateSource = string | Readonly<Record<string, string>> | null;

function sourceOf(value: unknown, where: string): ChatTemplateSource {
  if (value === undefined || value === null || typeof value === "string") return value ?? null;
  const list = Array.isArray(value) ? (value as { name?: unknown; template?: unknown }[]) : [];
  const named = list.filter((item) => typeof item?.name === "string" && typeof item.template === "string");
  if (named.length > 0 && named.length === list.length) {
    return Object.fromEntries(named.map(({ name, template }) => [name as string, template as string]));
  }
  throw new ConfigError("not a chat template", {
    where,
    name: "chat_template",
    expected: "a string, or a list of named strings",
    found: JSON.stringify(value).slice(0, 80),
  });
}

/** The chat template in a folder. @throws ConfigError, FormatError */
export async function folderTemplate(tree: FileTree): Promise<ChatTemplateSource> {
  if (await tree.has("chat_template.jinja")) return tree.readText("chat_template.jinja");
  for (const path of ["chat_template.json", "tokenizer_config.json"]) {
    if (!(await tree.has(path))) continue;
    const where = `${tree.name}/${path}`;
    const found = sourceOf(parseJsonObject(await tree.readText(path), where).chat_template, where);
    if (found !== null) return found;
  }
  return null;
}

/** The chat template in a GGUF file: `tokenizer.chat_template`, others as `tokenizer.chat_template.NAME`. */
export function ggufTemplate(metadata: GgufMetadata): ChatTemplateSource {
  const key = "tokenizer.chat_template";
  const named: Record<string, string> = {};
  for (const [name, entry] of metadata) {
    if (entry.type !== "string") continue;
    if (name === key) named.default = entry.value;
    else if (name.startsWith(`${key}.`)) named[name.slice(key.length + 1)] = entry.value;
  }
  const names = Object.keys(named);
  if (names.length === 0) return null;
  return names.length === 1 && named.default !== undefined ? named.default : named;
}
