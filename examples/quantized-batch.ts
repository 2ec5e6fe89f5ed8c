/** Quantizes a tiny random DeepSeek-V2 to 4 bits, saves and opens it, and serves three requests in one batch. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveCheckpoint, tiledConfig, tiledEntries } from "deepseek-ts/checkpoint";
import { Engine } from "deepseek-ts/engine";
import {
  createCpuDevice,
  createModel,
  loadModel,
  nodeFolder,
  nodeFolderSink,
  presets,
} from "deepseek-ts/node";

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
  qk_nope_head_dim: 32,
  qk_rope_head_dim: 8,
  v_head_dim: 32,
  bos_token_id: 0,
  eos_token_id: 1,
};

const folder = await mkdtemp(join(tmpdir(), "deepseek-ts-"));
await using device = await createCpuDevice();
try {
  {
    using random = createModel(config, device, { dtype: "q4", seed: 1, std: 0.1 });
    const sink = await nodeFolderSink(join(folder, "model"));
    const { totalSize } = await saveCheckpoint(sink, tiledEntries(random), { config: tiledConfig(random) });
    console.log(`saved ${totalSize} bytes for ${random.parameters.count} parameters`);
  }
  using model = await loadModel(nodeFolder(join(folder, "model")), device, { dtype: "auto" });
  await using engine = new Engine(model, { maxBatch: 4, cacheDtype: "f16" });
  const prompts = [
    [0, 17, 42],
    [0, 99, 7, 3],
    [0, 17, 42, 5],
  ];
  await Promise.all(
    prompts.map(async (prompt, i) => {
      const ids: number[] = [];
      for await (const { id } of engine.submit({ prompt, maxTokens: 8, stopIds: [] })) ids.push(id);
      console.log(`request ${i}: ${ids.join(" ")}`);
    }),
  );
  const { steps, batchRows } = engine.metrics();
  console.log(`${batchRows} tokens in ${steps} passes`);
} finally {
  await rm(folder, { recursive: true, force: true });
}
