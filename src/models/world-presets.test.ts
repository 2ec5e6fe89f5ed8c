/** The world's small models: read strictly, written back, and as large as they are meant to be. */
import { describe, expect, it } from "vitest";
import { describeModule } from "../nn/scope.ts";
import type { HybridConfig } from "../vision/tower-config.ts";
import { VaeModel, vaeFactor } from "../vision/vae.ts";
import { vqFactor } from "../vision/vq.ts";
import { parseVaeConfig, vaeConfigJson } from "./vae-config.ts";
import { parseVisionConfig, visionConfigJson } from "./vision-architectures.ts";
import { VisionLanguageModel } from "./vision-language.ts";
import { worldPresets, worldVae } from "./world-presets.ts";

const counted = (json: unknown) =>
  describeModule((scope) => new VisionLanguageModel(scope, parseVisionConfig(json))).module;

describe("world presets", () => {
  it.each(Object.entries(worldPresets))("%s is written back as it was read", (_, json) => {
    const config = parseVisionConfig(json);
    expect(parseVisionConfig(JSON.parse(JSON.stringify(visionConfigJson(config, "bfloat16"))))).toEqual(
      config,
    );
  });

  it("have the sizes of their table, the attention pool of SigLIP included", () => {
    const [vl, hybrid, vl2] = (["world-vl", "world-vl-hybrid", "world-vl2"] as const).map((name) =>
      counted(worldPresets[name]),
    );
    const millions = (count: number) => Number((count / 1e6).toFixed(1));
    expect(millions(vl.language.parameters.count)).toBe(4.9);
    expect(millions(vl2.language.parameters.count)).toBe(5.8);
    expect(millions(vl.parameters.count)).toBe(8.2);
    expect(millions(hybrid.parameters.count - vl.parameters.count)).toBe(1.3);
    expect(millions(vl2.parameters.count)).toBe(9.2);
    expect(vl.imageTokens([0, 0])).toBe(64);
    expect(hybrid.imageTokens([0, 0])).toBe(64);
    expect(vl2.imageTokens([3, 3])).toBe(20 + 1 + 12 * 13);
  });

  it("draw with parts of the sizes of their table", () => {
    const [janus, flow] = (["world-janus", "world-flow"] as const).map((name) => counted(worldPresets[name]));
    const vae = describeModule((scope) => new VaeModel(scope, worldVae)).module;
    const { generation } = janus;
    const tokenizer = generation?.kind === "codes" ? generation.tokenizer : null;
    const counts = [tokenizer, vae, janus, flow].map((each) => (each!.parameters.count / 1e6).toFixed(2));
    expect(counts).toEqual(["1.15", "0.95", "9.59", "9.31"]);
    expect(tokenizer && vqFactor(tokenizer.config)).toBe(8);
    expect(vaeFactor(worldVae)).toBe(4);
    expect(parseVaeConfig(vaeConfigJson(worldVae))).toEqual(worldVae);
  });

  it("the hybrid's grids are 8 x 8: SAM's neck is resized to 32 instead of 96", () => {
    const json = worldPresets["world-vl-hybrid"];
    const high = (resize_to: unknown) => {
      const copy = structuredClone(json) as Record<
        string,
        { params: { high_res_cfg: Record<string, unknown> } }
      >;
      copy.vision_config.params.high_res_cfg.resize_to = resize_to;
      return copy;
    };
    const { tower } = parseVisionConfig(json);
    expect((tower as HybridConfig).high.resizedSide).toBe(32);
    expect(() => parseVisionConfig(high(30))).toThrow(/resize_to.*a multiple of 4/s);
    expect(() => parseVisionConfig(high(undefined))).toThrow(/image_size.*24 patches along a side/s);
  });
});
