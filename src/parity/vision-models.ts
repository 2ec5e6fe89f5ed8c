/**
 * Parity of whole models that see: images through tower and projector into prompts, states, router decisions, logits,
 * greedy continuations, and for training the loss and every gradient.
 */
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import type { VisionLanguageModel } from "../models/vision-language.ts";
import type { RouterOutput } from "../nn/moe.ts";
import { scale } from "../tensor/ops/elementwise.ts";
import { differentiate } from "../tensor/tape.ts";
import { disposeAll, type Tensor } from "../tensor/tensor.ts";
import { nextTokenLoss } from "../train/objectives/next-token.ts";
import { Captured } from "./comparison.ts";
import type { VisionCase } from "./vision-values.ts";

/** Id of images in the cases of DeepSeek-VL2; those of DeepSeek-VL name theirs. */
const VL2_IMAGE = 94;

/** How much smaller the inputs are where the epsilon of norms shows. */
const PROBE = 1e-3;

/** A prompt of a case without its padding, which is on the left. */
interface Row {
  readonly ids: readonly number[];
  /** Places of the padding before it. */
  readonly start: number;
  readonly images: readonly Tensor[];
}

async function rowsOf(
  run: VisionCase,
  images: readonly (readonly Tensor[])[],
  imageId?: number,
): Promise<Row[]> {
  const [rows, tokens] = run.inputs.shape("input_ids");
  const ids = Array.from(await run.inputs.values("input_ids"));
  const overwritten = run.inputs.has("images_seq_mask") ? await run.inputs.values("images_seq_mask") : null;
  // JanusFlow's images also take the place of the token that begins them.
  if (overwritten && imageId !== undefined)
    for (const [i, own] of overwritten.entries()) if (own) ids[i] = imageId;
  const mask = run.inputs.has("attention_mask") ? await run.inputs.values("attention_mask") : null;
  return Array.from({ length: rows }, (_, row) => {
    let start = row * tokens;
    while (mask !== null && mask[start] === 0) start++;
    return { ids: ids.slice(start, (row + 1) * tokens), start: start - row * tokens, images: images[row] };
  });
}

/** Collects values of rows at their places; what is not written is padding. */
class Placed {
  readonly #places = new Map<string, { values: Float64Array; real: Uint8Array }>();

  /** Values `[tokens, width]` of a row that begins at `at`, in a batch whose rows have `length` places. */
  add(
    name: string,
    row: number,
    at: number,
    length: number,
    rows: number,
    values: ArrayLike<number>,
    tokens: number,
  ) {
    const width = values.length / tokens;
    const size = rows * length * width;
    const place = this.#places.get(name) ?? { values: new Float64Array(size), real: new Uint8Array(size) };
    this.#places.set(name, place);
    const first = (row * length + at) * width;
    place.values.set(Array.from(values), first);
    place.real.fill(1, first, first + values.length);
  }

  async compare(run: VisionCase): Promise<void> {
    for (const [name, { values, real }] of this.#places) {
      if (run.expected.has(name)) await run.compare(name, values, (i) => real[i] === 1);
    }
  }
}

/** States, router decisions and logits of every row by itself. */
async function compareRows(
  run: VisionCase,
  model: VisionLanguageModel,
  rows: readonly Row[],
  imageId: number,
) {
  const { device } = run;
  const { language } = model;
  const { layers } = language.config;
  const [, length] = run.inputs.shape("input_ids");
  const placed = new Placed();
  for (const [index, { ids, start, images }] of rows.entries()) {
    const tokens = ids.length;
    const add = async (name: string, tensor: Tensor) =>
      placed.add(name, index, start, length, rows.length, await tensor.data(), tokens);
    using captured = new Captured();
    using inputs = device.inference(() => model.inputs(ids, [1, tokens], images, imageId));
    await add("inputs_embeds", inputs);
    const routers: RouterOutput[] = [];
    const { logits, hidden } = device.inference(() => {
      const hidden = language.hidden(inputs, { capture: captured.capture, routers });
      return { hidden, logits: language.logits(hidden), scores: routers.map(({ scores }) => scores) };
    });
    await add("logits", logits);
    await add(`hidden.${layers}`, hidden);
    for (const [name, tensor] of captured.tensors) {
      // The last of the reference's is after the final norm.
      if (name === `hidden.${layers}` || name === "final_norm") continue;
      await add(name.replace("topk_ids", "experts").replace("topk_weights", "weights"), tensor);
    }
    for (const { layer, scores } of routers) await add(`router.${layer}.scores`, scores);
    disposeAll([logits, hidden, routers.map(({ scores }) => scores)]);
    using probes = new Captured();
    using probe = device.inference(() => {
      const small = scale(inputs, PROBE);
      return language.logits(language.hidden(small, { capture: probes.capture }));
    });
    await add("eps_probe.logits", probe);
    await add("eps_probe.hidden.1", probes.tensors.get("hidden.1")!);
  }
  await placed.compare(run);
}

