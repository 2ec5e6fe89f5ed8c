/** Train: the runs below the roots, live and finished, of this page and of the command line. */
import { signal } from "@preact/signals";
import { useEffect, useState } from "preact/hooks";
import { formatCount, formatPercent, plural } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { JobView, RunEntry } from "../backend/wire.ts";
import { Progress } from "../frame/top-line.tsx";
import { goTo, route, routeHash } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { CompareView } from "./compare-view.tsx";
import { figure } from "./curves.ts";
import { comparedOf, compareItem, LOOK, MOST_COMPARED, NEW_RUN, RUN_DOT, runName } from "./names.ts";
import { NewRun } from "./new-run.tsx";
import { RunView } from "./run-view.tsx";
import "../styles/models.css";
import "../styles/train.css";

/** Some forty losses, small. */
function Spark({ values }: { readonly values: readonly number[] }) {
  if (values.length < 2) return null;
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const points = values
    .map(
      (value, i) =>
        `${((120 * i) / (values.length - 1)).toFixed(1)},${(30 - (28 * (value - least)) / (most - least || 1)).toFixed(1)}`,
    )
    .join(" ");
  return (
    <svg class="spark" viewBox="0 0 120 32" preserveAspectRatio="none" aria-hidden="true">
      <polyline points={points} />
    </svg>
  );
}

/** Names of the runs that are ticked, in the order in which they were. */
const ticked = signal<readonly string[]>([]);

function RunCard({ run }: { readonly run: RunEntry }) {
  const name = runName(run);
  const chosen = ticked.value.includes(name);
  const full = !chosen && ticked.value.length >= MOST_COMPARED;
  return (
    <li class={`card run-card ${chosen ? "ticked" : ""}`}>
      <div class="row">
        <button type="button" class="link cut" onClick={() => goTo("train", name)}>
          {name}
        </button>
        <span class="small row">
          <span class={`dot ${RUN_DOT[run.state]}`} />
          {run.state}
        </span>
      </div>
      <Spark values={run.curve} />
      <p class="small soft">
        {run.kind}, step {formatCount(run.step)}
        {run.steps !== null && ` of ${formatCount(run.steps)} (${formatPercent(run.step / run.steps, 0)})`}
      </p>
      <dl class="facts">
        <div>
          <dt>Loss</dt>
          <dd>{figure(run.loss)}</dd>
        </div>
        <div>
          <dt>Held out</dt>
          <dd>{figure(run.heldOut)}</dd>
        </div>
      </dl>
      {run.state === "running" && run.steps !== null && (
        <Progress fraction={run.step / run.steps} label={name} />
      )}
      <label class="row tick">
        <input
          type="checkbox"
          checked={chosen}
          disabled={full}
          aria-label={`Compare ${name}`}
          title={full ? `At most ${MOST_COMPARED} runs are compared` : undefined}
          onChange={() => {
            ticked.value = chosen ? ticked.value.filter((each) => each !== name) : [...ticked.value, name];
          }}
        />
        Compare
      </label>
    </li>
  );
}

/** A run that is being prepared: there is nothing at its place yet. */
const Preparing = ({ job }: { readonly job: JobView }) => (
  <li class="card run-card">
    <div class="row">
      <button type="button" class="link cut" onClick={() => goTo("train", job.run)}>
        {job.run}
      </button>
      <span class="small row">
        <span class="dot opening" />
        {job.state === "queued" ? "waits" : "preparing"}
      </span>
    </div>
    <p class="small soft">{job.progress?.text ?? "It begins when the training before it has ended."}</p>
  </li>
);

function CompareBar() {
  const { value } = ticked;
  if (value.length === 0) return null;
  return (
    <div class="card row compare-bar" role="group" aria-label="Comparison">
      <span class="small" role="status">
        {plural(value.length, "run")} ticked{value.length >= MOST_COMPARED && ", which is the most"}
      </span>
      <button
        type="button"
        class="solid"
        disabled={value.length < 2}
        onClick={() => goTo("train", compareItem(value))}
      >
        Compare
      </button>
      <button
        type="button"
        class="quiet"
        onClick={() => {
          ticked.value = [];
        }}
      >
        Untick all
      </button>
    </div>
  );
}

export function TrainScreen() {
  const studio = useStudio();
  const [runs, setRuns] = useState<readonly RunEntry[] | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const { item } = route.value;
  useEffect(() => {
    if (item !== null) return;
    let current = true;
    const look = () =>
      studio.backend.runs().then(
        ({ runs: found }) => {
          if (!current) return;
          setRuns(found);
          const names = new Set(found.map(runName));
          ticked.value = ticked.value.filter((name) => names.has(name));
          setFault(null);
        },
        (error) => current && setFault(messageOf(error)),
      );
    look();
    const timer = setInterval(() => !document.hidden && look(), LOOK);
    return () => {
      current = false;
      clearInterval(timer);
    };
  }, [item]);
  if (item === NEW_RUN) return <NewRun />;
  const compared = item === null ? null : comparedOf(item);
  if (compared !== null) return <CompareView names={compared} />;
  if (item !== null) return <RunView key={item} name={item} />;
  const known = new Set(runs?.map(runName));
  const preparing = studio.running.value.filter(({ run }) => run !== undefined && !known.has(run));
  const trains = studio.hello.value?.kinds.includes("train") ?? false;
  const roots = studio.hello.value?.roots.map(({ path }) => path) ?? [];
  return (
    <div class="page screen" aria-busy={runs === null && fault === null}>
      <div class="page-head">
        <h1>Train</h1>
        {trains && (
          <a class="solid" href={routeHash({ screen: "train", item: NEW_RUN })}>
            New training
          </a>
        )}
      </div>
      {fault !== null && <p class="fault">{fault}</p>}
      {runs !== null && runs.length + preparing.length === 0 && (
        <div class="card stack">
          <p>There is no run below {roots.join(", ") || "the roots of the studio"} yet.</p>
          <p class="small soft">
            What is started here or by `npx deepseek-ts train FOLDER --out {roots[0] ?? "runs"}/first` appears
            as soon as it has begun, and its curves grow while it trains.
          </p>
        </div>
      )}
      <CompareBar />
      <ul class="run-cards">
        {preparing.map((job) => (
          <Preparing key={job.id} job={job} />
        ))}
        {runs?.map((run) => (
          <RunCard key={runName(run)} run={run} />
        ))}
      </ul>
    </div>
  );
}
