/**
 * Which rows are held out: those whose content hashes lowest. The same rows for the same data in any order of its files, and
 * rows of one prompt always on the same side.
 */
import { checkNumber } from "../../tensor/check-value.ts";

export interface HeldOutOptions {
  /** Expected share of rows, from 0 (none) to below 1; default 0.05. */
  readonly share?: number;
  /** Most rows; default 512. */
  readonly most?: number;
}

/**
 * The value below which the hash of a held-out row lies; `hashes` are those of all rows, in [0, 1). One row at least is held out
 * unless the share is 0, all rows have one prompt, or one prompt has more than `most`; and one at least is not.
 * @throws ConfigError
 */
export function heldOutBelow(
  hashes: Float64Array,
  { share = 0.05, most = 512 }: HeldOutOptions = {},
): number {
  const place = { where: "heldOutBelow" };
  checkNumber(place, "share", share, { min: 0, below: 1 });
  checkNumber(place, "most", most, { integer: true, min: 0 });
  if (share === 0 || most === 0 || hashes.length < 2) return 0;
  const sorted = hashes.toSorted();
  const count = (below: number) => {
    let at = 0;
    while (at < sorted.length && sorted[at] < below) at++;
    return at;
  };
  /** The next larger hash: rows of one prompt have the same. */
  const after = (hash: number) => sorted.find((each) => each > hash) ?? 0;
  const expected = count(share);
  if (expected === 0) return after(sorted[0]);
  // A value that some row has: rows from it on are kept.
  if (expected > most) return sorted[most];
  return expected < sorted.length ? share : after(sorted[0]);
}
