/** Several runs side by side: the settings in which they differ, and each curve of all of them over one axis of steps. */
import { useEffect, useMemo, useState } from "preact/hooks";
import { formatCount, plural } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { RunDetail, RunSeries } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { routeHash } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { positive } from "./chart.tsx";
import { curveName, figure, joined, orderedCurves, settingsOf, valueAt } from "./curves.ts";
import { LOOK, placeOf, RUN_DOT } from "./names.ts";
import { Plot, type PlotStyle, type Range, useOneByOne } from "./plot.tsx";
import { Ranges } from "./run-view.tsx";

/** Bins of a curve of each run. */
const BINS = 600;
/** Curves that are shown at first, and settings at most. */
const FIRST_CURVES = 6;
const MOST_SETTINGS = 300;
/** Lines by number: their color has the same one. */
const DASHES: readonly (readonly number[])[] = [
  ...[[], [9, 4], [2, 3], [10, 3, 2, 3], [16, 5], [4, 4], [10, 3, 2, 3, 2, 3], [1, 5]],
];
const colorName = (i: number) => `--run-${(i % DASHES.length) + 1}`;
const dashOf = (i: number) => DASHES[i % DASHES.length];

interface Loaded {
  readonly name: string;
  readonly detail: RunDetail;
  readonly series: RunSeries;
}

