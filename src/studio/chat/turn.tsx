/** A turn of a conversation, with what can be done with it. */
import { memo } from "preact/compat";
import { useRef, useState } from "preact/hooks";
import { formatDuration, formatRate, plural } from "../../text/units.ts";
import { Icon, type IconName } from "../frame/icons.tsx";
import { shortName } from "../frame/top-line.tsx";
import { copyText } from "../markdown/code-block.tsx";
import { GrowingMarkdown, Markdown } from "../markdown/markdown.tsx";
import { openInside } from "../state/inside.ts";
import { shortcuts } from "../state/preferences.ts";
import { useStudio } from "../state/studio.ts";
import { speedOf } from "./answer.ts";
import { Boxes } from "./boxes.tsx";
import { type Live, useChat } from "./chat.ts";
import type { Figures, ToolCall, Turn } from "./conversation.ts";
import { StoredImage } from "./stored-image.tsx";

interface ButtonProps {
  readonly icon: IconName;
  readonly name: string;
  readonly keys?: string;
  readonly onClick: () => void;
}

const TurnButton = ({ icon, name, keys, onClick }: ButtonProps) => (
  <button
    type="button"
    class="quiet icon-only"
    aria-label={name}
    title={keys ? `${name} (${keys})` : name}
    onClick={onClick}
  >
    <Icon name={icon} />
  </button>
);

interface TurnProps {
  readonly turn: Turn;
  /** Versions of it, itself among them. */
  readonly versions: readonly Turn[];
  /** Pictures of the conversation up to here. */
  readonly pictures: readonly string[];
  readonly last: boolean;
  readonly raw: boolean;
}

function FiguresLine({ figures }: { readonly figures: Figures }) {
  const speed = speedOf(figures);
  return (
    <span class="figures">
      {speed !== null && (
        <span title="Tokens a second, the first one not counted">{formatRate(speed, 1)} tok/s</span>
      )}
      {figures.firstToken !== null && (
        <span title="From asking to the first token">
          {formatDuration(figures.firstToken / 1000)} to first
        </span>
      )}
      <span>{plural(figures.tokens, "token")}</span>
    </span>
  );
}

function Versions({ turn, versions }: { readonly turn: Turn; readonly versions: readonly Turn[] }) {
  const chat = useChat();
  if (versions.length < 2) return null;
  const at = versions.findIndex(({ id }) => id === turn.id);
  const go = (step: number) => chat.show(versions[at + step].id);
  return (
    <span class="versions">
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Version before"
        disabled={at === 0}
        onClick={() => go(-1)}
      >
        <Icon name="left" />
      </button>
      <span>
        <span class="hidden-text">Version </span>
        {at + 1}/{versions.length}
      </span>
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Version after"
        disabled={at === versions.length - 1}
        onClick={() => go(1)}
      >
        <Icon name="right" />
      </button>
    </span>
  );
}

interface EditorProps {
  readonly turn: Turn;
  readonly onClose: () => void;
}

function Editor({ turn, onClose }: EditorProps) {
  const chat = useChat();
  const studio = useStudio();
  const [text, setText] = useState(turn.content);
  const save = () => {
    chat.edit(turn, text, studio.current?.model ?? turn.model ?? "");
    onClose();
  };
  return (
    <div class="turn-editor">
      <textarea
        class="field"
        aria-label="Edit the message"
        rows={Math.min(16, Math.max(3, text.split("\n").length + 1))}
        autoFocus
        value={text}
        onInput={(event) => setText(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.isComposing) return;
          if (event.key === "Escape") {
            event.preventDefault();
            event.stopPropagation();
            onClose();
          } else if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
            event.preventDefault();
            save();
          }
        }}
      />
      <div class="row">
        <button type="button" class="solid" onClick={save}>
          {turn.role === "user" ? "Send as a branch" : "Save as a branch"}
        </button>
        <button type="button" class="outlined" onClick={onClose}>
          Cancel
        </button>
        <span class="tiny soft">The version of now stays beside it.</span>
      </div>
    </div>
  );
}

