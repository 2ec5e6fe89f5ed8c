/** Conversations as a JSON file, and back. What is read was written by anybody: every field is checked. */

import { newId } from "../state/studio.ts";
import { type Conversation, newConversation, newTurn, type Settings, type Turn } from "./conversation.ts";
import { dataUrl, keepPictures, readPicture } from "./pictures.ts";
import type { Store } from "./store.ts";

const FORMAT = "deepseek-ts-conversations";
const MOST_TURNS = 100_000;
const MOST_FILE_BYTES = 500e6;

export interface Exported {
  readonly format: typeof FORMAT;
  readonly version: 1;
  readonly conversations: readonly { readonly conversation: Conversation; readonly turns: readonly Turn[] }[];
  readonly pictures: Readonly<
    Record<
      string,
      { readonly url: string; readonly width: number; readonly height: number; readonly name: string }
    >
  >;
}

export async function exportConversations(store: Store, list: readonly Conversation[]): Promise<Exported> {
  const conversations: Exported["conversations"][number][] = [];
  const pictures: Record<string, Exported["pictures"][string]> = {};
  for (const conversation of list) {
    const turns = (await store.turns(conversation.id)).filter(({ deleted }) => deleted === null);
    conversations.push({ conversation, turns });
    for (const hash of turns.flatMap((turn) => turn.pictures)) {
      const picture = Object.hasOwn(pictures, hash) ? null : await store.picture(hash);
      if (picture === null) continue;
      const { blob, width, height, name } = picture;
      pictures[hash] = { url: await dataUrl(blob), width, height, name };
    }
  }
  return { format: FORMAT, version: 1, conversations, pictures };
}

class ImportError extends Error {
  override name = "ImportError";
}

type Fields = Readonly<Record<string, unknown>>;
const isFields = (value: unknown): value is Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const text = (value: unknown) => (typeof value === "string" ? value : "");
const list = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : []);
const time = (value: unknown, otherwise: number) =>
  typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : otherwise;

const SETTINGS: Readonly<Record<keyof Settings, string>> = {
  temperature: "number",
  top_p: "number",
  top_k: "number",
  min_p: "number",
  repetition_penalty: "number",
  max_tokens: "number",
  seed: "number",
  thinking: "string",
  grounding: "boolean",
  stop: "string",
  schema: "string",
  tools: "string",
  suffix: "string",
};

function settingsOf(value: unknown): Settings {
  if (!isFields(value)) return {};
  return Object.fromEntries(
    Object.entries(value).filter(
      ([key, given]) => Object.hasOwn(SETTINGS, key) && typeof given === SETTINGS[key as keyof Settings],
    ),
  );
}

const numbersOf = (value: Fields, keys: readonly string[]) =>
  keys.every((key) => typeof value[key] === "number");

function phrasesOf(value: unknown): Turn["phrases"] {
  return list(value)
    .filter(isFields)
    .filter((phrase) => numbersOf(phrase, ["image"]))
    .map((phrase) => ({
      label: text(phrase.label),
      image: phrase.image as number,
      boxes: list(phrase.boxes)
        .filter(isFields)
        .filter((box) => numbersOf(box, ["x1", "y1", "x2", "y2"])) as unknown as Turn["phrases"][0]["boxes"],
    }));
}

function turnOf(value: Fields, conversation: string, ids: ReadonlyMap<string, string>, now: number): Turn {
  const role = value.role === "assistant" || value.role === "tool" ? value.role : "user";
  const ended =
    value.ended === "length" || value.ended === "stopped" || value.ended === "failed" ? value.ended : "whole";
  const figures = isFields(value.figures) && numbersOf(value.figures, ["promptTokens", "tokens", "writing"]);
  return newTurn(
    {
      id: ids.get(text(value.id))!,
      conversation,
      parent: ids.get(text(value.parent)) ?? null,
      role,
      created: time(value.created, now),
      content: text(value.content),
      reasoning: text(value.reasoning),
      pictures: list(value.pictures).filter(
        (hash): hash is string => typeof hash === "string" && /^[0-9a-f]{64}$/.test(hash),
      ),
      phrases: phrasesOf(value.phrases),
      calls: list(value.calls)
        .filter(isFields)
        .map((call) => ({ id: text(call.id), name: text(call.name), arguments: text(call.arguments) })),
      callId: typeof value.callId === "string" ? value.callId : null,
      model: typeof value.model === "string" ? value.model : null,
      figures: figures ? (value.figures as unknown as Turn["figures"]) : null,
      ended,
      error: typeof value.error === "string" ? value.error : null,
    },
    now,
  );
}