/** Reads the runs, and those that train again and again. */
function useRuns(names: readonly string[]) {
  const studio = useStudio();
  const [runs, setRuns] = useState<ReadonlyMap<string, Loaded>>(new Map());
  const [faults, setFaults] = useState<readonly string[]>([]);
  const key = names.join("\n");
  useEffect(() => {
    let current = true;
    const known = new Map<string, Loaded>();
    const look = async () => {
      const wrong: string[] = [];
      const asked = names.filter((name) => (known.get(name)?.detail.state ?? "running") === "running");
      await Promise.all(
        asked.map(async (name) => {
          try {
            const place = placeOf(name);
            const [detail, series] = await Promise.all([
              studio.backend.run(place),
              studio.backend.series(place, BINS),
            ]);
            known.set(name, { name, detail, series });
          } catch (error) {
            wrong.push(`${name}: ${messageOf(error)}`);
          }
        }),
      );
      if (!current || asked.length === 0) return;
      setRuns(new Map(known));
      setFaults(wrong);
    };
    look();
    const timer = setInterval(() => !document.hidden && look(), LOOK);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [key]);
  const shown = useMemo(() => names.flatMap((name) => runs.get(name) ?? []), [runs, key]);
  return { runs: shown, faults };
}

/** The line that stands for a run. */
const Sample = ({ i }: { readonly i: number }) => (
  <svg class="line-sample" viewBox="0 0 44 10" aria-hidden="true">
    <line
      x1="1"
      x2="43"
      y1="5"
      y2="5"
      style={{ stroke: `var(${colorName(i)})` }}
      stroke-dasharray={dashOf(i).join(" ")}
    />
  </svg>
);

interface LegendProps {
  readonly runs: readonly Loaded[];
  readonly numberOf: (name: string) => number;
  readonly curves: readonly string[];
  readonly step: number | null;
}

/** The runs with their lines, and what their first curves say at the cursor. */
const Legend = ({ runs, numberOf, curves, step }: LegendProps) => (
  <div class="numbers" tabIndex={0} role="group" aria-label="Runs and their values">
    <table class="models-table plain">
      <thead>
        <tr>
          <th scope="col">Run</th>
          <th scope="col">State</th>
          {curves.map((curve) => (
            <th key={curve} scope="col" class="number">
              {curveName(curve)}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {runs.map(({ name, detail, series }) => (
          <tr key={name}>
            <th scope="row">
              <span class="row compared-run">
                <Sample i={numberOf(name)} />
                <a class="cut" href={routeHash({ screen: "train", item: name })}>
                  {name}
                </a>
              </span>
            </th>
            <td data-label="State">
              <span class="row">
                <span class={`dot ${RUN_DOT[detail.state]}`} />
                {detail.state}, step {formatCount(detail.step)}
              </span>
            </td>
            {curves.map((curve) => (
              <td key={curve} data-label={curveName(curve)} class="number">
                {figure(valueAt(series, curve, step))}
              </td>
            ))}
          </tr>
        ))}
      </tbody>
    </table>
  </div>
);

function Settings({ runs, numberOf }: Pick<LegendProps, "runs" | "numberOf">) {
  const [all, setAll] = useState(false);
  const settings = useMemo(() => settingsOf(runs.map(({ detail }) => detail.config)), [runs]);
  const differing = settings.filter(({ differs }) => differs);
  const shown = (all ? settings : differing).slice(0, MOST_SETTINGS);
  return (
    <section class="card stack" aria-label="Settings">
      <div class="row">
        <h2>Settings that differ</h2>
        <span class="small soft">
          {differing.length} of {plural(settings.length, "setting")}
        </span>
        <label class="row">
          <input type="checkbox" checked={all} onChange={(event) => setAll(event.currentTarget.checked)} />
          All settings
        </label>
      </div>
      {shown.length === 0 ? (
        <p class="small soft">All settings are the same.</p>
      ) : (
        <div class="numbers" tabIndex={0} role="group" aria-label="Settings of the runs">
          <table class="models-table plain">
            <thead>
              <tr>
                <th scope="col">Setting</th>
                {runs.map(({ name }) => (
                  <th key={name} scope="col">
                    <span class="row compared-run">
                      <Sample i={numberOf(name)} />
                      <span class="cut" title={name}>
                        {name}
                      </span>
                    </span>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {shown.map(({ name, values, differs }) => (
                <tr key={name} class={differs && all ? "differs" : ""}>
                  <th scope="row">{name}</th>
                  {runs.map((run, i) => (
                    <td key={run.name} data-label={run.name} class="setting" title={values[i] ?? "not set"}>
                      {values[i] ?? "–"}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {(all ? settings : differing).length > shown.length && (
        <p class="tiny soft">The first {MOST_SETTINGS} are shown.</p>
      )}
    </section>
  );
}

interface CurvesProps extends Pick<LegendProps, "runs" | "numberOf"> {
  readonly curve: string;
  readonly height: number;
  readonly logarithmic: boolean;
  readonly range: Range | null;
  readonly onRange: (range: Range | null) => void;
  readonly onStep: (step: number | null) => void;
}

function Curves({ runs, numberOf, curve, ...rest }: CurvesProps) {
  const with_ = runs.filter(({ series }) => series.curves[curve] !== undefined);
  const numbers = with_.map(({ name }) => numberOf(name));
  const key = numbers.join();
  const style = useMemo(
    (): PlotStyle => ({
      key,
      series: (color) =>
        numbers.map((i) => ({
          ...{ stroke: color(colorName(i)), width: 1.75, dash: [...dashOf(i)] },
          ...{ spanGaps: true, points: { show: false } },
        })),
    }),
    [key],
  );
  const data = useMemo(() => {
    const { steps, values } = joined(
      with_.map(({ series }) => series),
      curve,
    );
    return [steps, ...(rest.logarithmic ? values.map(positive) : values)];
  }, [runs, curve, rest.logarithmic]);
  return (
    <figure class="chart">
      <figcaption>
        <strong>{curveName(curve)}</strong>{" "}
        <span class="soft">{with_.length < runs.length && `of ${with_.length} of ${runs.length} runs`}</span>
      </figcaption>
      <Plot
        label={`${curveName(curve)} over steps of ${with_.map(({ name }) => name).join(", ")}`}
        {...{ data, style, group: "compare" }}
        {...rest}
      />
    </figure>
  );
}

export function CompareView({ names }: { readonly names: readonly string[] }) {
  const { runs, faults } = useRuns(names);
  const [logarithmic, setLogarithmic] = useState(false);
  const [range, setRange] = useState<Range | null>(null);
  const [step, setStep] = useState<number | null>(null);
  const [more, setMore] = useState(false);
  const numberOf = (name: string) => names.indexOf(name);
  const curves = orderedCurves(new Set(runs.flatMap(({ series }) => Object.keys(series.curves))));
  const [first, last] = [
    Math.min(...runs.map(({ series }) => series.steps[0] ?? 0)),
    Math.max(1, ...runs.map(({ series }) => series.steps.at(-1) ?? 1)),
  ];
  const shown = more ? curves : curves.slice(0, FIRST_CURVES);
  const made = useOneByOne(shown.length);
  return (
    <div class="page screen" aria-busy={runs.length === 0 && faults.length === 0}>
      <div class="page-head">
        <a class="quiet" href={routeHash({ screen: "train", item: null })}>
          <Icon name="left" />
          Train
        </a>
        <h1>Compare {plural(names.length, "run")}</h1>
      </div>
      <div class="stack">
        {faults.map((fault) => (
          <p key={fault} class="fault">
            {fault}
          </p>
        ))}
        {runs.length > 0 && (
          <>
            <section class="card stack" aria-label="Runs">
              <Legend {...{ runs, numberOf, step }} curves={curves.slice(0, 3)} />
              <label class="row step-slider">
                <span>{step === null ? "Last values" : `Values at step ${formatCount(step)}`}</span>
                <input
                  type="range"
                  min={first}
                  max={last}
                  value={step ?? last}
                  aria-valuetext={step === null ? "the last" : `step ${formatCount(step)}`}
                  onInput={(event) => {
                    const { valueAsNumber } = event.currentTarget;
                    setStep(valueAsNumber >= last ? null : valueAsNumber);
                  }}
                />
              </label>
            </section>
            <Settings {...{ runs, numberOf }} />
            <div class="row small">
              <label class="row">
                <input
                  type="checkbox"
                  checked={logarithmic}
                  onChange={(event) => setLogarithmic(event.currentTarget.checked)}
                />
                Logarithmic
              </label>
              <Ranges series={{ steps: [first, last] }} range={range} onRange={setRange} />
            </div>
            <div class="charts">
              {shown.slice(0, made).map((curve, i) => (
                <Curves
                  key={curve}
                  {...{ runs, numberOf, curve, logarithmic, range, onRange: setRange, onStep: setStep }}
                  height={i === 0 ? 320 : 220}
                />
              ))}
            </div>
            {curves.length > FIRST_CURVES && (
              <div class="row">
                <button type="button" class="outlined" aria-expanded={more} onClick={() => setMore(!more)}>
                  {more ? "Fewer curves" : `${curves.length - FIRST_CURVES} more curves`}
                </button>
              </div>
            )}
          </>
        )}
      </div>
    </div>
  );
}
