/** What is fetched or written now: downloads, models with fewer bits, GGUF files; how far each is, and why one failed. */
import { useState } from "preact/hooks";
import { formatBytes, formatBytesOf, formatClock } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { JobView } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { fractionOf, Progress } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { newId, useStudio } from "../state/studio.ts";

const KINDS = /^(download|quantize|convert)$/;

/** What a running transfer says: bytes, rate, time left. */
function transferFigures({ progress, started }: JobView, now: number): string {
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

export function Download() {
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
  const kept = job.kind === "download";
  return (
    <li class="card transfer">
      <div class="row">
        <strong class="cut" title={job.title}>
          {job.title}
        </strong>
        <button
          type="button"
          class="outlined"
          aria-label={`Stop: ${job.title}`}
          title={kept ? "What is there is kept, and gone on with" : "What was written of it is taken away"}
          onClick={() => studio.stop(job.id).catch((error) => notify(messageOf(error)))}
        >
          Stop
        </button>
      </div>
      <Progress fraction={fractionOf(job)} label={job.title} />
      <span class="small soft">{transferFigures(job, Date.now())}</span>
    </li>
  );
}

/** Those that run, and those that failed while the page was open, until they are taken away. */
export function Transfers() {
  const studio = useStudio();
  const [since] = useState(() => Date.now());
  const [seen, setSeen] = useState<ReadonlySet<string>>(new Set());
  const own = studio.jobs.value.filter(({ kind }) => KINDS.test(kind));
  const running = own.filter(({ ended }) => ended === null);
  const failed = own.filter(({ id, state, ended }) => state === "failed" && ended! >= since && !seen.has(id));
  if (running.length + failed.length === 0) return null;
  return (
    <ul class="stack" aria-label="Downloads and files that are written">
      {running.map((job) => (
        <Transfer key={job.id} job={job} />
      ))}
      {failed.map((job) => (
        <li key={job.id} class="fault" role="alert">
          <div class="row transfer-fault">
            <strong>{job.title}</strong>
            <button
              type="button"
              class="quiet icon-only"
              aria-label={`Take away: ${job.title}`}
              onClick={() => setSeen(new Set([...seen, job.id]))}
            >
              <Icon name="close" />
            </button>
          </div>
          <span>{job.error?.message}</span>
        </li>
      ))}
    </ul>
  );
}
