import { describe, expect, it } from "vitest";
import { parseConfig } from "../models/config.ts";
import { countParameters } from "../models/count.ts";
import { ConfigError } from "../tensor/errors.ts";
import { mergeConfig, preset, presets, savedConfig } from "./config.ts";

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
    expect(() => mergeConfig(base, { training: { steps: null } })).toThrow(
      /steps or seconds; found: "neither"/,
    );
  });

  it("takes another architecture whole and the same one key by key", () => {
    expect(mergeConfig(base, { model: { hidden_size: 64 } }).model).toEqual({
      ...base.model,
      hidden_size: 64,
    });
    const llama = { model_type: "llama", hidden_size: 64 };
    expect(mergeConfig(base, { model: llama }).model).toEqual(llama);
  });

  it("leaves behind what only another shape of the learning rate has", () => {
    const merged = mergeConfig(base, { training: { learningRate: { shape: "step", dropsAt: [0.5] } } });
    expect(merged.training.learningRate).toEqual({
      peak: 2e-3,
      warmupSteps: 50,
      shape: "step",
      dropsAt: [0.5],
    });
  });

  it("takes the official name of the initial spread", () => {
    expect(mergeConfig(base, { model: { initializer_range: 0.01 } }).training.initStd).toBe(0.01);
  });

  const training = (more: object) => ({ training: more });
  const rate = (more: object) => training({ learningRate: more });
  const adam = (more: object) => training({ optimizer: more });
  const batch = (more: object) => training({ batch: more });
  const model = (more: object) => ({ model: more });
  it.each<[object, string]>([
    [{ sede: 1 }, "sede. Did you mean seed?"],
    [training({ stesp: 1 }), "training.stesp. Did you mean training.steps?"],
    [adam({ beta3: 1 }), "training.optimizer.beta3. Did you mean training.optimizer.beta1?"],
    [{ data: { filters: { lineLenght: false } } }, "data.filters.lineLenght."],
    [{ data: { filters: { lineLength: 0 } } }, "data.filters.lineLength; expected: true or false"],
    [{ data: { includeNodeModules: "yes" } }, "data.includeNodeModules; expected: true or false"],
    [{ data: { extensions: [1] } }, "data.extensions[0]"],
    [{ data: { extensions: [] } }, "data.extensions"],
    [{ data: { extensions: "typescrpt" } }, "data.extensions"],
    [{ data: { maxBytes: 0 } }, "data.maxBytes; expected: an integer of at least 1"],
    [{ data: { nearDuplicates: 2 } }, "data.nearDuplicates; expected: a number above 0 and at most 1"],
    [{ data: { fimRate: "x" } }, "data.fimRate; expected: a number from 0 to 1"],
    [{ data: { heldOut: 0 } }, "data.heldOut; expected: a number above 0 and below 1"],
    [{ data: { tokenizerBytes: Number.NaN } }, "data.tokenizerBytes"],
    [{ data: 3 }, "data"],
    [model({ hidden_sise: 512 }), "model.hidden_sise. Did you mean model.hidden_size?"],
    [model({ num_layers: 12 }), "model.num_layers. Did you mean model.num_hidden_layers?"],
    [model({ rope_scaling: { type: "yarn", factor: 4, beta_fats: 3 } }), "model.rope_scaling.beta_fats."],
    [model({ num_hidden_layers: 1e9 }), "model.num_hidden_layers; expected: an integer from 0 to 10000"],
    [model({ hidden_size: 1e15 }), "model.hidden_size"],
    [
      model({ max_position_embeddings: 16 }),
      "training.sequenceLength; expected: at most model.max_position_embeddings = 16",
    ],
    [model({ n_group: 3 }), "n_group; expected: a divisor of n_routed_experts = 32"],
    [model({ topk_group: 9 }), "topk_group"],
    [model({ num_key_value_heads: 3 }), "num_key_value_heads"],
    [model({ qk_rope_head_dim: 15 }), "qk_rope_head_dim"],
    [model({ vocab_size: 1000 }), "model.vocab_size; expected: no value"],
    [model({ eos_token_id: 100001 }), "model.eos_token_id; expected: 1"],
    [model({ quantization_config: { quant_method: "fp8" } }), "model.quantization_config"],
    [{ model: "v3" }, "model"],
    [{ seed: "1" }, "seed; expected: an integer"],
    [{ seed: null }, "seed"],
    [{ seed: 1.5 }, "seed"],
    [{ vocabSize: 10 }, "vocabSize; expected: an integer from 265 to"],
    [training({ steps: 0 }), "training.steps; expected: an integer from 1 to 99999999; found: 0"],
    [training({ steps: 1e8 }), "training.steps"],
    [training({ seconds: -1 }), "training.seconds; expected: a number above 0"],
    [training({ seconds: Number.POSITIVE_INFINITY }), "training.seconds"],
    [training({ sequenceLength: 0.5 }), "training.sequenceLength"],
    [
      training({ sequenceLength: 1 }),
      "training.sequenceLength; expected: more than model.num_nextn_predict_layers",
    ],
    [training({ keep: 0 }), "training.keep"],
    [
      training({ saveEvery: Number.NaN }),
      "training.saveEvery; expected: an integer from 1 to 1000000000; found: NaN",
    ],
    [training({ evaluateEvery: null }), "training.evaluateEvery"],
    [training({ initStd: -1 }), "training.initStd"],
    [training({ precision: "fp-8" }), "training.precision; expected: f32 | bf16 | fp8"],
    [training({ precision: "fp8" }), "training.precision; expected: f32: products of routed experts"],
    [training({ balanceAlpha: -1 }), "training.balanceAlpha"],
    [training({ mtpWeight: [[0, "x"]] }), "training.mtpWeight[0][1]; expected: a number from 0 to 1000"],
    [
      training({
        mtpWeight: [
          [0.5, 1],
          [0.2, 1],
        ],
      }),
      "training.mtpWeight[1][0]; expected: a fraction above",
    ],
    [training({ mtpWeight: [] }), "training.mtpWeight"],
    [training({ mtpWeight: "0.3" }), "training.mtpWeight"],
    [training({ biasGamma: [0, 1] }), "training.biasGamma[0]; expected: [from, value]"],
    [rate({ shape: "cosin" }), "training.learningRate.shape; expected: constant | cosine | linear | step"],
    [rate({ peak: 1e30 }), "training.learningRate.peak; expected: a number above 0 and at most 1"],
    [rate({ peak: 0 }), "training.learningRate.peak"],
    [rate({ warmupSteps: -1 }), "training.learningRate.warmupSteps"],
    [rate({ finalFraction: 1.5 }), "training.learningRate.finalFraction"],
    [
      rate({ dropsAt: [0.5] }),
      'training.learningRate.dropsAt; expected: nothing: only the shape "step" has it',
    ],
    [rate({ shape: "step", dropsAt: ["x"] }), "training.learningRate.dropsAt[0]"],
    [batch({ size: 0 }), "training.batch.size"],
    [
      batch({ startSize: 9, rampFraction: 0.1 }),
      "training.batch.startSize; expected: an integer from 1 to 8",
    ],
    [batch({ startSize: 4 }), "training.batch.rampFraction; expected: a value"],
    [
      adam({ beta1: 1.5 }),
      "training.optimizer.beta1; expected: a number of at least 0 and below 1; found: 1.5",
    ],
    [adam({ epsilon: 0 }), "training.optimizer.epsilon; expected: a number above 0"],
    [adam({ clipNorm: -1 }), "training.optimizer.clipNorm"],
    [adam({ weightDecay: Number.NaN }), "training.optimizer.weightDecay"],
    [adam({ momentDType: "fp4" }), 'training.optimizer.momentDType; expected: f32 | bf16; found: "fp4"'],
  ])("refuses %j by name", (over, text) => {
    expect(() => mergeConfig(base, over, "my.json")).toThrow(`name: ${text}`);
    expect(() => mergeConfig(base, over, "my.json")).toThrow(/^my\.json/);
    expect(() => mergeConfig(base, over)).toThrow(ConfigError);
  });

  it.each<[string, object, string]>([
    ["llm-small", { mtpWeight: 0.3 }, "training.mtpWeight; expected: 0: model.num_nextn_predict_layers is 0"],
    ["llm-small", { balanceAlpha: 1e-3 }, "training.balanceAlpha; expected: 0: the model has no experts"],
    ["v2-small", { biasGamma: 1e-3 }, "training.biasGamma; expected: 0: the model's router has no bias"],
  ])("refuses for %s %j, which nothing would use", (name, more, text) => {
    expect(() => mergeConfig(preset(name), { training: more })).toThrow(`name: ${text}`);
  });

  it.each([[null], [[]], ["x"]])("refuses %j", (over) => {
    expect(() => mergeConfig(base, over)).toThrow(ConfigError);
  });
});