/** The best continuation with a cache, whose first pass reads embeddings. */
async function greedy(run: VisionCase, model: VisionLanguageModel, rows: readonly Row[], imageId: number) {
  const { device } = run;
  const { language } = model;
  const [, steps] = run.expected.shape("greedy_tokens");
  const found: number[] = [];
  for (const { ids, images } of rows) {
    using cache = language.createCache(4);
    let next: number | null = null;
    for (let step = 0; step < steps; step++) {
      const given = next;
      using scores = device.inference(() => {
        const input =
          given === null ? model.inputs(ids, [1, ids.length], images, imageId) : language.ids([[given]]);
        return language.logits(language.last(language.hidden(input, { cache })));
      });
      const logits = await scores.data();
      let best = 0;
      for (let i = 1; i < logits.length; i++) if (logits[i] > logits[best]) best = i;
      found.push(best);
      next = best;
    }
  }
  await run.compare("greedy_tokens", found);
}

/** DeepSeek-VL 1.3B: two prompts with several images, some of them empty slots of the batch. */
export async function compareChat(run: VisionCase): Promise<void> {
  const { device, json } = run;
  using model = await loadVisionModel(run.tree, run.device);
  const { pixels, shape } = await run.images("pixel_values");
  const [rows, slots, ...image] = shape;
  using x = device.tensor(pixels, [rows * slots, ...image]);
  using features = device.inference(() => model.tower.forward(x) as Tensor);
  await run.compare("features", features);
  using tokens = device.inference(() => model.encodeViews(x));
  const all = device.inference(() => model.arrange(tokens, new Array(rows * slots).fill([0, 0])));
  const used = json.images_per_prompt as number[];
  const images = used.map((count, row) => all.slice(row * slots, row * slots + count));
  const imageId = (json.image_token_id ?? (json.token_ids as { image: number }).image) as number;
  const prompts = await rowsOf(run, images, imageId);
  await compareRows(run, model, prompts, imageId);
  await greedy(run, model, prompts, imageId);
  disposeAll(all);
}

/** DeepSeek-VL 7B: one image through both towers, 576 tokens. */
export async function compareHybridChat(run: VisionCase): Promise<void> {
  const { device, json } = run;
  using model = await loadVisionModel(run.tree, run.device);
  const bytes = await run.inputs.values("pixels_uint8_hwc");
  using x = device.tensor(
    Float32Array.from(bytes, (byte) => byte / 255),
    [1, ...run.inputs.shape("pixels_uint8_hwc")],
  );
  using captured = new Captured();
  using tokens = device.inference(() => model.encodeViews(x, captured.capture));
  if (run.expected.has("aligned")) await run.compare("aligned", tokens);
  for (const name of ["high", "low"]) {
    if (run.expected.has(name)) await run.compare(name, captured.tensors.get(name)!);
  }
  const [image] = device.inference(() => model.arrange(tokens, [[0, 0]]));
  const imageId = json.image_token_id as number;
  const [prompt] = await rowsOf(run, [[image]]);
  const { language } = model;
  const length = prompt.ids.length;
  const { inputs, last } = device.inference(() => {
    const inputs = model.inputs(prompt.ids, [1, length], prompt.images, imageId);
    const hidden = language.hidden(inputs);
    const places = Array.from({ length: 8 }, (_, i) => length - 8 + i);
    return { inputs, last: language.logits(language.rows(hidden, places)) };
  });
  await run.compare("logits_last_8", last);
  const first = "inputs_embeds_first_40";
  if (run.expected.has(first)) {
    const [, places, width] = run.expected.shape(first);
    await run.compare(first, Array.from(await inputs.data()).slice(0, places * width));
  }
  if (run.expected.has("greedy_tokens")) await greedy(run, model, [prompt], imageId);
  disposeAll([inputs, last, image]);
}

