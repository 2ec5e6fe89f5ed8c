/** Conversations as the page works with them: what is open, what is asked, what comes. */
import { batch, type Signal, signal } from "@preact/signals";
import { createContext } from "preact";
import { useContext } from "preact/hooks";
import { plural } from "../../text/units.ts";
import { BackendError, isFault, messageOf } from "../backend/backend.ts";
import { followJob } from "../backend/follow.ts";
import { insideShown } from "../state/inside.ts";
import { announce, notify, storageFault, UNDO_TIME } from "../state/notices.ts";
import { newId, type Studio } from "../state/studio.ts";
import { Answer } from "./answer.ts";
import {
  type Conversation,
  newConversation,
  newTurn,
  pathOf,
  showing,
  subtree,
  type Turn,
  type Turns,
  titleOf,
} from "./conversation.ts";
import { dataUrl } from "./pictures.ts";
import { answerBody } from "./request.ts";
import type { Store } from "./store.ts";

/** Milliseconds between writes of an answer that comes. */
const SAVE_EVERY = 1000;

/** An answer that is being written. */
export interface Live {
  readonly text: Signal<string>;
  readonly reasoning: Signal<string>;
  /** What happens before the first token, or why nothing comes. */
  readonly state: Signal<string>;
  readonly turn: Signal<Turn>;
  readonly stop: AbortController;
}

export interface Opened {
  readonly conversation: Conversation;
  readonly turns: Turns;
}

export class Chat {
  readonly studio: Studio;
  readonly store: Store;
  /** Newest first, without the deleted. */
  readonly list = signal<readonly Conversation[]>([]);
  readonly opened = signal<Opened | null>(null);
  /** Why a conversation could not be read; null where it could. */
  readonly fault = signal<string | null>(null);
  readonly live = signal<ReadonlyMap<string, Live>>(new Map());
  readonly #channel: BroadcastChannel | null;
  #saved = Promise.resolve();

  constructor(studio: Studio, store: Store) {
    this.studio = studio;
    this.store = store;
    this.#channel =
      store.lasting && typeof BroadcastChannel === "function" ? new BroadcastChannel("studio") : null;
    this.#channel?.addEventListener("message", ({ data }) => this.#changedElsewhere(String(data)));
    if (!store.lasting)
      storageFault.value = "This browser keeps nothing here: conversations last until the page is closed.";
  }

  /** Reads the index, and ends deletions that nobody took back. */
  async begin(): Promise<void> {
    const all = await this.store.conversations();
    const old = all.filter(({ deleted }) => deleted !== null && deleted < Date.now() - UNDO_TIME);
    for (const { id } of old) await this.store.purge(id);
    this.#index(all);
  }

