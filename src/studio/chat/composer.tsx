/** Where messages are written. Its text is its own: nothing above it is drawn again with a key. */
import { useEffect, useRef, useState } from "preact/hooks";
import { formatCount } from "../../text/units.ts";
import { Icon } from "../frame/icons.tsx";
import { Meter } from "../frame/top-line.tsx";
import { goTo } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { useChat } from "./chat.ts";
import type { Conversation, Turn } from "./conversation.ts";
import { type Draft, keepDraft, NEW, readDraft } from "./drafts.ts";
import { keepPictures, picturesIn, readPicture } from "./pictures.ts";
import { Chips, SettingsButton } from "./settings.tsx";
import type { StoredPicture } from "./store.ts";
import { StoredImage } from "./stored-image.tsx";

/** Characters of a token, about, of text that was not counted yet. */
const CHARACTERS = 3.6;

/** Whether a key ends a composition of an input method, and sends nothing. Safari says so by the code alone. */
export const isComposing = (event: KeyboardEvent) => event.isComposing || event.keyCode === 229;

const touches = () => matchMedia("(pointer: coarse)").matches;

interface ComposerProps {
  readonly conversation: Conversation;
  /** The turns that are shown. */
  readonly path: readonly Turn[];
  /** The answer that is written now. */
  readonly running: string | null;
}

function ContextMeter({ path, draft }: { readonly path: readonly Turn[]; readonly draft: Draft }) {
  const studio = useStudio();
  const info = studio.current?.info;
  if (!info) return null;
  const figures = path.findLast(({ figures }) => figures !== null && figures.promptTokens > 0)?.figures;
  const counted = figures ? figures.promptTokens + figures.tokens : 0;
  const pictures = draft.pictures.length * (info.imageInput?.tokens ?? 0);
  const used = counted + Math.ceil(draft.text.length / CHARACTERS) + pictures;
  const words =
    `About ${formatCount(used)} of ${formatCount(info.context)} tokens of context` +
    (pictures > 0 ? `, of which pictures take at least ${formatCount(pictures)}` : "");
  return (
    <span class="context" title={words}>
      <Meter fraction={Math.min(1, used / info.context)} label={words} />
      <span class="tiny soft">
        {formatCount(used)} / {formatCount(info.context)}
      </span>
      {used > info.context && <span class="tiny danger">too long</span>}
    </span>
  );
}

