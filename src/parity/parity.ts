/**
 * Compares this package with the reference implementations: runs a fixture folder (weights, inputs, the reference's
 * outputs and gradients) and reports for every output how far it is from the reference and how far it may be.
 */

import type { FileTree } from "../checkpoint/byte-source.ts";
import { openCheckpoint } from "../checkpoint/folder.ts";
import { checkpointConfig, modelFrom, modelWeights } from "../checkpoint/model.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import type { MlaForm } from "../nn/context.ts";
import { differentiate } from "../tensor/tape.ts";
import { type Device, disposeAll, type Tensor } from "../tensor/tensor.ts";
import { nextTokenLoss } from "../train/objectives/next-token.ts";
import { compareAlign, isAlignCase } from "./align/align.ts";
import { Captured, Comparison, Expected, type ParityOutput, type Values, withOpened } from "./comparison.ts";
import { compareBaseline, isBaselineCase } from "./moe-baselines.ts";
import { compareScaling, isScalingCase } from "./scaling.ts";
import { compareVision, isVisionCase } from "./vision.ts";

export type { ParityOutput } from "./comparison.ts";

export interface ParityReport {
  readonly case: string;
  readonly device: string;
  readonly outputs: readonly ParityOutput[];
  readonly within: boolean;
}

export interface ParityOptions {
  /** Called with the loaded language model before anything runs; tests spoil a weight here. */
  readonly prepare?: (model: CausalLM) => void;
}

interface Inputs {
  readonly input_ids: readonly (readonly number[])[];
  readonly lengths: readonly number[];
  readonly prompt_ids: readonly number[];
  readonly max_new_tokens: number;
  readonly equal_length_for_aux: number | null;
}

interface Tolerance {
  readonly logits_max_abs: number;
  readonly hidden_max_abs: number;
  readonly loss_max_abs: number;
  readonly router_weight_max_abs?: number;
  readonly grads_max_abs_over_tensor_max_abs: number;
  readonly cache_max_abs?: number;
  readonly mtp_logits_max_abs?: number;
  readonly aux_loss_max_abs?: number;
}

/** Weight of the multi-token-prediction loss in the fixtures' total. */
const mtpWeight = 0.3;

/**
 * Runs a fixture folder on `device` and compares everything it holds: states, router decisions, logits, losses,
 * every gradient, caches, greedy continuations with and without a cache and in both forms of latent attention. Folders
 * of models that see are told by their config.json (`vision.ts`), those of fine-tuning, preferences and rewards (`align/`), of the
 * baselines of mixtures (`moe-baselines.ts`) and of scaling laws (`scaling.ts`, no model, the same on every device) by the name in meta.json.
 * @throws FormatError, ConfigError if the folder is not a fixture
 */
export async function checkParity(
  tree: FileTree,
  device: Device,
  options: ParityOptions = {},
): Promise<ParityReport> {
  if (await isAlignCase(tree)) {
    const { name, outputs } = await compareAlign(tree, device);
    const within = outputs.every((output) => output.within);
    return { case: name, device: device.backend.name, outputs, within };
  }
  if (await isBaselineCase(tree)) {
    const { name, outputs } = await compareBaseline(tree, device);
    const within = outputs.every((output) => output.within);
    return { case: name, device: device.backend.name, outputs, within };
  }
  if (await isScalingCase(tree)) {
    const { name, outputs } = await compareScaling(tree);
    const within = outputs.every((output) => output.within);
    return { case: name, device: device.backend.name, outputs, within };
  }
  if (await isVisionCase(tree)) {
    const outputs = await compareVision(tree, device);
    const within = outputs.every((output) => output.within);
    return { case: tree.name, device: device.backend.name, outputs, within };
  }
  const meta = JSON.parse(await tree.readText("meta.json")) as { case: string; tolerance: Tolerance };
  const inputs = JSON.parse(await tree.readText("inputs.json")) as Inputs;
  return await withOpened(async (opened) => {
    const checkpoint = opened(await openCheckpoint(tree));
    const expected = opened(await Expected.open(tree, "expected.safetensors"));
    const gradients = (await tree.has("grads.safetensors"))
      ? opened(await Expected.open(tree, "grads.safetensors"))
      : null;
    using model = await modelFrom(checkpointConfig(checkpoint).json, modelWeights(checkpoint), device);
    options.prepare?.(model);
    const comparison = new Comparison();
    const run: Run = { model, inputs, expected, gradients, tolerance: meta.tolerance, comparison };
    await compareTraining(run);
    await compareBalance(run);
    await compareInference(run);
    await compareGeneration(run);
    reportMissing(run);
    const { outputs } = comparison;
    return { case: meta.case, device: device.backend.name, outputs, within: outputs.every((o) => o.within) };
  });
}

