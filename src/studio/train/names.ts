/** What the list of runs and a run share. */
import type { RunEntry } from "../backend/wire.ts";

/** Milliseconds between looks at runs. */
export const LOOK = 3000;

export const runName = ({ run }: Pick<RunEntry, "run">) => [run.root, run.path].filter(Boolean).join("/");

/** Class of the dot beside each state's word. */
export const RUN_DOT = { running: "opening", stopped: "failed", finished: "open" } as const;
