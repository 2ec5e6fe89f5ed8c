/** Models that see in training: gradients reach both towers of the 7B and agree with differences. */
import { afterAll, describe, expect, it } from "vitest";
import { allocateModule } from "../nn/scope.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { crossEntropy } from "../tensor/ops/cross-entropy.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { Random } from "../tensor/random.ts";
import { differentiate } from "../tensor/tape.ts";
import { parseVisionConfig } from "./vision-architectures.ts";
import { VisionLanguageModel } from "./vision-language.ts";

const device = await createCpuDevice({ threads: 2 });
afterAll(() => device[Symbol.asyncDispose]());

const pixels = (mean: number) => ({ pixel_mean: [mean, 0.4, 0.5], pixel_std: [0.25, 0.3, 0.5] });

const hybrid = {
  model_type: "multi_modality",
  vision_config: {
    cls: "HybridVisionTower",
    params: {
      high_res_cfg: {
        ...{ model_name: "sam_test", image_size: 64, patch_size: 16, width: 12, layers: 3, heads: 3 },
        ...{ window_size: 3, prompt_embed_dim: 4, global_attn_indexes: [1], downsample_channels: [6, 8] },
        ...pixels(0.3),
      },
      low_res_cfg: {
        ...{
          model_name: "siglip_test",
          image_size: 49,
          patch_size: 2,
          width: 8,
          layers: 2,
          heads: 2,
          mlp_ratio: 2.3,
        },
        ...pixels(0.6),
      },
    },
  },
  aligner_config: {
    cls: "MlpProjector",
    params: { projector_type: "low_high_hybrid_split_mlp_gelu", input_dim: 8, n_embed: 16, depth: 3 },
  },
  language_config: {
    ...{ vocab_size: 61, hidden_size: 16, intermediate_size: 24, num_hidden_layers: 2 },
    ...{ num_attention_heads: 2, max_position_embeddings: 1024 },
  },
};

describe("a hybrid model", () => {
  it("sees the same with pauses between layers, and frees what it holds where it is given up", async () => {
    const config = parseVisionConfig(hybrid);
    using model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, config));
    model.parameters.initialize(new Random(5), 0.3);
    const random = new Random(6);
    const side = model.imageSize;
    using pixels = device.tensor(
      Float32Array.from({ length: side ** 2 * 3 }, () => random.uniform()),
      [1, side, side, 3],
    );
    using whole = device.inference(() => model.encodeViews(pixels));
    const { buffers } = device.backend.memory();
    const steps = model.encodeViewsByLayer(pixels);
    let pauses = 0;
    let next = steps.next();
    for (; !next.done; next = steps.next()) pauses++;
    // Three layers and what follows them, and two of the other tower.
    expect(pauses).toBe(3 + 1 + 2);
    expect(await next.value.data()).toEqual(await whole.data());
    next.value.dispose();
    expect(device.backend.memory().buffers).toBe(buffers);
    for (const stop of [1, 3, 4, pauses]) {
      const given = model.encodeViewsByLayer(pixels);
      for (let i = 0; i < stop; i++) given.next();
      given.return(undefined as never);
      expect(device.backend.memory().buffers).toBe(buffers);
    }
  });

  it("trains whole: gradients of all that runs, and of nothing else, agree with differences", async () => {
    const config = parseVisionConfig(hybrid);
    using model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, config));
    const random = new Random(5);
    model.parameters.initialize(random, 0.3);
    const { parameters, language } = model;
    for (const { weight, initial, trained } of parameters.groups()) {
      // Also what begins at 0 or 1: relative positions, the scale of the detail branch, biases.
      if (!trained || initial === "normal" || !("set" in weight)) continue;
      weight.set(
        Float32Array.from({ length: weight.size }, () => Number(initial === "ones") + 0.3 * random.normal()),
      );
    }
    const image = Float32Array.from({ length: 64 * 64 * 3 }, (_, i) => 0.5 + 0.5 * Math.sin(i * 0.61));
    using x = device.tensor(image, [1, 64, 64, 3]);
    const ids = [1, ...new Array(576).fill(60), 7, 8, 9];
    using targets = device.tensor(
      Int32Array.from(ids, (_, i) => (i >= 576 && i < 579 ? ids[i + 1] : -1)),
      [ids.length],
      "i32",
    );
    const forward = () => {
      const images = model.arrange(model.encodeViews(x), [[0, 0]]);
      const hidden = language.hidden(model.inputs(ids, [1, ids.length], images, 60));
      return crossEntropy(reshape(language.logits(hidden), [ids.length, 61]), targets);
    };
    using loss = differentiate(device, forward);
    const value = await loss.item();
    const gradients = new Map<string, Float64Array>();
    for (const { key, weight, trained } of parameters.groups()) {
      if (!("set" in weight)) expect.fail("quantized");
      const { grad } = weight;
      expect(grad !== null, key).toBe(trained);
      if (grad !== null) gradients.set(key, Float64Array.from(await grad.data()));
    }
    const steepest = [...gradients].sort(([, p], [, q]) => Math.hypot(...q) - Math.hypot(...p));
    const checked = [
      "vision_tower_high.",
      "vision_tower_low.",
      "aligner.",
      "rel_pos_h",
      "neck_hd.2",
      "downsamples.1",
    ];
    for (const part of [...checked, "hd_alpha", "pos_embed", "high.vision_tower.patch_embed"]) {
      const [key, gradient] = steepest.find(([key]) => key.includes(part))!;
      const { tensor } = parameters.group(key);
      const before = Float64Array.from(await tensor.data());
      const norm = Math.hypot(...gradient);
      const step = 2e-3 / norm;
      const at = async (sign: number) => {
        tensor.set(before.map((each, i) => each + sign * step * gradient[i]));
        using after = device.inference(forward);
        return await after.item();
      };
      const difference = (await at(1)) - (await at(-1));
      tensor.set(before);
      expect(difference / (2 * step * norm ** 2), `${key} ${value} ${norm}`).toBeCloseTo(1, 1);
    }
  });
});
