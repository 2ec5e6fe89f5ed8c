/** The card that trains a small model here and now: the demo of the command line, on text that is there without being brought. */
import { useState } from "preact/hooks";
import { messageOf } from "../backend/backend.ts";
import type { JobView } from "../backend/wire.ts";
import { fractionOf, Progress } from "../frame/top-line.tsx";
import { notify } from "../state/notices.ts";
import { goTo } from "../state/route.ts";
import { isRunning, newId, type Studio, useStudio } from "../state/studio.ts";

const PRESET = "demo";
const OWN = new RegExp(`/${PRESET}-\\d+$`);

/** The training that this card began last, on any page of this server. */
const trainingOf = (studio: Studio): JobView | undefined =>
  studio.jobs.value.find(({ kind, run }) => kind === "train" && run !== undefined && OWN.test(run));

/** Begins it in a new folder of the first root. */
async function begin(studio: Studio): Promise<void> {
  const root = studio.hello.value!.roots[0].name;
  const { entries } = await studio.backend.files({ root, path: "" });
  const taken = new Set(entries.map(({ name }) => name));
  let n = 1;
  while (taken.has(`${PRESET}-${n}`)) n++;
  await studio.backend.start({
    kind: "train",
    body: { out: { root, path: `${PRESET}-${n}` }, data: "typescript", config: { preset: PRESET } },
    id: newId(),
  });
  studio.refresh();
}

function far({ state, progress }: JobView): string {
  if (state === "queued") return "It begins when the training before it has ended.";
  if (progress === null) return "It begins.";
  if (progress.total === null) return progress.text;
  return `Step ${progress.done} of ${progress.total}.`;
}

export function SmallTraining() {
  const studio = useStudio();
  const [fault, setFault] = useState<string | null>(null);
  const [asked, setAsked] = useState(false);
  const { value: hello } = studio.hello;
  if (hello === null || !hello.kinds.includes("train") || hello.roots.length === 0) return null;
  const job = trainingOf(studio);
  const runs = job !== undefined && isRunning(job);
  const done = job?.state === "done";
  const act = (what: Promise<unknown>) => {
    setFault(null);
    setAsked(true);
    what.catch((error) => setFault(messageOf(error))).finally(() => setAsked(false));
  };
  return (
    <section class="card" aria-labelledby="small-training">
      <h2 id="small-training">{done ? "The small model is trained" : "Train a small one here"}</h2>
      {runs ? (
        <>
          <p class="small soft" role="status">
            {far(job)}
          </p>
          <Progress fraction={fractionOf(job)} label="Training" />
          <div class="row">
            <button type="button" class="outlined" onClick={() => goTo("train", job.run)}>
              Watch its curves
            </button>
            <button type="button" class="quiet" onClick={() => act(studio.stop(job.id))}>
              Stop
            </button>
          </div>
        </>
      ) : done ? (
        <>
          <p class="small soft">
            It completes TypeScript: begin a line, and it goes on. It answers no questions.
          </p>
          <div class="row">
            <button
              type="button"
              class="solid"
              onClick={() => {
                studio.chosen.value = job.run!;
                studio
                  .open({ model: job.run! }, new AbortController().signal)
                  .catch((error) => notify(messageOf(error)));
              }}
            >
              Open it
            </button>
            <button type="button" class="quiet" onClick={() => goTo("train", job.run)}>
              Its curves
            </button>
          </div>
        </>
      ) : (
        <>
          <p class="small soft">
            A small DeepSeek-V3 learns the TypeScript of the packages installed here, in about 3 minutes.
            Nothing is downloaded.
          </p>
          {(fault !== null || job?.state === "failed") && (
            <p class="small fault" role="alert">
              {fault ?? job?.error?.message}
            </p>
          )}
          <button type="button" class="outlined" disabled={asked} onClick={() => act(begin(studio))}>
            {job?.state === "canceled" ? "Train another one" : "Train it"}
          </button>
        </>
      )}
    </section>
  );
}
