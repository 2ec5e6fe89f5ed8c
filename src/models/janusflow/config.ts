/**
 * `config.json` of JanusFlow (`model_type` multi_modality, with `vision_gen_enc_config` and `vision_gen_dec_config`): SigLIP
 * and one linear layer for understanding, shallow U-ViT parts for drawing.
 */
import type { SiglipConfig } from "../../vision/tower-config.ts";
import type { UvitDecoderConfig, UvitEncoderConfig } from "../../vision/uvit.ts";
import { languageConfig, toConfigJson } from "../config.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import { classOf, needed } from "../deepseek_vl/config.ts";
import type { WeightDtype } from "../language-config.ts";
import { readSiglip, writeSiglip } from "../tower-parts.ts";
import type { FlowGenerationConfig, VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";

const MOST = { width: 65_536, kernel: 63, blocks: 256, stages: 8 };

function limited(reader: ConfigReader, key: string, most: number, fallback?: number, least = 1): number {
  const value = reader.integer(key, fallback, least);
  if (value > most) reader.refuse(key, `at most ${most}`);
  return value;
}

/** `block_out_channels`: the released models have one level. @throws ConfigError */
function readWidth(reader: ConfigReader): number {
  const value = reader.raw("block_out_channels");
  const [width] = Array.isArray(value) && value.length === 1 ? value : [];
  if (!Number.isSafeInteger(width) || width < 1 || width > MOST.width) {
    reader.refuse("block_out_channels", `one whole number, at most ${MOST.width}`);
  }
  return width;
}

/** What encoder and decoder say alike. `elementwise_affine` means nothing: the norms have weights. */
function readPart(reader: ConfigReader) {
  reader.only("norm_eps", 1e-6);
  const blocks = limited(reader, "layers_in_middle", MOST.blocks, 2);
  return {
    condition: limited(reader, "hidden_size", MOST.width),
    blocks: reader.boolean("use_mid_block", true) ? blocks : 0,
    bias: reader.boolean("use_bias", true),
  };
}

/** `vision_gen_enc_config`. @throws ConfigError */
export function readUvitEncoder(section: ConfigReader): UvitEncoderConfig {
  classOf(section, ["ShallowUViTEncoder"]);
  const params = needed(section, "params");
  const [kernel, stride] = [
    limited(params, "kernel_size", MOST.kernel),
    limited(params, "stride", MOST.kernel),
  ];
  if (stride > kernel) params.refuse("stride", `at most kernel_size, ${kernel}`, stride);
  const width = readWidth(params);
  if (width % 2 !== 0)
    params.refuse("block_out_channels", "an even number: times are cosines and sines of it");
  return {
    ...readPart(params),
    latentChannels: limited(params, "input_channels", MOST.width),
    ...{ width, kernel, stride },
    padding: limited(params, "padding", MOST.kernel, kernel - stride, 0),
  };
}

/** `vision_gen_dec_config`. @throws ConfigError */
export function readUvitDecoder(section: ConfigReader): UvitDecoderConfig {
  classOf(section, ["ShallowUViTDecoder"]);
  const params = needed(section, "params");
  return {
    ...readPart(params),
    latentChannels: limited(params, "out_channels", MOST.width),
    inputs: limited(params, "in_channels", MOST.width),
    width: readWidth(params),
    stages: limited(params, "upsamples", MOST.stages, 1),
  };
}

function parse(reader: ConfigReader): VisionLanguageConfig {
  const language = languageConfig(needed(reader, "language_config"), "llama");
  const section = needed(reader, "vision_und_enc_config");
  classOf(section, ["CLIPVisionTower"]);
  const tower = readSiglip(needed(section, "params"), "gelu");
  const encoder = readUvitEncoder(needed(reader, "vision_gen_enc_config"));
  const decoderSection = needed(reader, "vision_gen_dec_config");
  const decoder = readUvitDecoder(decoderSection);
  const params = needed(decoderSection, "params");
  if (encoder.condition !== language.hiddenSize) {
    const hidden = `the language model's hidden_size, ${language.hiddenSize}`;
    needed(needed(reader, "vision_gen_enc_config"), "params").refuse(
      "hidden_size",
      hidden,
      encoder.condition,
    );
  }
  if (decoder.condition !== encoder.condition) {
    params.refuse("hidden_size", `that of the encoder, ${encoder.condition}`, decoder.condition);
  }
  if (decoder.latentChannels !== encoder.latentChannels) {
    params.refuse("out_channels", `the encoder's input_channels, ${encoder.latentChannels}`);
  }
  if (decoder.inputs + encoder.width !== 2 * decoder.width) {
    params.refuse(
      "in_channels",
      `with the encoder's ${encoder.width} twice block_out_channels, ${decoder.width}`,
    );
  }
  if (2 ** decoder.stages !== encoder.stride) {
    params.refuse("upsamples", `as many as halve the stride of the encoder, ${encoder.stride}, to 1`);
  }
  return {
    modelType: "multi_modality",
    tower,
    projector: {
      ...{ kind: "linear", inputs: tower.width, outputs: language.hiddenSize, depth: 1 },
      ...{ pooled: false, bare: true },
    },
    language,
    tiling: null,
    generation: { kind: "flow", encoder, decoder },
    imageTokenId: null,
  };
}

const shared = ({ condition, blocks, bias }: UvitEncoderConfig | UvitDecoderConfig): Json => ({
  ...{ layers_in_middle: Math.max(1, blocks), hidden_size: condition, use_bias: bias },
  ...{ elementwise_affine: true, norm_eps: 1e-6, use_mid_block: blocks > 0 },
});

function write({ tower, language, generation }: VisionLanguageConfig, dtype: WeightDtype): Json {
  const { encoder, decoder } = generation as FlowGenerationConfig;
  const siglip = { ...writeSiglip(tower as SiglipConfig, false), select_feature: "same", select_layer: -1 };
  return {
    architectures: ["MultiModalityCausalLM"],
    model_type: "multi_modality",
    torch_dtype: dtype === "fp8" ? "bfloat16" : dtype,
    vision_und_enc_config: { cls: "CLIPVisionTower", model_type: "vision_und_enc", params: siglip },
    vision_gen_enc_config: {
      cls: "ShallowUViTEncoder",
      model_type: "vision_gen_enc",
      params: {
        ...{ input_channels: encoder.latentChannels, kernel_size: encoder.kernel, stride: encoder.stride },
        ...{ padding: encoder.padding, block_out_channels: [encoder.width], ...shared(encoder) },
      },
    },
    vision_gen_dec_config: {
      cls: "ShallowUViTDecoder",
      model_type: "vision_gen_dec",
      params: {
        ...{ in_channels: decoder.inputs, out_channels: decoder.latentChannels, upsamples: decoder.stages },
        ...{ block_out_channels: [decoder.width], ...shared(decoder) },
      },
    },
    language_config: toConfigJson(language, dtype),
  };
}

export const janusFlow: VisionArchitecture = {
  modelType: "multi_modality",
  generation: "flow",
  section: "vision_gen_enc_config",
  parts: {
    tower: "vision_und_enc_model",
    projector: "vision_und_enc_aligner",
    language: "language_model",
  },
  parse,
  write,
};
