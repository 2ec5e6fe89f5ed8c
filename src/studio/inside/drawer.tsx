/** The drawer beside the chat that shows the inside of an answer. Loaded when it opens; while it is open, answers come with their inside. */
import { useEffect, useId, useRef, useState } from "preact/hooks";
import { formatBytes, formatCount } from "../../text/units.ts";
import { useChat } from "../chat/chat.ts";
import { pathOf, picturesOf, type Turn } from "../chat/conversation.ts";
import { Icon } from "../frame/icons.tsx";
import { closeInside, insideTurn } from "../state/inside.ts";
import { isNarrow } from "../state/preferences.ts";
import { useStudio } from "../state/studio.ts";
import { ExpertsTab } from "./experts-tab.tsx";
import type { Cell } from "./heat-map.tsx";
import { insidesOf } from "./insides.ts";
import { type ModelFigures, useModelFigures } from "./model-figures.ts";
import { PictureTab } from "./picture-tab.tsx";
import { type InsideRecord, MOST_BYTES, MOST_TOKENS } from "./record.ts";
import { DrawerEdge, drawerWidth, WidthButtons } from "./resizing.tsx";
import { SpeedTab } from "./speed-tab.tsx";
import { TokensTab } from "./tokens-tab.tsx";
import "../styles/inside.css";

const TABS = ["Tokens", "Experts", "Speed", "Picture"] as const;
type Tab = (typeof TABS)[number];

/** Reads the inside of a turn's job while it is shown. */
function useRecord(turn: Turn | null): InsideRecord | null {
  const studio = useStudio();
  const chat = useChat();
  const insides = insidesOf(studio);
  const job = turn?.job?.id ?? null;
  const { id } = turn ?? { id: "" };
  useEffect(() => {
    if (job === null) return;
    const stop = new AbortController();
    insides.read(job, stop.signal, () => chat.live.peek().has(id));
    return () => stop.abort();
  }, [job, id]);
  return job === null ? null : insides.record(job);
}

/** Why there is nothing to see; null where there is, or will be. */
function lackOf(turn: Turn, record: InsideRecord | null, live: boolean): string | null {
  if (record?.told) return null;
  if (record === null)
    return live ? null : "This answer has no inside: it was written or edited by hand, or came from a file.";
  if (record.fault !== null) return record.fault;
  if (record.state === "gone")
    return "The server keeps the events of this answer no longer: it keeps those of the last 64 jobs, up to 64 MiB.";
  if (record.state === "whole") {
    if (turn.ended === "failed" && turn.content === "") return "This answer failed before its first token.";
    return "This answer was made while the drawer was shut: it has no inside.";
  }
  return null;
}

function Bounds({ record }: { readonly record: InsideRecord }) {
  if (record.beyond === 0 && !record.missing) return null;
  return (
    <p class="tiny inside-note">
      {record.beyond > 0 &&
        `The first ${formatCount(record.count)} tokens are kept, ${formatCount(record.beyond)} more came: at most ` +
          `${formatCount(MOST_TOKENS)} tokens and ${formatBytes(MOST_BYTES)} of an answer. `}
      {record.missing && "The server had dropped the first events: what they told is missing."}
    </p>
  );
}

interface ContentProps {
  readonly turn: Turn;
  readonly record: InsideRecord;
  readonly model: ModelFigures | null;
  readonly pictures: readonly string[];
}

function Tabs({ turn, record, model, pictures }: ContentProps) {
  const [tab, setTab] = useState<Tab>("Tokens");
  const [cursor, setCursor] = useState<Cell | null>(null);
  const id = useId();
  // Subscribes: what the tabs show is read from the record.
  record.version.value;
  const shown = TABS.filter((each) => each !== "Picture" || pictures.length > 0);
  const current = shown.includes(tab) ? tab : "Tokens";
  const go = (step: number) => {
    const next = shown[(shown.indexOf(current) + step + shown.length) % shown.length];
    setTab(next);
    document.getElementById(`${id}-${next}`)?.focus();
  };
  const place = cursor ?? { column: Math.max(0, record.count - 1), row: 0 };
  return (
    <>
      <div class="inside-tabs" role="tablist" aria-label="What of the answer">
        {shown.map((each) => (
          <button
            key={each}
            id={`${id}-${each}`}
            type="button"
            role="tab"
            class="quiet"
            aria-selected={each === current}
            aria-controls={`${id}-panel`}
            tabIndex={each === current ? 0 : -1}
            onClick={() => setTab(each)}
            onKeyDown={(event) => {
              const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
              if (step === undefined) return;
              event.preventDefault();
              go(step);
            }}
          >
            {each}
          </button>
        ))}
      </div>
      <div class="inside-panel" id={`${id}-panel`} role="tabpanel" aria-labelledby={`${id}-${current}`}>
        <Bounds record={record} />
        {record.count === 0 && current !== "Picture" && current !== "Speed" ? (
          <p class="small soft">No token yet.</p>
        ) : current === "Tokens" ? (
          <TokensTab
            record={record}
            turn={turn}
            picked={cursor?.column ?? null}
            onPick={(column) => setCursor({ column, row: place.row })}
          />
        ) : current === "Experts" ? (
          <ExpertsTab record={record} model={model} cursor={place} onMove={setCursor} />
        ) : current === "Speed" ? (
          <SpeedTab record={record} model={model} />
        ) : (
          <PictureTab cuts={record.pictures} pictures={pictures} />
        )}
      </div>
    </>
  );
}