function Reasoning({
  text,
  live,
  thought,
}: {
  readonly text: string;
  readonly live: boolean;
  readonly thought: number | null;
}) {
  const time = thought === null ? "" : ` for ${formatDuration(thought / 1000)}`;
  return (
    <details class="reasoning">
      <summary>{live ? `Thinking${time}` : `Thought${time}`}</summary>
      {live ? <GrowingMarkdown text={text} /> : <Markdown text={text} />}
    </details>
  );
}

function pretty(text: string): string {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}

function Call({
  call,
  turn,
  open,
}: {
  readonly call: ToolCall;
  readonly turn: Turn;
  readonly open: boolean;
}) {
  const chat = useChat();
  const studio = useStudio();
  const [text, setText] = useState("");
  return (
    <div class="call">
      <p class="small">
        Calls <strong>{call.name}</strong>
      </p>
      <pre tabIndex={0}>{pretty(call.arguments)}</pre>
      {open && (
        <form
          class="row"
          onSubmit={(event) => {
            event.preventDefault();
            chat.answerCall(
              chat.opened.value!.turns.has(turn.id) ? lastOf(chat, turn) : turn.id,
              call.id,
              text,
              studio.current?.model ?? turn.model ?? "",
            );
          }}
        >
          <input
            class="field"
            aria-label={`Answer of ${call.name}`}
            placeholder={`What ${call.name} answers`}
            value={text}
            onInput={(event) => setText(event.currentTarget.value)}
          />
          <button type="submit" class="outlined">
            Answer
          </button>
        </form>
      )}
    </div>
  );
}

/** The last answer of a tool after a turn: further ones follow it. */
function lastOf(chat: ReturnType<typeof useChat>, turn: Turn): string {
  let at = turn.id;
  for (;;) {
    const next = [...chat.opened.value!.turns.values()].find(
      (each) => each.parent === at && each.role === "tool" && each.deleted === null,
    );
    if (!next) return at;
    at = next.id;
  }
}

function Body({
  turn,
  live,
  raw,
}: {
  readonly turn: Turn;
  readonly live: Live | undefined;
  readonly raw: boolean;
}) {
  const text = live ? live.text.value : turn.content;
  const reasoning = live ? live.reasoning.value : turn.reasoning;
  const now = live ? live.turn.value : turn;
  return (
    <>
      {reasoning !== "" && (
        <Reasoning
          text={reasoning}
          live={live !== undefined && text === ""}
          thought={now.figures?.thought ?? null}
        />
      )}
      {raw ? (
        <pre class="raw-text" dir="auto">
          {text}
        </pre>
      ) : live ? (
        <GrowingMarkdown text={text} />
      ) : (
        <Markdown text={text} />
      )}
    </>
  );
}

/** What stands below an answer that did not end by itself. */
const ENDINGS = {
  length: "The answer reached its limit of tokens.",
  stopped: "Stopped.",
  interrupted: "The server ended before the answer did. What came is kept.",
} as const;

function LiveLine({ live, onStop }: { readonly live: Live; readonly onStop: () => void }) {
  const { figures } = live.turn.value;
  return (
    <div class="turn-line">
      <span class="working" aria-hidden="true" />
      <span class="small soft">
        {live.state.value || (figures?.tokens ? "" : "waits for the first token")}
      </span>
      {figures !== null && figures.tokens > 0 && <FiguresLine figures={figures} />}
      <button type="button" class="quiet" title="Stop (Escape)" onClick={onStop}>
        <Icon name="stop" />
        Stop
      </button>
    </div>
  );
}

