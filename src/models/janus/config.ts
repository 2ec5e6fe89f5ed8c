/**
 * `config.json` of Janus and Janus-Pro (`model_type` multi_modality, with a `gen_vision_config`): DeepSeek-VL's understanding,
 * an image tokenizer, and the layers between its ids and the language model.
 */
import type { VqConfig } from "../../vision/vq.ts";
import { languageConfig } from "../config.ts";
import type { ConfigReader, Json } from "../config-reader.ts";
import { classOf, deepseekVl, needed, readProjector, readTower } from "../deepseek_vl/config.ts";
import type { WeightDtype } from "../language-config.ts";
import { checkWidths, readLayers } from "../tower-parts.ts";
import type { CodeGenerationConfig, VisionArchitecture, VisionLanguageConfig } from "../vision-config.ts";

/** Channels that the norms' groups divide. */
const GROUPS = 32;
/** Beyond these a configuration is not that of an image tokenizer: each level is described before files are looked at. */
const MOST = { codes: 2 ** 20, channels: 8192, levels: 10, blocks: 64 };

/** What every official tokenizer has: only the sizes of the codebook stand in official files. */
const official: Json = {
  ...{ ch: 128, encoder_ch_mult: [1, 1, 2, 2, 4], decoder_ch_mult: [1, 1, 2, 2, 4] },
  ...{ z_channels: 256, num_res_blocks: 2 },
};

function limited(reader: ConfigReader, key: string, fallback: unknown, most: number): number {
  const value = reader.integer(key, fallback as number | undefined);
  if (value > most) reader.refuse(key, `at most ${most}`);
  return value;
}

/** Factors of the channels of each level. @throws ConfigError */
function readFactors(
  reader: ConfigReader,
  key: string,
  fallback: unknown,
  channels: number,
): readonly number[] {
  const value = reader.raw(key) ?? fallback;
  const valid =
    Array.isArray(value) &&
    value.length > 0 &&
    value.length <= MOST.levels &&
    value.every((n) => Number.isSafeInteger(n) && n >= 1 && n * channels <= MOST.channels);
  if (!valid) {
    const channelsText = `${channels} times each at most ${MOST.channels}`;
    reader.refuse(key, `1 to ${MOST.levels} whole numbers, ${channelsText}`);
  }
  return value as readonly number[];
}

/** A tokenizer whose sizes stand under these keys. @throws ConfigError */
export function readVq(
  reader: ConfigReader,
  keys: Readonly<
    Record<"codes" | "codeWidth" | "channels" | "encoder" | "decoder" | "latent" | "blocks", string>
  >,
): VqConfig {
  const channels = limited(reader, keys.channels, official.ch, MOST.channels);
  if (channels % GROUPS !== 0)
    reader.refuse(keys.channels, `a multiple of ${GROUPS}, the groups of its norms`);
  const encoderFactors = readFactors(reader, keys.encoder, official.encoder_ch_mult, channels);
  const decoderFactors = readFactors(reader, keys.decoder, official.decoder_ch_mult, channels);
  if (decoderFactors.length !== encoderFactors.length) {
    reader.refuse(keys.decoder, `as many levels as ${keys.encoder}, ${encoderFactors.length}`);
  }
  return {
    codes: limited(reader, keys.codes, undefined, MOST.codes),
    codeWidth: limited(reader, keys.codeWidth, undefined, MOST.channels),
    channels,
    encoderFactors,
    decoderFactors,
    latentChannels: limited(reader, keys.latent, official.z_channels, MOST.channels),
    blocks: limited(reader, keys.blocks, official.num_res_blocks, MOST.blocks),
  };
}

/** `gen_vision_config`. @throws ConfigError */
export function readTokenizer(section: ConfigReader): VqConfig {
  classOf(section, ["VQ-16"]);
  return readVq(needed(section, "params"), {
    ...{ codes: "image_token_size", codeWidth: "n_embed", channels: "ch" },
    ...{ encoder: "encoder_ch_mult", decoder: "decoder_ch_mult" },
    ...{ latent: "z_channels", blocks: "num_res_blocks" },
  });
}

function readGeneration(reader: ConfigReader, hidden: number): CodeGenerationConfig {
  const vq = readTokenizer(needed(reader, "gen_vision_config"));
  const aligner = needed(needed(reader, "gen_aligner_config"), "params");
  aligner.only("projector_type", "mlp_gelu");
  const widths = { inputs: aligner.integer("input_dim"), outputs: aligner.integer("n_embed") };
  checkWidths(aligner, widths, vq.codeWidth, hidden);
  const head = needed(needed(reader, "gen_head_config"), "params");
  head.only("n_embed", hidden);
  head.only("image_token_size", vq.codes);
  return {
    kind: "codes",
    vq,
    alignerDepth: readLayers(aligner, "depth", 1),
    headWidth: limited(head, "image_token_embed", undefined, 2 ** 20),
  };
}

function parse(reader: ConfigReader): VisionLanguageConfig {
  const language = languageConfig(needed(reader, "language_config"), "llama");
  const tower = readTower(needed(reader, "vision_config"));
  return {
    modelType: "multi_modality",
    tower,
    projector: readProjector(needed(reader, "aligner_config"), tower, language.hiddenSize),
    language,
    tiling: null,
    generation: readGeneration(reader, language.hiddenSize),
    imageTokenId: null,
  };
}

/** Keys that say what an official tokenizer has anyway are left out. */
function writeTokenizer(vq: VqConfig): Json {
  const own: Json = {
    ...{ ch: vq.channels, encoder_ch_mult: [...vq.encoderFactors], decoder_ch_mult: [...vq.decoderFactors] },
    ...{ z_channels: vq.latentChannels, num_res_blocks: vq.blocks },
  };
  const spelled = JSON.stringify(own) !== JSON.stringify(official);
  return { image_token_size: vq.codes, n_embed: vq.codeWidth, ...(spelled && own) };
}

function write(config: VisionLanguageConfig, dtype: WeightDtype): Json {
  const { vq, alignerDepth, headWidth } = config.generation as CodeGenerationConfig;
  const hidden = config.language.hiddenSize;
  const aligner = {
    projector_type: "mlp_gelu",
    input_dim: vq.codeWidth,
    n_embed: hidden,
    depth: alignerDepth,
  };
  const head = { n_embed: hidden, image_token_embed: headWidth, image_token_size: vq.codes };
  const { language_config, ...understanding } = deepseekVl.write(config, dtype);
  return {
    ...understanding,
    gen_vision_config: { cls: "VQ-16", model_type: "gen_vision", params: writeTokenizer(vq) },
    gen_aligner_config: { cls: "MlpProjector", model_type: "gen_aligner", params: aligner },
    gen_head_config: { cls: "vision_head", model_type: "gen_head", params: head },
    language_config,
  };
}

export const janus: VisionArchitecture = {
  modelType: "multi_modality",
  generation: "codes",
  section: "gen_vision_config",
  parts: deepseekVl.parts,
  parse,
  write,
};
