/** Train: the runs below the roots, live and finished, of this page and of the command line. */
import { useEffect, useState } from "preact/hooks";
import { formatCount, formatPercent } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { RunEntry } from "../backend/wire.ts";
import { Progress } from "../frame/top-line.tsx";
import { goTo, route } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { figure } from "./chart.tsx";
import { LOOK, RUN_DOT, runName } from "./names.ts";
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

function RunCard({ run }: { readonly run: RunEntry }) {
  const name = runName(run);
  return (
    <li class="card run-card">
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
    </li>
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
  if (item !== null) return <RunView key={item} name={item} />;
  const roots = studio.hello.value?.roots.map(({ path }) => path) ?? [];
  return (
    <div class="page screen" aria-busy={runs === null && fault === null}>
      <div class="page-head">
        <h1>Train</h1>
      </div>
      {fault !== null && <p class="fault">{fault}</p>}
      {runs !== null && runs.length === 0 && (
        <div class="card stack">
          <p>
            There is no run below {roots.join(", ") || "the roots of the studio"} yet. A small one takes three
            minutes:
          </p>
          <pre class="command">npx deepseek-ts train FOLDER --out {roots[0] ?? "runs"}/first</pre>
          <p class="small soft">
            It appears here as soon as it has begun, and its curves grow while it trains.
          </p>
        </div>
      )}
      <ul class="run-cards">
        {runs?.map((run) => (
          <RunCard key={runName(run)} run={run} />
        ))}
      </ul>
    </div>
  );
}
