import { describe, expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { Random } from "../tensor/random.ts";
import { Trainer } from "../train/trainer.ts";
import { mergeConfig, preset, presets } from "./config.ts";
import { checkMemory, estimateTraining } from "./training-memory.ts";

const machine = { total: 16e9, free: 10e9 };

describe("estimateTraining", () => {
  it.each(["demo", "v2-small", "llm-small"])("comes near to what a step of %s takes", async (name) => {
    // Few layers and tokens: the estimate is linear in both.
    const config = mergeConfig(preset(name), {
      vocabSize: 1024,
      model: { num_hidden_layers: 2 },
      training: { sequenceLength: 128, batch: { size: 4 } },
    });
    const { training } = config;
    await using device = await createCpuDevice({ threads: 2 });
    using model = createModel({ ...config.model, vocab_size: 1024 }, device, { seed: 1 });
    const [batch, length] = [4, 128];
    const random = new Random(1);
    const tokens = Int32Array.from({ length: batch * (length + 1) }, () => random.int(1024));
    const targets = Int32Array.from({ length: batch * length }, () => random.int(1024));
    const source = { next: async () => ({ tokens, targets, batch, length }), state: () => 0, restore() {} };
    const { steps, learningRate, optimizer, mtpWeight, balanceAlpha, biasGamma } = training;
    using trainer = new Trainer(model, source, {
      ...{ steps, batch: training.batch, learningRate, optimizer, mtpWeight, balanceAlpha, biasGamma },
    });
    await trainer.trainStep();
    const { peakBytes } = device.backend.memory();
    const { total } = estimateTraining(config);
    expect(total / peakBytes).toBeGreaterThan(0.85);
    expect(total / peakBytes).toBeLessThan(1.25);
  });
});

describe("checkMemory", () => {
  it.each(Object.keys(presets))("lets %s through with its figures", (name) => {
    expect(checkMemory(preset(name), false, machine)).toMatch(
      /^about \d+ MB \(weights [\d.]+ MB, moments [\d.]+ MB, .*\); 10\.0 GB of 16\.0 GB are free$/,
    );
  });

  const large = mergeConfig(preset("llm-small"), {
    model: { hidden_size: 4096, intermediate_size: 11008, num_hidden_layers: 30 },
  });

  it("refuses what the machine does not have, unless asked to try", () => {
    expect(() => checkMemory(large, false, machine)).toThrow(
      /exceeds this machine's memory; expected: at most 16\.0 GB; found: about [\d.]+ GB .*--ignore-memory/,
    );
    expect(checkMemory(large, true, machine)).toMatch(/or it will be slow$/);
  });

  it("refuses a tensor that no memory of the kernels holds, whatever was asked", () => {
    const wide = mergeConfig(preset("llm-small"), { vocabSize: 200_000, training: { batch: { size: 64 } } });
    expect(() => checkMemory(wide, true, machine)).toThrow(
      /WebAssembly memory; name: the logits of 16384 tokens of 200000 entries; .* Lower training\.batch\.size/,
    );
  });
});
