/**
 * Conversations and pictures in this browser: an index of conversations, turns by conversation, pictures as blobs by the
 * hash of their content. Turns are records of their own, so that what two tabs add to a conversation is a branch of it.
 */
import { type DBSchema, type IDBPDatabase, openDB } from "idb";
import type { Conversation, Turn } from "./conversation.ts";

export interface StoredPicture {
  /** SHA-256 of the bytes, in hexadecimal digits. */
  readonly hash: string;
  readonly blob: Blob;
  readonly width: number;
  readonly height: number;
  readonly name: string;
}

/** A picture that was drawn, with what it was asked by. */
export interface Drawing {
  /** Job and number. */
  readonly id: string;
  readonly hash: string;
  readonly created: number;
  readonly model: string;
  readonly prompt: string;
  readonly settings: Readonly<Record<string, unknown>>;
  readonly deleted: number | null;
}

export interface Store {
  /** Whether it outlives the page. */
  readonly lasting: boolean;
  conversations(): Promise<readonly Conversation[]>;
  turns(conversation: string): Promise<readonly Turn[]>;
  /** Puts it with the next revision; what another tab chose meanwhile stays where this one chose nothing. */
  putConversation(conversation: Conversation): Promise<Conversation>;
  /** A turn of an answer is not replaced by an older state of it. */
  putTurn(turn: Turn): Promise<void>;
  /** Deletes a conversation for good, or these turns of it, with pictures that nothing else shows. */
  purge(conversation: string, turns?: readonly Turn[]): Promise<void>;
  putPicture(picture: StoredPicture): Promise<void>;
  picture(hash: string): Promise<StoredPicture | null>;
  drawings(): Promise<readonly Drawing[]>;
  putDrawing(drawing: Drawing): Promise<void>;
}

/** Whether a state of a turn is older than what is kept. */
function isOlder(turn: Turn, kept: Turn | undefined): boolean {
  if (!kept || kept.job === null || turn.job?.id !== kept.job.id) return false;
  if (kept.ended !== null && turn.ended === null) return true;
  return turn.job.after < kept.job.after;
}

function merged(conversation: Conversation, kept: Conversation | undefined): Conversation {
  if (!kept || kept.revision <= conversation.revision)
    return { ...conversation, revision: conversation.revision + 1 };
  return {
    ...conversation,
    chosen: { ...kept.chosen, ...conversation.chosen },
    revision: kept.revision + 1,
  };
}

interface Schema extends DBSchema {
  conversations: { key: string; value: Conversation };
  turns: { key: string; value: Turn; indexes: { conversation: string; pictures: string } };
  pictures: { key: string; value: StoredPicture };
  drawings: { key: string; value: Drawing; indexes: { hash: string } };
}

class DatabaseStore implements Store {
  readonly lasting = true;
  readonly #database: IDBPDatabase<Schema>;

  constructor(database: IDBPDatabase<Schema>) {
    this.#database = database;
  }

  conversations = () => this.#database.getAll("conversations");
  turns = (conversation: string) => this.#database.getAllFromIndex("turns", "conversation", conversation);

  async putConversation(conversation: Conversation): Promise<Conversation> {
    const change = this.#database.transaction("conversations", "readwrite");
    const next = merged(conversation, await change.store.get(conversation.id));
    await change.store.put(next);
    await change.done;
    return next;
  }

  async putTurn(turn: Turn): Promise<void> {
    const change = this.#database.transaction("turns", "readwrite");
    if (!isOlder(turn, await change.store.get(turn.id))) await change.store.put(turn);
    await change.done;
  }

  async purge(conversation: string, some?: readonly Turn[]): Promise<void> {
    const change = this.#database.transaction(
      ["conversations", "turns", "pictures", "drawings"],
      "readwrite",
    );
    const turns = change.objectStore("turns");
    const own = some ?? (await turns.index("conversation").getAll(conversation));
    await Promise.all(own.map(({ id }) => turns.delete(id)));
    for (const hash of new Set(own.flatMap(({ pictures }) => pictures))) {
      const others =
        (await turns.index("pictures").count(hash)) +
        (await change.objectStore("drawings").index("hash").count(hash));
      if (others === 0) await change.objectStore("pictures").delete(hash);
    }
    if (!some) await change.objectStore("conversations").delete(conversation);
    await change.done;
  }

  async putPicture(picture: StoredPicture): Promise<void> {
    await this.#database.put("pictures", picture);
  }

  picture = async (hash: string) => (await this.#database.get("pictures", hash)) ?? null;
  drawings = () => this.#database.getAll("drawings");

  async putDrawing(drawing: Drawing): Promise<void> {
    await this.#database.put("drawings", drawing);
  }
}

/** Keeps what it is given until the page closes. */
export class MemoryStore implements Store {
  readonly lasting = false;
  readonly #conversations = new Map<string, Conversation>();
  readonly #turns = new Map<string, Turn>();
  readonly #pictures = new Map<string, StoredPicture>();
  readonly #drawings = new Map<string, Drawing>();

  conversations = async () => [...this.#conversations.values()];
  turns = async (id: string) => [...this.#turns.values()].filter(({ conversation }) => conversation === id);

  async putConversation(conversation: Conversation): Promise<Conversation> {
    const next = merged(conversation, this.#conversations.get(conversation.id));
    this.#conversations.set(next.id, next);
    return next;
  }

  async putTurn(turn: Turn): Promise<void> {
    if (!isOlder(turn, this.#turns.get(turn.id))) this.#turns.set(turn.id, turn);
  }

  async purge(conversation: string, some?: readonly Turn[]): Promise<void> {
    const own = some ?? (await this.turns(conversation));
    for (const { id } of own) this.#turns.delete(id);
    const shown = new Set([
      ...[...this.#turns.values()].flatMap(({ pictures }) => pictures),
      ...[...this.#drawings.values()].map(({ hash }) => hash),
    ]);
    for (const hash of own.flatMap(({ pictures }) => pictures))
      if (!shown.has(hash)) this.#pictures.delete(hash);
    if (!some) this.#conversations.delete(conversation);
  }

  async putPicture(picture: StoredPicture): Promise<void> {
    this.#pictures.set(picture.hash, picture);
  }

  picture = async (hash: string) => this.#pictures.get(hash) ?? null;
  drawings = async () => [...this.#drawings.values()];

  async putDrawing(drawing: Drawing): Promise<void> {
    this.#drawings.set(drawing.id, drawing);
  }
}

/** The database of this browser, or what memory keeps where there is none. */
export async function openStore(): Promise<Store> {
  try {
    const database = await openDB<Schema>("studio", 1, {
      upgrade(fresh) {
        fresh.createObjectStore("conversations", { keyPath: "id" });
        const turns = fresh.createObjectStore("turns", { keyPath: "id" });
        turns.createIndex("conversation", "conversation");
        turns.createIndex("pictures", "pictures", { multiEntry: true });
        fresh.createObjectStore("pictures", { keyPath: "hash" });
        fresh.createObjectStore("drawings", { keyPath: "id" }).createIndex("hash", "hash");
      },
    });
    return new DatabaseStore(database);
  } catch {
    return new MemoryStore();
  }
}
