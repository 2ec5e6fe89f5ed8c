/** Chooses a folder or file below the roots, one level at a time. */
import { useEffect, useState } from "preact/hooks";
import { formatBytes, formatCount } from "../../text/units.ts";
import { messageOf } from "../backend/backend.ts";
import type { FileList, RootPath } from "../backend/wire.ts";
import { useStudio } from "../state/studio.ts";
import { Icon } from "./icons.tsx";

interface BrowserProps {
  /** What is chosen now. */
  readonly value: RootPath | null;
  readonly onPick: (place: RootPath) => void;
}

export const placeName = ({ root, path }: RootPath) => [root, path].filter(Boolean).join("/");

const inside = ({ root, path }: RootPath, name: string): RootPath => ({
  root,
  path: path === "" ? name : `${path}/${name}`,
});
const above = ({ root, path }: RootPath): RootPath => ({
  root,
  path: path.slice(0, Math.max(0, path.lastIndexOf("/"))),
});

export function PlaceBrowser({ value, onPick }: BrowserProps) {
  const studio = useStudio();
  const roots = studio.hello.value?.roots ?? [];
  const [at, setAt] = useState<RootPath>({ root: roots[0]?.name ?? "", path: "" });
  const [list, setList] = useState<FileList | null>(null);
  const [fault, setFault] = useState<string | null>(null);
  useEffect(() => {
    let current = true;
    setFault(null);
    studio.backend.files(at).then(
      (found) => current && setList(found),
      (error) => current && setFault(messageOf(error)),
    );
    return () => {
      current = false;
    };
  }, [at]);
  const shown = list !== null && placeName(list) === placeName(at) ? list : null;
  const picked = (place: RootPath) => value !== null && placeName(value) === placeName(place);
  return (
    <div class="places" role="group" aria-label="Files below the roots" aria-busy={shown === null}>
      <div class="row places-head">
        {roots.length > 1 && (
          <select
            class="field"
            aria-label="Root"
            value={at.root}
            onChange={(event) => setAt({ root: event.currentTarget.value, path: "" })}
          >
            {roots.map(({ name }) => (
              <option key={name}>{name}</option>
            ))}
          </select>
        )}
        <button
          type="button"
          class="quiet icon-only"
          aria-label="Folder above"
          disabled={at.path === ""}
          onClick={() => setAt(above(at))}
        >
          <Icon name="left" />
        </button>
        <span class="cut small">{placeName(at)}</span>
        <button type="button" class="outlined" aria-pressed={picked(at)} onClick={() => onPick(at)}>
          {picked(at) ? "Chosen" : "Choose this folder"}
        </button>
      </div>
      {fault !== null && <p class="fault">{fault}</p>}
      <ul>
        {shown?.entries.map(({ name, folder, size, holds }) => {
          const place = inside(at, name);
          return (
            <li key={name}>
              <button
                type="button"
                class="choice"
                aria-pressed={folder ? undefined : picked(place)}
                onClick={() => (folder ? setAt(place) : onPick(place))}
              >
                <span class="cut">
                  {name}
                  {folder && "/"}
                </span>
                <span class="soft tiny">
                  {[holds ?? (folder ? "folder" : null), folder ? null : formatBytes(size ?? 0)]
                    .filter((each) => each !== null)
                    .join(", ")}
                </span>
              </button>
            </li>
          );
        })}
        {shown?.entries.length === 0 && <li class="small soft places-empty">Nothing is in this folder.</li>}
        {shown?.more && (
          <li class="small soft places-empty">
            More than {formatCount(shown.entries.length)} are there: only these are listed.
          </li>
        )}
      </ul>
    </div>
  );
}
