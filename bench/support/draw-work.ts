/** What `draw-web.ts` times in Node and in a page: steps of Janus, and its image tokenizer's decoder, from a build in `dist`. */
type Backend = typeof import("../../src/tensor/cpu/backend.ts");
type Scopes = typeof import("../../src/nn/scope.ts");
type Storage = typeof import("../../src/nn/storage.ts");
type Architectures = typeof import("../../src/models/vision-architectures.ts");
type Presets = typeof import("../../src/models/vision-presets.ts");
type Models = typeof import("../../src/models/vision-language.ts");
type Samplers = typeof import("../../src/engine/draw/code-sampler.ts");
type Steps = typeof import("../../src/engine/step.ts");
type Randoms = typeof import("../../src/tensor/random.ts");

export interface DrawWork {
  /** Address of the folder with the build, with a slash at its end. */
  readonly dist: string;
  readonly threads: number;
  /** Blocks of the language model. */
  readonly layers: number;
  readonly format: "q8" | "q4";
  readonly images: number;
}

/** Milliseconds. */
export interface DrawTimes {
  readonly step: number;
  readonly decode: number;
}

/** Positions before a step: a prompt, and half of the codes of an image of 24 x 24. */
const BEFORE = 324;
const SIDE = 24;
const WARM = 3;

/** Prepares a model of Janus-1.3B's shape with random weights; each call of the result times it once. */
async function prepareDraw(work: DrawWork): Promise<(steps: number) => Promise<DrawTimes>> {
  const load = async <T>(path: string): Promise<T> => (await import(`${work.dist}${path}`)) as T;
  const { createCpuDevice } = await load<Backend>("tensor/cpu/backend.js");
  const { allocateModule } = await load<Scopes>("nn/scope.js");
  const { storageRule } = await load<Storage>("nn/storage.js");
  const { parseVisionConfig } = await load<Architectures>("models/vision-architectures.js");
  const { visionPresets } = await load<Presets>("models/vision-presets.js");
  const { VisionLanguageModel } = await load<Models>("models/vision-language.js");
  const { CodeSampler, codesOf } = await load<Samplers>("engine/draw/code-sampler.js");
  const { step } = await load<Steps>("engine/step.js");
  const { Random } = await load<Randoms>("tensor/random.js");

  // Browsers have no joined vectors.
  const device = await createCpuDevice({ threads: work.threads, wide: false });
  const preset = visionPresets["janus-1.3b"] as { readonly language_config: object };
  const config = parseVisionConfig({
    ...preset,
    language_config: { ...preset.language_config, num_hidden_layers: work.layers },
  });
  const model = allocateModule(
    device,
    storageRule(work.format),
    (scope) => new VisionLanguageModel(scope, config),
  );
  model.parameters.initialize(new Random(1), 0.02);
  const ids = Array.from({ length: BEFORE }, (_, i) => (i * 7919 + 11) % 100_000);
  const codes = device.tensor(new Int32Array(SIDE ** 2), [1, SIDE, SIDE], "i32");
  return async (steps) => {
    using sampler = new CodeSampler(model, { ids, padId: 2, count: work.images });
    const pass = () => step(model.language, [], { guests: [sampler] });
    while (sampler.done < WARM) await pass();
    const times: number[] = [];
    for (let i = 0; i < steps; i++) {
      const start = performance.now();
      await pass();
      times.push(performance.now() - start);
    }
    const start = performance.now();
    using pixels = device.inference(() => codesOf(model).tokenizer.decode(codes));
    await pixels.data();
    return { step: Math.min(...times), decode: performance.now() - start };
  };
}

const onPage = { prepareDraw, measure: null as ((steps: number) => Promise<DrawTimes>) | null };
export type OnPage = typeof onPage;
Object.assign(globalThis, { onPage });
