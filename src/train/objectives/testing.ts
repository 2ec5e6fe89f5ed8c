/** Recorded tensors of the reference classes, for tests of objectives: `test/fixtures`. */
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { openSafetensors } from "../../checkpoint/safetensors.ts";
import type { Parameters } from "../../nn/parameters.ts";

export interface RecordedTensor {
  readonly values: Float32Array | Int32Array;
  readonly shape: readonly number[];
}

/** Tensors of a file of a case, in the order of their names. */
export async function recordedTensors(
  folder: string,
  file: `${string}.safetensors`,
  names: readonly string[],
): Promise<RecordedTensor[]> {
  const opened = await openSafetensors(await nodeFolder(`test/fixtures/${folder}`).open(file));
  try {
    const found: RecordedTensor[] = [];
    for (const name of names) {
      const { dtype, shape } = opened.tensors.get(name)!;
      const { buffer } = (await opened.read(name)).slice();
      found.push({ values: dtype === "I32" ? new Int32Array(buffer) : new Float32Array(buffer), shape });
    }
    return found;
  } finally {
    await opened.source.close?.();
  }
}

/** `[B, C, height, width]` with its channels last. */
export function channelsLast({ values, shape: [B, C, H, W] }: RecordedTensor): Float32Array {
  return Float32Array.from({ length: B * C * H * W }, (_, i) => {
    const [c, at] = [i % C, Math.floor(i / C)];
    return values[(Math.floor(at / (H * W)) * C + c) * H * W + (at % (H * W))];
  });
}

/** Largest difference of a gradient from the recorded one, over the largest magnitude of its tensor; of all parameters. */
export async function gradientError(
  folder: string,
  file: `${string}.safetensors`,
  parameters: Parameters,
): Promise<number> {
  const names = Array.from(parameters.named(), ({ name }) => name);
  const recorded = await recordedTensors(folder, file, names);
  let worst = 0;
  for (const [i, name] of names.entries()) {
    using gradient = parameters.gradient(name);
    const { values } = recorded[i];
    const found = gradient ? await gradient.data() : new Float32Array(values.length);
    let [difference, magnitude] = [0, 0];
    for (const [j, value] of values.entries()) {
      difference = Math.max(difference, Math.abs(found[j] - value));
      magnitude = Math.max(magnitude, Math.abs(value));
    }
    worst = Math.max(worst, difference / magnitude);
  }
  return worst;
}
