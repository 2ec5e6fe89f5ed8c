/** A small random model with its own tokenizer in a folder, for tests and the load test of the server. Node only. */
import { modelEntries } from "../checkpoint/entries.ts";
import { nodeFolderSink } from "../checkpoint/node-files.ts";
import { saveCheckpoint } from "../checkpoint/save.ts";
import { toConfigJson } from "../models/config.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { Random } from "../tensor/random.ts";
import { TOKEN } from "../tokenizer/families.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { DEFAULT_SPECIAL_TOKENS, trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import { type SmallModelOptions, smallV3 } from "./testing.ts";

const WORDS =
  "the of and to in is that for it as was with on be by at from this have or one had not but".split(" ");

/** Sentences of common words, numbers and code, the same for the same seed. */
export function sampleTexts(count: number, seed = 1): string[] {
  const random = new Random(seed);
  const word = () => WORDS[random.int(WORDS.length)];
  return Array.from({ length: count }, (_, i) =>
    i % 3 === 0
      ? `export const ${word()}_${random.int(100)} = { "${word()}": ${random.int(1000)}, "ok": true };\n`
      : `${Array.from({ length: 12 }, word).join(" ")}. ${word()}, ${word()}! Grüße, 你好.\n`,
  );
}

const TOOL_TOKENS = Object.values(TOKEN).filter(
  (token) => token.includes("\u2581") && token.includes("tool"),
);

export interface ModelFolderOptions extends SmallModelOptions {
  /** A Jinja template to go into `tokenizer_config.json`; default: none, so that the built-in one of V3 serves. */
  readonly chatTemplate?: string;
  /** Whether `<think>` and `</think>` are tokens: then the built-in template is that of V3.1. */
  readonly thinking?: boolean;
}

/** Writes the folder: `config.json`, `model.safetensors`, `tokenizer.json`, `tokenizer_config.json`. */
export async function writeModelFolder(folder: string, options: ModelFolderOptions = {}): Promise<void> {
  const { vocabulary = 480, maxPositions = 512, chatTemplate, thinking, ...shape } = options;
  const tokenizerJson = await trainBpe(sampleTexts(300), {
    vocabSize: vocabulary,
    specialTokens: [...DEFAULT_SPECIAL_TOKENS, ...TOOL_TOKENS, ...(thinking ? ["<think>", "</think>"] : [])],
  });
  const tokenizerConfig = {
    ...trainedTokenizerConfig(maxPositions),
    ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
  };
  const { vocabSize } = loadTokenizer(tokenizerJson, tokenizerConfig);
  await using device = await createCpuDevice({ threads: 2 });
  using model = smallV3(device, { ...shape, vocabulary: vocabSize, maxPositions });
  const bf16 = shape.dtype === "bf16";
  await saveCheckpoint(await nodeFolderSink(folder), modelEntries(model), {
    config: { ...toConfigJson(model.config), torch_dtype: bf16 ? "bfloat16" : "float32" },
    dtype: bf16 ? "BF16" : "F32",
    files: {
      "tokenizer.json": JSON.stringify(tokenizerJson),
      "tokenizer_config.json": JSON.stringify(tokenizerConfig),
    },
  });
}