/** The images of DeepSeek-VL2's prompts from their views, with gradients if a tape records. */
async function tiledImages(run: VisionCase) {
  const { pixels, shape } = await run.images("images");
  const [rows, slots, ...view] = shape;
  const size = view.reduce((product, n) => product * n, 1);
  const crops = await run.inputs.values("images_spatial_crop");
  const [, most] = run.inputs.shape("images_spatial_crop");
  return Array.from({ length: rows }, (_, row) => {
    const tiles: [number, number][] = [];
    for (let image = 0; image < most; image++) {
      const at = (row * most + image) * 2;
      if (crops[at] === 0) break;
      tiles.push([crops[at], crops[at + 1]]);
    }
    const views = tiles.reduce((sum, [across, down]) => sum + 1 + across * down, 0);
    const start = row * slots * size;
    return { tiles, pixels: pixels.subarray(start, start + views * size), shape: [views, ...view] };
  });
}

/** DeepSeek-VL2: tiled images, several images, text alone. */
export async function compareTiledChat(run: VisionCase): Promise<void> {
  const { device } = run;
  using model = await loadVisionModel(run.tree, run.device);
  const images: Tensor[][] = [];
  for (const [row, { tiles, pixels, shape }] of (await tiledImages(run)).entries()) {
    if (tiles.length === 0) {
      images.push([]);
      continue;
    }
    using x = device.tensor(pixels, shape);
    using tokens = device.inference(() => model.encodeViews(x));
    images.push(device.inference(() => model.arrange(tokens, tiles)));
    if (row > 0) continue;
    using tower = device.inference(() => model.tower.forward(x) as Tensor);
    await run.compare("tower.sample0", tower);
    await run.compare("projector.sample0", tokens);
  }
  const prompts = await rowsOf(run, images);
  await compareRows(run, model, prompts, VL2_IMAGE);
  await greedy(run, model, prompts, VL2_IMAGE);
  disposeAll(images);
}

/** A training step of DeepSeek-VL2: loss and every gradient, with and without the load-balance term. */
export async function compareGradients(run: VisionCase): Promise<void> {
  const { device } = run;
  using model = await loadVisionModel(run.tree, run.device);
  const shape = run.inputs.shape("input_ids") as [number, number];
  const [sequences, tokens] = shape;
  const ids = (await run.inputs.values("input_ids")) as Int32Array;
  const labels = await run.inputs.values("labels");
  const targets = ids.map((_, i) => ((i + 1) % tokens === 0 ? -1 : labels[i + 1]));
  const given = await tiledImages(run);
  const inputs = () => {
    const images = given.flatMap(({ tiles, pixels, shape }) =>
      model.arrange(model.encodeViews(device.tensor(pixels, shape)), tiles),
    );
    return model.inputs(ids, shape, images, VL2_IMAGE);
  };
  const { parameters, language } = model;
  for (const balanceAlpha of [language.config.moe!.balanceAlpha, 0]) {
    using captured = new Captured();
    const result = differentiate(device, () => {
      const batch = { sequences, ids, targets, inputs };
      const options = { balanceAlpha, capture: captured.capture };
      const { loss, crossEntropy, balance } = nextTokenLoss(language, batch, options);
      return { loss, crossEntropy, balance: balance.map(({ loss }) => loss) };
    });
    if (balanceAlpha > 0) {
      await run.compare("loss", result.crossEntropy);
      await run.compare("logits", captured.tensors.get("logits")!);
      const balance: number[] = [];
      for (const each of result.balance) balance.push(balanceAlpha * (await each.item()));
      await run.compare("aux_loss", balance);
    }
    const prefix = balanceAlpha > 0 ? "grad." : "no_aux_grad.";
    for (const { name, group } of parameters.named()) {
      using gradient = parameters.gradient(name);
      if (!run.expected.has(prefix + name)) {
        // The other gradients are the same with and without; what is not trained has none.
        if (balanceAlpha > 0 && (group.trained || gradient !== null)) run.comparison.missing(`grad.${name}`);
        continue;
      }
      const size = (await run.expected.values(prefix + name)).length;
      await run.compare(prefix + name, gradient ?? new Float32Array(size));
    }
    disposeAll(result);
    parameters.clearGradients();
  }
}