function Lack({ turn, words }: { readonly turn: Turn; readonly words: string }) {
  const chat = useChat();
  const studio = useStudio();
  return (
    <div class="inside-panel stack">
      <p class="small">{words}</p>
      <div>
        <button
          type="button"
          class="solid"
          onClick={() => {
            insideTurn.value = null;
            chat.answer(turn.parent, studio.current?.model ?? turn.model ?? "");
          }}
        >
          <Icon name="retry" />
          Answer again
        </button>
      </div>
      <p class="tiny soft">The answer of now stays beside the new one.</p>
    </div>
  );
}

export function InsideDrawer() {
  const chat = useChat();
  const drawer = useRef<HTMLElement>(null);
  const opened = chat.opened.value;
  const path = opened ? pathOf(opened.turns, opened.conversation.chosen) : [];
  const answers = path.filter(({ role }) => role === "assistant");
  const picked = answers.findIndex(({ id }) => id === insideTurn.value);
  const at = picked < 0 ? answers.length - 1 : picked;
  const turn = answers[at] ?? null;
  const newest = answers.at(-1)?.id ?? null;
  const live = turn !== null && chat.live.value.has(turn.id);
  const record = useRecord(turn);
  record?.version.value;
  const model = useModelFigures(turn?.model ?? null);
  // A new answer is what everybody looks at.
  const before = useRef(newest);
  useEffect(() => {
    if (before.current !== newest) insideTurn.value = null;
    before.current = newest;
  }, [newest]);
  useEffect(() => {
    if (!isNarrow()) return;
    const behind = document.activeElement;
    const screen = document.querySelector<HTMLElement>(".work > .screen");
    if (screen) screen.inert = true;
    drawer.current?.querySelector<HTMLElement>("[data-close]")?.focus();
    return () => {
      if (screen) screen.inert = false;
      if (behind instanceof HTMLElement) behind.focus();
    };
  }, []);
  const lack = turn === null ? null : lackOf(turn, record, live);
  const go = (step: number) => {
    insideTurn.value = answers[at + step].id;
  };
  return (
    <aside ref={drawer} class="inside" aria-label="Inside" style={{ "--inside": `${drawerWidth.value}px` }}>
      <DrawerEdge />
      <div class="inside-head">
        <h2>Inside</h2>
        {answers.length > 1 && (
          <span class="versions">
            <button
              type="button"
              class="quiet icon-only"
              aria-label="Answer before"
              disabled={at === 0}
              onClick={() => go(-1)}
            >
              <Icon name="left" />
            </button>
            <span>
              answer {at + 1}/{answers.length}
            </span>
            <button
              type="button"
              class="quiet icon-only"
              aria-label="Answer after"
              disabled={at === answers.length - 1}
              onClick={() => go(1)}
            >
              <Icon name="right" />
            </button>
          </span>
        )}
        <span class="space" />
        <WidthButtons />
        <button
          type="button"
          data-close
          class="quiet icon-only"
          aria-label="Close Inside"
          title="Close (Ctrl I)"
          onClick={closeInside}
        >
          <Icon name="close" />
        </button>
      </div>
      {turn === null ? (
        <p class="inside-panel small">
          Ask something: the answer comes with its inside while this drawer is open.
        </p>
      ) : lack !== null ? (
        <Lack turn={turn} words={lack} />
      ) : record === null ? (
        <p class="inside-panel small soft">The model is not asked yet.</p>
      ) : (
        <Tabs
          key={turn.job?.id}
          turn={turn}
          record={record}
          model={model}
          pictures={picturesOf(path.slice(0, path.indexOf(turn)))}
        />
      )}
      <p class="inside-cost tiny soft">
        While this drawer is open, each token of an answer costs about a millisecond more: 1 to 2% of a model
        of 14 layers, by bench/README.md. The text stays the same.
      </p>
    </aside>
  );
}
