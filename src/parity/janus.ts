/** Parity of what Janus draws with: the image tokenizer level by level, and guided drawing from recorded random numbers. */
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { CodeSampler, codesOf } from "../engine/draw/code-sampler.ts";
import { step } from "../engine/step.ts";
import { ConfigReader } from "../models/config-reader.ts";
import { readTokenizer } from "../models/janus/config.ts";
import { unconditionalIds } from "../models/janus/generation.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import { unitRows } from "../tensor/ops/codes.ts";
import { multiply } from "../tensor/ops/multiply.ts";
import { sumAll, weightedSum } from "../tensor/ops/reduce.ts";
import { reshape } from "../tensor/ops/reshape.ts";
import { differentiate } from "../tensor/tape.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { pixelBytes } from "../vision/pixels.ts";
import { VqTokenizer } from "../vision/vq.ts";
import { Captured } from "./comparison.ts";
import { compareCapturedImages, compareImages, imagesOf, reordered } from "./generation-values.ts";
import type { VisionCase } from "./vision-values.ts";

const PREFIX = "gen_vision_model";
const CODEBOOK = `${PREFIX}.quantize.embedding.weight`;

/** The reference's name of a captured value. */
const levels = (name: string) => name.replace("level", "block");

/** The tokenizer of Janus: both directions, its choice of codes, its losses. */
export async function compareTokenizer(run: VisionCase): Promise<void> {
  const { device } = run;
  const config = readTokenizer(new ConfigReader(await run.config()).section("gen_vision_config")!);
  const tokenizer = await run.module((scope) => new VqTokenizer(scope.child(PREFIX), config));
  using _ = tokenizer.parameters;
  using pixels = await imagesOf(run, "image");
  using seen = new Captured();
  using latents = device.inference(() => tokenizer.latents(pixels, seen.capture));
  await compareCapturedImages(run, seen, (name) => `enc.${name}`);
  await compareImages(run, "latent", latents);
  const [B, rows, columns, width] = latents.shape;
  const { normalized, codes, ids } = device.inference(() => ({
    normalized: unitRows(reshape(latents, [B * rows * columns, width])),
    codes: tokenizer.codes(),
    ids: tokenizer.encode(pixels),
  }));
  await run.compare("latent_normalised", normalized);
  await run.compare("distances", distances(await normalized.data(), await codes.data(), width));
  await run.compare("ids", ids);
  using chosen = device.inference(() => tokenizer.lookUp(ids));
  // The case spells it in another way.
  const rounded = run.expected.names().find((name) => /^quanti[sz]ed$/.test(name));
  await compareImages(run, rounded ?? "quantized", chosen);
  using drawn = new Captured();
  using decoded = device.inference(() => tokenizer.decodeCodes(chosen, drawn.capture));
  await compareImages(run, "decoded", decoded);
  for (const [name, tensor] of drawn.tensors) {
    const level = /^level(\d)$/.exec(name);
    // Of a level whose size changes the reference has what comes after.
    const wanted = level ? `dec.block${level[1]}.up` : `dec.${levels(name)}`;
    if (run.expected.has(wanted)) await compareImages(run, wanted, tensor);
  }
  using others = device.tensor(await run.inputs.values("other_ids"), [B, rows, columns], "i32");
  using other = device.inference(() => tokenizer.decode(others));
  await compareImages(run, "decoded_other", other);
  using probe = await imagesOf(run, "eps_probe");
  for (const part of [0, 1]) {
    using small = device.inference(() => tokenizer.encoder.middlePart(probe, part));
    await compareImages(run, `eps_probe.mid${part}`, small);
  }
  await compareLosses(run, tokenizer, latents);
  disposeAll([normalized, codes, ids]);
}

/** Squared distances as the reference computes them, all rows to all codes. */
function distances(x: ArrayLike<number>, codes: ArrayLike<number>, width: number): Float64Array {
  const [n, count] = [x.length / width, codes.length / width];
  return Float64Array.from({ length: n * count }, (_, i) => {
    let sum = 0;
    for (let c = 0; c < width; c++) {
      sum += (x[Math.floor(i / count) * width + c] - codes[(i % count) * width + c]) ** 2;
    }
    return sum;
  });
}

