/** What there is of models: open and close, download, look into, write in other forms, delete. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes, formatCompact } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { ModelEntry } from "../backend/wire.ts";
import { Question } from "../frame/dialog.tsx";
import { Icon } from "../frame/icons.tsx";
import { Popover } from "../frame/popover.tsx";
import { fractionOf, Progress } from "../frame/top-line.tsx";
import { isPicked, PageStorage } from "../page/page-storage.tsx";
import { notify } from "../state/notices.ts";
import { goTo, route } from "../state/route.ts";
import { newId, type Studio, useStudio } from "../state/studio.ts";
import { DeriveDialog, type Derived } from "./derive-dialog.tsx";
import { FolderDialog } from "./folder-dialog.tsx";
import { ModelDetail } from "./model-detail.tsx";
import { Download, Transfers } from "./transfers.tsx";
import "../styles/models.css";

const STATE = { closed: "not open", opening: "loading", open: "ready", failed: "failed" } as const;

function open(studio: Studio, entry: ModelEntry, onFault: (text: string | null) => void): void {
  onFault(null);
  studio.chosen.value = entry.model;
  studio
    .open({ model: entry.model }, new AbortController().signal)
    .catch((error) => onFault(`${entry.model}: ${messageOf(error)}`));
}

interface RowProps {
  readonly entry: ModelEntry;
  readonly onFault: (text: string | null) => void;
}

/** Other forms that a model can be written in. */
function Forms({ entry }: { readonly entry: ModelEntry }) {
  const studio = useStudio();
  const [open, setOpen] = useState(false);
  const [form, setForm] = useState<Derived | null>(null);
  const kinds = studio.hello.value?.kinds ?? [];
  const choices = (
    [
      ["quantize", "Write with fewer bits"],
      ["convert", "Convert to a GGUF file"],
    ] as const
  ).filter(([kind]) => kinds.includes(kind));
  if (entry.partial || choices.length === 0) return null;
  return (
    <div class="anchor">
      <button
        type="button"
        class="quiet icon-only"
        aria-label={`Other forms of ${entry.model}`}
        title="Fewer bits, GGUF"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        <Icon name="more" />
      </button>
      {open && (
        <Popover label={`Other forms of ${entry.model}`} kind="at-end forms" onClose={() => setOpen(false)}>
          {choices.map(([kind, name]) => (
            <button
              key={kind}
              type="button"
              class="choice"
              onClick={() => {
                setOpen(false);
                setForm(kind);
              }}
            >
              {name}
            </button>
          ))}
        </Popover>
      )}
      {form !== null && <DeriveDialog entry={entry} kind={form} onClose={() => setForm(null)} />}
    </div>
  );
}

function Actions({ entry, onFault }: RowProps) {
  const studio = useStudio();
  const [asked, setAsked] = useState(false);
  const report = (error: unknown) => onFault(`${entry.model}: ${messageOf(error)}`);
  const job = studio.jobs.value.find(({ id }) => id === entry.job);
  return (
    <div class="row model-actions">
      {entry.state === "open" && (
        <button
          type="button"
          class="outlined"
          aria-label={`Close ${entry.model}`}
          onClick={() => studio.closeModel(entry.model).catch(report)}
        >
          Close
        </button>
      )}
      {entry.state === "opening" && (
        <button
          type="button"
          class="outlined"
          aria-label={`Stop loading ${entry.model}`}
          onClick={() => job && studio.stop(job.id).catch(report)}
        >
          Stop
        </button>
      )}
      {(entry.state === "closed" || entry.state === "failed") &&
        (entry.partial ? (
          <button
            type="button"
            class="outlined"
            aria-label={`Go on downloading ${entry.model}`}
            onClick={() =>
              studio.backend
                .start({ kind: "download", body: { model: entry.model }, id: newId() })
                .then(() => studio.refresh(), report)
            }
          >
            Go on
          </button>
        ) : (
          <button
            type="button"
            class="outlined"
            aria-label={`Open ${entry.model}`}
            onClick={() => open(studio, entry, onFault)}
          >
            Open
          </button>
        ))}
      <Forms entry={entry} />
      <button
        type="button"
        class="quiet icon-only"
        aria-label={`Delete ${entry.model}`}
        title={entry.state === "open" ? "Close it first" : "Delete the files"}
        disabled={entry.state === "open" || entry.state === "opening"}
        onClick={() => setAsked(true)}
      >
        <Icon name="trash" />
      </button>
      {asked && (
        <Question
          title="Delete the files of this model?"
          action={`Delete, free ${formatBytes(entry.size)}`}
          danger
          onClose={() => setAsked(false)}
          onYes={() =>
            studio.backend.deleteModel(entry.model).then(({ bytes }) => {
              notify(`${entry.model} is deleted: ${formatBytes(bytes)} are free.`);
              if (route.value.item === entry.model) goTo("models", null, true);
              studio.refresh();
            }, report)
          }
        >
          <p>
            <strong>{entry.model}</strong>
          </p>
          <p class="small soft">
            {typeof entry.from === "string"
              ? "It can be downloaded again from the hub."
              : isPicked(entry)
                ? "It leaves the list; its files stay where they are."
                : `Its files in the folder ${entry.from.root}/${entry.from.path} are gone then: nothing brings them back.`}
          </p>
        </Question>
      )}
    </div>
  );
}

