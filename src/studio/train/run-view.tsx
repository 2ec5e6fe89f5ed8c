/** A run: its curves over one axis of steps, the load of its experts, samples, settings. */
import { useEffect, useState } from "preact/hooks";
import { formatBytesOf, formatCount } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { RootPath, RunDetail, RunSeries } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { routeHash } from "../state/route.ts";
import { newId, useStudio } from "../state/studio.ts";
import { Chart, figure, type Range } from "./chart.tsx";
import { ExpertLoad } from "./expert-load.tsx";
import { LOOK, RUN_DOT } from "./names.ts";

/** Bins of a curve: about one a pixel. */
const BINS = 900;
/** Rows of the table of numbers. */
const ROWS = 20;

/** What people look at first comes first. */
const ORDER = [/bitsPerByte|heldOut|evaluation/i, /^loss$/i, /loss/i, /grad/i, /rate/i, /tokens/i];
const NAMES: Readonly<Record<string, string>> = {
  "heldOut.bitsPerByte": "Held-out bits a byte",
  "heldOut.loss": "Held-out loss",
  loss: "Loss",
  gradientNorm: "Gradient norm",
  learningRate: "Learning rate",
  tokensPerSecond: "Tokens a second",
};

const rank = (name: string) => {
  const found = ORDER.findIndex((pattern) => pattern.test(name));
  return found < 0 ? ORDER.length : found;
};

export const orderedCurves = (names: readonly string[]) =>
  [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));

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
                  {NAMES[name] ?? name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((i) => (
              <tr key={i}>
                <th scope="row">{formatCount(steps[i])}</th>
                {names.map((name) => (
                  <td key={name} data-label={NAMES[name] ?? name} class="number">
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
          step {formatCount(shown.step)}
        </label>
      </div>
      <pre class="as-written" dir="auto">
        {shown.text}
      </pre>
    </section>
  );
}

/** @param name of the run as addresses have it: root, then path */
function placeOf(name: string): RootPath {
  const [root, ...path] = name.split("/");
  return { root, path: path.join("/") };
}

function Ranges({
  series,
  range,
  onRange,
}: {
  readonly series: RunSeries;
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

export function RunView({ name }: { readonly name: string }) {
  const studio = useStudio();
  const place = placeOf(name);
  const [detail, setDetail] = useState<RunDetail | null>(null);
  const [series, setSeries] = useState<RunSeries | null>(null);
  const [fault, setFault] = useState<string | null>(null);
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
        setSeries(curves);
        setFault(null);
      } catch (error) {
        if (current) setFault(messageOf(error));
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
        {detail?.job && detail.state === "running" && (
          <button
            type="button"
            class="outlined"
            title="It is saved first"
            onClick={() => act(studio.stop(detail.job!))}
          >
            Stop
          </button>
        )}
        {detail?.state === "stopped" && (
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
        {fault !== null && <p class="fault">{fault}</p>}
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
            {names.map((each, i) => (
              <Chart
                key={each}
                name={NAMES[each] ?? each}
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
