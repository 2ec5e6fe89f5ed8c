/** The conversations that this browser keeps: find, rename, delete, export, import. */
import { useRef, useState } from "preact/hooks";
import { plural } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import { Icon } from "../frame/icons.tsx";
import { isNarrow, listShown } from "../state/preferences.ts";
import { goTo, routeHash } from "../state/route.ts";
import { useChat } from "./chat.ts";
import type { Conversation } from "./conversation.ts";
import { exportConversations, importConversations } from "./exchange.ts";
import { saveFile } from "./save-file.ts";

const DAY = 86_400_000;

/** Groups by age, newest first. */
function ages(
  list: readonly Conversation[],
  now: number,
): readonly (readonly [string, readonly Conversation[]])[] {
  const today = new Date(now).setHours(0, 0, 0, 0);
  const of = ({ changed }: Conversation) =>
    changed >= today
      ? "Today"
      : changed >= today - DAY
        ? "Yesterday"
        : changed >= today - 7 * DAY
          ? "This week"
          : "Earlier";
  const groups = new Map<string, Conversation[]>();
  for (const conversation of list) {
    const age = of(conversation);
    groups.set(age, [...(groups.get(age) ?? []), conversation]);
  }
  return [...groups];
}

function Item({ conversation, current }: { readonly conversation: Conversation; readonly current: boolean }) {
  const chat = useChat();
  const [name, setName] = useState<string | null>(null);
  const finish = (keep: boolean) => {
    if (keep && name?.trim()) chat.rename(conversation, name.trim().slice(0, 200));
    setName(null);
  };
  if (name !== null)
    return (
      <li>
        <input
          class="field"
          aria-label="Name of the conversation"
          autoFocus
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
          onBlur={() => finish(true)}
          onKeyDown={(event) => {
            if (event.isComposing) return;
            if (event.key === "Enter") finish(true);
            if (event.key === "Escape") {
              event.stopPropagation();
              finish(false);
            }
          }}
        />
      </li>
    );
  return (
    <li class={`conversation ${current ? "current" : ""}`}>
      <a
        class="cut"
        href={routeHash({ screen: "chat", item: conversation.id })}
        aria-current={current ? "true" : undefined}
        title={conversation.title}
      >
        {conversation.title || "Without a name"}
      </a>
      <button
        type="button"
        class="quiet icon-only"
        aria-label={`Rename ${conversation.title}`}
        onClick={() => setName(conversation.title)}
      >
        <Icon name="edit" />
      </button>
      <button
        type="button"
        class="quiet icon-only"
        aria-label={`Delete ${conversation.title}`}
        onClick={() => {
          chat.remove(conversation);
          if (current) goTo("chat");
        }}
      >
        <Icon name="trash" />
      </button>
    </li>
  );
}

export function ConversationList({ current }: { readonly current: string | null }) {
  const chat = useChat();
  const [text, setText] = useState("");
  const [said, setSaid] = useState<string | null>(null);
  const file = useRef<HTMLInputElement>(null);
  const wanted = text.trim().toLowerCase();
  const list = chat.list.value.filter(({ title }) => title.toLowerCase().includes(wanted));

  const save = async () => {
    const exported = await exportConversations(chat.store, chat.list.value);
    const day = new Date().toISOString().slice(0, 10);
    saveFile(new Blob([JSON.stringify(exported)], { type: "application/json" }), `conversations-${day}.json`);
  };
  const load = async (given: File | undefined) => {
    if (!given) return;
    try {
      const count = await importConversations(chat.store, given);
      await chat.begin();
      setSaid(`${plural(count, "conversation")} came in.`);
    } catch (error) {
      setSaid(messageOf(error));
    }
  };
  return (
    <aside class="list" aria-label="Conversations">
      <div class="list-head">
        <h2>Conversations</h2>
        <button
          type="button"
          class="quiet icon-only"
          aria-label="New conversation"
          title="New conversation (Ctrl Shift O)"
          onClick={() => {
            goTo("chat");
            if (isNarrow()) listShown.value = "no";
          }}
        >
          <Icon name="plus" />
        </button>
        <button
          type="button"
          class="quiet icon-only sheet-only"
          aria-label="Close the list"
          onClick={() => {
            listShown.value = "no";
          }}
        >
          <Icon name="close" />
        </button>
      </div>
      {chat.list.value.length > 6 && (
        <div class="list-find">
          <input
            class="field"
            type="search"
            aria-label="Find a conversation"
            placeholder="Find"
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
        </div>
      )}
      <div class="list-body">
        {ages(list, Date.now()).map(([age, some]) => (
          <section key={age} aria-label={age}>
            <h3 class="age">{age}</h3>
            <ul
              onClick={(event) => {
                const link = (event.target as HTMLElement).closest("a");
                if (link && isNarrow()) listShown.value = "no";
              }}
            >
              {some.map((conversation) => (
                <Item
                  key={conversation.id}
                  conversation={conversation}
                  current={conversation.id === current}
                />
              ))}
            </ul>
          </section>
        ))}
        {chat.list.value.length === 0 && (
          <p class="small soft list-empty">What you ask is kept here, in this browser.</p>
        )}
        {list.length === 0 && chat.list.value.length > 0 && (
          <p class="small soft list-empty">None has this name.</p>
        )}
      </div>
      <div class="list-end">
        {said !== null && (
          <p class="tiny soft" role="status">
            {said}
          </p>
        )}
        <button type="button" class="quiet" disabled={chat.list.value.length === 0} onClick={save}>
          Export
        </button>
        <button type="button" class="quiet" onClick={() => file.current?.click()}>
          Import
        </button>
        <input
          ref={file}
          type="file"
          accept="application/json"
          hidden
          aria-label="File of conversations"
          onChange={(event) => {
            load(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
    </aside>
  );
}
