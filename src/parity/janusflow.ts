/** Parity of what JanusFlow draws with: U-ViT parts, velocities, sampling, losses with every gradient, the autoencoder. */
import { loadVae } from "../checkpoint/vae.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { FlowSampler } from "../engine/draw/flow-sampler.ts";
import { ConfigReader } from "../models/config-reader.ts";
import { AlignmentHead, alignmentLoss } from "../models/janusflow/alignment.ts";
import { readUvitDecoder, readUvitEncoder } from "../models/janusflow/config.ts";
import { type FlowPrompt, flowOf, flowVelocity } from "../models/janusflow/velocity.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { cosineSimilarity } from "../tensor/ops/cosine.ts";
import { squaredErrors } from "../tensor/ops/mean-error.ts";
import { timeSinusoids } from "../tensor/ops/noise.ts";
import { differentiate } from "../tensor/tape.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { type FlowBatch, flowObjective } from "../train/objectives/flow.ts";
import { UvitDecoder, UvitEncoder } from "../vision/uvit.ts";
import { sampleLatents, splitMoments } from "../vision/vae.ts";
import { Captured } from "./comparison.ts";
import {
  compareAllGradients,
  compareCapturedImages,
  compareImages,
  imagesOf,
  reordered,
} from "./generation-values.ts";
import { channelsFirst, channelsLast, type VisionCase } from "./vision-values.ts";

type Json = Readonly<Record<string, unknown>>;

/** Encoder and decoder in every variant of the case. */
export async function compareUvit(run: VisionCase): Promise<void> {
  const { device } = run;
  for (const [name, json] of Object.entries(await run.config())) {
    const reader = new ConfigReader(json);
    const parts = await run.module(
      (scope) => ({
        encoder: new UvitEncoder(
          scope.child(`${name}.vision_gen_enc_model`),
          readUvitEncoder(reader.section("vision_gen_enc_config")!),
        ),
        decoder: new UvitDecoder(
          scope.child(`${name}.vision_gen_dec_model`),
          readUvitDecoder(reader.section("vision_gen_dec_config")!),
        ),
        parameters: scope.parameters,
      }),
      false,
    );
    const { encoder, decoder } = parts;
    using _ = encoder.parameters;
    using __ = decoder.parameters;
    const times = await run.inputs.values(`${name}.t1000`);
    using seen = new Captured();
    using latents = await imagesOf(run, `${name}.z`);
    using states = await imagesOf(run, `${name}.dec_in`);
    const { time, skip } = device.inference(() => {
      const time = encoder.time(device, times, seen.capture);
      return { time, skip: encoder.forward(latents, encoder.modulations(time), seen.capture) };
    });
    using drawn = new Captured();
    using velocity = device.inference(() =>
      decoder.forward(states, skip, decoder.modulations(time), drawn.capture),
    );
    await run.compare(`${name}.time_proj`, seen.tensors.get("time_proj")!);
    await run.compare(`${name}.t_emb`, time);
    await compareImages(run, `${name}.enc_out`, skip);
    await compareImages(run, `${name}.velocity`, velocity);
    // These two the reference has with their channels last.
    await run.compare(`${name}.input_norm`, drawn.tensors.get("input_norm")!);
    const wide = seen.tensors.get("block0.grn");
    if (wide) await run.compare(`${name}.enc.block0.grn`, wide);
    for (const each of ["block0.grn", "input_norm", "time_proj"]) {
      for (const captured of [seen, drawn]) {
        captured.tensors.get(each)?.dispose();
        captured.tensors.delete(each);
      }
    }
    await compareCapturedImages(run, seen, (each) => `${name}.${each === "in_conv" ? each : `enc.${each}`}`);
    await compareCapturedImages(run, drawn, (each) => `${name}.dec.${each}`);
    if (run.expected.has(`${name}.eps_probe`)) {
      using probe = await imagesOf(run, "eps_probe");
      using small = device.inference(() => encoder.blocks[0].forward(probe, encoder.modulations(time)[0]));
      await compareImages(run, `${name}.eps_probe`, small);
    }
    disposeAll([time, skip]);
  }
  using waves = timeSinusoids(device, await run.inputs.values("tau"), 16);
  await run.compare("sinusoid16", waves);
}