export function Composer({ conversation, path, running }: ComposerProps) {
  const chat = useChat();
  const studio = useStudio();
  const key = path.length === 0 ? NEW : conversation.id;
  const [draft, setDraft] = useState(() => readDraft(key));
  const [fault, setFault] = useState<string | null>(null);
  const [over, setOver] = useState(false);
  const field = useRef<HTMLTextAreaElement>(null);
  const files = useRef<HTMLInputElement>(null);
  const model = studio.current;
  const raw = conversation.mode === "raw";
  const last = path.at(-1);

  const latest = useRef({ key, draft });
  latest.current = { key, draft };
  useEffect(() => {
    const timer = setTimeout(() => keepDraft(key, draft), 250);
    return () => clearTimeout(timer);
  }, [draft, key]);
  useEffect(() => {
    const now = () => keepDraft(latest.current.key, latest.current.draft);
    addEventListener("pagehide", now);
    return () => {
      removeEventListener("pagehide", now);
      now();
    };
  }, []);
  useEffect(() => {
    const area = field.current!;
    area.style.height = "auto";
    area.style.height = `${Math.min(area.scrollHeight + 2, 280)}px`;
  }, [draft.text]);
  useEffect(() => {
    if (!touches()) field.current?.focus();
  }, []);

  const attach = async (given: readonly File[]) => {
    setFault(null);
    try {
      const read: StoredPicture[] = [];
      for (const file of given) read.push(await readPicture(file, file.name || "the picture"));
      await keepPictures(chat.store, read);
      setDraft((now) => ({
        ...now,
        pictures: [...new Set([...now.pictures, ...read.map(({ hash }) => hash)])],
      }));
    } catch (error) {
      setFault((error as Error).message);
    }
  };
  const empty = draft.text.trim() === "" && draft.pictures.length === 0;
  const send = () => {
    if (running !== null || model === null || empty) return;
    const cleared = { text: "", pictures: [] };
    chat.send(last?.id ?? null, raw ? draft.text : draft.text.trim(), draft.pictures, model.model);
    setDraft(cleared);
    keepDraft(key, cleared);
    goTo("chat", conversation.id, path.length === 0);
  };
  const blind = draft.pictures.length > 0 && model?.info != null && model.info.imageInput === null;
  return (
    <form
      class={`composer ${over ? "over" : ""}`}
      onSubmit={(event) => {
        event.preventDefault();
        send();
      }}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        attach(picturesIn(event.dataTransfer));
      }}
    >
      {fault !== null && (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
      {blind && (
        <p class="small warn">
          {model!.model} does not see pictures. Take them out, or choose a model that sees in the line above.
        </p>
      )}
      {model?.info?.chat === false && !raw && (
        <p class="small warn">
          {model.model} has no chat template: it goes on with text.{" "}
          <button type="button" class="outlined" onClick={() => chat.change({ mode: "raw" })}>
            Use raw completion
          </button>
        </p>
      )}
      <div class="composer-box">
        {draft.pictures.length > 0 && (
          <div class="composer-pictures">
            {draft.pictures.map((hash) => (
              <span key={hash} class="thumb">
                <StoredImage hash={hash} />
                <button
                  type="button"
                  class="quiet icon-only"
                  aria-label="Take the picture out"
                  onClick={() =>
                    setDraft({ ...draft, pictures: draft.pictures.filter((each) => each !== hash) })
                  }
                >
                  <Icon name="close" />
                </button>
              </span>
            ))}
          </div>
        )}
        <textarea
          ref={field}
          rows={1}
          dir="auto"
          aria-label="Message"
          placeholder={raw ? "Text that the model goes on with" : "Message"}
          value={draft.text}
          onInput={(event) => setDraft({ ...draft, text: event.currentTarget.value })}
          onPaste={(event) => {
            const pasted = picturesIn(event.clipboardData);
            if (pasted.length === 0) return;
            event.preventDefault();
            attach(pasted);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || isComposing(event) || event.shiftKey) return;
            if (!(event.ctrlKey || event.metaKey) && (touches() || raw)) return;
            event.preventDefault();
            send();
          }}
        />
        <div class="composer-line">
          <button
            type="button"
            class="quiet icon-only"
            aria-label="Add pictures"
            title="Add pictures: also by drop and by paste"
            onClick={() => files.current?.click()}
          >
            <Icon name="clip" />
          </button>
          <input
            ref={files}
            type="file"
            accept="image/png,image/jpeg,image/webp"
            multiple
            hidden
            onChange={(event) => {
              attach([...(event.currentTarget.files ?? [])]);
              event.currentTarget.value = "";
            }}
          />
          <SettingsButton conversation={conversation} model={model} />
          <Chips conversation={conversation} />
          <span class="space" />
          <ContextMeter path={path} draft={draft} />
          {running !== null ? (
            <button type="button" class="solid send" title="Stop (Escape)" onClick={() => chat.stop(running)}>
              <Icon name="stop" />
              Stop
            </button>
          ) : model === null ? (
            <button type="button" class="solid send" onClick={() => goTo("models")}>
              Get a model
            </button>
          ) : (
            <button
              type="submit"
              class="solid send"
              title={raw ? "Send (Ctrl Enter)" : "Send (Enter)"}
              aria-disabled={empty}
            >
              <Icon name="send" />
              {model.state === "open" || model.state === "opening" ? "Send" : "Open, send"}
            </button>
          )}
        </div>
      </div>
    </form>
  );
}
