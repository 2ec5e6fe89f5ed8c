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
import type { CacheDtype } from "../nn/cache.ts";
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

const seconds = (since: number) => (performance.now() - since) / 1000;

/** One pass over `ids` of each of `caches`, to the logits of each sequence's last token. */
async function step(
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

const tokenAt = (i: number, vocabulary: number) => (i * 7919 + 13) % vocabulary;

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
  const { total: memory } = thisMachine();
  if (bytes.total > memory) {
    throw new ConfigError("the weights exceed this machine's memory", {
      where: "bench",
      name: `--dtype ${dtype}`,
      expected: `at most ${formatBytes(memory)}`,
      found: `${formatBytes(bytes.total)}, ${formatCompact(counts.total)} parameters`,
      hint: "Choose a smaller model or fewer bits per weight.",
    });
  }

  let since = performance.now();
  let model = createModel({ ...configJson, num_nextn_predict_layers: 0 }, device, { dtype, seed, std: 0.02 });
  const makeSeconds = seconds(since);
  log(
    `create   ${formatCompact(counts.total)} parameters, ${formatBytes(bytes.total)}, in ${formatDuration(makeSeconds)}`,
  );

  let [saveSeconds, loadSeconds, firstTokenSeconds]: (number | null)[] = [null, null, null];
  if (options.reopen && (dtype === "q4" || dtype === "q8")) {
    const reopen = async (folder: string) => {
      const path = join(folder, "model");
      since = performance.now();
      const sink = await nodeFolderSink(path, { force: options.force });
      await saveCheckpoint(sink, tiledEntries(model), { config: tiledConfig(model) });
      saveSeconds = seconds(since);
      model[Symbol.dispose]();
      log(`save     ${formatDuration(saveSeconds)}`);
      since = performance.now();
      model = await loadModel(nodeFolder(path), device, { dtype: "auto" });
      loadSeconds = seconds(since);
      using cache = model.createCache(64, cacheDtype);
      await step(model, [cache], [Array.from({ length: 8 }, (_, i) => tokenAt(i, vocabulary))]);
      firstTokenSeconds = seconds(since);
      log(`load     ${formatDuration(loadSeconds)}, first token after ${formatDuration(firstTokenSeconds)}`);
    };
    await (options.folder === undefined
      ? withTemporaryFolder("deepseek-ts-shape-", reopen)
      : reopen(options.folder));
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

  since = performance.now();
  for (let i = 0; i < options.tokens; i++) await step(model, [cache], [[tokenAt(i + 3, vocabulary)]]);
  const decodeTokensPerSecond = options.tokens / seconds(since);
  const decodeGigabytesPerSecond = (decodeTokensPerSecond * bytes.perToken) / 1e9;
  log(
    `decode   ${plural(options.tokens, "token")} at ${formatRate(decodeTokensPerSecond, 1)} tokens/s, ` +
      `weights read at ${formatBytes(decodeGigabytesPerSecond * 1e9)}/s`,
  );

  let batchTokensPerSecond: number | null = null;
  if (options.batch > 1) {
    const caches = Array.from({ length: options.batch }, () => model.createCache(128, cacheDtype));
    const each = (i: number) => caches.map((_, row) => [tokenAt(i * 31 + row * 101, vocabulary)]);
    await step(
      model,
      caches,
      caches.map((_, row) => prompt.slice(row, row + 32)),
    );
    since = performance.now();
    const steps = Math.max(1, Math.ceil(options.tokens / 2));
    for (let i = 0; i < steps; i++) await step(model, caches, each(i));
    batchTokensPerSecond = (steps * options.batch) / seconds(since);
    for (const one of caches) one[Symbol.dispose]();
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