/** Prompts of a case, from its rows and masks. */
async function promptsOf(run: VisionCase): Promise<FlowPrompt[]> {
  const [count, length] = run.inputs.shape("rows");
  const [, tokens] = run.inputs.shape("attention_mask");
  const ids = Array.from(await run.inputs.values("rows"));
  const mask = await run.inputs.values("attention_mask");
  return Array.from({ length: count }, (_, row) => ({
    ids: ids.slice(row * length, (row + 1) * length),
    dropped: mask[row * tokens + 1] === 0,
  }));
}

/** Images twice, one after another. */
async function twice(x: Tensor): Promise<Tensor> {
  const values = await x.data();
  const both = new Float32Array(2 * values.length);
  both.set(values);
  both.set(values, values.length);
  return x.device.tensor(both, [2 * x.shape[0], ...x.shape.slice(1)]);
}

/** w v_c - (w - 1) v_u, of rows whose first half is conditional. */
function guidedValues(both: ArrayLike<number>, weight: number): Float32Array {
  const half = both.length / 2;
  return Float32Array.from({ length: half }, (_, i) => weight * both[i] - (weight - 1) * both[half + i]);
}

/** Values of rows at their places in sequences with empty positions, which are zero. */
function placedRows(
  values: ArrayLike<number>,
  prompts: readonly FlowPrompt[],
  width: number,
  tokens: number,
) {
  const out = new Float32Array(prompts.length * tokens * width);
  const T = values.length / prompts.length / width;
  prompts.forEach(({ ids, dropped }, row) => {
    for (let t = 0; t < tokens; t++) {
      const time = ids.length - 1;
      if (dropped && t > 0 && t < time) continue;
      const from = (row * T + (dropped && t > 0 ? t - time + 1 : t)) * width;
      for (let c = 0; c < width; c++) out[(row * tokens + t) * width + c] = values[from + c];
    }
  });
  return out;
}

/** One velocity with all that leads to it. */
export async function compareVelocity(run: VisionCase): Promise<void> {
  const { device, json } = run;
  using model = await loadVisionModel(run.tree, device);
  const flow = flowOf(model);
  const prompts = await promptsOf(run);
  const t = json.t as number;
  using single = await imagesOf(run, "z");
  using latents = await twice(single);
  using captured = new Captured();
  const times = prompts.map(() => t);
  const { velocity, states } = device.inference(() => {
    const { velocity, states } = flowVelocity(model, latents, times, prompts, { capture: captured.capture });
    return { velocity, states };
  });
  const { token, skip, aligned } = device.inference(() => {
    const time = flow.time(device, times);
    const { skip } = flow.encode(latents, time);
    return { token: time.token, skip, aligned: flow.align(states, skip) };
  });
  await run.compare("t_emb", token);
  await compareImages(run, "enc_out", skip);
  await compareImages(run, "skip", skip);
  await compareImages(run, "dec_in", aligned);
  const [, tokens, width] = run.expected.shape("lm_input");
  for (const [name, found] of [
    ["lm_input", "hidden.0"],
    ["last_hidden", "final_norm"],
  ]) {
    await run.compare(name, placedRows(await captured.values(found), prompts, width, tokens));
  }
  const both = await reordered(velocity);
  await run.compare("v_cond", both.subarray(0, both.length / 2));
  await run.compare("v_uncond", both.subarray(both.length / 2));
  for (const weight of [2, 5.5]) await run.compare(`v_guided_w${weight}`, guidedValues(both, weight));
  const conditional = prompts.filter(({ dropped }) => !dropped);
  const alone = (times: readonly number[]) =>
    device.inference(() => flowVelocity(model, single, times, conditional).velocity);
  using plain = alone(conditional.map(() => t));
  await compareImages(run, "v_no_guidance", plain);
  using mixed = alone(json.times_of_v_two_times as number[]);
  await compareImages(run, "v_two_times", mixed);
  disposeAll([velocity, states, token, skip, aligned]);
}

