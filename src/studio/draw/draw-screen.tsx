/** Draw: what is asked for, the pictures that grow, and all that were drawn. */
import { useEffect, useState } from "preact/hooks";
import { formatClock, plural } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { ModelEntry } from "../backend/wire.ts";
import { type Chat, useChat } from "../chat/chat.ts";
import { StoredImage } from "../chat/stored-image.tsx";
import { Icon } from "../frame/icons.tsx";
import { offerKeys } from "../frame/keys.tsx";
import { Progress } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { goTo, route } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { DrawForm, formFields } from "./draw-form.tsx";
import { Drawings, type Task } from "./drawings.ts";
import { PictureDetail, SettingsTable } from "./picture-detail.tsx";
import { fieldsOf, type PictureTexts, textsOf } from "./png-settings.ts";
import "../styles/draw.css";

/** One for the page: what is drawn goes on while other screens are shown. */
let drawings: Drawings | null = null;

function useDrawings(chat: Chat): Drawings {
  drawings ??= new Drawings(chat);
  return drawings;
}

/** Whether a model draws, as far as is known before it is open. */
export const draws = ({ info, system, partial }: ModelEntry) =>
  info !== null ? info.imageOutput !== null : !partial && /janus/i.test(system ?? "");

const ENDED = {
  done: "Done.",
  stopped: "Stopped. Pictures that were finished are in the gallery.",
  failed: "Drawing failed.",
  interrupted: "The server ended before the pictures were done. Finished ones are in the gallery.",
} as const;

function TaskView({ task, all }: { readonly task: Task; readonly all: Drawings }) {
  const studio = useStudio();
  const { progress } = task;
  const done = task.pictures.filter(({ drawing }) => drawing !== null).length;
  const seconds = (Date.now() - task.started) / 1000;
  const fraction = progress?.total ? progress.done / progress.total : done / task.pictures.length;
  return (
    <section class="card task" aria-label={task.fields.prompt} aria-busy={task.ended === null}>
      <div class="row task-head">
        <h2 class="cut" title={task.fields.prompt}>
          {task.fields.prompt}
        </h2>
        {task.ended === null ? (
          <button
            type="button"
            class="outlined"
            title="Stop (Escape)"
            onClick={() => studio.stop(task.id).catch((error) => notify(messageOf(error)))}
          >
            <Icon name="stop" />
            Stop
          </button>
        ) : (
          <button
            type="button"
            class="quiet icon-only"
            aria-label="Close"
            onClick={() => all.dismiss(task.id)}
          >
            <Icon name="close" />
          </button>
        )}
      </div>
      <ul class="pictures">
        {task.pictures.map(({ url, drawing }, i) => (
          <li key={i} class="picture-frame">
            {url === null ? (
              <span class="small soft">{task.ended === null ? "waits" : "not drawn"}</span>
            ) : drawing === null ? (
              <img src={url} alt={`Number ${i + 1}, not finished`} />
            ) : (
              <button
                type="button"
                aria-label={`Open picture ${i + 1}`}
                onClick={() => goTo("draw", drawing)}
              >
                <img src={url} alt="" />
              </button>
            )}
          </li>
        ))}
      </ul>
      {task.ended === null && <Progress fraction={fraction} label={`Drawing ${task.fields.prompt}`} />}
      <p class="small soft">
        {task.ended !== null
          ? (task.error ?? ENDED[task.ended])
          : `${done} of ${plural(task.pictures.length, "picture")}${progress ? `, ${progress.text}` : ""}` +
            (fraction > 0.02 && fraction < 1
              ? `, ${formatClock((seconds * (1 - fraction)) / fraction)} left`
              : "")}
      </p>
    </section>
  );
}

interface Dropped {
  readonly name: string;
  readonly texts: PictureTexts | null;
}

