/** Chat: the list of conversations, the turns of one, and where the next is written. */
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { Question } from "../frame/dialog.tsx";
import { Icon } from "../frame/icons.tsx";
import { offerKeys } from "../frame/keys.tsx";
import { copyText } from "../markdown/code-block.tsx";
import { askedAddress } from "../markdown/markdown.tsx";
import { offerActions } from "../state/actions.ts";
import { closeInside, insideShown, toggleInside } from "../state/inside.ts";
import { listShown } from "../state/preferences.ts";
import { goTo, route } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { useChat } from "./chat.ts";
import { Composer } from "./composer.tsx";
import { childrenOf, pathOf, picturesOf } from "./conversation.ts";
import { ConversationList } from "./conversation-list.tsx";
import { FirstRun } from "./first-run.tsx";
import { InsidePlace } from "./inside-place.tsx";
import { TurnView } from "./turn.tsx";

/** Pixels from the end at which the view still counts as being there. */
const NEAR = 24;

/**
 * Keeps the end in view while text comes, until somebody looks elsewhere: a wheel or key upwards, a finger, a selection.
 */
function useFollowing(key: string) {
  const box = useRef<HTMLDivElement>(null);
  const following = useRef(true);
  const [away, setAway] = useState(false);
  const toEnd = () => {
    const { current } = box;
    if (!current) return;
    following.current = true;
    setAway(false);
    current.scrollTop = current.scrollHeight;
  };
  useEffect(() => {
    const view = box.current!;
    const atEnd = () => view.scrollHeight - view.scrollTop - view.clientHeight < NEAR;
    const release = () => {
      following.current = false;
    };
    const wheel = (event: WheelEvent) => event.deltaY < 0 && release();
    const keyUp = (event: KeyboardEvent) => /^(PageUp|Home|ArrowUp)$/.test(event.key) && release();
    const selected = () => {
      const selection = getSelection();
      if (selection && !selection.isCollapsed && view.contains(selection.anchorNode)) release();
    };
    const scrolled = () => {
      if (atEnd()) following.current = true;
      setAway(!atEnd() && !following.current);
    };
    const grown = new ResizeObserver(() => {
      if (following.current) view.scrollTop = view.scrollHeight;
      else setAway(!atEnd());
    });
    grown.observe(view.firstElementChild!);
    grown.observe(view);
    view.addEventListener("wheel", wheel, { passive: true });
    view.addEventListener("touchmove", release, { passive: true });
    view.addEventListener("keydown", keyUp);
    view.addEventListener("scroll", scrolled, { passive: true });
    document.addEventListener("selectionchange", selected);
    toEnd();
    return () => {
      grown.disconnect();
      view.removeEventListener("wheel", wheel);
      view.removeEventListener("touchmove", release);
      view.removeEventListener("keydown", keyUp);
      view.removeEventListener("scroll", scrolled);
      document.removeEventListener("selectionchange", selected);
    };
  }, [key]);
  return { box, away, toEnd };
}

/** Moves the focus to the message before or after. */
function focusTurn(step: number): void {
  const all = [...document.querySelectorAll<HTMLElement>("[data-turn]")];
  const at = all.findIndex((turn) => turn.contains(document.activeElement));
  const next = at < 0 ? all.at(step < 0 ? -1 : 0) : all[at + step];
  next?.focus();
  next?.scrollIntoView({ block: "nearest" });
}

function AddressQuestion() {
  const address = askedAddress.value;
  if (address === null) return null;
  const close = () => {
    askedAddress.value = null;
  };
  return (
    <Question
      title="Open this address?"
      action="Open in a new tab"
      onClose={close}
      onYes={() => open(address, "_blank", "noopener,noreferrer")}
    >
      <p class="address">{address}</p>
      <p class="small soft">It stands in the model's answer. Its owner sees that you ask for it.</p>
      <div>
        <button type="button" class="quiet" onClick={() => copyText(address, "The address")}>
          Copy it
        </button>
      </div>
    </Question>
  );
}

function Thread() {
  const chat = useChat();
  const studio = useStudio();
  const { conversation, turns } = chat.opened.value!;
  const { chosen } = conversation;
  const path = useMemo(() => pathOf(turns, chosen), [turns, chosen]);
  const running = path.findLast((turn) => chat.live.value.has(turn.id))?.id ?? null;
  const { box, away, toEnd } = useFollowing(conversation.id);
  const length = path.length;
  useEffect(() => {
    if (length > 0) toEnd();
  }, [length]);
  useEffect(
    () =>
      offerKeys({
        create: () => goTo("chat"),
        list: () => {
          listShown.value = listShown.value === "yes" ? "no" : "yes";
        },
        stop: () => {
          if (running !== null) chat.stop(running);
          return running !== null;
        },
        inside: toggleInside,
        close: closeInside,
      }),
    [running],
  );
  useEffect(() => {
    const listen = (event: KeyboardEvent) => {
      if (!event.altKey || !/^Arrow(Up|Down)$/.test(event.key)) return;
      event.preventDefault();
      focusTurn(event.key === "ArrowUp" ? -1 : 1);
    };
    addEventListener("keydown", listen);
    return () => removeEventListener("keydown", listen);
  }, []);
  let seen = 0;
  const pictures = picturesOf(path);
  return (
    <section class="thread-area">
      <div class="thread" ref={box} tabIndex={0} aria-label="Messages" role="region">
        <div class={`thread-inner ${path.length === 0 ? "empty" : ""}`}>
          {path.length === 0 ? (
            <FirstRun ready={studio.current?.state === "open"} />
          ) : (
            <>
              <h1 class="hidden-text">{conversation.title}</h1>
              {path.map((turn, i) => {
                seen += turn.pictures.length;
                return (
                  <TurnView
                    key={turn.id}
                    turn={turn}
                    versions={childrenOf(turns, turn.parent)}
                    pictures={pictures.slice(0, seen)}
                    last={i === path.length - 1}
                    raw={conversation.mode === "raw"}
                  />
                );
              })}
            </>
          )}
        </div>
      </div>
      <div class="composer-area">
        {away && (
          <button type="button" class="outlined newest" onClick={toEnd}>
            <Icon name="down" />
            Newest
          </button>
        )}
        <Composer key={conversation.id} conversation={conversation} path={path} running={running} />
      </div>
      <AddressQuestion />
    </section>
  );
}

export function ChatScreen() {
  const chat = useChat();
  const { item } = route.value;
  useEffect(() => {
    chat.open(item);
  }, [item]);
  useEffect(
    () =>
      offerActions("chat", () => [
        { name: "New conversation", hint: "Ctrl Shift O", act: () => goTo("chat") },
        { name: "Inside of the answer", hint: "Ctrl I", act: toggleInside },
        ...chat.list.value.slice(0, 20).map(({ id, title }) => ({
          name: title || "Without a name",
          hint: "conversation",
          act: () => goTo("chat", id),
        })),
      ]),
    [],
  );
  return (
    <>
      {listShown.value === "yes" && <ConversationList current={item} />}
      <div class="screen">
        {chat.fault.value !== null ? (
          <div class="page">
            <h1>Chat</h1>
            <p class="fault">{chat.fault.value}</p>
          </div>
        ) : (
          chat.opened.value !== null && <Thread key={chat.opened.value.conversation.id} />
        )}
      </div>
      {insideShown.value === "yes" && <InsidePlace />}
    </>
  );
}