function Row({ entry, onFault }: RowProps) {
  const studio = useStudio();
  const job = studio.jobs.value.find(({ id }) => id === entry.job);
  return (
    <tr>
      <th scope="row">
        <button
          type="button"
          class="link cut"
          title={entry.model}
          onClick={() => goTo("models", entry.model)}
        >
          {entry.model}
        </button>
      </th>
      <td data-label="System">{entry.system ?? entry.architecture ?? "not known"}</td>
      <td data-label="Parameters" class="number">
        {entry.parameters === null ? "–" : formatCompact(entry.parameters)}
      </td>
      <td data-label="On disk" class="number">
        {formatBytes(entry.size)}
      </td>
      <td data-label="In memory" class="number">
        {entry.info === null ? "–" : formatBytes(entry.info.weightBytes)}
      </td>
      <td data-label="State">
        <span class="state">
          <span class={`dot ${entry.state}`} />
          {entry.partial ? "not whole" : STATE[entry.state]}
          {entry.info !== null && <span class="soft">{entry.info.dtype}</span>}
        </span>
        {entry.state === "opening" && job && (
          <Progress fraction={fractionOf(job)} label={`Loading ${entry.model}`} />
        )}
        {entry.error !== null && (
          <span class="tiny danger" title={entry.error}>
            {entry.error}
          </span>
        )}
      </td>
      <td>
        <Actions entry={entry} onFault={onFault} />
      </td>
    </tr>
  );
}

export function ModelsScreen() {
  const studio = useStudio();
  const [fault, setFault] = useState<string | null>(null);
  const [browsing, setBrowsing] = useState(false);
  const list = studio.models.value?.models ?? null;
  const { item } = route.value;
  useEffect(() => studio.refresh(), []);
  if (item !== null) return <ModelDetail key={item} model={item} />;
  return (
    <div class="page screen">
      <div class="page-head">
        <h1>Models</h1>
        {studio.backend.page === null && (
          <button type="button" class="outlined" onClick={() => setBrowsing(true)}>
            <Icon name="folder" />
            Open a folder
          </button>
        )}
        {browsing && <FolderDialog onClose={() => setBrowsing(false)} />}
      </div>
      <div class="stack">
        {fault !== null && (
          <div class="fault" role="alert">
            {fault}
          </div>
        )}
        <Transfers />
        {list !== null && list.length > 0 && (
          <table class="models-table">
            <thead>
              <tr>
                <th scope="col">Model</th>
                <th scope="col">System</th>
                <th scope="col" class="number">
                  Parameters
                </th>
                <th scope="col" class="number">
                  On disk
                </th>
                <th scope="col" class="number">
                  In memory
                </th>
                <th scope="col">State</th>
                <th scope="col">
                  <span class="hidden-text">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {list.map((entry) => (
                <Row key={entry.model} entry={entry} onFault={setFault} />
              ))}
            </tbody>
          </table>
        )}
        {list !== null && list.length === 0 && (
          <p class="card">
            {studio.backend.page === null ? (
              <>
                There is no model yet. Download one, or start the studio with <code>--root FOLDER</code> to
                show a folder that holds some.
              </>
            ) : (
              "There is no model yet. Download one, or open a folder of this disk."
            )}
          </p>
        )}
        <Download />
        {studio.backend.page !== null && <PageStorage />}
      </div>
    </div>
  );
}
