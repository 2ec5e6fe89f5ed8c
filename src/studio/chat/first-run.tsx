/** What stands where messages would be, while there are none. */
import { formatBytes, formatDuration } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { ModelEntry } from "../backend/wire.ts";
import { shortName } from "../frame/top-line.tsx";
import { PickModel } from "../page/pick-model.tsx";
import { notify } from "../state/notices.ts";
import { goTo } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import { SmallTraining } from "./small-training.tsx";

const isProver = ({ system }: ModelEntry) => /prover/i.test(system ?? "");

/** Bytes a second that weights are read at, at least: what loading takes at most, about. */
const READING = 300e6;

function Ways() {
  const studio = useStudio();
  const smallest = [...(studio.models.value?.models ?? [])]
    .filter(({ partial, state }) => !partial && state !== "open")
    // Provers write proofs, not answers.
    .sort((a, b) => Number(isProver(a)) - Number(isProver(b)) || a.size - b.size)[0];
  return (
    <div class="cards">
      {smallest ? (
        <section class="card">
          <h2>Open {shortName(smallest.model)}</h2>
          <p class="small soft">
            The smallest that is here: {formatBytes(smallest.size)}, ready in about{" "}
            {formatDuration(Math.max(1, smallest.size / READING))}.
          </p>
          <button
            type="button"
            class="solid"
            onClick={() => {
              studio.chosen.value = smallest.model;
              studio
                .open({ model: smallest.model }, new AbortController().signal)
                .catch((error) => notify(messageOf(error)));
            }}
          >
            Open it
          </button>
        </section>
      ) : (
        <section class="card">
          <h2>Download a model</h2>
          <p class="small soft">By its name on the Hugging Face hub. What was begun can be gone on with.</p>
          <button type="button" class="solid" onClick={() => goTo("models")}>
            Choose one
          </button>
        </section>
      )}
      <SmallTraining />
      <section class="card">
        <h2>Open a folder</h2>
        <p class="small soft">
          {studio.backend.page === null
            ? "Checkpoints and GGUF files below the folders that the studio was started with are listed with all others."
            : "A checkpoint or GGUF file of this disk. It runs in this page: nothing is sent anywhere."}
        </p>
        {studio.backend.page === null ? (
          <button type="button" class="outlined" onClick={() => goTo("models")}>
            All models
          </button>
        ) : (
          <PickModel />
        )}
      </section>
    </div>
  );
}

/** @param ready whether a model is open */
export function FirstRun({ ready }: { readonly ready: boolean }) {
  const studio = useStudio();
  if (ready)
    return (
      <div class="empty-thread">
        <h1>What do you want to ask {shortName(studio.current!.model)}?</h1>
        <p class="soft small">
          Enter sends, Shift Enter begins a new line. Everything stays on this machine.
        </p>
      </div>
    );
  return (
    <div class="first">
      <div class="stack">
        <h1>Ask a model of this machine</h1>
        <p class="soft">
          {(studio.models.value?.models.length ?? 0) > 0
            ? "No model is open yet. Open one, or just write: the message waits until it is."
            : "There is no model yet: get one first."}
        </p>
      </div>
      <Ways />
    </div>
  );
}
