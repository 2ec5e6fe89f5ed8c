import { afterAll, describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { crossEntropy } from "../tensor/ops/cross-entropy.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { differentiate } from "../tensor/tape.ts";
import { cpuDevice, relativeError } from "../tensor/testing.ts";
import { PRECISIONS, setPrecision } from "./precision.ts";

const device = await cpuDevice(2, true);
afterAll(() => device[Symbol.asyncDispose]());

const ids = [Array.from({ length: 14 }, (_, i) => (i * 17 + 5) % 61)];
const targets = Int32Array.from({ length: 14 }, (_, i) => (i * 11 + 3) % 61);

/** Latent attention without experts, and multi-head attention. */
const configs = {
  latent: { ...tinyConfigs.v2, first_k_dense_replace: tinyConfigs.v2.num_hidden_layers },
  plain: tinyConfigs.llama,
};

async function lossAndGradients(model: ReturnType<typeof createModel>) {
  let logits = new Float32Array();
  const pending: Promise<unknown>[] = [];
  differentiate(device, () => {
    const result = model.logits(model.hidden(model.ids(ids)));
    pending.push(result.data().then((values) => (logits = Float32Array.from(values as Float32Array))));
    return crossEntropy(reshape(result, [14, result.shape.at(-1)!]), device.tensor(targets, [14], "i32"));
  });
  await Promise.all(pending);
  const gradients = new Map<string, Float32Array>();
  for (const { key, weight } of model.parameters.groups()) {
    const { grad } = weight as { grad?: { data(): Promise<ArrayLike<number>>; dispose(): void } | null };
    if (!grad) continue;
    gradients.set(key, Float32Array.from(await grad.data()));
    grad.dispose();
    (weight as { grad: unknown }).grad = null;
  }
  return { logits, gradients };
}

describe.each(Object.keys(configs) as (keyof typeof configs)[])("setPrecision, %s attention", (name) => {
  const make = () => createModel(configs[name], device, { seed: 4, std: 0.2, dtype: "f32" });

  it("changes logits and gradients by what a format loses, and back", async () => {
    using model = make();
    const exact = await lossAndGradients(model);
    const errors = new Map<string, number>();
    for (const precision of PRECISIONS) {
      setPrecision(model.parameters, precision);
      const found = await lossAndGradients(model);
      errors.set(precision, relativeError(found.logits, exact.logits));
      expect([...found.gradients.keys()]).toEqual([...exact.gradients.keys()]);
      for (const [key, gradient] of found.gradients) {
        if (precision === "f32") expect(gradient).toEqual(exact.gradients.get(key));
        else expect(gradient).not.toEqual(exact.gradients.get(key));
      }
    }
    expect(errors.get("f32")).toBe(0);
    expect(errors.get("bf16")).toBeLessThan(0.02);
    for (const precision of PRECISIONS.filter((each) => each.startsWith("fp8"))) {
      expect(errors.get(precision)).toBeGreaterThan(3 * errors.get("bf16")!);
      expect(errors.get(precision)).toBeLessThan(0.4);
    }
    setPrecision(model.parameters, "f32");
    expect(await lossAndGradients(model)).toEqual(exact);
  });

  it("reaches every matrix of a linear layer, and nothing else", async () => {
    using model = make();
    const exact = (await lossAndGradients(model)).logits;
    setPrecision(model.parameters, "fp8");
    const rounded = [...model.parameters.groups()].filter(({ rounding }) => rounding !== null);
    const others = [...model.parameters.groups()].filter(({ rounding }) => rounding === null);
    expect(others.filter(({ shape }) => shape.length > 1).map(({ key }) => key.split(".").at(-2))).toEqual([
      "embed_tokens",
      "lm_head",
    ]);
    for (const group of rounded) {
      setPrecision(model.parameters, "f32");
      group.rounding = { format: "e4m3", gradients: "e4m3", scales: "tiles" };
      expect((await lossAndGradients(model)).logits, group.key).not.toEqual(exact);
    }
  });
});

it("is refused for routed experts", () => {
  using model = createModel(tinyConfigs.v3, device, { seed: 4, dtype: "f32" });
  expect(() => setPrecision(model.parameters, "fp8")).toThrow(/routed experts.*found: fp8/s);
  expect(() => setPrecision(model.parameters, "f32")).not.toThrow();
});
