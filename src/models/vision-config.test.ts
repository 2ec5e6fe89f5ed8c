/** Configurations of models that see: official files read strictly and written back, parameters counted. */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { describeModule } from "../nn/scope.ts";
import { ConfigError } from "../tensor/errors.ts";
import { HybridTower } from "../vision/hybrid.ts";
import { SamTower } from "../vision/sam.ts";
import { SiglipTower } from "../vision/siglip.ts";
import type { HybridConfig, SiglipConfig } from "../vision/tower-config.ts";
import { VaeModel } from "../vision/vae.ts";
import { countParameters } from "./count.ts";
import type { CodeGeneration } from "./janus/generation.ts";
import type { FlowGeneration } from "./janusflow/generation.ts";
import { sdxlVae } from "./vae-config.ts";
import { isVisionConfig, parseVisionConfig, visionConfigJson } from "./vision-architectures.ts";
import { VisionLanguageModel } from "./vision-language.ts";
import { visionPresets } from "./vision-presets.ts";

type Sections = Record<string, Record<string, unknown>>;

const fixture = (name: string) =>
  JSON.parse(readFileSync(new URL(`../../test/fixtures/${name}`, import.meta.url), "utf8"));

const counted = (json: unknown) =>
  describeModule((scope) => new VisionLanguageModel(scope, parseVisionConfig(json))).module;

/** `json` with `value` at a path of keys. */
function changed(json: unknown, path: string, value: unknown): Sections {
  const copy = structuredClone(json) as Record<string, never>;
  const keys = path.split(".");
  const last = keys.pop()!;
  let at: Record<string, unknown> = copy;
  for (const key of keys) at = at[key] as Record<string, unknown>;
  if (value === undefined) delete at[last];
  else at[last] = value;
  return copy;
}

describe("released configurations", () => {
  it.each(Object.entries(visionPresets))("%s is written back as it was read", (_, json) => {
    const config = parseVisionConfig(json);
    const written = visionConfigJson(config, "bfloat16");
    expect(parseVisionConfig(JSON.parse(JSON.stringify(written)))).toEqual(config);
    expect(written).toMatchObject({ model_type: json.model_type, architectures: json.architectures });
    expect(isVisionConfig(json)).toBe(true);
  });

  it("have the parameters that are published", () => {
    const large = counted(visionPresets["deepseek-vl-1.3b"]);
    const tiny = counted(visionPresets["deepseek-vl2-tiny"]);
    const seven = counted(visionPresets["deepseek-vl-7b"]);
    expect(large.tower.parameters.count).toBe(316_283_904);
    expect(tiny.tower.parameters.count).toBe(428_225_600);
    expect((seven.tower as HybridTower).high.parameters.count).toBe(96_356_609);
    expect(seven.parameters.count).toBe(7_343_990_017);
    // Sizes of the published files, in two bytes each.
    expect(counted(visionPresets["janus-1.3b"]).parameters.count).toBe(2_089_232_011);
    expect(counted(visionPresets["janus-pro-7b"]).parameters.count).toBe(7_420_368_523);
    const flow = counted(visionPresets["janusflow-1.3b"]);
    expect(flow.parameters.count).toBe(2_046_367_504);
    const parts = flow.generation as FlowGeneration;
    expect(parts.encoder.parameters.count).toBe(21_614_336);
    expect(parts.decoder.parameters.count).toBe(50_561_296);
    const codes = counted(visionPresets["janus-pro-1b"]).generation as CodeGeneration;
    expect(codes.tokenizer.parameters.count).toBe(71_883_403);
    const vae = describeModule((scope) => new VaeModel(scope, sdxlVae)).parameters;
    expect(vae.count).toBe(83_653_863);
    expect([...vae.named()]).toHaveLength(248);
    // Without the parts that no model runs.
    const { tower } = parseVisionConfig(visionPresets["deepseek-vl-7b"]);
    const { low, high } = tower as HybridConfig;
    const pooled = (pool: boolean) =>
      describeModule((scope) => new SiglipTower(scope, { ...low, pool })).parameters.count;
    expect(pooled(true) - pooled(false)).toBe(12_595_200);
    expect(describeModule((scope) => new SamTower(scope, high)).parameters.count).toBe(96_356_609);
    const whole = describeModule((scope) => new HybridTower(scope, tower as HybridConfig)).parameters.count;
    expect(whole).toBe(96_356_609 + 316_283_904 + 4 * 1024);
  });

  it.each([
    ["deepseek-vl2-tiny", 2_934_734_080, 0.57],
    ["deepseek-vl2-small", 15_706_484_224, 2.45],
    ["deepseek-vl2", 27_033_548_328, 4.12],
  ] as const)(
    "%s has a language model of %i parameters, %f billion of them activated",
    (name, total, activated) => {
      const { language } = parseVisionConfig(visionPresets[name]);
      const counts = countParameters(language);
      expect(counts.total).toBe(total);
      // Published activated counts take one of the two tables of the vocabulary.
      expect(Number((counts.activatedWithoutEmbedding / 1e9).toFixed(2))).toBe(activated);
    },
  );

  it("name tensors as the released checkpoints do", () => {
    const places = (name: keyof typeof visionPresets) => counted(visionPresets[name]).parameters;
    const shape = (name: keyof typeof visionPresets, tensor: string) => places(name).place(tensor).shape;
    expect(shape("deepseek-vl-1.3b", "vision_model.vision_tower.pos_embed")).toEqual([1, 576, 1024]);
    expect(shape("deepseek-vl-1.3b", "aligner.layers.2.weight")).toEqual([2048, 2048]);
    expect(shape("deepseek-vl-1.3b", "language_model.model.layers.23.mlp.gate_proj.weight")).toEqual([
      5632, 2048,
    ]);
    const high = "vision_model.vision_tower_high.vision_tower";
    expect(shape("deepseek-vl-7b", `${high}.blocks.2.attn.rel_pos_w`)).toEqual([127, 64]);
    expect(shape("deepseek-vl-7b", `${high}.blocks.3.attn.rel_pos_h`)).toEqual([27, 64]);
    expect(shape("deepseek-vl-7b", `${high}.neck_hd.0.weight`)).toEqual([256, 768, 1, 1]);
    expect(shape("deepseek-vl-7b", "aligner.layers.1.weight")).toEqual([4096, 4096]);
    expect(shape("deepseek-vl2-tiny", "vision.blocks.26.mlp.fc1.weight")).toEqual([4304, 1152]);
    expect(shape("deepseek-vl2-tiny", "projector.layers.0.weight")).toEqual([1280, 4608]);
    expect(shape("deepseek-vl2-small", "view_seperator")).toEqual([2048]);
    expect(shape("deepseek-vl2", "language.model.layers.1.mlp.gate.e_score_correction_bias")).toEqual([72]);
  });

  it("know how many tokens an image takes", () => {
    const seven = counted(visionPresets["deepseek-vl-7b"]);
    const tiny = counted(visionPresets["deepseek-vl2-tiny"]);
    expect(seven.imageTokens([0, 0])).toBe(576);
    const found = ["1,1", "1,2", "2,1", "3,3", "9,1"].map((tiles) =>
      tiny.imageTokens(tiles.split(",").map(Number) as [number, number]),
    );
    expect(found).toEqual([421, 631, 617, 2017, 1989]);
  });
});

