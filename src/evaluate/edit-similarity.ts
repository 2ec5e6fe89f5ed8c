/** How alike two texts are. */

/** Of a longer text only so much is compared: what is beyond it counts as too much. */
const MOST_COMPARED = 32_768;

/**
 * 1 less the edits (characters to change, insert or drop) from one text to the other over the characters of the longer one: 1 for
 * equal texts, 0 for texts that have nothing in common.
 */
export function editSimilarity(a: string, b: string): number {
  const [short, long] = [Array.from(a), Array.from(b)].sort((x, y) => x.length - y.length);
  if (long.length === 0) return 1;
  const compared = long.slice(0, MOST_COMPARED);
  const edits = editsBetween(short, compared) + long.length - compared.length;
  return Math.max(0, 1 - edits / long.length);
}

/** Levenshtein's distance, in the memory of one row. */
function editsBetween(a: readonly string[], b: readonly string[]): number {
  const row = Uint32Array.from({ length: a.length + 1 }, (_, i) => i);
  for (let j = 1; j <= b.length; j++) {
    let diagonal = row[0];
    row[0] = j;
    for (let i = 1; i <= a.length; i++) {
      const replaced = diagonal + (a[i - 1] === b[j - 1] ? 0 : 1);
      diagonal = row[i];
      row[i] = Math.min(replaced, row[i] + 1, row[i - 1] + 1);
    }
  }
  return row[a.length];
}
