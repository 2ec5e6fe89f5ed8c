/** Language models inside official checkpoints of DeepSeek-VL and VL2, under their prefixes, beside vision towers. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { decodeFloats, openCheckpoint } from "../../src/checkpoint/folder.ts";
import { modelWeights } from "../../src/checkpoint/model.ts";
import { nodeFileSource, nodeFolder } from "../../src/checkpoint/node-files.ts";
import { openSafetensors } from "../../src/checkpoint/safetensors.ts";
import { CausalLM } from "../../src/models/causal-lm.ts";
import { parseConfig } from "../../src/models/config.ts";
import { checkStored } from "../../src/models/load.ts";
import { allocateModule } from "../../src/nn/scope.ts";
import { storageRule } from "../../src/nn/storage.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { backends } from "./checked-cases.ts";

const root = new URL("../fixtures/", import.meta.url).pathname;

interface Values {
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
}

async function readTensors(path: string): Promise<Map<string, Values>> {
  const source = await nodeFileSource(path);
  const file = await openSafetensors(source);
  const found = new Map<string, Values>();
  for (const [name, { dtype, shape }] of file.tensors) {
    const bytes = await file.read(name);
    const values = decodeFloats(dtype, bytes) ?? new Int32Array(bytes.slice().buffer, 0, bytes.length >> 2);
    found.set(name, { shape, values });
  }
  await source.close?.();
  return found;
}

describe.each(backends)("language parts on %s", (_, create) => {
  let device: Device;
  beforeAll(async () => {
    device = await create();
  });
  afterAll(async () => {
    await device[Symbol.asyncDispose]();
  });

  it.each([
    ["vl/chat", "language_model", 4],
    ["vl2/mla", "language", 8],
  ])("%s below %s", async (name, prefix, outputs) => {
    const { buffers } = device.backend.memory();
    const folder = root + name;
    const expected = await readTensors(`${folder}/expected.safetensors`);
    const mask = (await readTensors(`${folder}/inputs.safetensors`)).get("attention_mask")!;
    const { tolerance } = JSON.parse(readFileSync(`${folder}/meta.json`, "utf8"));
    const checkpoint = await openCheckpoint(nodeFolder(folder));
    const config = parseConfig(checkpoint.config!.language_config);
    const source = modelWeights(checkpoint);
    checkStored(config, source, storageRule("f32"), `${prefix}.`);
    {
      using model = allocateModule(device, "f32", (scope) => new CausalLM(scope.child(prefix), config));
      await model.load(source);
      const embeddings = expected.get("inputs_embeds")!;
      const [batch, tokens, d] = embeddings.shape;
      const compared = new Set<string>();
      for (let b = 0; b < batch; b++) {
        // Rows are padded on the left.
        const row = Array.from(mask.values).slice(b * tokens, (b + 1) * tokens);
        const start = row.indexOf(1);
        expect(row.slice(start)).toEqual(new Array(tokens - start).fill(1));
        const values = Array.from(embeddings.values).slice((b * tokens + start) * d, (b + 1) * tokens * d);
        using x = device.tensor(values, [1, tokens - start, d]);
        const found = new Map<string, Promise<ArrayLike<number>>>();
        using logits = device.inference(() =>
          model.logits(
            model.hidden(x, {
              capture(name, tensor) {
                found.set(name, tensor.data());
                tensor.dispose();
              },
            }),
          ),
        );
        found.set("logits", logits.data());
        for (const [captured, data] of found) {
          const output = captured
            .replace("topk_ids", "experts")
            .replace("topk_weights", "weights")
            .replace(`hidden.${config.layers}`, "before the final norm")
            .replace("final_norm", `hidden.${config.layers}`);
          const want = expected.get(output);
          if (want === undefined) continue;
          compared.add(output);
          const width = want.shape[2];
          const got = await data;
          expect(got.length).toBe((tokens - start) * width);
          const abs = output.endsWith("experts") ? 0 : (tolerance.abs_per_output?.[output] ?? tolerance.abs);
          const first = (b * tokens + start) * width;
          for (let i = 0; i < got.length; i++) {
            const value: number = want.values[first + i];
            const bound: number = abs === 0 ? 0 : abs + tolerance.rel * Math.abs(value);
            if (!(Math.abs(got[i] - value) <= bound)) expect.fail(`${output} ${i}: ${got[i]} for ${value}`);
          }
        }
      }
      expect(compared.size).toBe(outputs);
    }
    await checkpoint.close();
    expect(device.backend.memory().buffers).toBe(buffers);
  });
});