  #index(all: readonly Conversation[]): void {
    this.list.value = all.filter(({ deleted }) => deleted === null).sort((a, b) => b.changed - a.changed);
  }

  async #changedElsewhere(id: string): Promise<void> {
    const all = await this.store.conversations();
    this.#index(all);
    const opened = this.opened.peek();
    if (opened?.conversation.id !== id) return;
    const kept = all.find((each) => each.id === id);
    const turns = new Map(opened.turns);
    for (const turn of await this.store.turns(id))
      if (!this.live.peek().has(turn.id)) turns.set(turn.id, turn);
    // What is shown here stays shown: what the other tab wrote is a branch beside it.
    const shown = pathOf(opened.turns, opened.conversation.chosen).at(-1);
    const conversation = { ...opened.conversation, revision: kept?.revision ?? opened.conversation.revision };
    const chosen = shown ? showing(turns, conversation.chosen, shown.id) : conversation.chosen;
    this.opened.value = { conversation: { ...conversation, chosen }, turns };
    this.#resume();
  }

  /** Opens a conversation that is kept, or an empty one. */
  async open(id: string | null): Promise<void> {
    this.fault.value = null;
    if (id === null) {
      this.opened.value = { conversation: newConversation(newId(), Date.now()), turns: new Map() };
      return;
    }
    if (this.opened.peek()?.conversation.id === id) return;
    const [all, turns] = await Promise.all([this.store.conversations(), this.store.turns(id)]);
    const conversation = all.find((each) => each.id === id && each.deleted === null);
    if (!conversation) {
      this.opened.value = null;
      this.fault.value = "This conversation is not kept in this browser.";
      return;
    }
    const stale = turns.filter(({ deleted }) => deleted !== null && deleted < Date.now() - UNDO_TIME);
    if (stale.length > 0) this.#write(id, () => this.store.purge(id, stale));
    const found = turns.map((turn) => [turn.id, this.live.peek().get(turn.id)?.turn.peek() ?? turn] as const);
    this.opened.value = { conversation, turns: new Map(found) };
    this.#resume();
  }

  /** Goes on reading answers that were written when the page was left. */
  #resume(): void {
    for (const turn of this.opened.peek()?.turns.values() ?? []) {
      if (turn.ended !== null || turn.role !== "assistant" || this.live.peek().has(turn.id)) continue;
      if (turn.job === null) this.#put({ ...turn, ended: "interrupted" });
      else this.#follow(turn, turn.created);
    }
  }

  /** Changes are written one after another, and told to other tabs. */
  #write(conversation: string, write: () => Promise<unknown>): Promise<void> {
    this.#saved = this.#saved
      .then(write)
      .then(() => this.#channel?.postMessage(conversation))
      .catch((error) => {
        const full = (error as Error).name === "QuotaExceededError";
        storageFault.value = full
          ? "This browser's storage is full: what is written now lasts until the page is closed. Export conversations and delete some."
          : `This browser did not keep the conversation: ${messageOf(error)}`;
      });
    return this.#saved;
  }

  #put(turn: Turn): void {
    const opened = this.opened.peek();
    if (opened?.conversation.id === turn.conversation)
      this.opened.value = { ...opened, turns: new Map(opened.turns).set(turn.id, turn) };
    this.#write(turn.conversation, () => this.store.putTurn(turn));
  }

  /** Changes what a conversation says of itself. */
  change(fields: Partial<Conversation>): void {
    const opened = this.opened.peek();
    if (!opened) return;
    const conversation = { ...opened.conversation, ...fields };
    this.opened.value = { ...opened, conversation };
    if (opened.turns.size > 0) this.#keep(conversation);
  }

  #keep(conversation: Conversation): Promise<void> {
    return this.#write(conversation.id, async () => {
      const kept = await this.store.putConversation(conversation);
      const opened = this.opened.peek();
      if (opened?.conversation.id === kept.id)
        this.opened.value = { ...opened, conversation: { ...opened.conversation, revision: kept.revision } };
      this.#index(await this.store.conversations());
    });
  }

  /** Shows another child of a parent. */
  show(turn: string): void {
    const opened = this.opened.peek();
    if (opened) this.change({ chosen: showing(opened.turns, opened.conversation.chosen, turn) });
  }

  #add(turn: Turn): void {
    const opened = this.opened.peek()!;
    const turns = new Map(opened.turns).set(turn.id, turn);
    const title = opened.conversation.title || titleOf(turn.content) || "Pictures";
    const chosen = showing(turns, opened.conversation.chosen, turn.id);
    const conversation = { ...opened.conversation, title, chosen, changed: Date.now() };
    this.opened.value = { conversation, turns };
    this.#write(turn.conversation, () => this.store.putTurn(turn));
    this.#keep(conversation);
  }

  /** Adds what was said after a turn, and asks for the answer. */
  send(parent: string | null, content: string, pictures: readonly string[], model: string): void {
    const { conversation } = this.opened.peek()!;
    const turn = newTurn(
      { id: newId(), conversation: conversation.id, parent, role: "user", content, pictures },
      Date.now(),
    );
    this.#add(turn);
    this.answer(turn.id, model);
  }

  /** Answers a call of a tool, and asks for what the model says to that. */
  answerCall(parent: string, callId: string, content: string, model: string): void {
    const { conversation, turns } = this.opened.peek()!;
    const turn = newTurn(
      { id: newId(), conversation: conversation.id, parent, role: "tool", content, callId },
      Date.now(),
    );
    this.#add(turn);
    const path = pathOf(this.opened.peek()!.turns, this.opened.peek()!.conversation.chosen);
    const asked = path.findLast(({ calls }) => calls.length > 0);
    const answered = new Set(path.map((each) => each.callId));
    if (turns.size > 0 && asked?.calls.every(({ id }) => answered.has(id))) this.answer(turn.id, model);
  }

  /** Another version of a turn with other words, beside it: of what was said with a new answer, of an answer as it is. */
  edit(turn: Turn, content: string, model: string): void {
    if (turn.role === "user") this.send(turn.parent, content, turn.pictures, model);
    else
      this.#add({
        ...newTurn(
          { id: newId(), conversation: turn.conversation, parent: turn.parent, role: turn.role },
          Date.now(),
        ),
        content,
        callId: turn.callId,
        reasoning: turn.reasoning,
        model: turn.model,
        ended: "whole",
      });
  }

  /** Asks for an answer to a turn. */
  answer(parent: string | null, model: string): void {
    const { conversation } = this.opened.peek()!;
    const turn = newTurn(
      { id: newId(), conversation: conversation.id, parent, role: "assistant", model },
      Date.now() + 1,
    );
    this.#add(turn);
    this.#ask(turn, model, false);
  }

  /** Goes on with an answer that was stopped, or that reached its limit. */
  goOn(turn: Turn, model: string): void {
    const next: Turn = { ...turn, ended: null, error: null, job: null };
    this.#put(next);
    this.#ask(next, model, true);
  }

  /** Another version of an answer, which begins as given and is gone on with. */
  goOnFrom(turn: Turn, begun: Pick<Turn, "reasoning" | "content">, model: string): void {
    const { conversation, parent } = turn;
    const place = { id: newId(), conversation, parent, role: "assistant" as const };
    const next = newTurn({ ...place, model, ...begun }, Date.now());
    this.#add(next);
    this.#ask(next, model, true);
  }

  #begin(turn: Turn): Live {
    const live: Live = {
      text: signal(turn.content),
      reasoning: signal(turn.reasoning),
      state: signal(""),
      turn: signal(turn),
      stop: new AbortController(),
    };
    this.live.value = new Map(this.live.peek()).set(turn.id, live);
    return live;
  }

  #end(turn: Turn): void {
    const live = new Map(this.live.peek());
    live.delete(turn.id);
    batch(() => {
      this.#put(turn);
      this.live.value = live;
    });
    const told = {
      whole: `Done, ${plural(turn.figures?.tokens ?? 0, "token")}`,
      length: "The answer reached its limit",
      stopped: "Stopped",
      failed: `The answer failed: ${turn.error}`,
      interrupted: "The answer was interrupted",
    };
    announce(told[turn.ended ?? "whole"]);
  }

  async #ask(turn: Turn, model: string, goOn: boolean): Promise<void> {
    const live = this.#begin(turn);
    announce("Answering");
    const { signal } = live.stop;
    try {
      const { conversation, turns } = this.opened.peek()!;
      const path = pathOf(turns, showing(turns, conversation.chosen, turn.id));
      const at = path.findIndex(({ id }) => id === turn.id);
      const before = path.slice(0, goOn ? at + 1 : at);
      const pictures = await this.#urls(before);
      const body = answerBody(conversation, before, model, pictures, goOn);
      if (this.studio.entry(model)?.state !== "open") {
        live.state.value = "opens the model";
        await this.studio.open({ model }, signal, (text) => {
          live.state.value = text;
        });
      }
      if (signal.aborted) {
        this.#end({ ...turn, ended: "stopped" });
        return;
      }
      const id = newId();
      const kind = conversation.mode === "raw" ? ("complete" as const) : ("chat" as const);
      const begun = [turn.reasoning.length, turn.content.length] as const;
      const asked: Turn = { ...turn, job: { id, after: 0, begun } };
      live.turn.value = asked;
      this.#put(asked);
      const inside = insideShown.value === "yes" ? { inside: true } : {};
      await this.studio.backend.start({ kind, body, id, ...inside });
      this.studio.refresh();
      await this.#read(asked, live, Date.now());
    } catch (error) {
      this.#failed(live, error);
    }
  }

  /** Ends an answer that was not read to its end. */
  #failed(live: Live, error: unknown): void {
    const turn = live.turn.peek();
    // A server that was started again does not know the job.
    const gone =
      isFault(error, "denied") ||
      (error instanceof BackendError && error.status === 404 && turn.job !== null);
    if (live.stop.signal.aborted) this.#end({ ...turn, ended: "stopped" });
    else if (gone) this.#end({ ...turn, ended: "interrupted" });
    else this.#end({ ...turn, ended: "failed", error: messageOf(error) });
  }

  async #urls(path: readonly Turn[]): Promise<ReadonlyMap<string, string>> {
    const urls = new Map<string, string>();
    for (const hash of path.flatMap(({ pictures }) => pictures)) {
      if (urls.has(hash)) continue;
      const picture = await this.store.picture(hash);
      if (picture === null)
        throw new Error(
          "A picture of this conversation is no longer kept in this browser. Edit the message without it.",
        );
      urls.set(hash, await dataUrl(picture.blob));
    }
    return urls;
  }

  async #follow(turn: Turn, asked: number): Promise<void> {
    const live = this.#begin(turn);
    try {
      await this.#read(turn, live, asked);
    } catch (error) {
      this.#failed(live, error);
    }
  }

  /** Reads the events of a turn's job to the end; what came is shown once a frame and kept once a second. */
  async #read(turn: Turn, live: Live, asked: number): Promise<void> {
    const answer = new Answer(turn, asked);
    let saved = Date.now();
    let frame = 0;
    const show = () => {
      frame = 0;
      batch(() => {
        live.text.value = answer.content;
        live.reasoning.value = answer.reasoning;
        live.state.value = answer.progress?.text ?? "";
        live.turn.value = answer.turn(turn);
      });
    };
    const { signal } = live.stop;
    // Hidden pages get no frames, and need none.
    const later = () => {
      frame ||= document.hidden ? 1 : requestAnimationFrame(show);
    };
    try {
      const onLost = (lost: boolean) => {
        if (lost) live.state.value = "the server does not answer; what came is kept";
      };
      for await (const event of followJob(this.studio.backend, turn.job!.id, answer.after, {
        signal,
        onLost,
      })) {
        answer.read(event);
        later();
        if (document.hidden) frame = 0;
        if (Date.now() - saved > SAVE_EVERY) {
          saved = Date.now();
          const state = answer.turn(turn);
          this.#write(turn.conversation, () => this.store.putTurn(state));
        }
      }
    } finally {
      cancelAnimationFrame(frame);
      live.turn.value = answer.turn(turn);
    }
    this.#end({ ...answer.turn(turn), ended: answer.ended ?? "stopped" });
    this.studio.refresh();
  }

  /** Stops an answer; the job says itself when it has. */
  async stop(turn: string): Promise<void> {
    const live = this.live.peek().get(turn);
    if (!live) return;
    const { job } = live.turn.peek();
    if (job === null) {
      live.stop.abort();
      return;
    }
    try {
      await this.studio.backend.stop(job.id);
    } catch (error) {
      notify(`It was not stopped: ${messageOf(error)}`);
    }
  }

  rename(conversation: Conversation, title: string): void {
    if (this.opened.peek()?.conversation.id === conversation.id) this.change({ title });
    else this.#keep({ ...conversation, title });
  }

  /** Deletes a conversation, for good in ten seconds. */
  remove(conversation: Conversation): void {
    this.#keep({ ...conversation, deleted: Date.now() });
    const timer = setTimeout(
      () => this.#write(conversation.id, () => this.store.purge(conversation.id)),
      UNDO_TIME + 500,
    );
    notify(`“${conversation.title}” is deleted.`, () => {
      clearTimeout(timer);
      this.#keep({ ...conversation, deleted: null, revision: conversation.revision + 1 });
    });
  }

  /** Takes a version of a turn away, with all that follows it. */
  removeTurn(turn: Turn): void {
    const mark = (deleted: number | null) => {
      for (const each of subtree(this.opened.peek()!.turns, turn.id)) this.#put({ ...each, deleted });
    };
    const { conversation } = this.opened.peek()!;
    mark(Date.now());
    notify("The message is deleted, with what follows it.", () => {
      if (this.opened.peek()?.conversation.id === conversation.id) mark(null);
    });
  }

  /** What the page was asked to keep is kept. */
  settled(): Promise<void> {
    return this.#saved;
  }
}

const ChatContext = createContext<Chat | null>(null);
export const ChatProvider = ChatContext.Provider;

export function useChat(): Chat {
  return useContext(ChatContext)!;
}
