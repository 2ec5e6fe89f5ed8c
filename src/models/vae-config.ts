/** `config.json` of an autoencoder as diffusers has it (`AutoencoderKL`), and the numbers of Stable Diffusion XL's. */
import type { VaeConfig } from "../vision/vae.ts";
import { ConfigReader, type Json } from "./config-reader.ts";

/** That of `stabilityai/sdxl-vae`. Readers that know no better take a scaling factor of 0.18215, with which JanusFlow draws noise. */
export const sdxlVae: VaeConfig = {
  latentChannels: 4,
  widths: [128, 256, 512, 512],
  blocks: 2,
  groups: 32,
  scalingFactor: 0.13025,
};

const MOST = { channels: 8192, levels: 10, blocks: 64 };

/** @throws ConfigError naming the key that is not supported */
export function parseVaeConfig(json: unknown, where = "config.json"): VaeConfig {
  const reader = new ConfigReader(json, where);
  reader.only("_class_name", "AutoencoderKL");
  for (const key of ["in_channels", "out_channels"]) reader.only(key, 3);
  reader.only("act_fn", "silu");
  for (const key of ["use_quant_conv", "use_post_quant_conv", "mid_block_add_attention"])
    reader.only(key, true);
  for (const key of ["shift_factor", "latents_mean", "latents_std"]) {
    if (reader.has(key)) reader.refuse(key, "nothing");
  }
  const groups = reader.integer("norm_num_groups", 32);
  const widths = reader.raw("block_out_channels");
  const valid =
    Array.isArray(widths) &&
    widths.length > 0 &&
    widths.length <= MOST.levels &&
    widths.every((n) => Number.isSafeInteger(n) && n > 0 && n <= MOST.channels && n % groups === 0);
  if (!valid) {
    const each = `multiples of norm_num_groups = ${groups}, at most ${MOST.channels}`;
    reader.refuse("block_out_channels", `1 to ${MOST.levels} whole numbers, ${each}`);
  }
  for (const [key, name] of [
    ["down_block_types", "DownEncoderBlock2D"],
    ["up_block_types", "UpDecoderBlock2D"],
  ]) {
    const types = reader.raw(key);
    if (types === undefined) continue;
    const known = Array.isArray(types) && types.every((type) => type === name);
    if (!known || types.length !== (widths as number[]).length) {
      reader.refuse(key, `${name} for each of block_out_channels`);
    }
  }
  const blocks = reader.integer("layers_per_block", 1);
  if (blocks > MOST.blocks) reader.refuse("layers_per_block", `at most ${MOST.blocks}`);
  const latentChannels = reader.integer("latent_channels", 4);
  if (latentChannels > MOST.channels) reader.refuse("latent_channels", `at most ${MOST.channels}`);
  return {
    latentChannels,
    widths: widths as readonly number[],
    blocks,
    groups,
    scalingFactor: reader.number("scaling_factor", sdxlVae.scalingFactor, 0),
  };
}

/** A `config.json` that diffusers reads. */
export function vaeConfigJson({ latentChannels, widths, blocks, groups, scalingFactor }: VaeConfig): Json {
  return {
    ...{ _class_name: "AutoencoderKL", in_channels: 3, out_channels: 3, latent_channels: latentChannels },
    ...{ block_out_channels: [...widths], layers_per_block: blocks, norm_num_groups: groups, act_fn: "silu" },
    down_block_types: widths.map(() => "DownEncoderBlock2D"),
    up_block_types: widths.map(() => "UpDecoderBlock2D"),
    ...{ scaling_factor: scalingFactor, force_upcast: true },
  };
}
