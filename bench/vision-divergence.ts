/**
 * How far images move when towers and projectors are stored in fewer bits, and what that does to the next token, beside
 * what the language model's own 4 bits do: DeepSeek-VL's and VL2's fixtures, and towers of the released sizes with random
 * weights whose rows, columns and norms differ as those of trained ones do (heavy tails, a few large channels). Language
 * models of the released widths have few layers here. Not the released weights: `quantize --report --images` measures those.
 */
import { nodeFolder } from "../src/checkpoint/node-files.ts";
import { loadVisionModel, visionModelFrom } from "../src/checkpoint/vision-model.ts";
import { divergence, textLogits, VectorComparison, type VectorDivergence } from "../src/engine/divergence.ts";
import type { Json } from "../src/models/config-reader.ts";
import { parseVisionConfig } from "../src/models/vision-architectures.ts";
import { VisionLanguageModel } from "../src/models/vision-language.ts";
import { type VisionPresetName, visionPresets } from "../src/models/vision-presets.ts";
import { weightsOf } from "../src/nn/model-weights.ts";
import { allocateModule } from "../src/nn/scope.ts";
import { type StorageFormat, storageRule } from "../src/nn/storage.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import { sizeOf } from "../src/tensor/tensor.ts";
import { towerSide } from "../src/vision/tower-config.ts";
import type { BenchmarkResult } from "./run.ts";

export const name = "vision-divergence";

const TEXT = 24;

/** Values of a trained model's kind, by what its name says a tensor does. */
function fill(model: VisionLanguageModel, seed: number): void {
  const random = new Random(seed);
  const spread = (deviation: number) => Math.exp(deviation * random.normal());
  // Student's t with five degrees of freedom, from a pool: kurtosis 9.
  const pool = Float32Array.from({ length: 1 << 20 }, () => {
    let chi = 0;
    for (let i = 0; i < 5; i++) chi += random.normal() ** 2;
    return (random.normal() / Math.sqrt(chi / 5)) * Math.sqrt(3 / 5);
  });
  for (const { weight, parts, shape, role } of model.parameters.groups()) {
    for (const part of parts) {
      const { name, offset } = part;
      const size = sizeOf(part.shape);
      const values = new Float32Array(size);
      const vector = shape.length === 1;
      if (vector && /norm.*weight$|neck.*\.[13]\.weight$/.test(name)) {
        for (let i = 0; i < size; i++) values[i] = spread(0.3) * (random.uniform() < 0.005 ? 6 : 1);
      } else if (name.endsWith("alpha_downsamples")) values.fill(0.5);
      else if (vector || name.includes("pos_embed") || name.includes("rel_pos")) {
        const std = vector ? 0.1 : 0.3;
        for (let i = 0; i < size; i++) values[i] = std * pool[(random.uniform() * pool.length) | 0];
        // Channels that stand out in the whole stream.
        if (/mlp\.(fc2|lin2)\.bias$/.test(name)) {
          for (let i = 0; i < 2; i++) values[(random.uniform() * size) | 0] = 8 * random.normal();
        }
      } else {
        const columns = size / part.shape[0];
        const gain =
          (role === "head" ? 2.5 : role === "embedding" ? Math.sqrt(columns) : 1) / Math.sqrt(columns);
        const widths = Float32Array.from({ length: columns }, () => spread(0.3));
        for (let row = 0, i = 0; row < part.shape[0]; row++) {
          const scale = gain * spread(0.3);
          let at = (random.uniform() * pool.length) | 0;
          for (let column = 0; column < columns; column++, i++) {
            values[i] = scale * widths[column] * pool[at];
            if (++at === pool.length) at = 0;
          }
        }
      }
      if (!("set" in weight)) throw new Error(`${name} is quantized`);
      // Convolutions are stored in another order; random values are as good in any.
      weight.set(values, offset);
    }
  }
}

/** Views as of a page: smooth light, and edges. */
function picture(views: number, side: number, seed: number): Float32Array {
  const random = new Random(seed);
  const waves = Array.from({ length: 6 }, () => Array.from({ length: 4 }, () => random.uniform()));
  const boxes = Array.from({ length: 40 }, () => Array.from({ length: 6 }, () => random.uniform()));
  const pixels = new Float32Array(views * side * side * 3);
  for (let v = 0, i = 0; v < views; v++) {
    for (let y = 0; y < side; y++) {
      for (let x = 0; x < side; x++) {
        const [a, b] = [x / side + v, y / side];
        const light =
          waves.reduce((sum, [p, q, r, s]) => sum + s * Math.sin(9 * p * a + 9 * q * b + 7 * r), 0) / 4;
        const box = boxes.findLast(
          ([p, q, w, h]) => a - v > p && a - v < p + w / 6 && b > q && b < q + h / 9,
        );
        for (let c = 0; c < 3; c++) {
          const value = box ? box[4] * 2 - 1 + 0.2 * c * box[5] : light + 0.1 * c;
          pixels[i++] = Math.max(-1, Math.min(1, value));
        }
      }
    }
  }
  return pixels;
}

interface Seen {
  readonly tower: Float32Array[];
  readonly tokens: Float32Array;
  readonly seconds: number;
}