describe("savedConfig", () => {
  const saved = () => ({ folder: "src", ...structuredClone(preset("v3-small")) }) as Record<string, unknown>;

  it("reads what was written, also with a length that the speed set", () => {
    const config = preset("v3-small");
    expect(savedConfig(saved(), "run.json")).toEqual({ config, folder: "src", links: {} });
    const links = { prepared: "../tokens", start: "../trunk/checkpoints/step-00000080" };
    expect(savedConfig({ ...saved(), ...links }, "run.json")).toEqual({ config, folder: "src", links });
    const measured = { ...saved(), training: { ...config.training, steps: 77, seconds: 60 } };
    expect(savedConfig(measured, "run.json").config.training.steps).toBe(77);
  });

  it("takes settings that an earlier version did not write from the presets", () => {
    const { keep, ...training } = preset("v3-small").training;
    expect(savedConfig({ ...saved(), training }, "run.json").config.training.keep).toBe(keep);
  });

  it.each<[unknown, string]>([
    [[], "run.json: not the settings of a run; found: []"],
    [{ ...saved(), seed: undefined }, "run.json: a setting is missing; name: seed"],
    [{ ...saved(), data: "x" }, "name: data; expected: an object"],
    [{ ...saved(), start: 3 }, "name: start; expected: a path; found: 3"],
    [{ ...saved(), training: { ...preset("v3-small").training, keep: "two" } }, "name: training.keep"],
  ])("refuses %j with its place", (json, text) => {
    expect(() => savedConfig(json, "run.json")).toThrow(text);
  });
});