interface Run {
  readonly model: CausalLM;
  readonly inputs: Inputs;
  readonly expected: Expected;
  /** Null if the folder has no `grads.safetensors`: then no gradient is compared. */
  readonly gradients: Expected | null;
  readonly tolerance: Tolerance;
  readonly comparison: Comparison;
}

/** Fixture outputs that are not this model's: what a wrong wiring would give. */
const notCompared = new Set(["mtp.logits_if_prenorm_hidden"]);

/** What the fixture holds and nothing was compared with must fail, and so must parameters without a reference. */
function reportMissing({ model, expected, gradients, comparison }: Run): void {
  const compared = new Set(comparison.outputs.map((output) => output.name.replace(/ \(.*\)$/, "")));
  for (const name of expected.names())
    if (!compared.has(name) && !notCompared.has(name)) comparison.missing(name);
  if (gradients === null) return;
  for (const { name, group } of model.parameters.named()) {
    if (group.trained && !gradients.has(name)) comparison.missing(`grad.${name}`);
  }
}

/** The bound of an output by its name. */
function boundOf(name: string, t: Tolerance): number {
  if (name === "mtp.logits") return t.mtp_logits_max_abs ?? t.logits_max_abs;
  if (name === "logits") return t.logits_max_abs;
  if (name.endsWith("topk_weights")) return t.router_weight_max_abs!;
  if (name.startsWith("cache.")) return t.cache_max_abs!;
  if (name.endsWith("loss")) return t.loss_max_abs;
  return t.hidden_max_abs;
}

/** Which elements of a `[2, T, ..]` output are not padding; MTP rows end `margin` tokens earlier. */
function realPlaces({ input_ids, lengths }: Inputs, size: number, margin = 0): (index: number) => boolean {
  const tokens = input_ids[0].length;
  const width = size / (input_ids.length * tokens);
  return (i) => {
    const place = Math.floor(i / width);
    return place % tokens < lengths[Math.floor(place / tokens)] - margin;
  };
}

/** Ids and targets of rows cut to `lengths`, ignoring what follows. */
function batchOf(rows: readonly (readonly number[])[], lengths: readonly number[], tokens: number) {
  const ids = Int32Array.from(rows.flatMap((row) => row.slice(0, tokens)));
  const targets = Int32Array.from(
    rows.flatMap((row, b) =>
      Array.from({ length: tokens }, (_, t) => (t + 1 < lengths[b] ? row[t + 1] : -1)),
    ),
  );
  return { sequences: rows.length, ids, targets };
}

async function compareCaptured(
  run: Run,
  captured: Captured,
  names: readonly string[],
  label = "",
): Promise<void> {
  const { expected, inputs, tolerance, comparison } = run;
  for (const name of names) {
    const values = await expected.values(name);
    const real = realPlaces(inputs, values.length, name.startsWith("mtp.") ? 1 : 0);
    const found = await captured.values(name);
    if (name.endsWith("topk_ids")) comparison.ids(label + name, found, values, real);
    else comparison.values(label + name, found, values, boundOf(name, tolerance), "absolute", real);
  }
}

