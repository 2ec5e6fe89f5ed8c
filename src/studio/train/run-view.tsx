/** A run: its curves over one axis of steps, the load of its experts, samples, settings. */
import { useEffect, useState } from "preact/hooks";
import { formatBytesOf, formatCount } from "../../text/units.ts";
import { BackendError, messageOf } from "../backend/backend.ts";
import type { JobView, RunDetail, RunSeries } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { Progress } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { goTo, routeHash } from "../state/route.ts";
import { isRunning, newId, useStudio } from "../state/studio.ts";
import { Chart } from "./chart.tsx";
import { curveName, figure, orderedCurves } from "./curves.ts";
import { ExpertLoad } from "./expert-load.tsx";
import { LOOK, placeOf, RUN_DOT } from "./names.ts";
import { type Range, useOneByOne } from "./plot.tsx";

/** Bins of a curve: about one a pixel. */
const BINS = 900;
/** Rows of the table of numbers. */
const ROWS = 20;

function Numbers({ series, names }: { readonly series: RunSeries; readonly names: readonly string[] }) {
  const { steps } = series;
  const every = Math.max(1, Math.ceil(steps.length / ROWS));
  const shown = steps.map((_, i) => i).filter((i) => (steps.length - 1 - i) % every === 0);
  return (
    <details class="card">
      <summary>The numbers as a table</summary>
      <div class="numbers" tabIndex={0} role="group" aria-label="Numbers">
        <table class="models-table plain">
          <thead>
            <tr>
              <th scope="col">Step</th>
              {names.map((name) => (
                <th key={name} scope="col" class="number">
                  {curveName(name)}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((i) => (
              <tr key={i}>
                <th scope="row">{formatCount(steps[i])}</th>
                {names.map((name) => (
                  <td key={name} data-label={curveName(name)} class="number">
                    {figure(series.curves[name].last[i])}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </details>
  );
}

function Samples({ samples }: { readonly samples: RunDetail["samples"] }) {
  const [at, setAt] = useState<number | null>(null);
  const shown = samples[Math.min(at ?? samples.length - 1, samples.length - 1)];
  return (
    <section class="card stack" aria-label="Samples">
      <div class="row">
        <h2>Samples</h2>
        <label class="row sample-slider">
          <span class="hidden-text">Which sample</span>
          <input
            type="range"
            min={0}
            max={samples.length - 1}
            value={at ?? samples.length - 1}
            onInput={(event) => setAt(event.currentTarget.valueAsNumber)}
          />
          <span class="sample-step">step {formatCount(shown.step)}</span>
        </label>
      </div>
      <pre class="as-written" dir="auto">
        <mark>{shown.prompt}</mark>
        {shown.text}
      </pre>
    </section>
  );
}

export function Ranges({
  series,
  range,
  onRange,
}: {
  readonly series: Pick<RunSeries, "steps">;
  readonly range: Range | null;
  readonly onRange: (range: Range | null) => void;
}) {
  const [first, last] = [series.steps[0] ?? 0, series.steps.at(-1) ?? 1];
  const [from, to] = range ?? [first, last];
  const width = to - from;
  const show = (low: number, high: number) =>
    onRange(low <= first && high >= last ? null : [Math.max(first, low), Math.min(last, high)]);
  return (
    <div class="row" role="group" aria-label="Steps that are shown">
      <button type="button" class="quiet" onClick={() => show(from + width / 4, to - width / 4)}>
        Closer
      </button>
      <button type="button" class="quiet" onClick={() => show(from - width / 2, to + width / 2)}>
        Farther
      </button>
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Earlier steps"
        onClick={() => show(from - width / 2, to - width / 2)}
      >
        <Icon name="left" />
      </button>
      <button
        type="button"
        class="quiet icon-only"
        aria-label="Later steps"
        onClick={() => show(from + width / 2, to + width / 2)}
      >
        <Icon name="right" />
      </button>
      {range !== null && (
        <button type="button" class="quiet" onClick={() => onRange(null)}>
          All steps
        </button>
      )}
    </div>
  );
}

/** Whether nothing was written between two readings: the charts stay as they are then. */
const isSame = (a: RunSeries["read"], b: RunSeries["read"]) => a.bytes === b.bytes && a.of === b.of;

const preparing = ({ progress }: JobView) =>
  progress === null ? "It is being prepared." : `It is being prepared: ${progress.text}`;

export function RunView({ name }: { readonly name: string }) {
  const studio = useStudio();
  const place = placeOf(name);
  const [detail, setDetail] = useState<RunDetail | null>(null);
  const [series, setSeries] = useState<RunSeries | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [absent, setAbsent] = useState(false);
  const [logarithmic, setLogarithmic] = useState(false);
  const [range, setRange] = useState<Range | null>(null);
  useEffect(() => {
    let current = true;
    const look = async () => {
      try {
        const [about, curves] = await Promise.all([
          studio.backend.run(place),
          studio.backend.series(place, BINS),
        ]);
        if (!current) return;
        setDetail(about);
        setSeries((before) => (before !== null && isSame(before.read, curves.read) ? before : curves));
        setFault(null);
      } catch (error) {
        if (!current) return;
        setFault(messageOf(error));
        // A run that is being prepared has no folder yet.
        setAbsent(error instanceof BackendError && error.status === 404);
      }
    };
    look();
    const timer = setInterval(() => !document.hidden && look(), LOOK);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [name]);
  const names = series === null ? [] : orderedCurves(Object.keys(series.curves));
  const made = useOneByOne(names.length);
  const job = studio.jobs.value.find(({ run }) => run === name);
  const waits = job !== undefined && isRunning(job) && detail?.state !== "running";
  const model = studio.entry(name);
  const act = (done: Promise<unknown>) =>
    done.then(
      () => studio.refresh(),
      (error) => setFault(messageOf(error)),
    );
  return (
    <div class="page screen" aria-busy={series === null && fault === null}>
      <div class="page-head">
        <a class="quiet" href={routeHash({ screen: "train", item: null })}>
          <Icon name="left" />
          Train
        </a>
        <h1 class="cut">{name}</h1>
        {job !== undefined && isRunning(job) && (
          <button
            type="button"
            class="outlined"
            title={detail === null ? "Nothing is left of it" : "It is saved first"}
            onClick={() => act(studio.stop(job.id))}
          >
            Stop
          </button>
        )}
        {detail?.state === "finished" && model !== null && (
          <button
            type="button"
            class="outlined"
            onClick={() => {
              studio.chosen.value = name;
              goTo("chat");
              studio
                .open({ model: name }, new AbortController().signal)
                .catch((error) => notify(messageOf(error)));
            }}
          >
            Open the model
          </button>
        )}
        {detail?.state === "stopped" && detail.kind !== "grpo" && !waits && (
          <button
            type="button"
            class="solid"
            onClick={() => act(studio.backend.start({ kind: "resume", body: { run: place }, id: newId() }))}
          >
            Resume
          </button>
        )}
      </div>
      <div class="stack">
        {fault !== null && !(absent && job !== undefined) && <p class="fault">{fault}</p>}
        {job?.state === "failed" && detail?.state !== "running" && (
          <p class="fault" role="alert">
            {job.error?.message ?? "The training failed."}
          </p>
        )}
        {absent && detail === null && job?.state === "canceled" && (
          <p class="card soft">It was stopped before its data were prepared: nothing is left of it.</p>
        )}
        {waits && (
          <div class="card stack" role="status">
            <p>
              {job!.state === "queued" ? "It begins when the training before it has ended." : preparing(job!)}
            </p>
            <Progress fraction={null} label={name} />
          </div>
        )}
        {detail?.state === "stopped" && detail.kind === "grpo" && (
          <p class="card small">
            A run of rewards needs what judges its answers, which may be a program or a Lean of yours: it is
            continued on the command line, by <code>npx deepseek-ts grpo --resume FOLDER</code>.
          </p>
        )}
        {detail !== null && series !== null && (
          <div class="row small">
            <span class={`dot ${RUN_DOT[detail.state]}`} />
            <span>
              {detail.state}, step {formatCount(detail.step)}
              {detail.steps !== null && ` of ${formatCount(detail.steps)}`}
            </span>
            <span class="soft">
              read {formatCount(series.read.lines)} rows
              {series.read.bytes < series.read.of && `, ${formatBytesOf(series.read.bytes, series.read.of)}`}
            </span>
            <label class="row">
              <input
                type="checkbox"
                checked={logarithmic}
                onChange={(event) => setLogarithmic(event.currentTarget.checked)}
              />
              Logarithmic
            </label>
            <Ranges series={series} range={range} onRange={setRange} />
          </div>
        )}
        {series !== null && names.length === 0 && <p class="card soft">Nothing is logged yet.</p>}
        {series !== null && (
          <div class="charts">
            {names.slice(0, made).map((each, i) => (
              <Chart
                key={each}
                name={curveName(each)}
                steps={series.steps}
                curve={series.curves[each]}
                height={i === 0 ? 300 : 220}
                logarithmic={logarithmic}
                range={range}
                onRange={setRange}
              />
            ))}
          </div>
        )}
        {series?.experts && <ExpertLoad steps={series.steps} loads={series.experts} />}
        {detail !== null && detail.samples.length > 0 && <Samples samples={detail.samples} />}
        {series !== null && names.length > 0 && <Numbers series={series} names={names} />}
        {detail !== null && (
          <details class="card">
            <summary>Settings</summary>
            <pre class="raw-report">{JSON.stringify(detail.config, null, 2)}</pre>
          </details>
        )}
      </div>
    </div>
  );
}
