/** Gradients through frozen quantized weights are those of the same weights as floats. */
import { afterAll, describe, expect, it } from "vitest";
import { CausalLM, createModel } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import { tinyConfigs } from "../models/testing.ts";
import { weightsOf } from "../nn/model-weights.ts";
import { allocateModule } from "../nn/scope.ts";
import { WithoutTiles } from "../nn/weight-source.ts";
import { isQuantized } from "../tensor/quantized.ts";
import { differentiate } from "../tensor/tape.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { nextTokenLoss } from "./objectives/next-token.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 17 + 5) % 61);
const targets = Int32Array.from({ length: 24 }, (_, i) => (i * 11 + 3) % 61);

/** Loss and the gradient of what the model reads in place of embeddings, and of its trained norms. */
async function pass(model: CausalLM, width: number) {
  const values = Float32Array.from({ length: 24 * width }, (_, i) => Math.sin(i * 0.37));
  const inputs = device.unscoped(() => device.tensor(values, [2, 12, width]));
  inputs.requiresGrad = true;
  model.parameters.freeze(({ key }) => !key.endsWith("norm.weight"));
  const { loss, crossEntropy } = differentiate(device, () =>
    nextTokenLoss(model, { sequences: 2, ids, targets, inputs: () => inputs }),
  );
  const norms: number[][] = [];
  for (const { key, weight } of model.parameters.groups()) {
    if (isQuantized(weight) || weight.grad === null) continue;
    expect(key).toMatch(/norm\.weight$/);
    norms.push([...(await weight.grad.data())]);
  }
  const found = { loss: await crossEntropy.item(), inputs: [...(await inputs.grad!.data())], norms };
  model.parameters.clearGradients();
  for (const tensor of [loss, crossEntropy, inputs.grad!, inputs]) tensor.dispose();
  return found;
}

describe.each(["llama", "deepseek", "v2Lite", "v3"] as const)("%s", (name) => {
  it.each(["q4", "q8", "bf16"] as const)("in %s", async (dtype) => {
    const config = { ...tinyConfigs[name], moe_intermediate_size: 16, num_nextn_predict_layers: 0 };
    using stored = createModel(config, device, { seed: 4, std: 0.3, dtype });
    const parsed = parseConfig(config);
    using floats = allocateModule(device, "f32", (scope) => new CausalLM(scope, parsed));
    await floats.load(new WithoutTiles(weightsOf(stored)));
    const kinds = new Set(
      [...stored.parameters.groups()].map(({ weight }) =>
        isQuantized(weight) ? weight.format : weight.dtype,
      ),
    );
    expect([...kinds].some((kind) => kind !== "f32")).toBe(true);
    const { buffers } = device.backend.memory();
    const [found, expected] = [await pass(stored, parsed.hiddenSize), await pass(floats, parsed.hiddenSize)];
    expect(found.loss).toBeCloseTo(expected.loss, 5);
    const close = (a: readonly number[], b: readonly number[]) => {
      const size = Math.hypot(...b);
      expect(Math.hypot(...a.map((value, i) => value - b[i]))).toBeLessThan(1e-5 * size);
      expect(size).toBeGreaterThan(0);
    };
    close(found.inputs, expected.inputs);
    expect(found.norms.length).toBe(expected.norms.length);
    for (const [i, norm] of found.norms.entries()) close(norm, expected.norms[i]);
    await pass(stored, parsed.hiddenSize);
    expect(device.backend.memory().buffers - buffers).toBeLessThanOrEqual(8);
  });
});
