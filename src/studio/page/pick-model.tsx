/** Opens models of the disk in a page without a server: a folder or GGUF files, which stay where they are. */
import { useRef, useState } from "preact/hooks";
import { messageOf, type PickedFile } from "../backend/backend.ts";
import { type Studio, useStudio } from "../state/studio.ts";

/** Files of a folder that are looked at, and how deep: an autoencoder lies in one beside the model. */
const MOST_FILES = 1000;
const DEEPEST = 2;

/** What of a folder's handle is used: its types are not in every list. */
interface FolderHandle {
  readonly name: string;
  values(): AsyncIterable<(FileSystemFileHandle & { kind: "file" }) | (FolderHandle & { kind: "directory" })>;
}

async function filesBelow(folder: FolderHandle, path: string, depth: number): Promise<PickedFile[]> {
  const found: PickedFile[] = [];
  for await (const entry of folder.values()) {
    const inner = `${path}/${entry.name}`;
    if (entry.kind === "file") found.push({ path: inner, file: await entry.getFile() });
    else if (depth < DEEPEST && !entry.name.startsWith("."))
      found.push(...(await filesBelow(entry, inner, depth + 1)));
    if (found.length >= MOST_FILES) break;
  }
  return found;
}

type Picker = (options: { readonly mode: "read" }) => Promise<FolderHandle>;

/** The browser's own picker of folders; null where there is none. */
const folderPicker = () => (globalThis as { showDirectoryPicker?: Picker }).showDirectoryPicker ?? null;

async function openPicked(studio: Studio, files: readonly PickedFile[]): Promise<void> {
  const model = await studio.backend.page!.add(files);
  studio.models.value = await studio.backend.models();
  studio.chosen.value = model;
  await studio.open({ model }, new AbortController().signal);
}

export function PickModel() {
  const studio = useStudio();
  const folder = useRef<HTMLInputElement>(null);
  const file = useRef<HTMLInputElement>(null);
  const [fault, setFault] = useState<string | null>(null);
  const disabled = studio.backend.page!.missing !== null;
  const take = (files: readonly PickedFile[]) => {
    if (files.length === 0) return;
    setFault(null);
    openPicked(studio, files).catch((error) => setFault(messageOf(error)));
  };
  const given = (input: HTMLInputElement) => {
    take(
      [...(input.files ?? [])].map((each) => ({ path: each.webkitRelativePath || each.name, file: each })),
    );
    input.value = "";
  };
  const pick = () => {
    const picker = folderPicker();
    if (picker === null) {
      folder.current?.click();
      return;
    }
    picker({ mode: "read" })
      .then(async (handle) => take(await filesBelow(handle, handle.name, 1)))
      // Closed without a choice.
      .catch((error) => (error as Error).name !== "AbortError" && setFault(messageOf(error)));
  };
  return (
    <>
      <div class="row">
        <button type="button" class="outlined" disabled={disabled} onClick={pick}>
          Open a folder
        </button>
        <button type="button" class="outlined" disabled={disabled} onClick={() => file.current?.click()}>
          Open a GGUF file
        </button>
      </div>
      <input
        ref={folder}
        type="file"
        hidden
        // Its name in the document's types is another.
        {...{ webkitdirectory: true }}
        onChange={(event) => given(event.currentTarget)}
      />
      <input
        ref={file}
        type="file"
        hidden
        multiple
        accept=".gguf"
        onChange={(event) => given(event.currentTarget)}
      />
      {fault !== null && (
        <p class="fault" role="alert">
          {fault}
        </p>
      )}
    </>
  );
}
