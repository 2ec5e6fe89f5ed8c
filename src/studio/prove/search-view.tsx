/** A search that runs or has ended: how much of its budget is spent, each `sorry` with its state, the tree, and the proof. */
import { useEffect, useState } from "preact/hooks";
import { formatClock, formatCount, plural } from "../../text/units.ts";
import { Icon } from "../frame/icons.tsx";
import { Progress, shortName } from "../frame/top-line.tsx";
import { KINDS, type Search } from "./proving.ts";
import type { Unit, UnitState } from "./search-model.ts";
import { LeanCode, TreeView } from "./tree-view.tsx";

const STATES: Readonly<Record<UnitState, readonly [glyph: string, words: string]>> = {
  waits: ["…", "waits"],
  searched: ["▸", "searched"],
  proved: ["✓", "proved"],
  open: ["○", "not proved with this budget"],
  failed: ["✗", "failed"],
};

const ENDED = {
  done: "The search has ended.",
  stopped: "Stopped. What Lean accepted so far is below.",
  failed: "The search failed.",
  interrupted: "The server ended before the search did. The text is kept: start it again.",
} as const;

/** What the verifier answered about a proof. */
export function verdictWords({ axioms, inner }: Pick<Unit, "axioms" | "inner">): string {
  if (axioms.length > 0) return `accepted by Lean, axioms ${axioms.join(", ")}`;
  return inner ? "accepted by Lean in its place" : "accepted by Lean, no axioms";
}

function Budget({ search }: { readonly search: Search }) {
  const { news, asked, ended, until } = search;
  const [, tick] = useState(0);
  useEffect(() => {
    if (ended !== null) return;
    const timer = setInterval(() => tick((count) => count + 1), 1000);
    return () => clearInterval(timer);
  }, [ended]);
  const total = asked.budget * Math.max(1, news.units.length);
  const seconds = Math.max(0, (until ?? Date.now()) - asked.started) / 1000;
  return (
    <div class="budget">
      <Progress fraction={Math.min(1, news.samples / total)} label="Budget of samples" />
      <dl class="budget-figures small">
        <div>
          <dt>Samples</dt>
          <dd>
            {formatCount(news.samples)} of {formatCount(total)}
          </dd>
        </div>
        <div>
          <dt>Time</dt>
          <dd>{formatClock(seconds)}</dd>
        </div>
        <div>
          <dt>Checks by Lean</dt>
          <dd>{formatCount(news.checks)}</dd>
        </div>
      </dl>
    </div>
  );
}

interface UnitsProps {
  readonly units: readonly Unit[];
  readonly shown: Unit | undefined;
  readonly onPick: (unit: Unit) => void;
}

function Units({ units, shown, onPick }: UnitsProps) {
  return (
    <ul class="units" aria-label="What is to be proved">
      {units.map((unit) => {
        const [glyph, words] = STATES[unit.state];
        return (
          <li key={unit.title}>
            <button
              type="button"
              class={`unit ${unit.state}`}
              aria-pressed={unit === shown}
              onClick={() => onPick(unit)}
            >
              <span class="glyph" aria-hidden="true">
                {glyph}
              </span>
              <span class="cut">{unit.title}</span>
              <span class="tiny soft">
                {words}
                {unit.samples > 0 && `, ${plural(unit.samples, "sample")}`}
              </span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

interface ProofProps {
  readonly search: Search;
  /** What stands in the editor. */
  readonly written: string;
  readonly onInsert: (text: string) => void;
}

/** The proof that was found, with the answer of the verifier. */
function Proof({ search, written, onInsert }: ProofProps) {
  const { units, filled } = search.news;
  const proved = units.filter(({ state }) => state === "proved");
  if (proved.length === 0) return null;
  return (
    <section class="stack proof-found" aria-label="Proof">
      <h2 class="good-words">
        ✓ {proved.length === units.length ? "Proved" : `${proved.length} of ${units.length} proved`}
      </h2>
      <ul class="small">
        {proved.map((unit) => (
          <li key={unit.title}>
            {unit.title}: <b>{verdictWords(unit)}</b>
          </li>
        ))}
      </ul>
      {filled !== null && filled.fault !== "" && (
        <p class="fault">Lean does not accept the text as a whole: {filled.fault}</p>
      )}
      <LeanCode code={filled?.text ?? proved.map(({ proof }) => proof).join("\n\n")} />
      {filled !== null && filled.text === written && <p class="small soft">It is in the editor.</p>}
      {filled !== null && filled.text !== written && (
        <div class="row">
          <button type="button" class="solid" onClick={() => onInsert(filled.text)}>
            Insert into the editor
          </button>
          {search.asked.source !== written && (
            <span class="small soft">The text was changed since: this puts the proved one in its place.</span>
          )}
        </div>
      )}
    </section>
  );
}

interface SearchViewProps extends ProofProps {
  readonly onClose: () => void;
}

export function SearchView({ search, written, onInsert, onClose }: SearchViewProps) {
  const { news, asked, ended, error, doing, lost } = search;
  const [picked, setPicked] = useState<string | null>(null);
  const shown =
    news.units.find(({ title }) => title === picked) ??
    (ended === null ? news.current : news.units.find(({ tree }) => tree !== null)) ??
    news.units[0];
  return (
    <div class="stack" aria-busy={ended === null}>
      <div class="row prove-head">
        <p class="small soft">
          {KINDS[asked.search]} by {shortName(asked.model)}, seed {asked.seed}
          {ended === null && news.units.length === 0 && `: ${doing}`}
        </p>
        {ended !== null && (
          <button type="button" class="quiet icon-only" aria-label="Close the search" onClick={onClose}>
            <Icon name="close" />
          </button>
        )}
      </div>
      <Budget search={search} />
      {lost && (
        <p class="small warn-words">
          The server does not answer. What has come is kept; the search goes on there.
        </p>
      )}
      {ended !== null && (error !== null || ended !== "done") && (
        <div class={ended === "stopped" ? "small soft" : "fault"}>
          <p>{ENDED[ended]}</p>
          {error !== null && <pre class="says">{error}</pre>}
        </div>
      )}
      {ended === "done" && news.units.every(({ state }) => state !== "proved") && (
        <p class="small">
          No proof was found. More samples, another way of searching, or another seed may find one; what Lean
          accepted is in the tree.
        </p>
      )}
      {ended !== null && <Proof search={search} written={written} onInsert={onInsert} />}
      {news.units.length > 0 && (
        <Units units={news.units} shown={shown} onPick={({ title }) => setPicked(title)} />
      )}
      {news.left.map(({ title, reason }) => (
        <p key={title} class="small soft">
          {title}: left as it is, {reason}
        </p>
      ))}
      {shown && shown.reason !== "" && shown.state !== "proved" && (
        <pre class="says small">
          {shown.state === "failed" ? shown.reason : `Still to be shown:\n${shown.reason}`}
        </pre>
      )}
      {shown?.tree && <TreeView key={`${asked.id} ${shown.title}`} tree={shown.tree} version={search} />}
    </div>
  );
}