/** A conversation under names of its own, so that it stands beside what is there. */
function conversationOf(value: Fields, newId: () => string, now: number) {
  const given = isFields(value.conversation) ? value.conversation : {};
  const turns = list(value.turns).filter(isFields);
  if (turns.length > MOST_TURNS)
    throw new ImportError(`A conversation has ${turns.length} turns; at most ${MOST_TURNS}.`);
  const ids = new Map(turns.map((turn) => [text(turn.id), newId()]));
  const id = newId();
  const chosen: Record<string, string> = {};
  for (const [parent, child] of Object.entries(isFields(given.chosen) ? given.chosen : {})) {
    const to = ids.get(text(child));
    const from = parent === "root" ? parent : ids.get(parent);
    if (to && from) chosen[from] = to;
  }
  const conversation: Conversation = {
    ...newConversation(id, time(given.created, now)),
    changed: time(given.changed, now),
    title: text(given.title).slice(0, 200),
    mode: given.mode === "raw" ? "raw" : "chat",
    system: text(given.system),
    settings: settingsOf(given.settings),
    model: typeof given.model === "string" ? given.model : null,
    chosen,
  };
  return { conversation, turns: turns.map((turn) => turnOf(turn, id, ids, now)) };
}

export interface Imported {
  readonly conversations: readonly { readonly conversation: Conversation; readonly turns: readonly Turn[] }[];
  /** As they say they are: their bytes are still to be checked. */
  readonly pictures: readonly { readonly hash: string; readonly url: string; readonly name: string }[];
}

/** @throws ImportError if it is no such file */
export function readExported(file: string, newId: () => string, now: number): Imported {
  let value: unknown;
  try {
    value = JSON.parse(file);
  } catch (error) {
    throw new ImportError(`The file is not JSON: ${(error as Error).message}`);
  }
  if (!isFields(value) || value.format !== FORMAT)
    throw new ImportError(`The file holds no conversations of this studio: its "format" is not "${FORMAT}".`);
  if (value.version !== 1)
    throw new ImportError(`The file is of version ${String(value.version)}; this page reads version 1.`);
  const pictures = Object.entries(isFields(value.pictures) ? value.pictures : {}).flatMap(
    ([hash, picture]) =>
      isFields(picture) && /^data:image\//.test(text(picture.url))
        ? [{ hash, url: text(picture.url), name: text(picture.name) }]
        : [],
  );
  const conversations = list(value.conversations)
    .filter(isFields)
    .map((each) => conversationOf(each, newId, now));
  return { conversations, pictures };
}

/** The bytes of a data URL, without asking anybody for it. */
function blobOf(url: string): Blob | null {
  const found = /^data:(image\/[a-z]+);base64,/.exec(url);
  if (!found) return null;
  try {
    const bytes = Uint8Array.from(atob(url.slice(found[0].length)), (letter) => letter.charCodeAt(0));
    return new Blob([bytes], { type: found[1] });
  } catch {
    return null;
  }
}

/**
 * Keeps what a file holds, beside what is there.
 * @returns the number of conversations
 * @throws ImportError for a file that is none, PictureError for pictures that cannot be kept
 */
export async function importConversations(store: Store, file: File): Promise<number> {
  if (file.size > MOST_FILE_BYTES) throw new ImportError("The file is too large to be read here.");
  const { conversations, pictures } = readExported(await file.text(), newId, Date.now());
  for (const { url, name } of pictures) {
    const blob = blobOf(url);
    // Kept under the hash of its bytes, whatever the file says it is.
    if (blob) await keepPictures(store, [await readPicture(blob, name)]);
  }
  for (const { conversation, turns } of conversations) {
    for (const turn of turns) await store.putTurn(turn);
    await store.putConversation(conversation);
  }
  return conversations.length;
}
