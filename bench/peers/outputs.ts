/** How outputs of peers are compared with ours, and what keeps their memory from being counted as arithmetic. */
import { readFile } from "node:fs/promises";

/** glibc keeps freed memory: fresh pages for SAM's 805 MB of scores would cost PyTorch a multiple of its arithmetic. */
export const KEEPS_MEMORY = {
  MALLOC_MMAP_MAX_: "0",
  MALLOC_TRIM_THRESHOLD_: "100000000000",
  MALLOC_TOP_PAD_: "100000000",
};

export const floatsOf = async (path: string): Promise<Float32Array> =>
  new Float32Array(Uint8Array.from(await readFile(path)).buffer);

/** The root of the mean squared difference over that of `expected`, and the largest difference over the same. */
export function distance(
  found: Float32Array,
  expected: Float32Array,
): { readonly rms: number; readonly most: number } {
  let [difference, size, most] = [0, 0, 0];
  expected.forEach((value, i) => {
    difference += (found[i] - value) ** 2;
    size += value ** 2;
    most = Math.max(most, Math.abs(found[i] - value));
  });
  return { rms: Math.sqrt(difference / size), most: most / Math.sqrt(size / expected.length) };
}
