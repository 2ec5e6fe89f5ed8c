/** Writes a model once more: with fewer bits as a folder, or as a GGUF file. Where to is below a root; nothing that is there is replaced. */
import { useState } from "preact/hooks";
import { messageOf } from "../backend/backend.ts";
import type { JobRequest, ModelEntry, RootPath } from "../backend/wire.ts";
import { Dialog } from "../frame/dialog.tsx";
import { shortName } from "../frame/top-line.tsx";
import { newId, useStudio } from "../state/studio.ts";

export type Derived = "quantize" | "convert";

interface Form {
  readonly title: string;
  readonly about: string;
  readonly action: string;
  readonly label: string;
  readonly choices: readonly (readonly [value: string, about: string])[];
  /** Ends the name that is proposed. */
  readonly ending: string;
}

const FORMS: Readonly<Record<Derived, Form>> = {
  quantize: {
    title: "Write with fewer bits",
    about: "A new folder with the same model: it loads faster and is smaller on disk.",
    action: "Write the folder",
    label: "Weights as",
    choices: [
      ["q4", "q4: 4 bits"],
      ["q8", "q8: 8 bits"],
    ],
    ending: "",
  },
  convert: {
    title: "Convert to a GGUF file",
    about: "One file, as llama.cpp and its relatives read it.",
    action: "Write the file",
    label: "Weights as",
    choices: [
      ["q8_0", "q8_0: 8 bits"],
      ["q4_0", "q4_0: 4 bits"],
      ["bf16", "bf16: 16 bits, the range of 32"],
      ["f16", "f16: 16 bits"],
      ["f32", "f32: 32 bits"],
    ],
    ending: ".gguf",
  },
};

/** The folder that a model lies in, as a path with `/` at its end; empty for what lies in no root. */
function folderOf({ from }: Pick<ModelEntry, "from">): string {
  return typeof from === "string" ? "" : from.path.slice(0, from.path.lastIndexOf("/") + 1);
}

/** The name that is proposed: beside the model, where it lies below a root. */
export function proposedPath(entry: Pick<ModelEntry, "model" | "from">, type: string, kind: Derived): string {
  const name = shortName(entry.model)
    .replace(/\.gguf$/i, "")
    .replaceAll(/[^\w.-]/g, "-");
  return `${folderOf(entry)}${name}-${type}${FORMS[kind].ending}`;
}

function requestOf(kind: Derived, model: string, type: string, out: RootPath): JobRequest {
  const id = newId();
  return kind === "quantize"
    ? { kind, id, body: { model, dtype: type as "q4" | "q8", out } }
    : { kind, id, body: { model, type, out } };
}

interface DeriveProps {
  readonly entry: ModelEntry;
  readonly kind: Derived;
  readonly onClose: () => void;
}

export function DeriveDialog({ entry, kind, onClose }: DeriveProps) {
  const studio = useStudio();
  const roots = studio.hello.value?.roots ?? [];
  const form = FORMS[kind];
  const [type, setType] = useState(form.choices[0][0]);
  const [root, setRoot] = useState(typeof entry.from === "string" ? (roots[0]?.name ?? "") : entry.from.root);
  /** What was typed; until then a name is proposed. */
  const [typed, setTyped] = useState<string | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  const [asking, setAsking] = useState(false);
  const path = typed ?? proposedPath(entry, type, kind);
  const submit = async (event: Event) => {
    event.preventDefault();
    setFault(null);
    setAsking(true);
    try {
      await studio.backend.start(requestOf(kind, entry.model, type, { root, path: path.trim() }));
      studio.refresh();
      onClose();
    } catch (error) {
      setFault(messageOf(error));
    } finally {
      setAsking(false);
    }
  };
  return (
    <Dialog title={form.title} onClose={onClose}>
      <form class="dialog-body" onSubmit={submit}>
        <p>
          <strong>{entry.model}</strong>
        </p>
        <p class="small soft">{form.about}</p>
        <label class="stack-label">
          {form.label}
          <select class="field" value={type} onChange={(event) => setType(event.currentTarget.value)}>
            {form.choices.map(([value, about]) => (
              <option key={value} value={value}>
                {about}
              </option>
            ))}
          </select>
        </label>
        <div class="derive-place">
          <label class="stack-label">
            Root
            <select class="field" value={root} onChange={(event) => setRoot(event.currentTarget.value)}>
              {roots.map(({ name, path: place }) => (
                <option key={name} value={name} title={place}>
                  {name}
                </option>
              ))}
            </select>
          </label>
          <label class="stack-label">
            {kind === "quantize" ? "New folder" : "New file"}
            <input
              class="field"
              required
              autocomplete="off"
              spellcheck={false}
              value={path}
              onInput={(event) => setTyped(event.currentTarget.value)}
            />
          </label>
        </div>
        <p class="tiny soft">
          It is written below the root, and goes on when this page is closed. What is there already is not
          replaced.
        </p>
        {fault !== null && (
          <p class="fault" role="alert">
            {fault}
          </p>
        )}
        <div class="dialog-end">
          <button type="button" class="outlined" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class="solid" disabled={asking || root === ""}>
            {form.action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
