/**
 * A model that sees, of a released shape with random weights, made and opened and run on this machine: how long an image
 * takes, alone and before the first token of an answer, and how fast the answer goes on.
 */
import { nodeFolder } from "../checkpoint/node-files.ts";
import { tiledConfig } from "../checkpoint/tiles.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import type { Json } from "../models/config-reader.ts";
import { weightBytes } from "../models/count.ts";
import { describeDecoder } from "../models/decoder.ts";
import { parseVisionConfig } from "../models/vision-architectures.ts";
import { VisionLanguageModel } from "../models/vision-language.ts";
import { describeVision, partNeeds, visionWeightBytes } from "../models/vision-needs.ts";
import type { Cache } from "../nn/cache.ts";
import { allocateModule } from "../nn/scope.ts";
import { type StorageFormat, storageRule } from "../nn/storage.ts";
import { Random } from "../tensor/random.ts";
import type { Device, Tensor } from "../tensor/tensor.ts";
import {
  formatBytes,
  formatCompact,
  formatCount,
  formatDuration,
  formatRate,
  plural,
} from "../text/units.ts";
import { HybridTower } from "../vision/hybrid.ts";
import {
  batchRate,
  checkRoom,
  decodeRate,
  type ShapeFigures,
  type ShapeOptions,
  saved,
  seconds,
  step,
  tokenAt,
} from "./shape-benchmark.ts";

export interface VisionShapeOptions extends ShapeOptions {
  /** Storage of the towers' and projector's linear layers; default: what `dtype` stands for. */
  readonly vision?: StorageFormat;
}

export interface ImageFigures {
  /** Images that the tower sees: the whole one and its tiles. */
  readonly views: number;
  readonly tokens: number;
  readonly seconds: number;
}

export interface VisionShapeFigures extends Omit<ShapeFigures, "activated"> {
  readonly parametersByPart: Readonly<Record<string, number>>;
  readonly images: readonly ImageFigures[];
  /** Of two towers each by itself, one image. */
  readonly towerSeconds: Readonly<Record<"high" | "low", number>> | null;
  /** Tokens of the image before the prompt; from its pixels to the first token of the answer. */
  readonly imageTokens: number;
  readonly imageToFirstTokenSeconds: number;
}

/** Tiles across and down of images of 4 and 10 views. */
const TILED = [
  [3, 1],
  [3, 3],
] as const;

/** Pixels with some structure: zeros would make all tokens alike. */
function pixelsOf(views: number, side: number): Float32Array {
  return Float32Array.from(
    { length: views * side * side * 3 },
    (_, i) => Math.sin(i * 0.01) * Math.sin(i * 0.00007),
  );
}

/** Runs `body` and waits for its result, which is freed. */
async function timed(device: Device, body: () => Tensor): Promise<number> {
  const since = performance.now();
  using result = device.inference(body);
  await result.data();
  return seconds(since);
}

/** Seconds of encoding an image: one view, or as many as `tiles` has and the whole. */
async function encoded(
  model: VisionLanguageModel,
  tiles: readonly [number, number] | null,
): Promise<ImageFigures> {
  const { device, imageSize: side } = model;
  const views = tiles === null ? 1 : 1 + tiles[0] * tiles[1];
  const pixels = pixelsOf(views, side);
  let tokens = 0;
  const spent = await timed(device, () => {
    const seen = model.encodeViews(device.tensor(pixels, [views, side, side, 3]));
    tokens = seen.shape[0] * seen.shape[1];
    if (tiles === null) return seen;
    const [image] = model.arrange(seen, [tiles]);
    tokens = image.shape[0];
    return image;
  });
  return { views, tokens, seconds: spent };
}

/** An image's pixels and `ids` to the logits after them, with the cache left filled. */
async function firstToken(
  model: VisionLanguageModel,
  tiles: readonly [number, number],
  ids: readonly number[],
  cache: Cache,
): Promise<{ tokens: number; prefillSeconds: number; seconds: number }> {
  const { device, language, imageSize: side } = model;
  const since = performance.now();
  const pixels = pixelsOf(1 + tiles[0] * tiles[1], side);
  const [image] = await model.encodeImages({ pixels, tiles: [tiles] });
  const encodedAt = performance.now();
  using embeddings = image.embeddings;
  const [tokens, d] = embeddings.shape;
  for (let begin = 0; begin < tokens; begin += 512) {
    device.inference(() => {
      const rows = embeddings.slice(begin, Math.min(tokens, begin + 512));
      void language.hidden(rows.view([1, rows.shape[0], d]), { cache });
    });
  }
  for (let at = 0; at < ids.length; at += 512) await step(language, [cache], [ids.slice(at, at + 512)]);
  return { tokens, prefillSeconds: seconds(encodedAt), seconds: seconds(since) };
}

