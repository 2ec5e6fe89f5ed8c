import { describe, expect, it } from "vitest";
import { storageRule } from "../nn/storage.ts";
import { parseConfig } from "./config.ts";
import { countParameters, weightBytes } from "./count.ts";
import { describeDecoder } from "./decoder.ts";
import { type PresetName, presets } from "./presets.ts";

const count = (name: PresetName) => countParameters(parseConfig(presets[name]));

describe("countParameters", () => {
  it.each<[PresetName, number]>([
    ["deepseek-llm-7b", 6_910_365_696],
    ["deepseek-llm-67b", 67_425_001_472],
    ["deepseek-coder-1.3b", 1_346_471_936],
    ["deepseek-coder-6.7b", 6_740_512_768],
    ["deepseek-coder-33b", 33_342_991_360],
  ])("%s has %d, all of them active", (name, total) => {
    const counts = count(name);
    expect(counts.total).toBe(total);
    expect(counts.activated).toBe(total);
    expect(counts.checkpoint).toBe(total);
    expect(counts.mtp).toBe(0);
  });

  it("Coder 5.7B with multi-query attention rounds to its published size", () => {
    expect(count("deepseek-coder-5.7b-mqa").total / 1e9).toBeCloseTo(5.7, 1);
  });

  it.each<[PresetName, number, number, number]>([
    ["deepseek-moe-16b", 16_375_728_128, 2_828_650_496, 2.619],
    ["deepseek-v2-lite", 15_706_484_224, 2_661_150_208, 2.451],
    ["deepseek-v2", 235_741_434_880, 21_375_800_320, 20.852],
    ["deepseek-v3", 671_026_419_200, 37_552_297_472, 36.626],
  ])("%s has %d and activates %d", (name, total, activated, withoutEmbedding) => {
    const counts = count(name);
    expect(counts.total).toBe(total);
    expect(counts.activated).toBe(activated);
    expect(counts.activatedWithoutEmbedding / 1e9).toBeCloseTo(withoutEmbedding, 3);
  });

  it.each<[PresetName, number]>([
    ["deepseek-v2-lite", 13_763_072],
    ["deepseek-v2", 149_227_520],
    ["deepseek-v3", 187_107_328],
  ])("%s has %d attention parameters per layer", (name, perLayer) => {
    expect(count(name).attentionPerLayer).toBe(perLayer);
  });

  it("counts V3's multi-token-prediction layer and its released checkpoint", () => {
    const counts = count("deepseek-v3");
    expect(counts.mtp).toBe(11_610_068_224);
    expect(counts.mtpActivated / 1e9).toBeCloseTo(0.688, 3);
    expect(counts.checkpoint).toBe(684_489_845_504);
  });

  it("memory of a model with a prediction module holds the module too", () => {
    for (const dtype of ["f32", "bf16"] as const) {
      const { mtp, total } = count("deepseek-v3");
      const width = dtype === "f32" ? 4 : 2;
      const bytes = weightBytes(
        describeDecoder(parseConfig(presets["deepseek-v3"])),
        storageRule(dtype),
      ).total;
      // Norms, routers and their biases are f32 at every dtype.
      expect(bytes).toBeGreaterThanOrEqual(width * (total + mtp));
      expect(bytes).toBeLessThan(1.001 * width * (total + mtp));
    }
    const without = parseConfig({ ...presets["deepseek-v3"], num_nextn_predict_layers: 0 });
    const quantized = (config: typeof without) =>
      weightBytes(describeDecoder(config), storageRule("q4")).total;
    const added = quantized(parseConfig(presets["deepseek-v3"])) - quantized(without);
    expect(added / count("deepseek-v3").mtp).toBeCloseTo(quantized(without) / count("deepseek-v3").total, 1);
  });

  it("leaves the head out where it is tied to the embedding", () => {
    const tied = countParameters(parseConfig({ ...presets["deepseek-llm-7b"], tie_word_embeddings: true }));
    expect(count("deepseek-llm-7b").total - tied.total).toBe(102400 * 4096);
  });
});
