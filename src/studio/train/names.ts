/** How runs are named, and what stands for the screen's other views in the address. */
import type { RootPath, RunEntry } from "../backend/wire.ts";

/** Milliseconds between looks at runs. */
export const LOOK = 3000;
/** Runs that are compared. */
export const MOST_COMPARED = 8;

export const runName = ({ run }: Pick<RunEntry, "run">) => [run.root, run.path].filter(Boolean).join("/");

/** @param name of the run as addresses have it: root, then path */
export function placeOf(name: string): RootPath {
  const [root, ...path] = name.split("/");
  return { root, path: path.join("/") };
}

/** Class of the dot beside each state's word. */
export const RUN_DOT = { running: "opening", stopped: "failed", finished: "open" } as const;

// No root has a colon in its name.
export const NEW_RUN = ":new";
const COMPARE = ":compare:";

/** What the address has for a comparison. */
export const compareItem = (names: readonly string[]) =>
  COMPARE + names.map((name) => encodeURIComponent(name)).join(",");

/** The runs that an address compares; null if it does not. */
export function comparedOf(item: string): readonly string[] | null {
  if (!item.startsWith(COMPARE)) return null;
  const names = item
    .slice(COMPARE.length)
    .split(",")
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    });
  return [...new Set(names)].slice(0, MOST_COMPARED);
}