/** Makes, saves, opens, encodes, prefills and decodes. @throws ConfigError, DeepseekError if it does not fit */
export async function benchmarkVisionShape(
  configJson: Json,
  device: Device,
  options: VisionShapeOptions,
  log: (line: string) => void,
): Promise<VisionShapeFigures> {
  const { dtype, seed, cacheDtype } = options;
  const config = parseVisionConfig(configJson);
  const described = describeVision(config);
  const rule = storageRule(dtype, options.vision);
  // Nothing is drawn here.
  const parts = partNeeds(described).filter(({ part }) => part !== "drawing");
  const drawing = false;
  const parameters = parts.reduce((sum, part) => sum + part.parameters, 0);
  const total = visionWeightBytes(described, rule);
  const { perToken } = weightBytes(describeDecoder(config.language), rule);
  checkRoom(total, parameters, dtype);

  let since = performance.now();
  let model = allocateModule(device, rule, (scope) => new VisionLanguageModel(scope, config, { drawing }));
  model.parameters.initialize(new Random(seed), 0.02);
  const makeSeconds = seconds(since);
  const shares = parts.map(({ part, parameters: count }) => `${part} ${formatCompact(count)}`).join(", ");
  log(
    `create   ${formatCompact(parameters)} parameters (${shares}), ${formatBytes(total)}, in ${formatDuration(makeSeconds)}`,
  );

  let [saveSeconds, loadSeconds, firstTokenSeconds]: (number | null)[] = [null, null, null];
  if (options.reopen && (dtype === "q4" || dtype === "q8")) {
    const open = (folder: string) => loadVisionModel(nodeFolder(folder), device, { dtype: "auto", drawing });
    ({ model, saveSeconds, loadSeconds } = await saved(model, tiledConfig(model), options, open, log));
    since = performance.now();
    using cache = model.language.createCache(64, cacheDtype);
    const ids = Array.from({ length: 8 }, (_, i) => tokenAt(i, config.language.vocabSize));
    await step(model.language, [cache], [ids]);
    firstTokenSeconds = loadSeconds + seconds(since);
    log(`load     ${formatDuration(loadSeconds)}, first token after ${formatDuration(firstTokenSeconds)}`);
  }

  using _model = model;
  const { language, tower } = model;
  // Weights of the towers in memory, code compiled.
  await encoded(model, null);
  const images = [await encoded(model, null)];
  if (model.tiles !== null) for (const tiles of TILED) images.push(await encoded(model, tiles));
  for (const image of images) {
    log(
      `image    ${plural(image.views, "view")} to ${plural(image.tokens, "token")} in ${formatDuration(image.seconds)}, ` +
        `${formatDuration(image.seconds / image.views)} each`,
    );
  }
  let towerSeconds: VisionShapeFigures["towerSeconds"] = null;
  if (tower instanceof HybridTower) {
    const see = (one: typeof tower.high | typeof tower.low) => {
      const { imageSize: side } = one.config;
      return timed(device, () => one.forward(device.tensor(pixelsOf(1, side), [1, side, side, 3])));
    };
    towerSeconds = { high: await see(tower.high), low: await see(tower.low) };
    const { high, low } = towerSeconds;
    log(`towers   high resolution ${formatDuration(high)}, low ${formatDuration(low)}`);
  }

  const tiles = model.tiles === null ? ([0, 0] as const) : TILED[0];
  const { prompt } = options;
  const places = model.imageTokens(tiles);
  using cache = language.createCache(places + prompt + options.tokens + 1, cacheDtype);
  const ids = Array.from({ length: prompt }, (_, i) => tokenAt(i, config.language.vocabSize));
  const first = await firstToken(model, tiles, ids, cache);
  const prefillTokensPerSecond = (places + prompt) / first.prefillSeconds;
  log(
    `prefill  ${formatCount(first.tokens)} tokens of an image and ${plural(prompt, "token")} of text at ` +
      `${formatRate(prefillTokensPerSecond, 1)} tokens/s`,
  );
  log(`answer   first token ${formatDuration(first.seconds)} after the image's pixels`);

  const decodeTokensPerSecond = await decodeRate(language, cache, options.tokens);
  const decodeGigabytesPerSecond = (decodeTokensPerSecond * perToken) / 1e9;
  log(
    `decode   ${plural(options.tokens, "token")} at ${formatRate(decodeTokensPerSecond, 1)} tokens/s, ` +
      `weights read at ${formatBytes(decodeGigabytesPerSecond * 1e9)}/s`,
  );
  let batchTokensPerSecond: number | null = null;
  if (options.batch > 1) {
    batchTokensPerSecond = await batchRate(language, options);
    log(
      `batch    ${plural(options.batch, "sequence")} at ${formatRate(batchTokensPerSecond, 1)} tokens/s in total`,
    );
  }
  return {
    parameters,
    parametersByPart: Object.fromEntries(parts.map(({ part, parameters: count }) => [part, count])),
    weightBytes: total,
    bytesPerToken: perToken,
    ...{ makeSeconds, saveSeconds, loadSeconds, firstTokenSeconds, images, towerSeconds },
    imageTokens: first.tokens,
    imageToFirstTokenSeconds: first.seconds,
    ...{ prefillTokensPerSecond, decodeTokensPerSecond, decodeGigabytesPerSecond, batchTokensPerSecond },
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
  };
}
