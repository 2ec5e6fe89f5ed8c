/**
 * Drawing with JanusFlow: noise of each image from its own stream, the sampler's steps, the autoencoder at the end. Images
 * that are drawn together, of one request or of several, share the passes of the language model; they get the same bits alone.
 */
import { flowOf } from "../../models/janusflow/velocity.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import { ShapeError } from "../../tensor/errors.ts";
import { addScaled } from "../../tensor/ops/elementwise.ts";
import { Random } from "../../tensor/random.ts";
import type { Device, Tensor } from "../../tensor/tensor.ts";
import type { RgbImage } from "../../vision/image/image.ts";
import { splitMoments, type VaeModel, vaeFactor } from "../../vision/vae.ts";
import type { GuestPlace } from "../guests.ts";
import { LONG_PASS_ROWS, LongPasses, WeightsChangedError } from "../long-passes.ts";
import { decodedPicture } from "./decoded-picture.ts";
import type { DrawEvent, DrawRequest, DrawUsage } from "./events.ts";
import { checkedFlow, FlowSampler, flowLatentSide, flowRoom, flowTokens } from "./flow-sampler.ts";
import { inTurns, type Turn, turnsOf } from "./turns.ts";

/** Side of the images that a model draws with an autoencoder, in pixels. @throws ShapeError if the two do not fit */
export function flowImageSide(model: VisionLanguageModel, vae: VaeModel): number {
  const { latentChannels } = flowOf(model).config.encoder;
  if (vae.config.latentChannels !== latentChannels) {
    throw new ShapeError("the autoencoder is of another model", {
      where: "JanusFlow",
      name: "latent_channels",
      expected: latentChannels,
      found: vae.config.latentChannels,
    });
  }
  return flowLatentSide(model) * vaeFactor(vae.config);
}

/** Noise of images from index `first` on, `[count, side, side, channels]`: each from a stream of its own. */
export function flowNoise(
  device: Device,
  seed: number,
  first: number,
  shape: readonly [count: number, height: number, width: number, channels: number],
): Tensor {
  const [count, ...rest] = shape;
  const each = rest.reduce((size, n) => size * n, 1);
  const values = new Float32Array(count * each);
  for (let i = 0; i < count; i++) {
    const random = new Random(seed, first + i);
    for (let j = 0; j < each; j++) values[i * each + j] = random.normal();
  }
  return device.tensor(values, shape);
}

/** Where drawings with JanusFlow run. */
export type FlowPlace = Pick<GuestPlace, "long" | "turn">;

/** Passes that only the images of one request share. */
function alone({ language }: VisionLanguageModel, signal?: AbortSignal): FlowPlace {
  const turn = turnsOf(signal);
  const passes = new LongPasses(language, turn);
  return {
    turn,
    long: {
      most: ({ rows }) => Math.max(1, Math.floor(LONG_PASS_ROWS / rows)),
      enter: ({ rows }) => passes.enter(rows, signal),
    },
  };
}

/**
 * Draws the images of a request. @param ids the prompt's, with the token that begins an image at its end
 * @throws ConfigError and ShapeError at once; later the signal's reason
 */
export function drawFlow(
  model: VisionLanguageModel,
  vae: VaeModel,
  ids: readonly number[],
  request: Omit<DrawRequest, "prompt">,
  place: FlowPlace = alone(model, request.signal),
): AsyncGenerator<DrawEvent, void, void> {
  const { count = 1, seed = 0, first = 0, guidance, steps, solver, previews = 0, signal } = request;
  flowImageSide(model, vae);
  const settings = checkedFlow(model, { ids, guidance, steps, solver });
  const image = flowRoom(model, settings);
  const together = place.long.most(image);
  return (async function* () {
    for (let begin = 0; begin < count; begin += together) {
      const images = Math.min(together, count - begin);
      using seat = await place.long.enter({ rows: images * image.rows, tokens: images * image.tokens });
      const passes = { ...seat, turn: place.turn };
      for (let drawn = false; !drawn; ) {
        seat.begin();
        try {
          using sampler = await FlowSampler.prepare(model, settings, passes);
          yield* drawTogether(model, sampler, vae, {
            ...{ seed, previews, signal, first: first + begin, count: images, turn: place.turn },
            usage: { promptTokens: ids.length, imageTokens: flowTokens(model) },
          });
          drawn = true;
        } catch (error) {
          if (!(error instanceof WeightsChangedError)) throw error;
        }
      }
    }
  })();
}

interface Together {
  readonly seed: number;
  readonly first: number;
  readonly count: number;
  readonly previews: number;
  readonly signal: AbortSignal | undefined;
  readonly turn: Turn;
  readonly usage: DrawUsage;
}

async function* drawTogether(
  model: VisionLanguageModel,
  sampler: FlowSampler,
  vae: VaeModel,
  { seed, first, count, previews, signal, turn, usage }: Together,
): AsyncGenerator<DrawEvent, void, void> {
  const { device } = model;
  const side = flowLatentSide(model);
  const channels = flowOf(model).config.encoder.latentChannels;
  let latents = device.unscoped(() => flowNoise(device, seed, first, [count, side, side, channels]));
  try {
    for (let step = 0; step < sampler.steps; step++) {
      const next = await sampler.step(latents, step);
      latents.dispose();
      latents = next.latents;
      const done = step + 1;
      using _velocity = next.velocity;
      const shown = previews > 0 && done % previews === 0 && done < sampler.steps;
      // Where the velocity leads from here.
      using goal = shown ? device.inference(() => addScaled(latents, next.velocity, 1, 1 - next.time)) : null;
      for (let i = 0; i < count; i++) {
        // No turn without a preview: those who share passes go on together.
        signal?.throwIfAborted();
        using own = goal && device.unscoped(() => goal.slice(i, i + 1));
        const preview = own && (await decodedPicture(vae.decodeByConv(own), turn));
        const place = { image: first + i, done, of: sampler.steps, unit: "step" } as const;
        yield { type: "progress", ...place, ...(preview && { preview }) };
      }
    }
    for (let i = 0; i < count; i++) {
      using own = device.unscoped(() => latents.slice(i, i + 1));
      const picture = await decodedPicture(vae.decodeByConv(own), turn);
      yield { type: "image", image: first + i, seed, picture, usage };
    }
  } finally {
    latents.dispose();
  }
}

/**
 * What the autoencoder makes of pixels in [-1, 1], `[1, height, width, 3]`: the mean of their latents, decoded again.
 * @throws ShapeError for sides that are no multiple of its factor, what `turn` throws
 */
export async function reconstructVae(vae: VaeModel, pixels: Tensor, turn: Turn): Promise<RgbImage> {
  using moments = await inTurns(vae.momentsByConv(pixels), turn);
  const { shape, mean } = splitMoments(await moments.data(), moments.shape);
  const { scalingFactor } = vae.config;
  const { device } = pixels;
  using latents = device.unscoped(() =>
    device.tensor(
      mean.map((value) => value * scalingFactor),
      shape,
    ),
  );
  return await decodedPicture(vae.decodeByConv(latents), turn);
}
