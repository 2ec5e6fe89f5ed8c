/** Pictures that are drawn: what is asked, what of it has come, and the gallery of what was. */
import { signal } from "@preact/signals";
import { isFault, messageOf } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import type { JobProgress, PlainObject } from "../backend/wire.ts";
import type { Chat } from "../chat/chat.ts";
import { keepPictures, readPicture } from "../chat/pictures.ts";
import type { Drawing } from "../chat/store.ts";
import { announce, notify } from "../state/notices.ts";
import { newId } from "../state/studio.ts";
import { type DrawFields, type PictureTexts, withTexts } from "./png-settings.ts";

/** Partial pictures that are asked of each: as many as the interface gives. */
const PARTIALS = 3;
const PENDING = "studio.drawing";

export interface Growing {
  /** Address of what is seen of it; null before the first. */
  readonly url: string | null;
  /** The finished one, in the gallery. */
  readonly drawing: string | null;
}

export interface Task {
  readonly id: string;
  readonly model: string;
  readonly fields: DrawFields;
  readonly pictures: readonly Growing[];
  readonly progress: JobProgress | null;
  /** Null while it runs. */
  readonly ended: "done" | "stopped" | "failed" | "interrupted" | null;
  readonly error: string | null;
  readonly started: number;
}

type Pending = Readonly<Record<string, Pick<Task, "model" | "fields" | "started">>>;

function readPending(): Pending {
  try {
    return JSON.parse(localStorage.getItem(PENDING) ?? "{}") as Pending;
  } catch {
    return {};
  }
}

function keepPending(pending: Pending): void {
  try {
    localStorage.setItem(PENDING, JSON.stringify(pending));
  } catch {
    // Without storage, a reload forgets what was being drawn.
  }
}

interface PictureEvent {
  readonly type: string;
  readonly b64_json: string;
  readonly index: number;
  readonly seed?: number;
  readonly size?: string;
}

const bytesOf = (base64: string) => Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));

/** The body of `/v1/images/generations`. */
function drawBody(model: string, fields: DrawFields): PlainObject {
  const { prompt, count, ...settings } = fields;
  const given = Object.fromEntries(Object.entries(settings).filter(([, value]) => value !== null));
  return { model, prompt, n: count, ...given, stream: true, partial_images: PARTIALS };
}

function textsFor(model: string, fields: DrawFields, seed: number | undefined, index: number): PictureTexts {
  const settings = {
    seed: seed ?? fields.seed,
    guidance: fields.guidance,
    temperature: fields.temperature,
    steps: fields.steps,
  };
  const given = Object.entries(settings).filter(([, value]) => value !== null && value !== undefined);
  return {
    Software: "deepseek-ts studio",
    prompt: fields.prompt,
    model,
    image: String(index + 1),
    ...Object.fromEntries(given.map(([name, value]) => [name, String(value)])),
  };
}

export class Drawings {
  readonly #chat: Chat;
  /** Newest first. */
  readonly tasks = signal<readonly Task[]>([]);
  /** Newest first, without the deleted. */
  readonly gallery = signal<readonly Drawing[]>([]);

  constructor(chat: Chat) {
    this.#chat = chat;
  }

  /** Reads the gallery, and goes on reading what was being drawn when the page was left. */
  async begin(): Promise<void> {
    await this.#readGallery();
    for (const [id, { model, fields, started }] of Object.entries(readPending())) {
      if (this.tasks.peek().some((task) => task.id === id)) continue;
      this.#add({ id, model, fields, started });
      this.#follow(id);
    }
  }