/** The sampler: Euler's steps from noise, with and without guidance. */
export async function compareSampling(run: VisionCase): Promise<void> {
  const { device, json } = run;
  using model = await loadVisionModel(run.tree, device);
  const prompts = await promptsOf(run);
  const { ids } = prompts.find(({ dropped }) => !dropped)!;
  const runs = json.runs as Readonly<Record<string, { steps: number; cfg_weight: number }>>;
  for (const [name, { steps, cfg_weight: guidance }] of Object.entries(runs)) {
    using sampler = await FlowSampler.prepare(model, { ids, guidance, steps });
    let z = await imagesOf(run, "z0");
    for (let k = 0; k < steps; k++) {
      const { latents: next, velocity } = await sampler.step(z, k);
      z.dispose();
      z = next;
      await compareImages(run, `${name}.v${k}`, velocity);
      await compareImages(run, `${name}.z${k + 1}`, z);
      velocity.dispose();
    }
    await compareImages(run, `${name}.final`, z);
    z.dispose();
  }
}

/** The rectified flow's inputs for data, noise and times: between them, and from noise to data. */
async function flowInputs(run: VisionCase, prompts: readonly FlowPrompt[]) {
  const [x, z0] = [await run.inputs.values("x"), await run.inputs.values("z0")];
  const times = Array.from(await run.inputs.values("t"));
  const [count, channels, height, width] = run.inputs.shape("x");
  const each = x.length / count;
  const between = Float32Array.from(x, (value, i) => {
    const t = times[Math.floor(i / each)];
    return Math.fround(t * value) + Math.fround((1 - t) * z0[i]);
  });
  const target = Float32Array.from(x, (value, i) => value - z0[i]);
  await run.compare("z_t", between);
  if (run.expected.has("target")) await run.compare("target", target);
  const shape = [count, height, width, channels];
  const tensor = (values: Float32Array) =>
    run.device.tensor(channelsLast(values, channels, height * width), shape);
  const last = (values: ArrayLike<number>) => channelsLast(values, channels, height * width);
  const batch: FlowBatch = {
    ...{ batch: count, length: 1, prompts, latentShape: [height, width, channels], times },
    ...{ latents: last(x), noise: last(z0) },
  };
  return { times, latents: tensor(between), target: tensor(target), batch };
}

/** The loss of the flow and every gradient. */
export async function compareFlowLoss(run: VisionCase): Promise<void> {
  const { device } = run;
  using model = await loadVisionModel(run.tree, device);
  const prompts = await promptsOf(run);
  const { times, latents, target, batch } = await flowInputs(run, prompts);
  const result = device.inference(() => {
    const { velocity } = flowVelocity(model, latents, times, prompts);
    return { velocity, each: squaredErrors(velocity, target) };
  });
  const trained = { device, vision: model, alignment: null, parameters: model.parameters };
  const losses = differentiate(device, () => flowObjective(trained, batch, {}));
  await run.compare("loss", losses.loss);
  await run.compare("loss_per_image", result.each);
  await compareImages(run, "velocity", result.velocity);
  await compareAllGradients(run, [model.parameters], "grad.");
  model.parameters.clearGradients();
  disposeAll([result, losses, latents, target]);
}

