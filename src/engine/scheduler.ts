/**
 * Which tokens the sequences of a batch read in the next step: one for each that is decoding, and beside them a
 * limited amount of prompt, so that a long prompt does not hold up running streams (chunked prefill, as in
 * Sarathi-Serve, arXiv 2403.02310).
 */

/**
 * Tokens to read for each sequence, oldest first, by the number it has unread; 0: it waits for the next step.
 *
 * A prompt is always cut at multiples of `chunk` from where its reading began, whatever else runs: how it is cut must
 * not depend on other requests, because it decides the last bits of its states. So a piece is taken whole or not at
 * all; the oldest is always taken.
 */
export function schedule(unread: readonly number[], chunk: number): number[] {
  let room = chunk;
  return unread.map((count) => {
    if (count <= 1) return count;
    const piece = Math.min(count, chunk);
    if (piece > room) return 0;
    room -= piece;
    return piece;
  });
}
