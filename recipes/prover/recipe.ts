/**
 * Trains a small prover on the scripted proofs of `corelean` and examines it in real Lean:
 *
 *     npm run recipe:prover -- --small                       10 minutes: 6 of training, a short exam
 *     npm run recipe:prover -- --minutes 40 --out my-prover  and `npx deepseek-ts prove FILE.lean --model my-prover`
 *
 * Ctrl-C saves; the same command goes on.
 */
import { mkdir } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { tiledConfigText, tiledEntries } from "../../src/checkpoint/tiles.ts";
import { Engine } from "../../src/engine/engine.ts";
import { createModel } from "../../src/models/causal-lm.ts";
import { EngineGenerator } from "../../src/prove/engine-generator.ts";
import { openWasmLean } from "../../src/prove/lean/wasm/open.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { trainedTokenizerConfig } from "../../src/tokenizer/train-bpe.ts";
import { nextTokenLoss } from "../../src/train/objectives/next-token.ts";
import { newestStep } from "../shared/ready.ts";
import { runStage, StageStopped } from "../shared/stage.ts";
import { schedule } from "../shared/start.ts";
import { loadPart } from "../shared/weights.ts";
import { ExampleBatches } from "./batches.ts";
import { examine, examTable } from "./exam.ts";
import { scriptedExample } from "./examples.ts";
import { CONTEXT, PROVER_CONFIG, type ProverTokenizer, proverModel, proverTokenizer } from "./model.ts";

const { values: flags } = parseArgs({
  options: {
    small: { type: "boolean", default: false },
    minutes: { type: "string" },
    seed: { type: "string", default: "1" },
    state: { type: "string", default: "runs/recipe-prover" },
    out: { type: "string" },
    samples: { type: "string", default: "8" },
    "per-family": { type: "string" },
    threads: { type: "string" },
    "no-exam": { type: "boolean", default: false },
  },
});

const began = performance.now();
const print = (line: string) => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`);
let stop = false;
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => void (stop = true));

const seed = Number(flags.seed);
const minutes = Number(flags.minutes ?? (flags.small ? 6 : 40));
const perFamily = flags["per-family"] ?? (flags.small ? "3" : undefined);
const folder = resolve(flags.state, `seed-${seed}-${minutes}`);
const MAX_TOKENS = 384;
const [BATCH, PEAK] = [20, 1.5e-3];

async function train(device: Device, { tokenizer }: ProverTokenizer): Promise<string> {
  using model = proverModel(device, seed);
  await runStage(
    {
      ...{ name: "scripted", model, config: { recipe: "prover", seed }, length: { minutes } },
      batches: new ExampleBatches(tokenizer, (index) => scriptedExample(seed, index)),
      objective: (language, { ids, targets, batch }, options) =>
        nextTokenLoss(language, { sequences: batch, ids, targets }, options),
      options: { batch: BATCH, ...schedule(PEAK) },
    },
    { folder, stopped: () => stop, print },
  );
  return await newestStep(join(folder, "scripted"));
}

/** Writes a model that `deepseek-ts prove` opens, in 8 bits. */
async function keep(device: Device, step: string, out: string, { json }: ProverTokenizer): Promise<void> {
  using model = createModel(PROVER_CONFIG, device, { seed, dtype: "q8" });
  await loadPart(step, "", model.parameters, "");
  const text = (value: unknown) => `${JSON.stringify(value, null, 1)}\n`;
  const { totalSize } = await saveCheckpoint(
    await nodeFolderSink(out, { force: true }),
    tiledEntries(model),
    {
      config: tiledConfigText(model, text(PROVER_CONFIG)),
      files: {
        "tokenizer.json": text(json),
        "tokenizer_config.json": text(trainedTokenizerConfig(CONTEXT)),
        "prover.json": text({
          style: "short",
          search: "sample",
          contextTokens: CONTEXT,
          maxTokens: MAX_TOKENS,
        }),
      },
    },
  );
  print(`${out}: ${(totalSize / 1e6).toFixed(1)} MB of tensors`);
}

await mkdir(folder, { recursive: true });
await using device = await createCpuDevice(
  flags.threads === undefined ? {} : { threads: Number(flags.threads) },
);
const vocabulary = await proverTokenizer();
print("vocabulary trained");
try {
  const step = await train(device, vocabulary);
  await keep(device, step, resolve(flags.out ?? join(folder, "model")), vocabulary);
  if (!flags["no-exam"]) {
    await using lean = await openWasmLean({ onNotice: print });
    using model = proverModel(device, seed);
    await loadPart(step, "", model.parameters, "");
    await using engine = new Engine(model, { maxBatch: 16 });
    const generator = new EngineGenerator(engine, vocabulary.tokenizer, { model: `recipe-prover ${seed}` });
    const rows = await examine(
      { generator, lean },
      {
        ...{ samples: Number(flags.samples), seed, maxTokens: MAX_TOKENS, prompt: { style: "short" } },
        ...{ stopped: () => stop, print, ...(perFamily !== undefined && { perFamily: Number(perFamily) }) },
      },
    );
    console.log(examTable(rows));
  }
  print(`${((performance.now() - began) / 60_000).toFixed(1)} minutes`);
} catch (error) {
  if (!(error instanceof StageStopped)) throw error;
  print(error.message);
  process.exitCode = 130;
}
