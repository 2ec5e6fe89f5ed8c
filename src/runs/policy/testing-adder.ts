/** A small model that has half learned to add, in a folder with its tokenizer, and sums as rows: for tests of rewards. Node only. */
import { writeFileSync } from "node:fs";
import { modelEntries } from "../../checkpoint/entries.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { nodeFolderSink } from "../../files/folder-sink.ts";
import { createModel } from "../../models/causal-lm.ts";
import { toConfigJson } from "../../models/config.ts";
import { createCpuDevice } from "../../tensor/cpu/backend.ts";
import { loadTokenizer } from "../../tokenizer/tokenizer.ts";
import {
  DEFAULT_SPECIAL_TOKENS,
  SMALLEST_VOCABULARY,
  trainBpe,
  trainedTokenizerConfig,
} from "../../tokenizer/train-bpe.ts";
import { type Lesson, PackedRows } from "../../train/packed-rows.ts";
import { Trainer } from "../../train/trainer.ts";

const POSITIONS = 64;
const NUMBERS = 5;

/** Sums of two numbers up to 4 with their results. */
export const sums = Array.from({ length: NUMBERS * NUMBERS }, (_, i) => {
  const [a, b] = [i % NUMBERS, Math.floor(i / NUMBERS)];
  return { prompt: `${a}+${b}=`, answer: a + b };
});

/** Writes sums as rows of prompts. */
export function writeSums(path: string): void {
  writeFileSync(path, sums.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

export interface AdderOptions {
  readonly seed?: number;
  /** Steps of examples, of which every third is right and the others are off by some. */
  readonly steps?: number;
}

/** Writes the folder of a Llama that knows the form of answers and a third of the sums. */
export async function writeAdder(folder: string, { seed = 1, steps = 30 }: AdderOptions = {}): Promise<void> {
  const files = {
    tokenizer: await trainBpe([], { vocabSize: SMALLEST_VOCABULARY, specialTokens: DEFAULT_SPECIAL_TOKENS }),
    config: trainedTokenizerConfig(POSITIONS),
  };
  const tokenizer = loadTokenizer(files.tokenizer, files.config);
  const { bos, eos } = tokenizer.specialIds;
  const config = {
    ...{ model_type: "llama", vocab_size: tokenizer.vocabSize, hidden_size: 48, intermediate_size: 96 },
    ...{ num_hidden_layers: 2, num_attention_heads: 4, num_key_value_heads: 4, rms_norm_eps: 1e-6 },
    ...{ max_position_embeddings: POSITIONS, bos_token_id: bos, eos_token_id: eos },
  };
  const lessons: Lesson[] = sums.map(({ prompt, answer }, i) => {
    const read = [...tokenizer.prefixIds, ...tokenizer.encode(prompt, { addSpecialTokens: false })];
    const written = tokenizer.encode(String((answer + (i % 3) * 2) % 9), { addSpecialTokens: false });
    const ids = [...read, ...written, eos!];
    return { ids, learned: ids.map((_, at) => (at < read.length ? 0 : 1)) };
  });
  await using device = await createCpuDevice({ threads: 1 });
  using model = createModel(config, device, { seed, std: 0.1 });
  {
    const rows = new PackedRows(lessons, { length: 32 });
    const rate = { peak: 3e-3, warmupSteps: 2, shape: "constant" } as const;
    using trainer = new Trainer(model, rows, { steps, batch: { size: rows.rows }, learningRate: rate });
    while (!trainer.done) await trainer.trainStep();
  }
  await saveCheckpoint(await nodeFolderSink(folder), modelEntries(model), {
    config: { ...toConfigJson(model.config), torch_dtype: "float32" },
    files: {
      "tokenizer.json": JSON.stringify(files.tokenizer),
      "tokenizer_config.json": JSON.stringify(files.config),
    },
  });
}
