/** What a search is asked with: model, way of searching, budget, seed; or what is missing before it can begin. */

import { messageOf } from "../backend/backend.ts";
import type { ModelEntry } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { shortName } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { goTo } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { KINDS, type Proving, type SearchFields } from "./proving.ts";

const ABOUT: Readonly<Record<SearchFields["search"], string>> = {
  rmaxts: "goes on from any step that Lean accepted, where new states are found",
  resume: "cuts each proof where it fails and writes on from there",
  sample: "writes every proof from its beginning",
};

const MOST_BUDGET = 10_000;

export const isProver = ({ model, system }: Pick<ModelEntry, "model" | "system">) =>
  /prover/i.test(system ?? "") || /prover/i.test(model);
const writes = ({ info }: ModelEntry) => info === null || info.imageOutput === null;

/** Provers first, then by size. */
const byUse = (a: ModelEntry, b: ModelEntry) => Number(isProver(b)) - Number(isProver(a)) || a.size - b.size;

/** No model is open: which to open. */
function NoModel() {
  const studio = useStudio();
  const known = (studio.models.value?.models ?? []).filter(({ partial }) => !partial);
  const opening = known.find(({ state }) => state === "opening");
  const prover = known.filter((entry) => isProver(entry) && entry.state === "closed").sort(byUse)[0];
  return (
    <div class="stack no-model">
      <p class="small">
        {opening
          ? `${shortName(opening.model)} is being opened.`
          : "No model is open that could write proofs. Text is checked without one."}
      </p>
      <div class="row">
        {!opening && prover && (
          <button
            type="button"
            class="solid"
            onClick={() =>
              studio
                .open({ model: prover.model }, new AbortController().signal)
                .catch((error) => notify(messageOf(error)))
            }
          >
            Open {shortName(prover.model)}
          </button>
        )}
        <button type="button" class="outlined" onClick={() => goTo("models")}>
          All models
        </button>
      </div>
    </div>
  );
}

interface SearchFormProps {
  readonly proving: Proving;
  readonly running: boolean;
  /** Why no search can begin now, whatever the model; null if one can. */
  readonly missing: string | null;
  /** Puts a `sorry` where the text ends. */
  readonly onSorry: () => void;
}

export function SearchForm({ proving, running, missing, onSorry }: SearchFormProps) {
  const studio = useStudio();
  const fields = proving.fields.value;
  const set = (change: Partial<SearchFields>) => {
    proving.fields.value = { ...proving.fields.value, ...change };
  };
  const open = (studio.models.value?.models ?? [])
    .filter((entry) => entry.state === "open" && writes(entry))
    .sort(byUse);
  const current = open.find(({ model }) => model === studio.chosen.value) ?? open[0];
  const hasSorry = /\bsorry\b/.test(proving.text.value);
  if (!current && !running) return <NoModel />;
  const reason =
    missing ?? (hasSorry ? null : "There is no sorry in the text: it marks what is to be proved.");
  return (
    <form
      class="prove-form"
      onSubmit={(event) => {
        event.preventDefault();
        if (!running && current && reason === null) proving.start(current.model);
      }}
    >
      <label class="stack-label">
        Model
        <select
          class="field"
          value={current?.model}
          onChange={(event) => {
            studio.chosen.value = event.currentTarget.value;
          }}
        >
          {open.map(({ model }) => (
            <option key={model} value={model}>
              {shortName(model)}
            </option>
          ))}
        </select>
      </label>
      <label class="stack-label">
        Search
        <select
          class="field"
          value={fields.search}
          title={`${KINDS[fields.search]}: ${ABOUT[fields.search]}`}
          onChange={(event) => set({ search: event.currentTarget.value as SearchFields["search"] })}
        >
          {Object.entries(KINDS).map(([kind, name]) => (
            <option key={kind} value={kind}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label class="stack-label narrow">
        Samples
        <input
          class="field"
          type="number"
          min={1}
          max={MOST_BUDGET}
          required
          title="Texts that the model may write for each sorry"
          value={fields.budget}
          onInput={({ currentTarget: { valueAsNumber: budget } }) => {
            if (budget >= 1 && budget <= MOST_BUDGET) set({ budget: Math.round(budget) });
          }}
        />
      </label>
      <label class="stack-label narrow">
        Seed
        <input
          class="field"
          type="number"
          min={0}
          max={Number.MAX_SAFE_INTEGER}
          step={1}
          placeholder="by chance"
          value={fields.seed ?? ""}
          onInput={({ currentTarget: { value, valueAsNumber } }) =>
            set({ seed: value === "" || !Number.isSafeInteger(valueAsNumber) ? null : valueAsNumber })
          }
        />
      </label>
      {running ? (
        <button
          type="button"
          class="outlined start"
          title="Stop (Escape)"
          onClick={() => proving.stop((text) => notify(text))}
        >
          <Icon name="stop" />
          Stop
        </button>
      ) : (
        <button type="submit" class="solid start" aria-disabled={reason !== null} title="Prove (Ctrl Enter)">
          <Icon name="prove" />
          Prove
        </button>
      )}
      <p class="small soft about">
        {!running && reason !== null ? reason : `${KINDS[fields.search]} ${ABOUT[fields.search]}.`}{" "}
        {!running && !hasSorry && missing === null && (
          <button type="button" class="link" onClick={onSorry}>
            Put one at the end
          </button>
        )}
      </p>
    </form>
  );
}