describe("parseVisionConfig", () => {
  it("reads the older and the newer spelling of a port alike", () => {
    const [short, long] = ["config.json", "config-5.18.json"].map((file) =>
      parseVisionConfig(fixture(`vl/chat-port/${file}`)),
    );
    expect(long).toEqual(short);
    expect(short.language.tieEmbeddings).toBe(false);
    expect(short.imageTokenId).toBe(60);
  });

  it("takes the same towers from originals and ports", () => {
    const original = parseVisionConfig(fixture("vl/hybrid-port/original-config.json"));
    const port = parseVisionConfig(fixture("vl/hybrid-port/config.json"));
    const { high, low, highPixels, lowPixels } = original.tower as HybridConfig;
    expect(port.tower).toMatchObject({ high, highPixels, lowPixels, low: { ...low, pool: false } });
    expect(port.projector).toEqual(original.projector);
  });

  it("builds as many blocks as select_layer says", () => {
    const json = fixture("vl/chat/config.json");
    const layers = (select: number) =>
      (parseVisionConfig(changed(json, "vision_config.params.select_layer", select)).tower as SiglipConfig)
        .layers;
    expect([-1, -2, 0, 1, 2, 9].map(layers)).toEqual([2, 1, 2, 1, 2, 2]);
    expect(() => layers(-3)).toThrow(/select_layer; expected: -2 to 2/);
  });

  it("has the defaults of the classes of DeepSeek-VL2", () => {
    const json = visionPresets["deepseek-vl2-tiny"];
    const least = {
      model_type: "deepseek_vl_v2",
      vision_config: { model_name: "siglip_so400m_patch14_384" },
      projector_config: { n_embed: 1280 },
      language_config: json.language_config,
    };
    const { tower, projector, tiling } = parseVisionConfig(least);
    expect(tower).toEqual(parseVisionConfig(json).tower);
    expect(projector).toEqual(parseVisionConfig(json).projector);
    expect(tiling).toEqual({ globalFirst: true, resolutions: [[384, 384]] });
    // Absent is not null: the class compresses queries to 1536.
    const small = visionPresets["deepseek-vl2-small"];
    const rank = (json: unknown) =>
      (parseVisionConfig(json).language.attention as { queryRank: unknown }).queryRank;
    expect(rank(small)).toBeNull();
    expect(rank(changed(small, "language_config.q_lora_rank", undefined))).toBe(1536);
  });

  it("leaves tokens that the file does not name to the tokenizer", () => {
    const { language } = parseVisionConfig(visionPresets["deepseek-vl-1.3b"]);
    expect([language.bosTokenIds, language.eosTokenIds]).toEqual([[], []]);
  });

  it("tolerates unknown keys everywhere", () => {
    const json = visionPresets["deepseek-vl2-tiny"];
    const config = parseVisionConfig(json);
    for (const path of [
      "later",
      "vision_config.weight_init",
      "projector_config.x",
      "language_config.rm_head",
    ]) {
      expect(parseVisionConfig(changed(json, path, false))).toEqual(config);
    }
  });

  it.each([
    ["deepseek-vl-1.3b", "vision_config.cls", "OtherTower"],
    ["deepseek-vl-1.3b", "vision_config.params.model_name", "siglip_base"],
    ["deepseek-vl-1.3b", "vision_config.params.select_feature", "patch"],
    ["deepseek-vl-1.3b", "vision_config.params.pixel_mean", [0.5, 0.5, 0.5]],
    ["deepseek-vl-1.3b", "vision_config.params.image_size", 0],
    ["deepseek-vl-1.3b", "aligner_config.params.projector_type", "downsample_mlp_gelu"],
    ["deepseek-vl-1.3b", "aligner_config.params.input_dim", 768],
    ["deepseek-vl-1.3b", "aligner_config.params.n_embed", 4096],
    ["deepseek-vl-1.3b", "aligner_config.params.depth", 1e8],
    ["deepseek-vl-1.3b", "language_config.model_type", "qwen2"],
    ["deepseek-vl-1.3b", "language_config.hidden_act", "gelu"],
    ["janus-1.3b", "gen_vision_config.cls", "VQ-8"],
    ["janus-1.3b", "gen_vision_config.params.image_token_size", 1e9],
    ["janus-1.3b", "gen_vision_config.params.ch", 48],
    ["janus-1.3b", "gen_vision_config.params.encoder_ch_mult", new Array(11).fill(1)],
    ["janus-1.3b", "gen_vision_config.params.decoder_ch_mult", [1, 2]],
    ["janus-1.3b", "gen_vision_config.params.num_res_blocks", 1e8],
    ["janus-1.3b", "gen_aligner_config.params.input_dim", 16],
    ["janus-1.3b", "gen_head_config.params.image_token_size", 8192],
    ["janusflow-1.3b", "vision_gen_enc_config.cls", "ImageHead"],
    ["janusflow-1.3b", "vision_gen_enc_config.params.layers_in_middle", 1e8],
    ["janusflow-1.3b", "vision_gen_enc_config.params.norm_eps", 1e-5],
    ["janusflow-1.3b", "vision_gen_enc_config.params.block_out_channels", [768, 768]],
    ["janusflow-1.3b", "vision_gen_enc_config.params.hidden_size", 1024],
    ["janusflow-1.3b", "vision_gen_dec_config.params.upsamples", 2],
    ["janusflow-1.3b", "vision_gen_dec_config.params.in_channels", 512],
    ["deepseek-vl-7b", "vision_config.params.concat_type", "add"],
    ["deepseek-vl-7b", "vision_config.params.high_res_cfg.output_dim", 512],
    ["deepseek-vl-7b", "vision_config.params.high_res_cfg.pixel_std", [1, 1, 0]],
    ["deepseek-vl-7b", "vision_config.params.high_res_cfg.pixel_mean", undefined],
    ["deepseek-vl-7b", "vision_config.params.high_res_cfg.image_size", 1000],
    ["deepseek-vl-7b", "vision_config.params.low_res_cfg.image_size", 224],
    ["deepseek-vl2-tiny", "tile_tag", "1D"],
    ["deepseek-vl2-tiny", "global_view_pos", "middle"],
    ["deepseek-vl2-tiny", "candidate_resolutions", [[384, 400]]],
    ["deepseek-vl2-tiny", "candidate_resolutions", [[448, 448]]],
    ["deepseek-vl2-tiny", "vision_config.class_token", true],
    ["deepseek-vl2-tiny", "vision_config.layers", 1e9],
    ["deepseek-vl2-tiny", "projector_config.projector_type", "resampler"],
    ["deepseek-vl2-tiny", "projector_config.token_pooling", true],
    ["deepseek-vl2-tiny", "projector_config.n_embed", 2048],
    ["deepseek-vl2-tiny", "projector_config.depth", 1e8],
    ["deepseek-vl2-tiny", "language_config.topk_method", "random"],
    ["deepseek-vl2-tiny", "model_type", "deepseek_vl_v3"],
  ] as const)("refuses %s with another %s", (name, path, value) => {
    const key = path.split(".").at(-1)!;
    const parse = () => parseVisionConfig(changed(visionPresets[name], path, value));
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(new RegExp(`^config\\.json.*: .*${key}`));
  });
});