  async #readGallery(): Promise<void> {
    const all = await this.#chat.store.drawings();
    this.gallery.value = all
      .filter(({ deleted }) => deleted === null)
      .sort((a, b) => b.created - a.created || (a.id < b.id ? -1 : 1));
  }

  #add(begun: Pick<Task, "id" | "model" | "fields" | "started">): void {
    const task = { ...begun, pictures: empty(begun.fields.count), progress: null, ended: null, error: null };
    this.tasks.value = [task, ...this.tasks.peek()].slice(0, 20);
  }

  #change(id: string, change: (task: Task) => Partial<Task>): void {
    this.tasks.value = this.tasks
      .peek()
      .map((task) => (task.id === id ? { ...task, ...change(task) } : task));
  }

  /** Draws; opens the model first where it is not open. */
  async draw(model: string, fields: DrawFields): Promise<void> {
    const { studio } = this.#chat;
    const id = newId();
    const started = Date.now();
    this.#add({ id, model, fields, started });
    try {
      if (studio.entry(model)?.state !== "open")
        await studio.open({ model }, new AbortController().signal, (text) =>
          this.#change(id, () => ({ progress: { done: 0, total: null, unit: "pictures", text } })),
        );
      keepPending({ ...readPending(), [id]: { model, fields, started } });
      await studio.backend.start({ kind: "draw", body: drawBody(model, fields), id });
      studio.refresh();
    } catch (error) {
      this.#end(id, "failed", messageOf(error));
      return;
    }
    await this.#follow(id);
  }

  async #follow(id: string): Promise<void> {
    const { signal } = new AbortController();
    try {
      for await (const { event } of followJob(this.#chat.studio.backend, id, 0, { signal })) {
        if (event.type === "progress") this.#change(id, () => ({ progress: event.progress }));
        else if (event.type === "picture") await this.#picture(id, event.picture as unknown as PictureEvent);
        else if (event.type === "end") {
          const { state, error } = event.job;
          const ended = {
            done: "done",
            canceled: "stopped",
            failed: "failed",
            interrupted: "interrupted",
          } as const;
          this.#end(id, ended[state as keyof typeof ended] ?? "done", error?.message ?? null);
        }
      }
    } catch (error) {
      const gone = isFault(error, "refused") && error.status === 404;
      this.#end(id, gone ? "interrupted" : "failed", gone ? null : messageOf(error));
    }
    this.#chat.studio.refresh();
  }

  #end(id: string, ended: NonNullable<Task["ended"]>, error: string | null): void {
    const { [id]: _, ...others } = readPending();
    keepPending(others);
    this.#change(id, () => ({ ended, error, progress: null }));
    announce(
      {
        done: "The pictures are drawn",
        stopped: "Stopped",
        failed: `Drawing failed: ${error}`,
        interrupted: "Drawing was interrupted",
      }[ended],
    );
  }

  #show(id: string, index: number, shown: Growing): void {
    this.#change(id, ({ pictures }) => {
      const before = pictures[index]?.url;
      if (before && before !== shown.url) URL.revokeObjectURL(before);
      return { pictures: pictures.map((each, i) => (i === index ? shown : each)) };
    });
  }

  async #picture(id: string, { type, b64_json: base64, index, seed }: PictureEvent): Promise<void> {
    const task = this.tasks.peek().find((each) => each.id === id);
    if (!task || index >= task.pictures.length) return;
    const png = bytesOf(base64);
    const url = URL.createObjectURL(new Blob([png], { type: "image/png" }));
    if (!type.endsWith(".completed")) {
      this.#show(id, index, { url, drawing: null });
      return;
    }
    const name = `${id}-${index}`;
    this.#show(id, index, { url, drawing: name });
    const texts = textsFor(task.model, task.fields, seed, index);
    const picture = await readPicture(
      new Blob([withTexts(png, texts)], { type: "image/png" }),
      fileName(texts),
    );
    const { prompt, ...settings } = texts;
    try {
      await keepPictures(this.#chat.store, [picture]);
      await this.#chat.store.putDrawing({
        id: name,
        hash: picture.hash,
        // Pictures of a task stand in their order.
        created: task.started - index / 100,
        model: task.model,
        prompt,
        settings,
        deleted: null,
      });
    } catch (error) {
      notify(`The picture is not kept: ${messageOf(error)}`);
    }
    await this.#readGallery();
  }

  /** Takes a finished task's place away; its pictures are in the gallery. */
  dismiss(id: string): void {
    const task = this.tasks.peek().find((each) => each.id === id);
    for (const { url } of task?.pictures ?? []) if (url) URL.revokeObjectURL(url);
    this.tasks.value = this.tasks.peek().filter((each) => each.id !== id);
  }

  async remove(drawing: Drawing): Promise<void> {
    await this.#chat.store.putDrawing({ ...drawing, deleted: Date.now() });
    await this.#readGallery();
    notify("The picture is deleted.", async () => {
      await this.#chat.store.putDrawing(drawing);
      await this.#readGallery();
    });
  }
}

const empty = (count: number): Growing[] =>
  Array.from({ length: count }, () => ({ url: null, drawing: null }));

/** A name for a picture's file: what it shows, and the seed. */
function fileName(texts: PictureTexts): string {
  const words = texts.prompt
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
    .replaceAll(/^-|-$/g, "")
    .slice(0, 40);
  return `${words || "picture"}-seed${texts.seed ?? "x"}-${texts.image}.png`;
}
