/** `rms_norm_eps` reaches every norm of a block and the last one; the norms of latent attention have their own. */
import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { doubles } from "../tensor/testing.ts";
import { createModel } from "./causal-lm.ts";
import { tinyConfigs } from "./testing.ts";

const IDS = [3, 14, 15, 9, 26];

/** Hidden states and logits; embedding and the matrices that write to the residual stream are scaled by `scale`. */
function run(config: object, epsilon: number, scale = 1) {
  const device = createReferenceDevice();
  const model = createModel({ ...config, rms_norm_eps: epsilon }, device, { seed: 9, std: 0.3 });
  for (const { key, tensor } of model.parameters.groups()) {
    if (!/embed_tokens|o_proj|down_proj/.test(key)) continue;
    const values = doubles(tensor);
    for (let i = 0; i < values.length; i++) values[i] *= scale;
  }
  const states = new Map<string, Float64Array>();
  const capture = (name: string, tensor: Tensor) => {
    states.set(name, doubles(tensor).slice());
    tensor.dispose();
  };
  const logits = doubles(model.logits(model.hidden(model.ids([IDS]), { capture }))).slice();
  return { states, logits };
}

const distance = (a: Float64Array, b: Float64Array) =>
  Math.max(...a.map((value, i) => Math.abs(value - b[i])));

describe.each(["llama", "deepseek"] as const)("%s", (name) => {
  const config = tinyConfigs[name];

  it("a larger epsilon damps every block", () => {
    const [small, large] = [run(config, 1e-6), run(config, 0.5)];
    const block = ({ states }: typeof small, layer: number) =>
      states.get(`hidden.${layer + 1}`)!.map((value, i) => value - states.get(`hidden.${layer}`)![i]);
    for (const layer of [0, 1])
      expect(distance(block(small, layer), block(large, layer))).toBeGreaterThan(0.01);
    expect(distance(small.states.get("final_norm")!, large.states.get("final_norm")!)).toBeGreaterThan(0.01);
  });

  it("scaling the residual stream by c and epsilon by c^2 changes no logit", () => {
    expect(distance(run(config, 0.5).logits, run(config, 0.5 * 9, 3).logits)).toBeLessThan(1e-10);
    expect(distance(run(config, 0.5).logits, run(config, 0.5, 3).logits)).toBeGreaterThan(0.01);
  });
});