function DroppedSettings({ dropped, onClose }: { readonly dropped: Dropped; readonly onClose: () => void }) {
  return (
    <section class="card stack" aria-label={`Settings of ${dropped.name}`}>
      <div class="row task-head">
        <h2 class="cut">{dropped.name}</h2>
        <button type="button" class="quiet icon-only" aria-label="Close the settings" onClick={onClose}>
          <Icon name="close" />
        </button>
      </div>
      {dropped.texts === null ? (
        <p class="small soft">The file does not say what it was drawn from.</p>
      ) : (
        <>
          <SettingsTable texts={dropped.texts} />
          <div>
            <button type="button" class="outlined" onClick={() => applySettings(dropped.texts!)}>
              Use these settings
            </button>
          </div>
        </>
      )}
    </section>
  );
}

/** Puts settings into the form; what stood there comes back by undo. */
function applySettings(texts: PictureTexts): void {
  const before = formFields.value;
  formFields.value = { ...fieldsOf(texts), count: before.count };
  notify("The form has these settings.", () => {
    formFields.value = before;
  });
}

function Gallery({ all }: { readonly all: Drawings }) {
  const list = all.gallery.value;
  if (list.length === 0)
    return <p class="small soft">What you draw is kept here, in this browser, with its settings.</p>;
  const days = new Map<string, typeof list>();
  for (const drawing of list) {
    const day = new Date(drawing.created).toLocaleDateString("en", {
      day: "numeric",
      month: "long",
      year: "numeric",
    });
    days.set(day, [...(days.get(day) ?? []), drawing]);
  }
  return (
    <>
      {[...days].map(([day, some]) => (
        <section key={day} aria-label={day}>
          <h3 class="age">{day}</h3>
          <ul class="gallery">
            {some.map((drawing) => (
              <li key={drawing.id}>
                <a href={`#/draw/${drawing.id}`} title={drawing.prompt}>
                  <StoredImage hash={drawing.hash} alt={drawing.prompt} />
                </a>
              </li>
            ))}
          </ul>
        </section>
      ))}
    </>
  );
}

export function DrawScreen() {
  const chat = useChat();
  const studio = useStudio();
  const all = useDrawings(chat);
  const [dropped, setDropped] = useState<Dropped | null>(null);
  const [over, setOver] = useState(false);
  useEffect(() => {
    all.begin();
  }, [all]);
  useEffect(
    () =>
      offerKeys({
        stop: () => {
          const running = all.tasks.value.filter(({ ended }) => ended === null);
          for (const { id } of running) studio.stop(id).catch((error) => notify(messageOf(error)));
          return running.length > 0;
        },
      }),
    [all],
  );
  const { item } = route.value;
  const opened = item === null ? null : all.gallery.value.find(({ id }) => id === item);
  if (opened) return <PictureDetail drawing={opened} all={all} onUse={applySettings} />;
  const models = (studio.models.value?.models ?? []).filter(draws);
  const take = async (file: File | undefined) => {
    if (!file) return;
    const head = new Uint8Array(await file.slice(0, 1 << 20).arrayBuffer());
    setDropped({ name: file.name, texts: textsOf(head) });
  };
  return (
    <div
      class={`page screen ${over ? "dropping" : ""}`}
      onDragOver={(event) => {
        event.preventDefault();
        setOver(true);
      }}
      onDragLeave={() => setOver(false)}
      onDrop={(event) => {
        event.preventDefault();
        setOver(false);
        take(event.dataTransfer?.files[0]);
      }}
    >
      <div class="page-head">
        <h1>Draw</h1>
      </div>
      <div class="draw-columns">
        <DrawForm models={models} onDraw={(model, fields) => all.draw(model, fields)} onFile={take} />
        <div class="stack">
          {dropped && <DroppedSettings dropped={dropped} onClose={() => setDropped(null)} />}
          {all.tasks.value.map((task) => (
            <TaskView key={task.id} task={task} all={all} />
          ))}
          <section class="stack" aria-label="Gallery">
            <h2>Gallery</h2>
            <Gallery all={all} />
          </section>
        </div>
      </div>
    </div>
  );
}
