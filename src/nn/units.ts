/** Streams of values cut anew: chunks come in whatever sizes a source reads, layouts and encoders want whole units. */

/** Consecutive values in pieces that are multiples of `unit`; what is left at the end comes as it is. */
export async function* inUnits(
  values: AsyncIterable<Float32Array>,
  unit: number,
): AsyncGenerator<Float32Array> {
  const held = new Float32Array(unit);
  let count = 0;
  for await (const chunk of values) {
    let at = 0;
    if (count > 0) {
      at = Math.min(unit - count, chunk.length);
      held.set(chunk.subarray(0, at), count);
      count += at;
      if (count < unit) continue;
      yield held.slice();
      count = 0;
    }
    const end = chunk.length - ((chunk.length - at) % unit);
    if (end > at) yield chunk.subarray(at, end);
    held.set(chunk.subarray(end));
    count = chunk.length - end;
  }
  if (count > 0) yield held.subarray(0, count);
}

/** The same one unit at a time. */
export async function* eachUnit(
  values: AsyncIterable<Float32Array>,
  unit: number,
): AsyncGenerator<Float32Array> {
  for await (const units of inUnits(values, unit)) {
    for (let at = 0; at < units.length; at += unit) yield units.subarray(at, at + unit);
  }
}