async function see(model: VisionLanguageModel, pixels: Float32Array, views: number): Promise<Seen> {
  const { device, imageSize: side } = model;
  const start = performance.now();
  const [output, tokens] = device.inference(() => {
    const seen = model.tower.forward(device.tensor(pixels, [views, side, side, 3]));
    return [seen, model.projector.forward(seen)] as const;
  });
  const values = (await tokens.data()) as Float32Array;
  const seconds = (performance.now() - start) / 1000;
  const parts = "high" in output ? [output.high, output.low] : [output];
  const tower: Float32Array[] = [];
  for (const each of parts) tower.push((await each.data()) as Float32Array);
  for (const each of [...parts, tokens]) each.dispose();
  return { tower, tokens: values, seconds };
}

/** Logits of a text after the image. */
async function predicted(model: VisionLanguageModel, tokens: Float32Array) {
  const { device, language, config } = model;
  const { hiddenSize, vocabSize } = config.language;
  const ids = Array.from({ length: TEXT }, (_, i) => (i * 7919 + 13) % vocabSize);
  using embeddings = device.tensor(tokens, [tokens.length / hiddenSize, hiddenSize]);
  return await textLogits(language, ids, { prefix: [{ embeddings, hash: "", placeholderId: 0 }] });
}

interface Variant {
  readonly label: string;
  readonly language: StorageFormat;
  readonly vision: StorageFormat;
}

const VARIANTS: readonly Variant[] = [
  { label: "vision bf16", language: "f32", vision: "bf16" },
  { label: "vision q8", language: "f32", vision: "q8" },
  { label: "vision q4", language: "f32", vision: "q4" },
  { label: "language q8", language: "q8", vision: "f32" },
  { label: "language q4", language: "q4", vision: "f32" },
  { label: "q4, vision q8", language: "q4", vision: "q8" },
];

const moved = ({ meanCosine, minCosine, relative, maxError }: VectorDivergence) =>
  `${(1 - meanCosine).toExponential(1)} ${(1 - minCosine).toExponential(1)} ${relative.toFixed(4)} ${maxError.toFixed(2)}`;

/** Compares all variants of one model. */
async function compare(
  label: string,
  json: Json,
  exact: VisionLanguageModel,
  views: number,
  log: (line: string) => void,
  metrics: Record<string, number>,
): Promise<void> {
  const { device } = exact;
  const pixels = picture(views, exact.imageSize, 5);
  const before = await see(exact, pixels, views);
  const width = exact.config.language.hiddenSize;
  const logits = await predicted(exact, before.tokens);
  log(
    `${label}: ${exact.parameters.count / 1e6} million parameters, f32 image ${before.seconds.toFixed(2)} s`,
  );
  log(
    "                tower: 1 - cosine mean, max; relative; max   tokens: the same   KL mean, max; top-1   image s",
  );
  for (const variant of VARIANTS) {
    const storage = storageRule(variant.language, variant.vision);
    const mixed: typeof storage = (spec) =>
      spec.role === "filter" && variant.vision === "bf16" ? "bf16" : storage(spec);
    using model = await visionModelFrom(json as never, weightsOf(exact), device, { storage: mixed });
    const after = await see(model, pixels, views);
    const tower = new VectorComparison();
    before.tower.forEach((values, i) => {
      tower.add(
        values,
        after.tower[i],
        values.length / (views * (exact.tower.config.kind === "hybrid" ? 576 : gridOf(exact))),
      );
    });
    const tokens = new VectorComparison();
    tokens.add(before.tokens, after.tokens, width);
    const kl = divergence(logits, await predicted(model, after.tokens));
    log(
      `${variant.label.padEnd(15)} ${moved(tower.result)}   ${moved(tokens.result)}   ` +
        `${kl.meanKl.toExponential(1)} ${kl.maxKl.toExponential(1)} ${kl.sameTop.toFixed(2)}   ${after.seconds.toFixed(2)}`,
    );
    const key = `${label} ${variant.label}`;
    metrics[`${key}, tokens relative`] = tokens.result.relative;
    metrics[`${key}, mean KL`] = kl.meanKl;
  }
}

const gridOf = ({ config: { tower } }: VisionLanguageModel) => towerSide(tower) ** 2;

/** A released configuration with few language layers and a small vocabulary. */
function shortened(preset: VisionPresetName): Json {
  const json = structuredClone(visionPresets[preset]) as Record<string, Record<string, unknown>>;
  const moe = json.language_config.n_routed_experts !== undefined;
  Object.assign(json.language_config, { num_hidden_layers: 3, vocab_size: 8192 });
  if (moe) Object.assign(json.language_config, { n_routed_experts: 16, bos_token_id: 0, eos_token_id: 1 });
  return json;
}

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  await using device = await createCpuDevice();
  const metrics: Record<string, number> = {};
  const wanted = (label: string) => args.length === 0 || args.some((each) => label.includes(each));
  for (const fixture of ["vl/chat", "vl/hybrid-chat", "vl2/mha", "vl2/mla"].filter(wanted)) {
    const tree = nodeFolder(new URL(`../test/fixtures/${fixture}`, import.meta.url).pathname);
    const json = JSON.parse(await tree.readText("config.json"));
    using model = await loadVisionModel(tree, device);
    await compare(fixture, json, model, 3, log, metrics);
  }
  const presets = ["deepseek-vl-1.3b", "deepseek-vl2-tiny", "deepseek-vl-7b"] as const;
  for (const preset of presets.filter(wanted)) {
    const json = shortened(preset);
    const config = parseVisionConfig(json);
    using model = allocateModule(device, "f32", (scope) => new VisionLanguageModel(scope, config));
    fill(model, 1);
    await compare(preset, json, model, 1, log, metrics);
  }
  return { metrics };
}
