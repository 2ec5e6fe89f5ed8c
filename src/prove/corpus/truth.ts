/**
 * Reads the truth beside problems. Only code that grades a finished run may import this file; a test holds that nothing else
 * in `src/prove` does.
 */
import { HiddenTruth, type ProblemTruth } from "./hidden.ts";

export type { Defect, ProblemTruth } from "./hidden.ts";

export const readTruth = (hidden: HiddenTruth): ProblemTruth => HiddenTruth.open(hidden);

/** The text of a column in a file. */
export const truthColumn = (hidden: HiddenTruth): string => JSON.stringify(readTruth(hidden));
