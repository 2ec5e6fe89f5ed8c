/** What there is of models: open and close, download, look into, delete. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes, formatBytesOf, formatClock, formatCompact } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { JobView, ModelEntry } from "../backend/wire.ts";
import { Question } from "../frame/dialog.tsx";
import { Icon } from "../frame/icons.tsx";
import { fractionOf, Progress } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { goTo, route } from "../state/route.ts";
import { newId, type Studio, useStudio } from "../state/studio.ts";
import { ModelDetail } from "./model-detail.tsx";
import "../styles/models.css";

const STATE = { closed: "not open", opening: "loading", open: "ready", failed: "failed" } as const;

/** What a running download says: bytes, rate, time left. */
export function downloadFigures({ progress, started }: JobView, now: number): string {
  if (progress === null) return "waits";
  if (progress.unit !== "bytes") return progress.text;
  const { done, total } = progress;
  const seconds = (now - (started ?? now)) / 1000;
  const rate = seconds > 0 ? done / seconds : 0;
  const parts = [total === null ? formatBytes(done) : formatBytesOf(done, total)];
  if (rate > 0) {
    parts.push(`${formatBytes(rate)}/s`);
    if (total !== null && done < total) parts.push(`${formatClock((total - done) / rate)} left`);
  }
  return parts.join(", ");
}

function Download() {
  const studio = useStudio();
  const [name, setName] = useState("");
  const [fault, setFault] = useState<string | null>(null);
  const submit = async (event: Event) => {
    event.preventDefault();
    setFault(null);
    try {
      await studio.backend.start({ kind: "download", body: { model: name.trim() }, id: newId() });
      setName("");
      studio.refresh();
    } catch (error) {
      setFault(messageOf(error));
    }
  };
  return (
    <section class="card stack" aria-labelledby="download-title">
      <h2 id="download-title">Download</h2>
      <form class="download-form" onSubmit={submit}>
        <label for="download-name">Repository on the Hugging Face hub</label>
        <input
          id="download-name"
          class="field"
          required
          placeholder="deepseek-ai/deepseek-coder-1.3b-instruct"
          autocomplete="off"
          spellcheck={false}
          value={name}
          onInput={(event) => setName(event.currentTarget.value)}
        />
        <button type="submit" class="solid">
          <Icon name="save" />
          Download
        </button>
      </form>
      <p class="tiny soft">Only this asks the hub; nothing else of the page leaves this machine.</p>
      {fault !== null && <p class="fault">{fault}</p>}
    </section>
  );
}

function Transfer({ job }: { readonly job: JobView }) {
  const studio = useStudio();
  return (
    <li class="card transfer">
      <div class="row">
        <strong class="cut">{job.title}</strong>
        <button
          type="button"
          class="outlined"
          title="What is there is kept, and gone on with"
          onClick={() => studio.stop(job.id).catch((error) => notify(messageOf(error)))}
        >
          Stop
        </button>
      </div>
      <Progress fraction={fractionOf(job)} label={job.title} />
      <span class="small soft">{downloadFigures(job, Date.now())}</span>
    </li>
  );
}

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
  const list = studio.models.value?.models ?? null;
  const { item } = route.value;
  useEffect(() => studio.refresh(), []);
  if (item !== null) return <ModelDetail key={item} model={item} />;
  const transfers = studio.running.value.filter(({ kind }) => /^(download|quantize|convert)$/.test(kind));
  return (
    <div class="page screen">
      <div class="page-head">
        <h1>Models</h1>
      </div>
      <div class="stack">
        {fault !== null && (
          <div class="fault" role="alert">
            {fault}
          </div>
        )}
        {transfers.length > 0 && (
          <ul class="stack" aria-label="Running">
            {transfers.map((job) => (
              <Transfer key={job.id} job={job} />
            ))}
          </ul>
        )}
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
            There is no model yet. Download one, or start the studio with <code>--root FOLDER</code> to show a
            folder that holds some.
          </p>
        )}
        <Download />
      </div>
    </div>
  );
}
