/** Sizes of models that see, against published counts and against models in memory; what files say of images, and faults. */
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { storageRule } from "../nn/storage.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { cacheBytes } from "./memory-needs.ts";
import { processorFacts } from "./processor-facts.ts";
import { parseVisionConfig } from "./vision-architectures.ts";
import {
  describeVision,
  imageCost,
  mostViews,
  partNeeds,
  towerActivationBytes,
  visionMemoryNeeds,
  visionWeightBytes,
} from "./vision-needs.ts";
import { type VisionPresetName, visionPresets } from "./vision-presets.ts";

const preset = (name: VisionPresetName) => describeVision(parseVisionConfig(visionPresets[name]));
const machine = { total: 24e9, free: 10e9 };

describe("a model that sees", () => {
  it("has the published number of parameters, by part", () => {
    const parts = partNeeds(preset("deepseek-vl-7b"));
    // Two layer norms of the tower that no configuration tells: 4,096 values.
    expect(parts.reduce((sum, { parameters }) => sum + parameters, 0)).toBeGreaterThan(7_343_990_017 - 4097);
    expect(parts.reduce((sum, { parameters }) => sum + parameters, 0)).toBeLessThanOrEqual(7_343_990_017);
    const [tower] = partNeeds(preset("deepseek-vl2-small"));
    expect(tower).toMatchObject({ part: "tower", parameters: 428_225_600 });
    expect(tower.bytes.f32).toBe(4 * 428_225_600);
    expect(tower.bytes.q8).toBe(tower.bytes.q4);
    expect(tower.bytes.q8 / tower.bytes.bf16).toBeCloseTo(8.5 / 16, 1);
  });

  it("turns images into the reference's numbers of tiles and tokens", () => {
    const [vl, vl2] = [preset("deepseek-vl-7b"), preset("deepseek-vl2-tiny")];
    expect(imageCost(vl, 1000, 700)).toMatchObject({ tiles: [0, 0], views: 1, tokens: 576 });
    expect(imageCost(vl2, 384, 384)).toMatchObject({ tiles: [1, 1], views: 2, tokens: 421 });
    const cost = imageCost(vl2, 1000, 700);
    expect(cost).toMatchObject({ tiles: [3, 2], views: 7, tokens: 14 * 15 + 1 + 28 * 43 });
    expect(cost.cacheBytes).toBe(cost.tokens * cacheBytes(vl2.config.language));
    expect(mostViews(vl2.config, vl2.imageSize)).toBe(10);
    expect(mostViews(vl.config, vl.imageSize)).toBe(1);
  });

  it("needs weights, the larger of tower's and prompt's values, and the cache", () => {
    const model = preset("deepseek-vl2-tiny");
    const needs = visionMemoryNeeds(model, machine);
    expect(needs.map(({ dtype }) => dtype)).toEqual(["f32", "bf16", "q8", "q4"]);
    for (const { dtype, weights, total } of needs) {
      expect(weights).toBe(visionWeightBytes(model, storageRule(dtype)));
      const rest = total - weights - cacheBytes(model.config.language) * model.config.language.maxPositions;
      expect(rest).toBe(towerActivationBytes(model.config.tower, 10));
      expect(rest).toBeGreaterThan(4 * 10 * 729 * 4304);
    }
    expect(needs.map(({ fits }) => fits)).toEqual(["tight", "yes", "yes", "yes"]);
  });

  it("counts what it draws with apart: it is loaded where drawing is asked for", () => {
    const model = preset("janus-1.3b");
    const parts = partNeeds(model);
    expect(parts.map(({ part }) => part)).toEqual(["tower", "projector", "language", "drawing"]);
    expect(parts.reduce((sum, { parameters }) => sum + parameters, 0)).toBe(model.parameters.count);
    const drawing = parts[3];
    expect(drawing.parameters).toBe(model.generation!.parameters.count);
    const all = parts.reduce((sum, { bytes }) => sum + bytes.q4, 0);
    expect(visionWeightBytes(model, storageRule("q4"))).toBe(all - drawing.bytes.q4);
  });

  it.each(["vl/chat", "vl/hybrid-chat", "vl2/mla", "vl2/mha", "janus/understand"])(
    "of %s takes the bytes that are told, at every storage",
    async (name) => {
      const device = createReferenceDevice();
      const tree = nodeFolder(new URL(`../../test/fixtures/${name}`, import.meta.url).pathname);
      for (const dtype of ["f32", "bf16", "q8", "q4"] as const) {
        using model = await loadVisionModel(tree, device, { dtype, drawing: false });
        expect(visionWeightBytes(describeVision(model.config), storageRule(dtype)), dtype).toBe(
          model.parameters.bytes,
        );
      }
      await device[Symbol.asyncDispose]();
    },
  );
});