/** Forward and backward: all states, losses and gradients. */
async function compareTraining(run: Run): Promise<void> {
  const { model, inputs, expected, gradients, tolerance, comparison } = run;
  const { mtpLayers } = model.config;
  using captured = new Captured();
  const batch = batchOf(inputs.input_ids, inputs.lengths, inputs.input_ids[0].length);
  const options = { mtpWeight: mtpLayers > 0 ? mtpWeight : 0, capture: captured.capture };
  const result = differentiate(model.device, () => {
    const { loss, crossEntropy, mtp } = nextTokenLoss(model, batch, options);
    return { loss, crossEntropy, mtp };
  });

  // Rows of the MTP block beyond the fixture's are routed too, but compared only if the reference has them.
  const names = expected.names().filter((name) => captured.tensors.has(name));
  const mtpRouter = `router.${model.config.layers}.`;
  await compareCaptured(
    run,
    captured,
    names.filter((name) => !name.startsWith(mtpRouter)),
  );
  for (const name of names.filter((name) => name.startsWith(mtpRouter))) {
    const values = await expected.values(name);
    const real = realPlaces(inputs, values.length, 1);
    const found = await captured.values(name);
    if (name.endsWith("topk_ids")) comparison.ids(name, found, values, real);
    else comparison.values(name, found, values, boundOf(name, tolerance), "absolute", real);
  }
  const scalar = async (name: string, tensor: Tensor) =>
    comparison.values(name, await tensor.data(), await expected.values(name), tolerance.loss_max_abs);
  await scalar("loss", result.crossEntropy);
  if (result.mtp) {
    await scalar("mtp.loss", result.mtp);
    await scalar("total_loss", result.loss);
    const terms = (margin: number) => inputs.lengths.reduce((sum, n) => sum + n - margin, 0);
    const mean = [((await result.mtp.item()) * terms(1)) / terms(2)];
    const name = "mtp.loss_mean_over_terms";
    comparison.values(name, mean, await expected.values(name), tolerance.loss_max_abs);
  }
  disposeAll(result);
  if (gradients) await compareGradients(run, gradients.names(), "grad.", (name) => gradients.values(name));
  model.parameters.clearGradients();
}

/** Every gradient, relative to its tensor's largest; one that the reference has as zero must be exactly zero. */
async function compareGradients(
  { model, tolerance, comparison }: Run,
  names: readonly string[],
  label: string,
  read: (name: string) => Promise<Values>,
): Promise<void> {
  for (const name of names) {
    using gradient = model.parameters.gradient(name);
    const values = await read(name);
    const found = gradient ? await gradient.data() : new Float32Array(values.length);
    comparison.values(label + name, found, values, tolerance.grads_max_abs_over_tensor_max_abs, "relative");
  }
}

/** The balance losses of the earlier models on rows of equal length, and the gradients with them. */
async function compareBalance(run: Run): Promise<void> {
  const { model, inputs, expected, tolerance, comparison } = run;
  const tokens = inputs.equal_length_for_aux;
  const { moe } = model.config;
  if (
    tokens === null ||
    tokens === undefined ||
    moe === null ||
    !expected.names().some((n) => n.startsWith("aux."))
  )
    return;
  const batch = batchOf(
    inputs.input_ids,
    inputs.input_ids.map(() => tokens),
    tokens,
  );
  const result = differentiate(model.device, () => {
    const { loss, balance } = nextTokenLoss(model, batch, { balanceAlpha: moe.balanceAlpha });
    return { loss, balance };
  });
  for (const { layer, loss } of result.balance) {
    const name = `aux.${layer}.loss`;
    const found = [(await loss.item()) * moe.balanceAlpha];
    comparison.values(name, found, await expected.values(name), tolerance.aux_loss_max_abs!);
  }
  disposeAll(result);
  const prefix = "aux_grad.";
  const names = expected.names().filter((name) => name.startsWith(prefix));
  const parameters = names.map((name) => name.slice(prefix.length));
  await compareGradients(run, parameters, prefix, (name) => expected.values(prefix + name));
  model.parameters.clearGradients();
}

