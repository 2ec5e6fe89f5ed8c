/**
 * A model of a released shape with random weights, quantized, made and opened and run on this machine: what the real
 * one would need and how fast it would go, without its weights.
 */

import { join } from "node:path";
import { loadModel } from "../checkpoint/model.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { tiledConfig, tiledEntries } from "../checkpoint/tiles.ts";
import { nodeFolderSink } from "../files/folder-sink.ts";
import { thisMachine } from "../files/machine.ts";
import { withTemporaryFolder } from "../files/temporary.ts";
import { type CausalLM, createModel } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import type { Json } from "../models/config-reader.ts";
import { countParameters, weightBytes } from "../models/count.ts";
import { describeDecoder } from "../models/decoder.ts";
import type { Cache, CacheDtype } from "../nn/cache.ts";
import type { Parameters } from "../nn/parameters.ts";
import { storageRule } from "../nn/storage.ts";
import { ConfigError } from "../tensor/errors.ts";
import type { Device } from "../tensor/tensor.ts";
import { formatBytes, formatCompact, formatDuration, formatRate, plural } from "../text/units.ts";

export interface ShapeOptions {
  readonly dtype: "q4" | "q8" | "bf16" | "f32";
  /** Tokens of the prompt, and tokens decoded after it. */
  readonly prompt: number;
  readonly tokens: number;
  /** Sequences decoded together in the last measurement; 1 leaves it out. */
  readonly batch: number;
  readonly cacheDtype: CacheDtype;
  /** Whether the model goes to disk and is opened again (quantized ones only). */
  readonly reopen: boolean;
  /** Where the model is saved and stays; by default among the temporary files, for the time of the measurement. */
  readonly folder?: string;
  /** Replace a model of this program's in `folder`. */
  readonly force?: boolean;
  readonly seed: number;
}

export interface ShapeFigures {
  readonly parameters: number;
  readonly activated: number;
  readonly weightBytes: number;
  readonly bytesPerToken: number;
  readonly makeSeconds: number;
  readonly saveSeconds: number | null;
  readonly loadSeconds: number | null;
  /** From opening to the first token of a prompt of eight tokens. */
  readonly firstTokenSeconds: number | null;
  readonly prefillTokensPerSecond: number;
  readonly decodeTokensPerSecond: number;
  /** Weight bytes read per second while decoding one sequence. */
  readonly decodeGigabytesPerSecond: number;
  readonly batchTokensPerSecond: number | null;
  readonly peakResidentBytes: number;
}

/** Seconds since `performance.now()` gave `since`. */
export const seconds = (since: number) => (performance.now() - since) / 1000;

/** One pass over `ids` of each of `caches`, to the logits of each sequence's last token. */
export async function step(
  model: CausalLM,
  caches: readonly ReturnType<CausalLM["createCache"]>[],
  ids: readonly (readonly number[])[],
): Promise<void> {
  const { device } = model;
  using logits = device.inference(() => {
    const segments = caches.map((cache, i) => ({ cache, tokens: ids[i].length }));
    const states = model.hidden(model.ids([ids.flat()]), { segments });
    let end = 0;
    const last = ids.map(({ length }) => (end += length) - 1);
    return model.logits(model.rows(states, last));
  });
  await logits.data();
}

export const tokenAt = (i: number, vocabulary: number) => (i * 7919 + 13) % vocabulary;

/** Refuses weights that this machine's memory does not hold. @throws ConfigError */
export function checkRoom(bytes: number, parameters: number, dtype: string): void {
  const { total: memory } = thisMachine();
  if (bytes <= memory) return;
  throw new ConfigError("the weights exceed this machine's memory", {
    where: "bench",
    name: `--dtype ${dtype}`,
    expected: `at most ${formatBytes(memory)}`,
    found: `${formatBytes(bytes)}, ${formatCompact(parameters)} parameters`,
    hint: "Choose a smaller model or fewer bits per weight.",
  });
}

/** Tokens per second of decoding `tokens` tokens after what `cache` holds. */
export async function decodeRate(model: CausalLM, cache: Cache, tokens: number): Promise<number> {
  const { vocabSize } = model.config;
  const since = performance.now();
  for (let i = 0; i < tokens; i++) await step(model, [cache], [[tokenAt(i + 3, vocabSize)]]);
  return tokens / seconds(since);
}

/** Tokens per second of `batch` sequences together, after 32 tokens each. */
export async function batchRate(
  model: CausalLM,
  { batch, tokens, cacheDtype }: Pick<ShapeOptions, "batch" | "tokens" | "cacheDtype">,
): Promise<number> {
  const { vocabSize } = model.config;
  const caches = Array.from({ length: batch }, () => model.createCache(32 + tokens, cacheDtype));
  try {
    const first = caches.map((_, row) => Array.from({ length: 32 }, (_, i) => tokenAt(row + i, vocabSize)));
    await step(model, caches, first);
    const since = performance.now();
    const steps = Math.max(1, Math.ceil(tokens / 2));
    const each = (i: number) => caches.map((_, row) => [tokenAt(i * 31 + row * 101, vocabSize)]);
    for (let i = 0; i < steps; i++) await step(model, caches, each(i));
    return (steps * batch) / seconds(since);
  } finally {
    for (const one of caches) one[Symbol.dispose]();
  }
}

