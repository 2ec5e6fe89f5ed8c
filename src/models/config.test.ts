import { describe, expect, it } from "vitest";
import { ropeMagnitude } from "../nn/rotary.ts";
import { ConfigError } from "../tensor/errors.ts";
import { isMoeLayer, parseConfig, toConfigJson } from "./config.ts";
import { type PresetName, presets } from "./presets.ts";

const names = Object.keys(presets) as PresetName[];
const v3 = presets["deepseek-v3"];
const v2 = presets["deepseek-v2"];
const llm = presets["deepseek-llm-7b"];
const coder = presets["deepseek-coder-6.7b"];

describe("parseConfig", () => {
  it("reads the rotary settings of V3 and Coder", () => {
    expect(parseConfig(v3).rope).toEqual({
      kind: "yarn",
      theta: 10000,
      factor: 40,
      originalMaxPositions: 4096,
      betaFast: 32,
      betaSlow: 1,
      mscale: 1,
      mscaleAllDim: 1,
      attentionFactor: null,
      truncate: true,
    });
    expect(parseConfig(coder).rope).toEqual({ kind: "linear", theta: 100000, factor: 4 });
    expect(parseConfig(llm).rope).toEqual({ kind: "default", theta: 10000 });
  });

  it("reads them alike in the newer spelling", () => {
    const renamed = (config: object, extra: object) => {
      const { rope_theta, rope_scaling, ...rest } = config as {
        rope_theta: number;
        rope_scaling: { type: string };
      };
      const { type, ...others } = rope_scaling ?? { type: "default" };
      return { ...rest, ...extra, rope_parameters: { rope_type: type, rope_theta, ...others } };
    };
    expect(parseConfig(renamed(v3, { head_dim: 64 }))).toEqual(parseConfig(v3));
    expect(parseConfig(renamed(v2, {}))).toEqual(parseConfig(v2));
    expect(parseConfig(renamed(coder, { head_dim: 128 }))).toEqual(parseConfig(coder));
    expect(parseConfig(renamed(llm, {}))).toEqual(parseConfig(llm));
  });

  it("falls back on each class's own context where YaRN does not name one", () => {
    const { original_max_position_embeddings: _, ...short } = v3.rope_scaling;
    expect(parseConfig({ ...v3, rope_scaling: short }).rope).toEqual(parseConfig(v3).rope);
    const stretched = parseConfig({
      ...llm,
      rope_scaling: { rope_type: "yarn", factor: 4 },
      max_position_embeddings: 512,
    });
    expect(stretched.rope).toMatchObject({ originalMaxPositions: 512, mscale: 1, mscaleAllDim: 0 });
  });

  it("knows each generation's router", () => {
    const router = (name: PresetName) => parseConfig(presets[name]).moe?.router;
    expect(router("deepseek-moe-16b")).toMatchObject({
      scoring: "softmax",
      groups: 1,
      bias: false,
      scale: 1,
    });
    expect(router("deepseek-v2-lite")).toMatchObject({ scoring: "softmax", groups: 1, normalize: false });
    expect(router("deepseek-v2")).toMatchObject({ groups: 8, topGroups: 3, groupScore: "max", scale: 16 });
    expect(router("deepseek-v3")).toMatchObject({
      scoring: "sigmoid",
      bias: true,
      groupScore: "top2",
      maskWith: "-inf",
      normalize: true,
      scale: 2.5,
    });
  });

  it("does not renormalize the weight of a single expert in the V2 class", () => {
    const normalize = (topK: number) =>
      parseConfig({ ...v2, norm_topk_prob: true, num_experts_per_tok: topK }).moe?.router.normalize;
    expect([normalize(1), normalize(6)]).toEqual([false, true]);
  });

  it("masks with zero where the V2 class meets noaux_tc (DeepSeek-VL2)", () => {
    const vl2 = { ...v2, topk_method: "noaux_tc", scoring_func: "sigmoid", norm_topk_prob: true };
    expect(parseConfig(vl2).moe?.router).toMatchObject({ bias: true, groupScore: "top2", maskWith: "zero" });
  });

  it("says which layers have experts", () => {
    const config = parseConfig({ ...v3, moe_layer_freq: 2 });
    expect([0, 2, 3, 4, 5, 6].map((layer) => isMoeLayer(config, layer))).toEqual([
      false,
      false,
      false,
      true,
      false,
      true,
    ]);
    expect(isMoeLayer(parseConfig(llm), 5)).toBe(false);
  });

  it("takes plain attention in the V2 class", () => {
    const plain = { ...v2, use_mla: false, kv_lora_rank: null, qk_rope_head_dim: 0, rope_scaling: null };
    expect(parseConfig(plain).attention).toEqual({
      kind: "mha",
      heads: 128,
      keyValueHeads: 128,
      headDim: 40,
      queryKeyValueBias: false,
    });
    expect(() => parseConfig({ ...plain, rope_scaling: v2.rope_scaling })).toThrow(/type/);
  });

  it("ignores what changes nothing", () => {
    expect(parseConfig({ ...v3, ep_size: 4, pretraining_tp: 2, auto_map: {}, anything: [1] })).toEqual(
      parseConfig(v3),
    );
  });

  it("reads rotary settings in both spellings alike", () => {
    const magnitude = (json: object) => ropeMagnitude(parseConfig(json).rope);
    const yarn = { factor: 4, original_max_position_embeddings: 1024 };
    const variants = [
      { rope_type: "default" },
      { rope_type: "linear", factor: 4 },
      {
        ...{ rope_type: "llama3", factor: 8, low_freq_factor: 1, high_freq_factor: 4 },
        original_max_position_embeddings: 8192,
      },
      { rope_type: "yarn", ...yarn, attention_factor: 1.25, beta_fast: null, truncate: false },
      { rope_type: "yarn", ...yarn, mscale: 1, mscale_all_dim: 0.5 },
    ];
    for (const variant of variants) {
      const newer = { ...llm, rope_theta: undefined, rope_parameters: { ...variant, rope_theta: 5e5 } };
      const { rope_type: type, ...rest } = variant;
      const older = [
        { ...llm, rope_theta: 5e5, rope_scaling: variant },
        { ...llm, rope_theta: 5e5, rope_scaling: { ...rest, type } },
      ];
      for (const json of older) expect(parseConfig(json)).toEqual(parseConfig(newer));
      expect(parseConfig(toConfigJson(parseConfig(newer)))).toEqual(parseConfig(newer));
    }
    const llama = (more: object) => magnitude({ ...llm, rope_scaling: { type: "yarn", ...yarn, ...more } });
    const paper = 0.1 * Math.log(4) + 1;
    expect(llama({})).toBe(paper);
    // transformers' plain attention takes the two temperatures only together, V3's own code each.
    expect(llama({ mscale: 0.5 })).toBe(paper);
    expect(llama({ mscale_all_dim: 0.5 })).toBe(paper);
    expect(llama({ mscale: 1, mscale_all_dim: 0.5 })).toBe(paper / (0.05 * Math.log(4) + 1));
    expect(llama({ attention_factor: 1.5 })).toBe(1.5);
    expect(magnitude({ ...v3, rope_scaling: { type: "yarn", ...yarn, mscale: 0.5 } })).toBe(
      0.05 * Math.log(4) + 1,
    );
    expect(magnitude({ ...v3, rope_scaling: { ...v3.rope_scaling, attention_factor: 1.5 } })).toBe(1.5);
  });

  it("takes sizes that are listed layer by layer where they are equal, and -1 for no token", () => {
    const listed = {
      num_attention_heads: Array(30).fill(32),
      num_key_value_heads: Array(30).fill(32),
      intermediate_size: Array(30).fill(11008),
    };
    expect(parseConfig({ ...llm, ...listed })).toEqual(parseConfig(llm));
    const experts = { n_routed_experts: Array(61).fill(256), num_experts_per_tok: [8, 8] };
    expect(parseConfig({ ...v3, ...experts })).toEqual(parseConfig(v3));
    expect(() => parseConfig({ ...llm, num_key_value_heads: [32, 8] })).toThrow(
      /num_key_value_heads.*the same for all layers.*found: \[32, ?8\]/,
    );
    expect(() => parseConfig({ ...llm, intermediate_size: [] })).toThrow(/intermediate_size/);
    const none = parseConfig({ ...llm, bos_token_id: -1, eos_token_id: [100001, -1], pad_token_id: -1 });
    expect([none.bosTokenIds, none.eosTokenIds]).toEqual([[], [100001]]);
  });

  it.each<[string, object, object, RegExp]>([
    ["unknown family", llm, { model_type: "mistral" }, /model_type.*llama \| qwen2 \| deepseek.*mistral/],
    ["model with images", llm, { model_type: "deepseek_vl_v2" }, /found: deepseek_vl_v2.*loadVisionModel/],
    ["no family", llm, { model_type: undefined }, /found: undefined$/],
    ["activation", llm, { hidden_act: "gelu" }, /hidden_act.*silu.*gelu/],
    ["bias", llm, { attention_bias: true }, /attention_bias/],
    ["bias in the MLP", llm, { mlp_bias: true }, /mlp_bias/],
    ["dropout", llm, { attention_dropout: 0.1 }, /attention_dropout/],
    ["fraction", llm, { hidden_size: 4096.5 }, /hidden_size.*integer/],
    ["text", llm, { num_hidden_layers: "30" }, /num_hidden_layers/],
    ["zero", llm, { num_attention_heads: 0 }, /num_attention_heads/],
    ["heads that do not divide", llm, { num_attention_heads: 30 }, /num_/],
    ["key heads that do not divide", llm, { num_key_value_heads: 5 }, /num_key_value_heads.*divisor/],
    ["odd head width", llm, { head_dim: 127 }, /head_dim/],
    ["rope type", llm, { rope_scaling: { type: "dynamic", factor: 2 } }, /type.*linear.*dynamic/],
    ["rope type, newer key", v3, { rope_scaling: { rope_type: "llama3", factor: 8 } }, /rope_type.*llama3/],
    [
      "Llama 3's scaling without its ends",
      llm,
      { rope_scaling: { rope_type: "llama3", factor: 8 } },
      /low_freq_factor/,
    ],
    [
      "Llama 3's scaling with its ends the wrong way round",
      llm,
      { rope_scaling: { rope_type: "llama3", factor: 8, low_freq_factor: 4, high_freq_factor: 1 } },
      /high_freq_factor.*above low_freq_factor = 4.*found: 1/,
    ],
    [
      "factors that depend on the length",
      llm,
      { rope_scaling: { type: "longrope", short_factor: Array(64).fill(1), long_factor: Array(64).fill(2) } },
      /long_factor.*change with the input's length/,
    ],
    [
      "too few factors",
      llm,
      { rope_scaling: { type: "longrope", short_factor: [1], long_factor: [1] } },
      /short_factor.*64 numbers/,
    ],
    ["rope without factor", coder, { rope_scaling: { type: "linear" } }, /factor/],
    ["partial rotation", llm, { partial_rotary_factor: 0.5 }, /partial_rotary_factor/],
    [
      "temperature without meaning",
      v3,
      { rope_scaling: { ...v3.rope_scaling, attention_factor: -1 } },
      /attention_factor.*above 0/,
    ],
    ["epsilon", llm, { rms_norm_eps: -1 }, /rms_norm_eps/],
    ["token id", llm, { eos_token_id: [1.5] }, /eos_token_id/],
    ["choice", v2, { topk_method: "sinkhorn" }, /topk_method.*greedy.*sinkhorn/],
    ["choice of V3", v3, { topk_method: "greedy" }, /topk_method.*noaux_tc/],
    ["scores", v2, { scoring_func: "relu" }, /scoring_func/],
    ["scores of V3", v3, { scoring_func: "softmax" }, /scoring_func.*sigmoid/],
    ["groups that do not divide", v3, { n_group: 7 }, /n_group.*divisor/],
    ["more groups than there are", v3, { topk_group: 9 }, /topk_group/],
    ["groups of one", v3, { n_group: 256, topk_group: 8 }, /n_group.*two/],
    ["too many experts", v3, { num_experts_per_tok: 129 }, /num_experts_per_tok.*128/],
    ["MLA with fewer key heads", v3, { num_key_value_heads: 8 }, /num_key_value_heads/],
    ["a head_dim that is not the rotated width", v3, { head_dim: 192 }, /head_dim/],
    ["channels in halves", v3, { rope_interleave: false }, /rope_interleave/],
    ["quantization", v3, { quantization_config: { quant_method: "gptq" } }, /quant_method.*fp8.*gptq/],
    ["fp8 format", v3, { quantization_config: { ...v3.quantization_config, fmt: "e5m2" } }, /fmt/],
    [
      "fp8 without blocks",
      v3,
      { quantization_config: { quant_method: "fp8", weight_block_size: [128] } },
      /weight_block_size/,
    ],
    ["MTP layers", v3, { num_nextn_predict_layers: -1 }, /num_nextn_predict_layers/],
    ["flag", v3, { norm_topk_prob: 1 }, /norm_topk_prob/],
  ])("refuses by name: %s", (_, base, change, message) => {
    const parse = () => parseConfig({ ...base, ...change });
    expect(parse).toThrow(ConfigError);
    expect(parse).toThrow(message);
  });

  it("refuses what is not an object", () => {
    for (const json of [null, [], "llama", 3]) expect(() => parseConfig(json)).toThrow(ConfigError);
  });
});

