/** Of a page without a server: opening models of the disk, and how much of the browser's storage is taken. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes } from "../../text/units.ts";
import { messageOf, type PagePlace } from "../backend/backend.ts";
import type { ModelEntry } from "../backend/wire.ts";
import { notify } from "../state/notices.ts";
import { newId, useStudio } from "../state/studio.ts";
import { PickModel } from "./pick-model.tsx";

/** Whether a model's files are those on the disk, which the page has until it is closed. */
export const isPicked = ({ from }: ModelEntry) => typeof from !== "string" && from.root === "disk";

export function PageStorage() {
  const studio = useStudio();
  const page = studio.backend.page!;
  const [storage, setStorage] = useState<Awaited<ReturnType<PagePlace["storage"]>> | null>(null);
  const models = studio.models.value?.models ?? [];
  const running = studio.running.value.length;
  useEffect(() => {
    page.storage().then(setStorage, () => setStorage(null));
  }, [studio.models.value, running]);
  const picked = models.filter(isPicked);
  return (
    <section class="card stack" aria-labelledby="disk-title">
      <h2 id="disk-title">From this disk</h2>
      <PickModel />
      {picked.map(({ model, size }) => (
        <div key={model} class="row">
          <span class="cut small">{model} is there until this page is closed.</span>
          <button
            type="button"
            class="outlined"
            onClick={() =>
              studio.backend
                .start({ kind: "download", body: { model }, id: newId() })
                .then(() => studio.refresh())
                .catch((error) => notify(messageOf(error)))
            }
          >
            Keep a copy, {formatBytes(size)}
          </button>
        </div>
      ))}
      {storage !== null && (
        <p class="tiny soft">
          This browser keeps {formatBytes(storage.used)} of this page, and has room for{" "}
          {formatBytes(Math.max(0, storage.quota - storage.used))}.
          {storage.used > 0 && !storage.lasting && " It may delete them where the disk becomes full."}
        </p>
      )}
    </section>
  );
}