describe("processor files", () => {
  const CLIP = {
    image_mean: [0.48145466, 0.4578275, 0.40821073],
    image_std: [0.26862954, 0.26130258, 0.27577711],
  };
  const canvas = {
    ...{ image_processor_type: "VLMImageProcessor", image_size: 384, min_size: 14, do_normalize: true },
    ...{ image_mean: [0.5, 0.5, 0.5], image_std: [0.5, 0.5, 0.5], rescale_factor: 1 / 255 },
    background_color: [127, 127, 127],
  };
  const prompt = {
    processor_class: "VLChatProcessor",
    image_tag: "<image_placeholder>",
    num_image_tokens: 576,
  };
  const published = {
    ...canvas,
    ...CLIP,
    ...{ image_size: 1024, do_normalize: false, background_color: [122, 116, 104] },
  };
  const tiled = {
    ...{ processor_class: "DeepseekVLV2Processor", patch_size: 14, downsample_ratio: 2, normalize: true },
    candidate_resolutions: visionPresets["deepseek-vl2-tiny"].candidate_resolutions,
  };
  const told = (name: VisionPresetName, preprocessor: unknown, processor: unknown = prompt) =>
    processorFacts(preset(name), { preprocessor, processor });

  it("as published say how images are prepared, without a warning", () => {
    expect(told("deepseek-vl-1.3b", canvas)).toEqual({
      warnings: [],
      facts: {
        ...{ file: "preprocessor_config.json", side: 384, imageToken: "<image_placeholder>" },
        ...{ background: [127, 127, 127], normalization: { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] } },
      },
    });
    const seven = told("deepseek-vl-7b", published);
    expect(seven.warnings).toEqual([]);
    expect(seven.facts).toMatchObject({ normalization: null, background: [122, 116, 104], side: 1024 });
    const small = told("deepseek-vl2-tiny", null, tiled);
    expect(small.warnings).toEqual([]);
    expect(small.facts).toMatchObject({ file: "processor_config.json", side: 384, imageToken: "<image>" });
  });

  it.each([
    ["deepseek-vl-1.3b", { ...canvas, do_normalize: false }, prompt, /do_normalize is false.*set it to true/],
    ["deepseek-vl-7b", { ...published, do_normalize: true }, prompt, /do_normalize is true.*two towers/],
    ["deepseek-vl-1.3b", { ...canvas, image_size: 336 }, prompt, /image_size 336.*384/],
    ["deepseek-vl-1.3b", { ...canvas, background_color: [0, 0, 0] }, prompt, /\[0, 0, 0\] is not read/],
    ["deepseek-vl-1.3b", canvas, { ...prompt, num_image_tokens: 144 }, /num_image_tokens 144.*576/],
    ["deepseek-vl-1.3b", null, prompt, /preprocessor_config\.json is missing/],
    ["deepseek-vl-1.3b", { ...canvas, image_processor_type: "DeepseekVLImageProcessor" }, prompt, /ports/],
    ["deepseek-vl2-tiny", null, null, /processor_config\.json is missing/],
    ["deepseek-vl2-tiny", null, { ...tiled, normalize: false }, /normalize is false/],
    ["deepseek-vl2-tiny", null, { ...tiled, patch_size: 16 }, /patch_size 16.*14/],
    ["deepseek-vl2-tiny", null, { ...tiled, downsample_ratio: 4 }, /downsample_ratio 4.*2/],
    [
      "deepseek-vl2-tiny",
      null,
      { ...tiled, candidate_resolutions: [[384, 384]] },
      /not those of config\.json/,
    ],
    ["deepseek-vl2-tiny", null, { ...tiled, candidate_resolutions: [[448, 448]] }, /448.*384/],
  ] as const)("of %s with a fault are told by name (%#)", (name, preprocessor, processor, text) => {
    const { warnings } = told(name, preprocessor, processor);
    expect(warnings.length).toBe(1);
    expect(warnings[0]).toMatch(text);
  });
});
