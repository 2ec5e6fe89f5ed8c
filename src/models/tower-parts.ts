/** Parts of `config.json` that models with SigLIP and SAM towers share: sizes by name or beside it, mean and deviation. */
import type { Activation } from "../tensor/ops/gelu.ts";
import {
  gridSide,
  type MeanAndStd,
  SAM_RESIZED,
  type SamConfig,
  type SiglipConfig,
  samSide,
} from "../vision/tower-config.ts";
import type { ConfigReader, Json } from "./config-reader.ts";
import { readPerChannel, readSide } from "./processor-config.ts";

/** Most blocks of a tower that a configuration may ask for: each is described before the file is looked at. */
const MOST_LAYERS = 1024;

/** What transformers calls IMAGENET_MEAN and IMAGENET_STD: the constants of OpenAI's CLIP. */
export const CLIP: MeanAndStd = {
  mean: [0.48145466, 0.4578275, 0.40821073],
  std: [0.26862954, 0.26130258, 0.27577711],
};
export const HALF: MeanAndStd = { mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5] };

/** Towers whose sizes follow from their names. */
const siglipModels: Readonly<Record<string, Json>> = {
  siglip_large_patch16_384: { patch_size: 16, width: 1024, layers: 24, heads: 16, mlp_ratio: 4 },
  siglip_so400m_patch14_384: { patch_size: 14, width: 1152, layers: 27, heads: 16, mlp_ratio: 3.7362 },
};
const samModels: Readonly<Record<string, Json>> = {
  sam_b_downsample: {
    ...{ patch_size: 16, width: 768, layers: 12, heads: 12, window_size: 14, prompt_embed_dim: 256 },
    ...{ global_attn_indexes: [2, 5, 8, 11], downsample_channels: [512, 1024] },
  },
};

function sizesOf(reader: ConfigReader, models: Readonly<Record<string, Json>>): Json {
  const name = reader.raw("model_name");
  const known = typeof name === "string" ? models[name] : undefined;
  if (known !== undefined) return known;
  if (reader.raw("width") !== undefined) return {};
  return reader.refuse("model_name", `${Object.keys(models).join(" | ")}, or the sizes beside it`, name);
}

function fallback(sizes: Json, key: string): number | undefined {
  return sizes[key] as number | undefined;
}

/** Layers of a tower or a projector. @throws ConfigError for more than any has */
export function readLayers(reader: ConfigReader, key: string, otherwise?: number): number {
  const layers = reader.integer(key, otherwise);
  if (layers > MOST_LAYERS) reader.refuse(key, `at most ${MOST_LAYERS}`);
  return layers;
}

/** Refuses heads and patches that do not divide what they are parts of. @throws ConfigError */
export function checkDivides(
  reader: ConfigReader,
  tower: Pick<SiglipConfig, "width" | "heads" | "imageSize" | "patchSize">,
  headsKey = "heads",
): void {
  if (tower.width % tower.heads !== 0) reader.refuse(headsKey, `a divisor of the width, ${tower.width}`);
  if (tower.patchSize > tower.imageSize) {
    reader.refuse("patch_size", `at most image_size = ${tower.imageSize}`, tower.patchSize);
  }
}

/** Blocks that the reference builds of `layers`. @throws ConfigError if it builds none */
function builtLayers(reader: ConfigReader, layers: number): number {
  const select = reader.integer("select_layer", -1, Number.MIN_SAFE_INTEGER);
  const built = select <= 0 ? Math.min(layers, layers + select + 1) : Math.min(layers, select);
  if (built < 1) reader.refuse("select_layer", `${-layers} to ${layers}`);
  return built;
}

/** A SigLIP tower by `model_name`, or with the sizes beside it. @throws ConfigError */
export function readSiglip(reader: ConfigReader, activation: Activation): SiglipConfig {
  const sizes = sizesOf(reader, siglipModels);
  reader.only("select_feature", "same");
  reader.only("ignore_head", true);
  reader.only("class_token", false);
  reader.only("global_pool", "map");
  reader.only("num_classes", 0);
  const width = reader.integer("width", fallback(sizes, "width"));
  const tower: SiglipConfig = {
    kind: "siglip",
    imageSize: readSide(reader, "image_size", 384),
    patchSize: reader.integer("patch_size", fallback(sizes, "patch_size")),
    width,
    layers: builtLayers(reader, readLayers(reader, "layers", fallback(sizes, "layers"))),
    heads: reader.integer("heads", fallback(sizes, "heads") ?? 16),
    mlpWidth: Math.trunc(width * reader.number("mlp_ratio", fallback(sizes, "mlp_ratio"), 0)),
    activation,
    pool: true,
  };
  if (tower.mlpWidth < 1) reader.refuse("mlp_ratio", "an inner width of at least 1");
  checkDivides(reader, tower);
  return tower;
}

/** A ratio that the class turns into `mlpWidth` again, though it cuts the product. */
function ratioOf(mlpWidth: number, width: number): number {
  const ratio = mlpWidth / width;
  return Math.trunc(width * ratio) === mlpWidth ? ratio : (mlpWidth + 0.5) / width;
}

