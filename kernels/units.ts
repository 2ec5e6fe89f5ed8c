/** How row-wise kernels cut their work: units of about as many elements, regardless of the number of threads. */

/** Elements visited per unit. */
const UNIT: i32 = 8192;

/** Rows of `width` elements in a unit; at least one. */
// @ts-ignore: decorator
@inline
export function rowsPerUnit(width: i32): i32 {
  return max(1, UNIT / max(1, width));
}

/** Units that `count` rows or elements make; the last one may be short. */
// @ts-ignore: decorator
@inline
export function unitsOf(count: i32, perUnit: i32): i32 {
  return (count + perUnit - 1) / perUnit;
}
