import { describe, expect, it } from "vitest";
import { parseConfig } from "../models/config.ts";
import { countParameters } from "../models/count.ts";
import { ConfigError } from "../tensor/errors.ts";
import { mergeConfig, preset, presets } from "./run-config.ts";

describe("presets", () => {
  it.each(Object.keys(presets))("%s is a model that can be built", (name) => {
    const { model, vocabSize, training } = preset(name);
    const config = parseConfig({ ...model, vocab_size: vocabSize });
    const { total, activated, mtp } = countParameters(config);
    expect(total).toBeGreaterThan(500_000);
    expect(total).toBeLessThan(50_000_000);
    expect(activated < total).toBe(config.moe !== null);
    // A weight for a prediction that the model lacks would do nothing.
    expect(training.mtpWeight !== 0).toBe(mtp > 0);
    expect(training.sequenceLength).toBeLessThanOrEqual(config.maxPositions);
    // What the presets hold must also pass the checks of what is laid over them.
    expect(mergeConfig(preset(name), {})).toEqual(preset(name));
  });

  it("refuses a name it does not have", () => {
    expect(() => preset("toString")).toThrow(ConfigError);
  });
});

describe("mergeConfig", () => {
  const base = preset("v3-small");

  it("replaces what is named and keeps the rest", () => {
    const merged = mergeConfig(base, {
      seed: 4,
      training: { learningRate: { peak: 1 } },
      preset: "v3-small",
    });
    expect(merged.seed).toBe(4);
    expect(merged.training.learningRate).toEqual({ ...base.training.learningRate, peak: 1 });
    expect(merged.data).toEqual(base.data);
    expect(base.seed).toBe(1);
  });

  it("lets steps and seconds replace each other", () => {
    expect(mergeConfig(base, { training: { seconds: 9 } }).training).toMatchObject({
      steps: null,
      seconds: 9,
    });
    expect(mergeConfig(preset("demo"), { training: { steps: 9 } }).training).toMatchObject({
      steps: 9,
      seconds: null,
    });
    expect(() => mergeConfig(base, { training: { steps: 9, seconds: 9 } })).toThrow(
      /either steps or seconds/,
    );
    expect(() => mergeConfig(base, { training: { steps: null } })).toThrow(/either steps or seconds/);
  });

  it("takes another architecture whole and the same one key by key", () => {
    expect(mergeConfig(base, { model: { hidden_size: 64 } }).model).toEqual({
      ...base.model,
      hidden_size: 64,
    });
    const llama = { model_type: "llama", hidden_size: 64 };
    expect(mergeConfig(base, { model: llama }).model).toEqual(llama);
  });

  it.each([
    [{ sede: 1 }, "sede"],
    [{ training: { stesp: 1 } }, "training.stesp"],
    [{ training: { optimizer: { beta3: 1 } } }, "training.optimizer.beta3"],
    [{ data: { filters: { lineLenght: false } } }, "data.filters.lineLenght"],
    [{ data: { filters: { lineLength: 0 } } }, "data.filters.lineLength"],
    [{ data: { includeNodeModules: "yes" } }, "data.includeNodeModules"],
    [{ data: 3 }, "data"],
    [{ model: "v3" }, "model"],
    [{ seed: "1" }, "seed"],
    [{ seed: null }, "seed"],
    [{ seed: 1.5 }, "seed"],
    [{ training: { steps: 0 } }, "training.steps"],
    [{ training: { batch: { size: 0 } } }, "training.batch.size"],
    [{ training: { seconds: -1 } }, "training.seconds"],
    [{ data: { heldOut: 0 } }, "data.heldOut"],
  ])("refuses %j by name", (over, name) => {
    expect(() => mergeConfig(base, over)).toThrow(`name: ${name};`);
    expect(() => mergeConfig(base, over)).toThrow(ConfigError);
  });

  it.each([[null], [[]], ["x"]])("refuses %j", (over) => {
    expect(() => mergeConfig(base, over)).toThrow(ConfigError);
  });
});