/** Keys of a SigLIP tower; with `spelled` its sizes too where its name says them. */
export function writeSiglip(tower: SiglipConfig, spelled: boolean): Json {
  const { imageSize, patchSize, width, layers, heads, mlpWidth } = tower;
  const name = Object.keys(siglipModels).find((each) => {
    const known = siglipModels[each];
    const same = { patch_size: patchSize, width, layers, heads };
    return (
      Object.entries(same).every(([key, value]) => known[key] === value) &&
      Math.trunc(width * (known.mlp_ratio as number)) === mlpWidth
    );
  });
  const ratio = name === undefined ? ratioOf(mlpWidth, width) : siglipModels[name].mlp_ratio;
  return {
    model_name: name ?? "siglip",
    image_size: imageSize,
    ...((spelled || name === undefined) && {
      ...{ patch_size: patchSize, width, layers, heads, mlp_ratio: ratio },
    }),
  };
}

/** The two convolutions' channels. @throws ConfigError */
function readPair(reader: ConfigReader, key: string, otherwise: unknown): readonly [number, number] {
  const value = reader.raw(key) ?? otherwise;
  const valid =
    Array.isArray(value) && value.length === 2 && value.every((n) => Number.isSafeInteger(n) && n >= 1);
  if (!valid) reader.refuse(key, "two positive integers");
  return value as unknown as readonly [number, number];
}

/** Which blocks see the whole image. @throws ConfigError */
export function readGlobalLayers(
  reader: ConfigReader,
  layers: number,
  otherwise: unknown,
): readonly number[] {
  const key = "global_attn_indexes";
  const value = reader.raw(key) ?? otherwise;
  const valid =
    Array.isArray(value) &&
    value.length > 0 &&
    value.every((n, i) => Number.isSafeInteger(n) && n < layers && n > (i === 0 ? -1 : value[i - 1]));
  if (!valid) reader.refuse(key, `ascending numbers below ${layers}, at least one`);
  return value as readonly number[];
}

/** SAM's encoder by `model_name`, or with the sizes beside it. @throws ConfigError */
export function readSam(reader: ConfigReader): SamConfig {
  const sizes = sizesOf(reader, samModels);
  reader.only("select_feature", "same");
  reader.only("select_layer", -1);
  const layers = readLayers(reader, "layers", fallback(sizes, "layers"));
  const width = reader.integer("width", fallback(sizes, "width"));
  const sam: SamConfig = {
    imageSize: readSide(reader, "image_size", 1024),
    patchSize: reader.integer("patch_size", fallback(sizes, "patch_size")),
    width,
    layers,
    heads: reader.integer("heads", fallback(sizes, "heads")),
    mlpWidth: 4 * width,
    windowSize: reader.integer("window_size", fallback(sizes, "window_size")),
    globalLayers: readGlobalLayers(reader, layers, sizes.global_attn_indexes),
    neckWidth: reader.integer("prompt_embed_dim", fallback(sizes, "prompt_embed_dim")),
    outputWidths: readPair(reader, "downsample_channels", sizes.downsample_channels),
    resizedSide: readSide(reader, "resize_to", SAM_RESIZED),
  };
  checkSam(reader, sam);
  return sam;
}

/** @throws ConfigError */
export function checkSam(reader: ConfigReader, sam: SamConfig, headsKey?: string): void {
  checkDivides(reader, sam, headsKey);
  if (sam.resizedSide % 4 !== 0) reader.refuse("resize_to", "a multiple of 4", sam.resizedSide);
  if (sam.imageSize % sam.patchSize !== 0) reader.refuse("image_size", `a multiple of ${sam.patchSize}`);
}

/** Keys of SAM's encoder. */
export function writeSam(sam: SamConfig): Json {
  const spelled = {
    ...{ patch_size: sam.patchSize, width: sam.width, layers: sam.layers, heads: sam.heads },
    ...{ window_size: sam.windowSize, prompt_embed_dim: sam.neckWidth },
    ...{ global_attn_indexes: [...sam.globalLayers], downsample_channels: [...sam.outputWidths] },
  };
  const known = JSON.stringify(samModels.sam_b_downsample) === JSON.stringify(spelled);
  return {
    model_name: known ? "sam_b_downsample" : "sam",
    image_size: sam.imageSize,
    ...(sam.resizedSide !== SAM_RESIZED && { resize_to: sam.resizedSide }),
    ...(!known && spelled),
  };
}

/** Refuses towers whose tokens do not lie one to one. @throws ConfigError */
export function checkSides(reader: ConfigReader, low: SiglipConfig, high: SamConfig): void {
  const side = samSide(high);
  if (gridSide(low) === side) return;
  reader.refuse("image_size", `${side} patches along a side, as many as of SAM's`, low.imageSize);
}

/** `pixel_mean` and `pixel_std`. @throws ConfigError if they are missing: a hybrid tower has them */
export function readPixels(reader: ConfigReader): MeanAndStd {
  const three = (key: string, above?: number) =>
    readPerChannel(reader, key, above) ?? reader.refuse(key, "three numbers");
  return { mean: three("pixel_mean"), std: three("pixel_std", 0) };
}

/** Refuses a projector that does not fit between tower and language model. @throws ConfigError */
export function checkWidths(
  reader: ConfigReader,
  { inputs, outputs }: { readonly inputs: number; readonly outputs: number },
  tower: number,
  hidden: number,
): void {
  if (inputs !== tower) reader.refuse("input_dim", `the tower's width, ${tower}`, inputs);
  if (outputs !== hidden) reader.refuse("n_embed", `the language model's hidden_size, ${hidden}`, outputs);
}
