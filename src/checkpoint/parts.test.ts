/** A language model as a part: under a prefix, beside a sibling module, in one checkpoint and one training step. */
import { describe, expect, it } from "vitest";
import { CausalLM, createModel } from "../models/causal-lm.ts";
import { parseConfig } from "../models/config.ts";
import type { Json } from "../models/config-reader.ts";
import { describeDecoder } from "../models/decoder.ts";
import { checkStored, storedMtpLayers } from "../models/load.ts";
import { tinyConfigs } from "../models/testing.ts";
import { checkNames } from "../nn/check-names.ts";
import { Linear } from "../nn/linear.ts";
import { weightsOf } from "../nn/model-weights.ts";
import type { Parameters } from "../nn/parameters.ts";
import { allocateModule, describeModule, type ParameterScope } from "../nn/scope.ts";
import { type StorageFormat, storageRule } from "../nn/storage.ts";
import { type WeightSource, WithoutTiles } from "../nn/weight-source.ts";
import { FormatError } from "../tensor/errors.ts";
import { crossEntropy } from "../tensor/ops/cross-entropy.ts";
import { Random } from "../tensor/random.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { differentiate } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { memoryFolder, memoryFolderSink } from "./byte-source.ts";
import { modelEntries, tensorEntry } from "./entries.ts";
import { openCheckpoint } from "./folder.ts";
import { modelWeights } from "./model.ts";
import type { SafetensorsEntry } from "./safetensors-writer.ts";
import { saveCheckpoint } from "./save.ts";
import { tiledEntries } from "./tiles.ts";

const device = createReferenceDevice();
const PREFIX = "language_model.";
const config = parseConfig(tinyConfigs.v3);

/** Features of another kind, aligned to embeddings of the language model. */
class Composite implements Disposable {
  readonly language: CausalLM;
  readonly aligner: Linear;
  readonly alignerParameters: Parameters;
  readonly parameters: Parameters;

  constructor(scope: ParameterScope, language = config) {
    this.language = new CausalLM(scope.child("language_model"), language);
    const aligner = scope.child("aligner");
    this.aligner = new Linear(aligner, 7, language.hiddenSize, { bias: true });
    this.alignerParameters = aligner.parameters;
    this.parameters = scope.parameters;
  }

  /** `features: [1, T, 7]` to logits `[1, T, V]`. */
  forward(features: Tensor): Tensor {
    return this.language.logits(this.language.hidden(this.aligner.forward(features)));
  }

  async load(source: WeightSource): Promise<void> {
    checkNames([this.language, { parameters: this.alignerParameters }], source);
    await this.parameters.load(source);
  }

  [Symbol.dispose](): void {
    this.language[Symbol.dispose]();
    this.parameters[Symbol.dispose]();
  }
}

const make = (scope: ParameterScope) => new Composite(scope);

function composite(storage: StorageFormat = "f32"): Composite {
  const made = allocateModule(device, storage, make);
  made.parameters.initialize(new Random(4), 0.2);
  return made;
}

async function stored(entries: Iterable<SafetensorsEntry>): Promise<WeightSource> {
  const files = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(files), entries, { config: {} });
  return modelWeights(await openCheckpoint(memoryFolder(files)));
}

const features = Float32Array.from({ length: 35 }, (_, i) => Math.sin(i));

async function logitsOf(model: Composite): Promise<ArrayLike<number>> {
  using x = device.tensor(features, [1, 5, 7]);
  using logits = device.inference(() => model.forward(x));
  return await logits.data();
}

const failure = (promise: Promise<unknown>) =>
  promise.then(
    () => expect.fail("no error"),
    (error: unknown) => error as Error,
  );