export const TurnView = memo(({ turn, versions, pictures, last, raw }: TurnProps) => {
  const chat = useChat();
  const studio = useStudio();
  const article = useRef<HTMLElement>(null);
  const [editing, setEditing] = useState(false);
  const live = chat.live.value.get(turn.id);
  const model = () => studio.current?.model ?? turn.model ?? "";
  const who = { user: "You", assistant: turn.model ? shortName(turn.model) : "Answer", tool: "Tool" }[
    turn.role
  ];
  const canGoOn = turn.role === "assistant" && !live && turn.ended !== "whole" && turn.content !== "";
  const retry = () =>
    turn.role === "assistant" ? chat.answer(turn.parent, model()) : chat.answer(turn.id, model());
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.target !== article.current || event.ctrlKey || event.metaKey || event.altKey || live) return;
    if (shortcuts.value === "off") return;
    const at = versions.findIndex(({ id }) => id === turn.id);
    const beside = { ArrowLeft: versions[at - 1], ArrowRight: versions[at + 1] }[event.key];
    const act = {
      e: () => setEditing(true),
      r: retry,
      c: () => copyText(turn.content, "The message"),
    }[event.key.toLowerCase()];
    if (!beside && !act) return;
    event.preventDefault();
    if (beside) chat.show(beside.id);
    else act!();
  };
  return (
    <article
      ref={article}
      class={`turn ${turn.role}`}
      data-turn={turn.id}
      tabIndex={-1}
      aria-label={who}
      aria-busy={live !== undefined}
      onKeyDown={onKeyDown}
    >
      <h2 class="who">{who}</h2>
      {turn.pictures.length > 0 && (
        <div class="turn-pictures">
          {turn.pictures.map((hash) => (
            <StoredImage key={hash} hash={hash} />
          ))}
        </div>
      )}
      {editing ? (
        <Editor turn={turn} onClose={() => setEditing(false)} />
      ) : turn.role === "user" && !raw ? (
        <p class="said" dir="auto">
          {turn.content}
        </p>
      ) : (
        <Body turn={turn} live={live} raw={raw} />
      )}
      {turn.phrases.length > 0 && <Boxes phrases={turn.phrases} pictures={pictures} />}
      {(live?.turn.value ?? turn).calls.map((call) => (
        <Call key={call.id} call={call} turn={turn} open={last && !live} />
      ))}
      {turn.ended === "failed" && (
        <div class="fault">
          <span>{turn.error}</span>
          <span class="soft">
            {turn.content === "" ? "What you wrote is kept." : "What came is kept."} Try it again
            {canGoOn && ", or go on from here"}.
          </span>
        </div>
      )}
      {turn.ended !== null && turn.ended in ENDINGS && (
        <p class="small soft">{ENDINGS[turn.ended as keyof typeof ENDINGS]}</p>
      )}
      {live ? (
        <LiveLine live={live} onStop={() => chat.stop(turn.id)} />
      ) : (
        !editing && (
          <div class="turn-line">
            <TurnButton
              icon="copy"
              name="Copy"
              keys="C"
              onClick={() => copyText(turn.content, "The message")}
            />
            <TurnButton icon="edit" name="Edit" keys="E" onClick={() => setEditing(true)} />
            <TurnButton
              icon="retry"
              name={turn.role === "assistant" ? "Answer again" : "Answer this again"}
              keys="R"
              onClick={retry}
            />
            {canGoOn && (
              <button type="button" class="outlined" onClick={() => chat.goOn(turn, model())}>
                <Icon name="onward" />
                Continue
              </button>
            )}
            {turn.role === "assistant" && (
              <TurnButton
                icon="inside"
                name="Inside of this answer"
                keys="Ctrl I"
                onClick={() => openInside(turn.id)}
              />
            )}
            <TurnButton icon="trash" name="Delete, with what follows" onClick={() => chat.removeTurn(turn)} />
            <Versions turn={turn} versions={versions} />
            {turn.role === "assistant" && turn.figures !== null && <FiguresLine figures={turn.figures} />}
          </div>
        )
      )}
    </article>
  );
});
