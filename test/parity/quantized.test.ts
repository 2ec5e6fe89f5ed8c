/**
 * Every language-model fixture with quantized weights: how far logits may be from the reference's, as a share of
 * their own spread. The fixtures' matrices are narrower than two blocks and drawn without the redundancy of trained
 * ones, so that 4 bits cost them more than a released model.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeFloats } from "../../src/checkpoint/folder.ts";
import { loadModel, modelFrom } from "../../src/checkpoint/model.ts";
import { nodeFileSource, nodeFolder, nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { tiledConfig, tiledEntries } from "../../src/checkpoint/tiles.ts";
import type { CausalLM } from "../../src/models/causal-lm.ts";
import { toConfigJson } from "../../src/models/config.ts";
import { weightsOf } from "../../src/nn/model-weights.ts";
import { WrappedSource } from "../../src/nn/weight-source.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { type Device, Scope, sizeOf } from "../../src/tensor/tensor.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

/**
 * Root mean square of the difference over that of the logits, at most. Where a router's choice hangs by a thread,
 * another expert answers and the difference is larger: V2 scales its experts by 16.
 */
const cases: readonly (readonly [name: string, q8: number, q4: number])[] = [
  ["llm/mha", 0.05, 0.5],
  ["llm/gqa", 0.05, 0.5],
  ["llm/linear-rope", 0.05, 0.5],
  ["moe/v1", 0.05, 0.5],
  ["v2/lite", 0.05, 0.35],
  ["v2/full", 0.25, 0.65],
  ["v2/yarn-mscale-1", 0.2, 0.65],
  ["v2/yarn-mscale-mixed", 0.05, 0.35],
  ["v2/mha", 0.05, 0.45],
  ["v3/base", 0.1, 0.45],
  ["v3/mtp", 0.1, 0.35],
  ["v3/fp8", 0.06, 0.35],
  ["v3/sharded-bf16", 0.1, 0.5],
];

/** The same against the same values in floats: only activations are rounded, to 16 bits for q8 and 8 for q4. */
const TWIN = { q8: 0.0005, q4: 0.2 } as const;

async function expectedLogits(name: string): Promise<Float32Array> {
  const source = await nodeFileSource(`${root + name}/expected.safetensors`);
  const file = await openSafetensors(source);
  const values = decodeFloats(file.tensors.get("logits")!.dtype, await file.read("logits"))!;
  await source.close?.();
  return values;
}

/** The weights of a quantized model as floats only. */
class Floats extends WrappedSource {
  override get blocks(): undefined {
    return undefined;
  }

  override get tiles(): undefined {
    return undefined;
  }
}

interface Inputs {
  readonly input_ids: number[][];
  /** Real tokens of each row; outputs at the padding behind them mean nothing. */
  readonly lengths: number[];
}

const inputsOf = (name: string) => JSON.parse(readFileSync(`${root + name}/inputs.json`, "utf8")) as Inputs;

async function logitsOf(model: CausalLM, ids: number[][]): Promise<Float32Array> {
  using _scope = new Scope(model.device);
  return (await model.logits(model.hidden(model.ids(ids))).data()) as Float32Array;
}

function relative(found: Float32Array, expected: Float32Array, { input_ids, lengths }: Inputs): number {
  const tokens = input_ids[0].length;
  const width = expected.length / (input_ids.length * tokens);
  let [difference, size] = [0, 0];
  expected.forEach((value, i) => {
    const place = Math.floor(i / width);
    if (place % tokens >= lengths[Math.floor(place / tokens)]) return;
    difference += (found[i] - value) ** 2;
    size += value ** 2;
  });
  return Math.sqrt(difference / size);
}

describe("quantized weights", () => {
  let device: Device;
  /** The device's peak is known before anything else has run on it. */
  let fresh = true;
  const folder = mkdtempSync(join(tmpdir(), "deepseek-ts-quantized-"));
  beforeAll(async () => {
    device = await createCpuDevice({ threads: 2 });
  });
  afterAll(async () => {
    await device[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each(["q8", "q4"] as const)("%s", (dtype) => {
    it.each(cases)("%s", async (name, q8, q4) => {
      const before = device.backend.memory().buffers;
      const inputs = inputsOf(name);
      const ids = inputs.input_ids;
      const expected = await expectedLogits(name);
      {
        const held = device.backend.memory().bytes;
        using model = await loadModel(nodeFolder(root + name), device, { dtype });
        // Beside the model itself at most two of its largest tensors were there while it was loaded.
        const largest = Math.max(...[...model.parameters.groups()].map(({ shape }) => 4 * sizeOf(shape)));
        const peak = device.backend.memory().peakBytes - held;
        if (fresh) expect(peak).toBeLessThanOrEqual(model.parameters.bytes + 2 * largest);
        fresh = false;
        const found = await logitsOf(model, ids);
        const error = relative(found, expected, inputs);
        expect(error).toBeLessThan(dtype === "q8" ? q8 : q4);
        expect(error).toBeGreaterThan(0);

        // The same values in floats: what differs is the rounding of activations alone.
        const config = toConfigJson(model.config);
        using twin = await modelFrom(config, new Floats(weightsOf(model)), device);
        expect(relative(found, await logitsOf(twin, ids), inputs)).toBeLessThan(TWIN[dtype]);

        // Saved and opened again, the weights are the same bits.
        const path = join(folder, `${name.replace("/", "-")}-${dtype}`);
        await saveCheckpoint(await nodeFolderSink(path), tiledEntries(model), { config: tiledConfig(model) });
        using reopened = await loadModel(nodeFolder(path), device, { dtype: "auto" });
        expect(await logitsOf(reopened, ids)).toEqual(found);
      }
      expect(device.backend.memory().buffers).toBe(before);
    });
  });
});
