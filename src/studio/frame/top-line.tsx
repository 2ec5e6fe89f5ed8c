/** The line above the work: which model, how much memory, what runs. */
import { useState } from "preact/hooks";
import { formatBytes, formatCompact, formatPercent, plural } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { JobView, ModelEntry } from "../backend/wire.ts";
import { listShown } from "../state/preferences.ts";
import { goTo, route } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { Icon } from "./icons.tsx";
import { shownDialog } from "./keys.tsx";
import { Popover } from "./popover.tsx";

const STATE_WORDS = { closed: "not open", opening: "loading", open: "ready", failed: "failed" } as const;

/** How far a job is, from 0 to 1; null where nobody knows. */
export const fractionOf = ({ progress }: JobView): number | null =>
  progress?.total ? Math.min(1, progress.done / progress.total) : null;

export function Meter({ fraction, label }: { readonly fraction: number; readonly label: string }) {
  return (
    <span
      class={`meter ${fraction > 0.92 ? "full" : ""}`}
      role="meter"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(100 * fraction)}
    >
      <span style={{ width: `${100 * fraction}%` }} />
    </span>
  );
}

export const Progress = ({
  fraction,
  label,
}: {
  readonly fraction: number | null;
  readonly label: string;
}) => (
  <span
    class="meter"
    role="progressbar"
    aria-label={label}
    aria-valuemin={0}
    aria-valuemax={100}
    aria-valuenow={fraction === null ? undefined : Math.round(100 * fraction)}
  >
    <span style={{ width: `${100 * (fraction ?? 0)}%` }} />
  </span>
);

/** A model's name without who published it. */
export const shortName = (model: string) => model.slice(model.lastIndexOf("/") + 1);

function describe(entry: ModelEntry): string {
  const parts = [entry.system, entry.parameters === null ? null : formatCompact(entry.parameters)];
  return [...parts, formatBytes(entry.size)].filter((part) => part !== null).join(", ");
}

function ModelPicker() {
  const studio = useStudio();
  const [open, setOpen] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const current = studio.current;
  const list = studio.models.value?.models ?? [];
  const job = studio.jobs.value.find(({ id }) => id === current?.job) ?? null;
  const fraction = job && fractionOf(job);
  const state =
    current?.state === "opening" && fraction != null
      ? `loading ${formatPercent(fraction, 0)}`
      : STATE_WORDS[current?.state ?? "closed"];
  const pick = (entry: ModelEntry) => {
    studio.chosen.value = entry.model;
    setOpen(false);
    if (entry.state === "open" || entry.state === "opening") return;
    setFault(null);
    studio
      .open({ model: entry.model }, new AbortController().signal)
      .catch((error) => setFault(messageOf(error)));
  };
  return (
    <div class="anchor">
      <button type="button" class="quiet model-button" aria-expanded={open} onClick={() => setOpen(!open)}>
        {current === null ? (
          <span>No model</span>
        ) : (
          <>
            <span class={`dot ${current.state}`} />
            <span class="name cut">{shortName(current.model)}</span>
            <span class="cut">
              {state}
              {current.info !== null && (
                <span class="wide-only">
                  , {current.info.dtype}, {formatBytes(current.info.weightBytes)}
                </span>
              )}
            </span>
          </>
        )}
        <Icon name="down" />
      </button>
      {open && (
        <Popover label="Models" onClose={() => setOpen(false)}>
          <ul class="choices">
            {list
              .filter(({ partial }) => !partial)
              .map((entry) => (
                <li key={entry.model}>
                  <button
                    type="button"
                    class="choice"
                    aria-pressed={entry.model === current?.model}
                    onClick={() => pick(entry)}
                  >
                    <span class="cut" title={entry.model}>
                      {shortName(entry.model)}
                    </span>
                    <span class="row soft">
                      <span class={`dot ${entry.state}`} />
                      {entry.state === "closed" ? "open" : STATE_WORDS[entry.state]}
                    </span>
                    <span class="soft cut">{entry.error ?? describe(entry)}</span>
                  </button>
                </li>
              ))}
          </ul>
          <button
            type="button"
            class="quiet"
            onClick={() => {
              setOpen(false);
              goTo("models");
            }}
          >
            All models, downloads
          </button>
        </Popover>
      )}
      {fault !== null && (
        <Popover label="Fault" onClose={() => setFault(null)}>
          <p class="fault">{fault}</p>
        </Popover>
      )}
    </div>
  );
}

function Memory() {
  const { value } = useStudio().memory;
  if (value === null) return null;
  const used = value.total - value.available;
  const words = `${formatBytes(value.available)} of ${formatBytes(value.total)} memory free; open models take ${formatBytes(value.models)}`;
  return (
    <div class="memory" title={words}>
      <span class="words">{formatBytes(value.available)} free</span>
      <Meter fraction={used / value.total} label={words} />
    </div>
  );
}

function Jobs() {
  const studio = useStudio();
  const [open, setOpen] = useState(false);
  const [fault, setFault] = useState<string | null>(null);
  const running = studio.running.value;
  const ended = studio.jobs.value.filter(({ ended }) => ended !== null).slice(0, 6);
  return (
    <div class="anchor">
      <button
        type="button"
        class={running.length > 0 ? "outlined" : "quiet idle"}
        aria-expanded={open}
        onClick={() => setOpen(!open)}
      >
        {running.length === 0 ? "Nothing runs" : `${plural(running.length, "job")}`}
      </button>
      {open && (
        <Popover label="Jobs" kind="at-end" onClose={() => setOpen(false)}>
          {running.length + ended.length === 0 && (
            <p class="job small soft">
              {studio.backend.page === null
                ? "Answers, pictures, trainings and downloads are listed here while they run. Closing the page stops none of them."
                : "Answers, pictures and downloads are listed here while they run. They end with this page; downloads are gone on with."}
            </p>
          )}
          {fault !== null && <p class="fault">{fault}</p>}
          {running.map((job) => (
            <div key={job.id} class="job">
              <div class="row">
                <span class="cut small" style={{ flex: "1" }} title={job.title}>
                  {job.title}
                </span>
                <button
                  type="button"
                  class="outlined"
                  aria-label={`Stop: ${job.title}`}
                  onClick={() => studio.stop(job.id).catch((error) => setFault(messageOf(error)))}
                >
                  Stop
                </button>
              </div>
              <Progress fraction={fractionOf(job)} label={job.title} />
              <span class="tiny soft cut">{job.progress?.text ?? job.state}</span>
            </div>
          ))}
          {ended.map((job) => (
            <div key={job.id} class="job">
              <span class="cut small" title={job.title}>
                {job.title}
              </span>
              <span class="tiny soft cut" title={job.error?.message}>
                {job.state}
                {job.error !== null && `: ${job.error.message}`}
              </span>
            </div>
          ))}
        </Popover>
      )}
    </div>
  );
}

export function TopLine() {
  const withList = route.value.screen === "chat";
  return (
    <header class="top">
      {withList && (
        <button
          type="button"
          class="quiet icon-only"
          aria-label="List of conversations"
          aria-pressed={listShown.value === "yes"}
          title="Show or hide the list (Ctrl B)"
          onClick={() => {
            listShown.value = listShown.value === "yes" ? "no" : "yes";
          }}
        >
          <Icon name="list" />
        </button>
      )}
      <ModelPicker />
      <span class="space" />
      <Memory />
      <Jobs />
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Palette"
        title="Palette (Ctrl K)"
        onClick={() => {
          shownDialog.value = "palette";
        }}
      >
        <Icon name="search" />
      </button>
    </header>
  );
}