/** The quantizer in training: its losses, and the gradients of their sum with a weighted sum of the codes. */
async function compareLosses(run: VisionCase, tokenizer: VqTokenizer, latents: Tensor): Promise<void> {
  const { device } = run;
  const [beta, ratio] = [0.25, 0.1];
  using weights = await imagesOf(run, "train_weights");
  latents.requiresGrad = true;
  const result = differentiate(device, () => {
    const { codes, codebook, commitment, entropy } = tokenizer.quantize(latents, ratio);
    const terms = [sumAll(multiply(codes, weights)), codebook, commitment, entropy!];
    return { loss: weightedSum(terms, [1, 1, beta, ratio]), codebook, commitment, entropy: entropy! };
  });
  await run.compare("train.vq_loss", result.codebook);
  await run.compare("train.commit_loss", [beta * (await result.commitment.item())]);
  await run.compare("train.entropy_loss", [ratio * (await result.entropy.item())]);
  await compareImages(run, "train.grad_latent", latents.grad!);
  using gradient = tokenizer.parameters.gradient(CODEBOOK)!;
  await run.compare("train.grad_codebook", gradient);
  latents.grad!.dispose();
  disposeAll(result);
}

interface DrawingRun {
  readonly cfg_weight: number;
  readonly temperature: number;
}

/** Guided drawing: every step's logits, the ids, the pixels. */
export async function compareDrawing(run: VisionCase): Promise<void> {
  using model = await loadVisionModel(run.tree, run.device);
  const runs = run.json.runs as Readonly<Record<string, DrawingRun>>;
  for (const [name, settings] of Object.entries(runs)) await compareOneDrawing(run, model, name, settings);
}

async function compareOneDrawing(
  run: VisionCase,
  model: VisionLanguageModel,
  name: string,
  { cfg_weight: guidance, temperature }: DrawingRun,
): Promise<void> {
  const { device, json } = run;
  const { language } = model;
  const generation = codesOf(model);
  const prompt = json.prompt as number[];
  const { pad } = json.token_ids as { pad: number };
  const images = json.images as number;
  const uniforms = run.inputs.has(`${name}.uniforms`) ? await run.inputs.values(`${name}.uniforms`) : null;
  // The reference reads the prompt of each image; here all share it.
  const rows = Array.from({ length: images }, () => [prompt, unconditionalIds(prompt, pad)]).flat();
  await run.compare(`${name}.rows`, rows.flat());
  using embedded = device.inference(() => language.embed(language.ids(rows)));
  await run.compare(`${name}.prompt_embeds`, embedded);
  const shown: [name: string, logits: Tensor][] = [];
  using sampler = new CodeSampler(model, {
    ...{ ids: prompt, padId: pad, count: images, guidance },
    temperature: uniforms === null ? 0 : temperature,
    stream(image) {
      const own = uniforms?.filter((_, i) => i % images === image).values();
      return { uniform: () => own!.next().value! };
    },
    capture: (which, logits) => void shown.push([which, logits]),
  });
  while (!sampler.finished) await step(language, [], { guests: [sampler] });
  for (const [ours, theirs] of Object.entries({ with: "cond", without: "uncond", guided: "mixed" })) {
    const values: number[] = [];
    for (const [which, logits] of shown) {
      if (which !== ours) continue;
      const own = await logits.data();
      // All images have the same at their first code.
      for (let copy = logits.shape[0]; copy <= images; copy += logits.shape[0]) values.push(...own);
    }
    await run.compare(`${name}.logits_${theirs}`, values);
  }
  disposeAll(shown.map(([, logits]) => logits));
  const steps = Array.from({ length: sampler.length }, (_, at) => sampler.codes.map((codes) => codes[at]));
  using fed = device.inference(() =>
    generation.embed(device.tensor(Int32Array.from(steps.flat()), [sampler.length, images], "i32")),
  );
  await run.compare(`${name}.fed_embeds`, fed);
  await run.compare(`${name}.token_ids`, sampler.codes.flat());
  const [height, width] = json.grid as [number, number];
  using ids = device.tensor(Int32Array.from(sampler.codes.flat()), [images, height, width], "i32");
  using image = device.inference(() => generation.tokenizer.decode(ids));
  await run.compare(`${name}.image`, await reordered(image));
  await comparePixels(run, `${name}.pixels_uint8`, await image.data());
}

/** Bytes, except where rounding of the value decides between two. */
async function comparePixels(run: VisionCase, name: string, values: ArrayLike<number>): Promise<void> {
  const near = (i: number) => {
    const level = ((values[i] + 1) / 2) * 255;
    return Math.abs(level - Math.round(level)) < 0.05;
  };
  const expected = await run.expected.values(name);
  run.comparison.ids(name, pixelBytes(values), expected, (i) => !near(i));
}