/** Gives `model` to disk and takes it back, with the seconds of both. */
export async function saved<M extends Disposable & { readonly parameters: Parameters }>(
  model: M,
  config: Json,
  { folder, force }: Pick<ShapeOptions, "folder" | "force">,
  open: (folder: string) => Promise<M>,
  log: (line: string) => void,
): Promise<{ model: M; saveSeconds: number; loadSeconds: number }> {
  const reopen = async (place: string) => {
    const path = join(place, "model");
    let since = performance.now();
    const sink = await nodeFolderSink(path, { force });
    await saveCheckpoint(sink, tiledEntries(model), { config });
    const saveSeconds = seconds(since);
    model[Symbol.dispose]();
    log(`save     ${formatDuration(saveSeconds)}`);
    since = performance.now();
    return { model: await open(path), saveSeconds, loadSeconds: seconds(since) };
  };
  return await (folder === undefined ? withTemporaryFolder("deepseek-ts-shape-", reopen) : reopen(folder));
}

/** Makes, saves, opens, prefills and decodes. @throws ConfigError, DeepseekError if it does not fit */
export async function benchmarkShape(
  configJson: Json,
  device: Device,
  options: ShapeOptions,
  log: (line: string) => void,
): Promise<ShapeFigures> {
  const { dtype, seed, cacheDtype } = options;
  const config = parseConfig({ ...configJson, num_nextn_predict_layers: 0 });
  const counts = countParameters(config);
  const bytes = weightBytes(describeDecoder(config), storageRule(dtype));
  const vocabulary = config.vocabSize;
  checkRoom(bytes.total, counts.total, dtype);

  let since = performance.now();
  let model = createModel({ ...configJson, num_nextn_predict_layers: 0 }, device, { dtype, seed, std: 0.02 });
  const makeSeconds = seconds(since);
  log(
    `create   ${formatCompact(counts.total)} parameters, ${formatBytes(bytes.total)}, in ${formatDuration(makeSeconds)}`,
  );

  let [saveSeconds, loadSeconds, firstTokenSeconds]: (number | null)[] = [null, null, null];
  if (options.reopen && (dtype === "q4" || dtype === "q8")) {
    const open = (folder: string) => loadModel(nodeFolder(folder), device, { dtype: "auto" });
    ({ model, saveSeconds, loadSeconds } = await saved(model, tiledConfig(model), options, open, log));
    since = performance.now();
    using cache = model.createCache(64, cacheDtype);
    await step(model, [cache], [Array.from({ length: 8 }, (_, i) => tokenAt(i, vocabulary))]);
    firstTokenSeconds = loadSeconds + seconds(since);
    log(`load     ${formatDuration(loadSeconds)}, first token after ${formatDuration(firstTokenSeconds)}`);
  }

  using _model = model;
  using cache = model.createCache(options.prompt + options.tokens + 1, cacheDtype);
  const prompt = Array.from({ length: options.prompt }, (_, i) => tokenAt(i, vocabulary));
  using warm = model.createCache(options.prompt, cacheDtype);
  await step(model, [warm], [prompt.slice(0, 64)]);
  since = performance.now();
  for (let at = 0; at < prompt.length; at += 512) await step(model, [cache], [prompt.slice(at, at + 512)]);
  const prefillTokensPerSecond = options.prompt / seconds(since);
  log(`prefill  ${plural(options.prompt, "token")} at ${formatRate(prefillTokensPerSecond, 1)} tokens/s`);

  const decodeTokensPerSecond = await decodeRate(model, cache, options.tokens);
  const decodeGigabytesPerSecond = (decodeTokensPerSecond * bytes.perToken) / 1e9;
  log(
    `decode   ${plural(options.tokens, "token")} at ${formatRate(decodeTokensPerSecond, 1)} tokens/s, ` +
      `weights read at ${formatBytes(decodeGigabytesPerSecond * 1e9)}/s`,
  );

  let batchTokensPerSecond: number | null = null;
  if (options.batch > 1) {
    batchTokensPerSecond = await batchRate(model, options);
    log(
      `batch    ${plural(options.batch, "sequence")} at ${formatRate(batchTokensPerSecond, 1)} tokens/s in total`,
    );
  }
  return {
    parameters: counts.total,
    activated: counts.activated,
    weightBytes: bytes.total,
    bytesPerToken: bytes.perToken,
    ...{ makeSeconds, saveSeconds, loadSeconds, firstTokenSeconds },
    ...{ prefillTokensPerSecond, decodeTokensPerSecond, decodeGigabytesPerSecond, batchTokensPerSecond },
    peakResidentBytes: process.resourceUsage().maxRSS * 1024,
  };
}
