/** Recorded cases of image processing, for tests: `test/fixtures/preprocess`. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { gunzipSync } from "node:zlib";

const root = resolve("test/fixtures/preprocess");

export const fixtureBytes = (path: string) => new Uint8Array(readFileSync(join(root, path)));
export const fixtureJson = <T>(path: string) => JSON.parse(readFileSync(join(root, path), "utf8")) as T;

export interface FixtureTensor {
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
  readonly floats: Float32Array;
}

/** The tensors of a compressed safetensors file, by name. */
export function fixtureTensors(
  path: string,
): ((name: string) => FixtureTensor) & { readonly names: readonly string[] } {
  const bytes = new Uint8Array(gunzipSync(readFileSync(join(root, `${path}.gz`))));
  const length = Number(new DataView(bytes.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + length)));
  const tensor = (name: string): FixtureTensor => {
    const entry = header[name];
    if (entry === undefined) throw new Error(`${path} has no tensor ${name}`);
    const [begin, end] = entry.data_offsets as [number, number];
    const data = bytes.slice(8 + length + begin, 8 + length + end);
    return {
      shape: entry.shape,
      bytes: data,
      get floats() {
        if (entry.dtype !== "F32") throw new Error(`${name} is ${entry.dtype}`);
        return new Float32Array(data.buffer);
      },
    };
  };
  return Object.assign(tensor, { names: Object.keys(header).filter((name) => name !== "__metadata__") });
}