/** Logits without a tape in every form of attention, and what the caches hold. */
async function compareInference(run: Run): Promise<void> {
  const { model, inputs, expected, tolerance, comparison } = run;
  const { device, config } = model;
  const logits = await expected.values("logits");
  const real = realPlaces(inputs, logits.length);
  const forms: MlaForm[] = config.attention.kind === "mla" ? ["expanded", "absorbed"] : ["auto"];
  for (const mlaForm of forms) {
    using found = device.tidy(() => model.logits(model.hidden(model.ids(inputs.input_ids), { mlaForm })));
    comparison.values(
      `logits (${mlaForm})`,
      await found.data(),
      logits,
      tolerance.logits_max_abs,
      "absolute",
      real,
    );
  }
  if (!expected.has("cache.1.latent") || config.attention.kind !== "mla") return;
  // Both rows in one pass, as two sequences.
  using first = model.createCache(8);
  using second = model.createCache(8);
  const caches = [first, second];
  const segments = caches.map((cache, i) => ({ cache, tokens: inputs.input_ids[i].length }));
  device.tidy(() => {
    model.hidden(model.ids([inputs.input_ids.flat()]), { segments });
  });
  const { latentRank, ropeDim } = config.attention;
  const compare = async (name: string, found: ArrayLike<number>) => {
    const values = await expected.values(name);
    const places = realPlaces(inputs, values.length);
    comparison.values(name, found, values, boundOf(name, tolerance), "absolute", places);
  };
  const held = async (channel: number, width: number) => {
    const rows = caches.map((cache) => cache.read(1, 0, 0, cache.length, channel, width));
    const values = await Promise.all(rows.map((row) => row.data()));
    disposeAll(rows);
    return Float32Array.from(values.flatMap((row) => Array.from(row)));
  };
  await compare("cache.1.latent", await held(0, latentRank));
  const keys = await held(latentRank, ropeDim);
  await compare("cache.1.k_rope_interleaved", keys);
  const half = ropeDim / 2;
  const halves = Float32Array.from(keys, (_, i) => {
    const channel = i % ropeDim;
    return keys[i - channel + 2 * (channel % half) + (channel < half ? 0 : 1)];
  });
  await compare("cache.1.k_rope_halves", halves);
}

/** Greedy continuations by every road. */
async function compareGeneration(run: Run): Promise<void> {
  const { model, inputs, expected, comparison } = run;
  const reference = await expected.values("generated");
  const mla = model.config.attention.kind === "mla";
  comparison.ids("generated (no cache)", await continueWithout(model, inputs), reference);
  const forms: MlaForm[] = mla ? ["expanded", "absorbed", "auto"] : ["auto"];
  for (const form of forms) {
    comparison.ids(`generated (cache, ${form})`, await continueCached(model, inputs, form), reference);
  }
}

async function continueWithout(model: CausalLM, { prompt_ids, max_new_tokens }: Inputs): Promise<number[]> {
  const tokens = [...prompt_ids];
  while (tokens.length < prompt_ids.length + max_new_tokens) {
    tokens.push(await best(model, () => model.hidden(model.ids([tokens]))));
  }
  return tokens.slice(prompt_ids.length);
}

async function continueCached(model: CausalLM, inputs: Inputs, mlaForm: MlaForm): Promise<number[]> {
  const { prompt_ids, max_new_tokens } = inputs;
  // Small on purpose, so that the cache grows on the way.
  using cache = model.createCache(4);
  const generated: number[] = [];
  let next: readonly number[] = prompt_ids;
  while (generated.length < max_new_tokens) {
    const token = await best(model, () => model.hidden(model.ids([next]), { cache, mlaForm }));
    generated.push(token);
    next = [token];
  }
  return generated;
}

async function best(model: CausalLM, hidden: () => Tensor): Promise<number> {
  using scores = model.device.tidy(() => model.logits(model.last(hidden())));
  const logits = await scores.data();
  let index = 0;
  for (let i = 1; i < logits.length; i++) if (logits[i] > logits[index]) index = i;
  return index;
}