/** The losses of flow and representation alignment, with the gradients of their sum and of the second alone. */
export async function compareAlignment(run: VisionCase): Promise<void> {
  const { device } = run;
  const settings = (await run.config()).representation_alignment as {
    after_block: number;
    hidden: readonly number[];
    coefficient: number;
  };
  using model = await loadVisionModel(run.tree, device);
  using features = await towerFeatures(run, model);
  const head = await run.module(
    (scope) =>
      new AlignmentHead(scope.child("repa_head"), {
        inputs: model.language.config.hiddenSize,
        hidden: settings.hidden,
        outputs: features.shape[2],
      }),
    false,
  );
  using _ = head.parameters;
  const prompts = await promptsOf(run);
  const { times, latents, target, batch } = await flowInputs(run, prompts);
  const forward = () => {
    const options = { afterBlock: settings.after_block };
    const { velocity, inner } = flowVelocity(model, latents, times, prompts, options);
    const projected = head.forward(inner!);
    return { velocity, inner: inner!, projected, alignment: alignmentLoss(projected, features) };
  };
  const result = device.inference(forward);
  const { velocity, inner, projected } = result;
  using pixels = await imagesOf(run, "pixel_values");
  const lastPixels = Float32Array.from(await pixels.data());
  const losses = differentiate(device, () =>
    flowObjective(
      {
        ...{ device, vision: model, parameters: model.parameters },
        alignment: { head, afterBlock: settings.after_block, weight: settings.coefficient },
      },
      { ...batch, pixels: lastPixels },
      {},
    ),
  );
  await run.compare("features", features);
  await run.compare("hidden_after_block", inner);
  await run.compare("projected", projected);
  await compareImages(run, "velocity", velocity);
  await run.compare("loss_rf", losses.crossEntropy!);
  await run.compare("loss_repa", losses.terms!.alignment);
  await run.compare("loss", losses.loss);
  const { cosine, each } = device.inference(() => ({
    cosine: cosineSimilarity(projected, features),
    each: squaredErrors(velocity, target),
  }));
  await run.compare("cosine", cosine);
  await run.compare("loss_rf_per_image", each);
  const cosines = await cosine.data();
  const positions = cosine.shape[1];
  const perImage = Array.from({ length: cosine.shape[0] }, (_, i) => {
    const own = Array.from(cosines.subarray(i * positions, (i + 1) * positions));
    return -own.reduce((sum, value) => sum + value, 0) / positions;
  });
  await run.compare("loss_repa_per_image", perImage);
  const parts = [model.parameters, head.parameters];
  await compareAllGradients(run, parts, "grad.");
  for (const each of parts) each.clearGradients();
  disposeAll([result, losses, cosine, each]);
  disposeAll(differentiate(device, () => forward().alignment));
  await compareAllGradients(run, parts, "grad_repa.");
  for (const each of parts) each.clearGradients();
  disposeAll([latents, target]);
}

async function towerFeatures(run: VisionCase, model: VisionLanguageModel): Promise<Tensor> {
  using pixels = await imagesOf(run, "pixel_values");
  return run.device.inference(() => model.tower.forward(pixels) as Tensor);
}

/** The autoencoder: moments, samples, decoding. */
export async function compareVae(run: VisionCase): Promise<void> {
  const { device } = run;
  using vae = await loadVae(run.tree, device);
  using image = await imagesOf(run, "image");
  using seen = new Captured();
  using moments = device.inference(() => vae.moments(image, seen.capture));
  const name = (part: string) => (each: string) =>
    `${part}.${each.replace("mid1", "mid_attention").replace("mid2", "mid")}`.replace(
      "level",
      part === "enc" ? "down" : "up",
    );
  await compareCapturedImages(run, seen, name("enc"));
  await compareImages(run, "moments_raw", moments);
  const { shape, mean, logVariance } = splitMoments(await moments.data(), moments.shape);
  const [, height, width, channels] = shape;
  const first = (values: ArrayLike<number>) => channelsFirst(values, channels, height * width);
  await run.compare("mean", first(mean));
  await run.compare("logvar", first(logVariance));
  const noise = channelsLast(await run.inputs.values("eps"), channels, height * width);
  const sample = sampleLatents({ shape, mean, logVariance }, noise);
  await run.compare("sample", first(sample));
  await run.compare("training_latent", first(sample.map((value) => value * vae.config.scalingFactor)));
  using latents = await imagesOf(run, "latents");
  using drawn = new Captured();
  using decoded = device.inference(() => vae.decode(latents, drawn.capture));
  await compareCapturedImages(run, drawn, name("dec"));
  await compareImages(run, "decoded", decoded);
  // The same in half the digits, which says how far that may be off.
  const { tolerance } = JSON.parse(await run.tree.readText("meta.json")) as { tolerance: Json };
  const bound = { abs: tolerance.decoded_bf16 as number, rel: 0 };
  const loose = await run.expected.values("decoded_bf16");
  run.comparison.bounded("decoded_bf16", await reordered(decoded), loose, bound);
  using probe = await imagesOf(run, "eps_probe");
  for (const [part, each] of ["resnet", "attention"].entries()) {
    using small = device.inference(() => vae.encoder.middlePart(probe, part));
    await compareImages(run, `eps_probe.${each}`, small);
  }
}
