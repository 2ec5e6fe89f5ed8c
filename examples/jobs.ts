/** Runs work as jobs: two texts at once over one engine, read late and again, and one canceled halfway. */
import { Engine, processText, type TextChunk, type TextResult, type TextTask } from "deepseek-ts/engine";
import { MemoryQueue } from "deepseek-ts/jobs";
import {
  createCpuDevice,
  createModel,
  loadTokenizer,
  presets,
  trainBpe,
  trainedTokenizerConfig,
} from "deepseek-ts/node";

const texts = Array.from(
  { length: 50 },
  (_, i) => `export function sum${i}(a: number, b: number) { return a + b * ${i}; }\n`,
);
const tokenizer = loadTokenizer(await trainBpe(texts, { vocabSize: 400 }), trainedTokenizerConfig(512));
const config = {
  ...presets["deepseek-llm-7b"],
  vocab_size: tokenizer.vocabSize,
  hidden_size: 64,
  intermediate_size: 128,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  bos_token_id: 0,
  eos_token_id: 1,
};

await using device = await createCpuDevice();
using model = createModel(config, device, { seed: 1, std: 0.1 });
await using engine = new Engine(model, { maxBatch: 4 });
await using queue = new MemoryQueue();
processText(queue, engine, tokenizer);

const add = (prompt: string, maxTokens: number, id?: string) =>
  queue.add<TextTask, TextChunk, TextResult>(
    "generate",
    { prompt, options: { maxTokens, temperature: 1, seed: 3, stopIds: [] } },
    { id },
  );

// These run without a reader.
await add("export function ", 24, "first");
const second = await add("return a + ", 24, "second");
const { text } = await second.result();
console.log(`second: ${JSON.stringify(text)}`);

// Their events can be read later by id, from any number.
const first = await queue.get<TextChunk, TextResult>("first");
await first!.result();
let tail = "";
for await (const { event } of first!.events(10)) tail += event.text;
console.log(`first, behind event 10: ${JSON.stringify(tail)}`);

// Leaving a reader stops nothing; canceling does.
const endless = await add("export ", 2000, "endless");
for await (const _ of endless.events()) break;
console.log(`left at event 1, still ${endless.info().state}`);
await endless.cancel("enough");
console.log(
  `${endless.info().state} after event ${endless.info().lastEvent}; ${engine.metrics().running} running`,
);