describe("inference configurations", () => {
  const official = {
    vocab_size: 129280,
    dim: 7168,
    inter_dim: 18432,
    moe_inter_dim: 2048,
    n_layers: 61,
    n_dense_layers: 3,
    n_heads: 128,
    n_routed_experts: 256,
    n_shared_experts: 1,
    n_activated_experts: 8,
    n_expert_groups: 8,
    n_limited_groups: 4,
    route_scale: 2.5,
    score_func: "sigmoid",
    q_lora_rank: 1536,
    kv_lora_rank: 512,
    qk_nope_head_dim: 128,
    qk_rope_head_dim: 64,
    v_head_dim: 128,
    dtype: "fp8",
  };

  it("say the same as V3's config.json, without its MTP layer", () => {
    expect(parseConfig(official)).toEqual({ ...parseConfig(v3), mtpLayers: 0 });
  });

  it("default to V2-Lite, with mscale 1", () => {
    const lite = parseConfig(presets["deepseek-v2-lite"]);
    const found = parseConfig({ dim: 2048, n_layers: 27 });
    expect({ ...found, rope: null }).toEqual({ ...lite, rope: null });
    expect(found.rope).toMatchObject({ factor: 40, mscale: 1, mscaleAllDim: 1 });
  });

  it("are refused by their own keys", () => {
    expect(() => parseConfig({ ...official, score_func: "relu" })).toThrow(/score_func/);
    expect(() => parseConfig({ ...official, n_heads: 1.5 })).toThrow(/n_heads/);
  });
});

describe("toConfigJson", () => {
  it.each(names)("%s survives writing and reading", (name) => {
    const config = parseConfig(presets[name]);
    const written = toConfigJson(config, config.quantization ? "fp8" : "float32");
    expect(parseConfig(JSON.parse(JSON.stringify(written)))).toEqual(config);
    expect(written.architectures).toEqual(presets[name].architectures);
  });

  it("keeps the official keys and values", () => {
    expect(toConfigJson(parseConfig(v3), "fp8")).toMatchObject(v3);
  });

  it("does not call weights quantized that were saved plainly", () => {
    const written = toConfigJson(parseConfig(v3), "bfloat16");
    expect(written.torch_dtype).toBe("bfloat16");
    expect("quantization_config" in written).toBe(false);
  });

  it("keeps an unusual head width and the V2 class's plain attention", () => {
    const wide = parseConfig({ ...llm, head_dim: 64 });
    expect(parseConfig(toConfigJson(wide))).toEqual(wide);
    const plain = parseConfig({ ...v2, use_mla: false, rope_scaling: null });
    expect(parseConfig(toConfigJson(plain))).toEqual(plain);
  });
});
