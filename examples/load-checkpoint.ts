/** Writes a tiny random DeepSeek-V2 as a Hugging Face folder, loads it again, prints logits and generates. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  countParameters,
  createCpuDevice,
  createModel,
  generate,
  loadModel,
  modelEntries,
  nodeFolder,
  nodeFolderSink,
  presets,
  saveCheckpoint,
} from "deepseek-ts/node";

// V2-Lite in small: official keys, smaller numbers.
const config = {
  ...presets["deepseek-v2-lite"],
  vocab_size: 256,
  hidden_size: 64,
  intermediate_size: 128,
  moe_intermediate_size: 32,
  num_hidden_layers: 3,
  n_routed_experts: 8,
  num_experts_per_tok: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  kv_lora_rank: 32,
  qk_nope_head_dim: 16,
  qk_rope_head_dim: 8,
  v_head_dim: 16,
  bos_token_id: 0,
  eos_token_id: 1,
};

const folder = await mkdtemp(join(tmpdir(), "deepseek-ts-"));
await using device = await createCpuDevice();
try {
  {
    using random = createModel(config, device, { seed: 1, std: 0.1 });
    const sink = await nodeFolderSink(join(folder, "model"));
    const { totalSize } = await saveCheckpoint(sink, modelEntries(random), { config, dtype: "BF16" });
    console.log(`saved ${totalSize} bytes of weights`);
  }

  using model = await loadModel(nodeFolder(join(folder, "model")), device, { dtype: "bf16" });
  const { total, activated } = countParameters(model.config);
  console.log(`loaded ${total} parameters, ${activated} of them used per token`);

  const prompt = [0, 17, 42, 99];
  {
    // What is made in the body is freed at its end, but for what it returns.
    using scores = device.tidy(() => {
      const hidden = model.hidden(model.ids([prompt])); // [1, 4, 64]
      return model.logits(model.last(hidden)); // [1, 256]
    });
    const logits = await scores.data();
    const best = Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a]);
    for (const id of best.slice(0, 3)) console.log(`token ${id}: logit ${logits[id].toFixed(3)}`);
  }

  const ids: number[] = [];
  for await (const { id } of generate(model, prompt, { maxTokens: 12, temperature: 0.8, seed: 7 }))
    ids.push(id);
  console.log(`continues with ${ids.join(" ")}`);
} finally {
  await rm(folder, { recursive: true });
}
