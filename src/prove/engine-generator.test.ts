import { expect, it } from "vitest";
import { Engine } from "../engine/engine.ts";
import { createModel } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import { loadTokenizer } from "../tokenizer/tokenizer.ts";
import { trainBpe, trainedTokenizerConfig } from "../tokenizer/train-bpe.ts";
import { EngineGenerator } from "./engine-generator.ts";
import type { GeneratedText } from "./search/generator.ts";

const read = async (texts: AsyncIterable<GeneratedText>) => {
  const found: GeneratedText[] = [];
  for await (const text of texts) found.push(text);
  return found.sort((a, b) => a.index - b.index);
};

it("writes the same for the same prompt and seed, alone and beside others, and stops at once", async () => {
  await using device = await createCpuDevice({ threads: 1 });
  const json = await trainBpe(["theorem t : a = b := by\n  omega\n"], { vocabSize: 300 });
  const tokenizer = loadTokenizer(json, trainedTokenizerConfig(64));
  const config = {
    ...{ architectures: ["LlamaForCausalLM"], model_type: "llama", vocab_size: tokenizer.vocabSize },
    ...{ hidden_size: 32, intermediate_size: 64, num_hidden_layers: 2, num_attention_heads: 2 },
    ...{ num_key_value_heads: 2, max_position_embeddings: 128, hidden_act: "silu", rms_norm_eps: 1e-6 },
    ...{ rope_theta: 10000, bos_token_id: 0, eos_token_id: 1 },
  };
  using model = createModel(config, device, { seed: 3 });
  await using engine = new Engine(model);
  const generator = new EngineGenerator(engine, tokenizer, { model: "random" });
  const options = { maxTokens: 12, temperature: 1, topP: 1, stop: ["```"] };
  const prompts = ["theorem t", "theorem <|end▁of▁sentence|>", "theorem t"];
  const together = await read(generator.generate(prompts, { ...options, seeds: [5, 6, 5] }));
  expect(together.map(({ text }) => text)[0]).toBe(together[2].text);
  expect(together[1].text).not.toBe(together[0].text);
  const alone = await read(generator.generate([prompts[1]], { ...options, seeds: [6] }));
  expect(alone[0]).toEqual({ ...together[1], index: 0 });
  expect(together[0].end === "length" ? together[0].tokens : 12).toBe(12);
  // Greedily the first piece of what follows is known; as a stop string it ends the text before it.
  const greedy = { ...options, temperature: 0, seeds: [0] };
  const [{ text }] = await read(generator.generate(["theorem t"], greedy));
  const part = text.slice(2, 4);
  const [stopped] = await read(generator.generate(["theorem t"], { ...greedy, stop: [part] }));
  expect(stopped).toMatchObject({ text: text.slice(0, text.indexOf(part)), end: "stop" });
  // Leaving ends the others.
  for await (const _ of generator.generate(prompts, { ...options, maxTokens: 100, seeds: [1, 2, 3] })) break;
  expect(engine.metrics().running).toBe(0);
  const gone = generator.generate(prompts, {
    ...options,
    seeds: [1, 2, 3],
    signal: AbortSignal.abort(new Error("gone")),
  });
  await expect(read(gone)).rejects.toThrow("gone");
  expect(generator.countTokens("theorem t")).toBe(tokenizer.encode("theorem t").length);
});
