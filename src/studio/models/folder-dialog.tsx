/** Opens a model by where it lies below the roots: folders, runs and GGUF files. */
import { useState } from "preact/hooks";
import { messageOf } from "../backend/backend.ts";
import type { RootPath } from "../backend/wire.ts";
import { Dialog } from "../frame/dialog.tsx";
import { PlaceBrowser, placeName } from "../frame/place-browser.tsx";
import { goTo } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";

export function FolderDialog({ onClose }: { readonly onClose: () => void }) {
  const studio = useStudio();
  const [place, setPlace] = useState<RootPath | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [opening, setOpening] = useState<string | null>(null);
  const open = async () => {
    const model = placeName(place!);
    setFault(null);
    setOpening("asks the server");
    try {
      // Closing the dialog stops nothing: the job is the server's.
      await studio.open({ model }, new AbortController().signal, setOpening);
      studio.chosen.value = model;
      onClose();
    } catch (error) {
      setFault(messageOf(error));
    } finally {
      setOpening(null);
    }
  };
  return (
    <Dialog title="Open a folder" onClose={onClose}>
      <div class="dialog-body">
        <p class="small soft">
          Folders below the roots that the studio was started with. A model is a folder, a run, or a .gguf
          file.
        </p>
        <PlaceBrowser
          value={place}
          onPick={(picked) => {
            setPlace(picked);
            setFault(null);
          }}
        />
        {fault !== null && (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        <div class="dialog-end">
          <span class="small soft chosen-place" role="status">
            {opening ?? (place === null ? "Nothing is chosen." : placeName(place))}
          </span>
          <button
            type="button"
            class="outlined"
            disabled={place === null}
            onClick={() => {
              onClose();
              goTo("models", placeName(place!));
            }}
          >
            Look into it
          </button>
          <button type="button" class="solid" disabled={place === null || opening !== null} onClick={open}>
            Open
          </button>
        </div>
      </div>
    </Dialog>
  );
}