describe("a language model beside an aligner", () => {
  it("is saved to one checkpoint and loaded from it", async () => {
    const { buffers } = device.backend.memory();
    {
      using model = composite();
      const source = await stored(modelEntries(model));
      const names = [...source.names()];
      expect(names).toContain("language_model.lm_head.weight");
      expect(names).toContain("language_model.model.layers.1.mlp.experts.7.up_proj.weight");
      expect(names).toContain("aligner.bias");
      using other = allocateModule(device, "f32", make);
      await other.load(source);
      expect(await logitsOf(other)).toEqual(await logitsOf(model));
    }
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("computes what it computes alone", async () => {
    using model = composite();
    using alone = createModel(tinyConfigs.v3, device);
    for (const { name } of alone.parameters.named()) {
      alone.parameters.get(name).set(await model.parameters.get(PREFIX + name).data());
    }
    const logits = (each: CausalLM) =>
      device.inference(() => each.logits(each.hidden(each.ids([[3, 1, 4, 1, 5]])))).data();
    expect(await logits(alone)).toEqual(await logits(model.language));
  });

  it("is refused a tensor that neither of them has, by name", async () => {
    using model = composite();
    const unknown = (name: string) => tensorEntry(name, model.parameters.get("aligner.bias"));
    for (const name of ["aligner.scale", `${PREFIX}model.extra`, "model.norm.weight", "vision.bias"]) {
      const error = await failure(model.load(await stored([...modelEntries(model), unknown(name)])));
      expect(error).toBeInstanceOf(FormatError);
      expect(error.message).toContain(`does not use; name: ${name}`);
    }
    // By itself the language model looks at its own names only.
    const source = await stored([...modelEntries(model), unknown("vision.bias")]);
    await model.language.load(source);
    const extra = await stored([...modelEntries(model), unknown(`${PREFIX}model.extra`)]);
    expect((await failure(model.language.load(extra))).message).toContain(`${PREFIX}model.extra`);
  });

  it("ignores of its own names what models without a prefix ignore", async () => {
    using model = composite();
    const { parameters } = model;
    const copies = (prefix: string) => [
      tensorEntry(`${prefix}model.layers.2.embed_tokens.weight`, parameters.get("aligner.bias")),
      tensorEntry(`${prefix}model.layers.0.self_attn.rotary_emb.inv_freq`, parameters.get("aligner.bias")),
    ];
    await model.load(await stored([...modelEntries(model), ...copies(PREFIX)]));
    for (const copy of copies("")) {
      const error = await failure(model.load(await stored([...modelEntries(model), copy])));
      expect(error.message).toContain(`does not use; name: ${copy.name}`);
    }
    // Prediction layers that it was made without.
    const without = (scope: ParameterScope) => new Composite(scope, { ...config, mtpLayers: 0 });
    using smaller = allocateModule(device, "f32", without);
    await smaller.load(await stored(modelEntries(model)));
    expect(await logitsOf(smaller)).toEqual(await logitsOf(model));
  });

  it("trains with it: gradients reach both, and agree with differences", async () => {
    using model = composite();
    using x = device.tensor(features, [1, 5, 7]);
    using targets = device.tensor(new Int32Array([3, 1, 4, 1, 5]), [5], "i32");
    using loss = differentiate(device, () => crossEntropy(model.forward(x), targets));
    const value = await loss.item();
    const { parameters } = model;
    const steepest = ["aligner.weight", "aligner.bias", `${PREFIX}model.norm.weight`];
    for (const name of steepest) {
      using gradient = parameters.gradient(name)!;
      const found = Array.from(await gradient.data());
      expect(found.some((each) => each !== 0)).toBe(true);
      // Against a difference in the direction of the gradient.
      const weight = parameters.get(name);
      const before = Float64Array.from(await weight.data());
      const size = 1e-3 / Math.hypot(...found);
      weight.set(before.map((each, i) => each - size * found[i]));
      using after = device.inference(() => crossEntropy(model.forward(x), targets));
      const expected = size * found.reduce((sum, each) => sum + each * each, 0);
      expect((value - (await after.item())) / expected).toBeCloseTo(1, 2);
      weight.set(before);
    }
    for (const { key, tensor, trained } of parameters.groups()) {
      const used = !key.includes("embed_tokens") && !key.startsWith(`${PREFIX}model.layers.2.`);
      expect(tensor.grad !== null, key).toBe(trained && used);
    }
  });

  it("is counted with it, without memory and with", () => {
    const { buffers } = device.backend.memory();
    const { module, parameters } = describeModule(make);
    const alone = describeDecoder(config).parameters.count;
    expect(module.language.parameters.count).toBe(alone);
    expect(module.alignerParameters.count).toBe(7 * 24 + 24);
    expect(parameters.count).toBe(alone + 7 * 24 + 24);
    expect(device.backend.memory().buffers).toBe(buffers);
    using model = composite();
    expect(model.parameters.count).toBe(parameters.count);
    expect(model.parameters.bytes).toBe(4 * parameters.count);
  });

  it("is quantized with it: tiles and floats under the same prefix", async () => {
    using model = composite("q8");
    const pieces = `${PREFIX}model.layers.0.self_attn.k_b_proj.weight`;
    expect(model.parameters.has(pieces)).toBe(true);
    const tiles = await stored(tiledEntries(model));
    expect([...tiles.tiles!.keys()]).toContain(pieces);
    using same = allocateModule(device, "q8", make);
    await same.load(tiles);
    expect(await logitsOf(same)).toEqual(await logitsOf(model));

    // As official floats.
    const floats = new WithoutTiles(weightsOf(model));
    const official = `${PREFIX}model.layers.0.self_attn.kv_b_proj.weight`;
    expect([...floats.names()]).toContain(official);
    expect([...floats.names()]).not.toContain(pieces);
    using plain = allocateModule(device, "f32", make);
    await plain.load(floats);
    expect([...plain.parameters.named()].map(({ name }) => name)).toEqual([...floats.names()]);
    // What differs is the rounding of activations alone.
    const [exact, rounded] = [Array.from(await logitsOf(plain)), Array.from(await logitsOf(model))];
    const distance = Math.hypot(...exact.map((each, i) => each - rounded[i])) / Math.hypot(...exact);
    expect(distance).toBeGreaterThan(0);
    expect(distance).toBeLessThan(0.02);
  });

  it("is compared with the files under its prefix before memory is taken", async () => {
    using model = composite();
    const source = await stored(modelEntries(model));
    expect(storedMtpLayers(config, source, PREFIX)).toBe(1);
    expect(storedMtpLayers(config, source)).toBe(0);
    for (const dtype of ["f32", "q8"] as const) checkStored(config, source, storageRule(dtype), PREFIX);
    expect(() => checkStored(config, source, storageRule("f32"))).toThrow(/has 0 experts/);
    const wide = parseConfig({ ...(tinyConfigs.v3 as Json), kv_lora_rank: 14 });
    for (const dtype of ["f32", "q8"] as const) {
      expect(() => checkStored(wide, source, storageRule(dtype), PREFIX)).toThrow(
        /wrong shape.*language_model/,
      );
    }
  });
});
