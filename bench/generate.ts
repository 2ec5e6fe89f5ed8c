/**
 * Speed of generation on the CPU: prefill, plain and speculative decoding, and the two forms of latent attention,
 * on a random V3-shaped model (hidden 256, 6 layers, 4096 tokens). Speculation is timed twice: with random weights,
 * if hardly a draft is right, and with weights under which every draft is.
 */
import { type GenerateOptions, type GenerationStats, generate } from "../src/engine/generate.ts";
import { makePredictable, smallV3 } from "../src/engine/testing.ts";
import type { CausalLM } from "../src/models/causal-lm.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { median } from "./support/numbers.ts";

export const name = "generate";

const prompt = Array.from({ length: 512 }, (_, i) => (i * 37 + 11) % 4096);
const rounds = 3;

async function timed(model: CausalLM, options: Partial<GenerateOptions>): Promise<GenerationStats> {
  const generator = generate(model, prompt, { maxTokens: 33, stopIds: [], ...options });
  for (;;) {
    const next = await generator.next();
    if (next.done) return next.value;
  }
}

/** Tokens per second, medians of interleaved rounds; `log` receives a line for each figure. */
export async function run(
  log: (line: string) => void,
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  await using device = await createCpuDevice();
  const shape = { vocabulary: 4096, hidden: 256, layers: 6, std: 0.06 };
  using random = smallV3(device, shape);
  using predictable = smallV3(device, shape);
  makePredictable(predictable);
  const cases: [string, CausalLM, Partial<GenerateOptions>][] = [
    ["plain", random, {}],
    ["expanded", random, { mlaForm: "expanded" }],
    ["speculative, random", random, { speculative: true }],
    ["plain, predictable", predictable, {}],
    ["speculative, predictable", predictable, { speculative: true }],
  ];
  const decode = new Map<string, number[]>(cases.map(([label]) => [label, []]));
  const prefill: number[] = [];
  const acceptance = new Map<string, number>();
  for (let round = 0; round <= rounds; round++) {
    for (const [label, model, options] of cases) {
      const stats = await timed(model, options);
      // The first round warms up.
      if (round === 0) continue;
      decode.get(label)!.push(((stats.generatedTokens - 1) / stats.decodeMs) * 1000);
      if (label === "plain") prefill.push((prompt.length / stats.prefillMs) * 1000);
      if (stats.speculative) acceptance.set(label, stats.speculative.acceptanceRate);
    }
  }
  const metrics: Record<string, number> = { "prefill tokens/s": median(prefill) };
  for (const [label, speeds] of decode) metrics[`decode tokens/s, ${label}`] = median(speeds);
  for (const [label, rate] of acceptance) metrics[`acceptance, ${label}`] = rate;
  for (const [label, value] of Object.entries(metrics))
    log(`${label.padEnd(44)} ${value.toFixed(label.startsWith("acc") ? 3 : 0)}`);
  const speed = (label: string) => metrics[`decode tokens/s, ${label}`];
  return {
    metrics,
    ratios: {
      "absorbed over expanded": speed("plain") / speed("expanded"),
      "speculative over plain, nothing accepted": speed("speculative, random") / speed("plain"),
      "speculative over plain, all accepted": speed("speculative, predictable") / speed("plain, predictable"),
    },
  };
}
