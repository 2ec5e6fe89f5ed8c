/** Recorded tensors of the reference classes, for tests of objectives: `test/fixtures`. */
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { openSafetensors } from "../../checkpoint/safetensors.ts";

export interface RecordedTensor {
  readonly values: Float32Array | Int32Array;
  readonly shape: readonly number[];
}

/** Tensors of a file of a case, in the order of their names. */
export async function recordedTensors(
  folder: string,
  file: "inputs.safetensors" | "expected.safetensors",
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
