/**
 * What the browser test runs on both sides, Node and Chromium: ten training steps of a tiny DeepSeek-V3 and some
 * tokens generated from the result, or one forward pass. The package comes as an argument, so that this file loads in either.
 */
export type DeepseekPackage = typeof import("../../src/index.ts");

export interface TenStepsOptions {
  readonly threads: number;
  readonly relaxed: boolean;
  /** Training steps; default 10. */
  readonly steps?: number;
}

export interface TenStepsReport {
  readonly losses: readonly number[];
  readonly mtpLosses: readonly (number | null)[];
  readonly balanceLosses: readonly (number | null)[];
  /** SHA-256 of all parameters' bytes, in checkpoint order. */
  readonly parameters: string;
  readonly tokens: readonly number[];
  readonly threads: number;
}

const config = {
  model_type: "deepseek_v3",
  architectures: ["DeepseekV3ForCausalLM"],
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 48,
  moe_intermediate_size: 16,
  num_hidden_layers: 2,
  first_k_dense_replace: 1,
  moe_layer_freq: 1,
  n_routed_experts: 4,
  n_shared_experts: 1,
  num_experts_per_tok: 2,
  n_group: 2,
  topk_group: 1,
  topk_method: "noaux_tc",
  scoring_func: "sigmoid",
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  q_lora_rank: 16,
  kv_lora_rank: 16,
  qk_nope_head_dim: 8,
  qk_rope_head_dim: 8,
  v_head_dim: 8,
  num_nextn_predict_layers: 1,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  hidden_act: "silu",
};

const llama = {
  model_type: "llama",
  architectures: ["LlamaForCausalLM"],
  vocab_size: 40,
  hidden_size: 16,
  intermediate_size: 24,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 32,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  hidden_act: "silu",
};

const LENGTH = 16;

/** Trains, hashes and generates. Every kernel runs on all threads, however small. */
export async function tenSteps(
  deepseek: DeepseekPackage,
  { threads, relaxed, steps = 10 }: TenStepsOptions,
): Promise<TenStepsReport> {
  const device = await deepseek.createCpuDevice({ threads, relaxed, parallelWork: 0 });
  try {
    using model = deepseek.createModel(config, device, { seed: 3, std: 0.05 });
    const random = new deepseek.Random(11);
    const batches: import("../../src/train/batches.ts").BatchSource = {
      next: async (batch) => {
        const tokens = Int32Array.from({ length: batch * (LENGTH + 1) }, () => random.int(64));
        const targets = new Int32Array(batch * LENGTH);
        for (let b = 0; b < batch; b++) {
          targets.set(tokens.subarray(b * (LENGTH + 1) + 1, (b + 1) * (LENGTH + 1)), b * LENGTH);
        }
        return { tokens, targets, batch, length: LENGTH };
      },
      state: () => null,
      restore: () => {},
    };
    using trainer = new deepseek.Trainer(model, batches, {
      steps,
      batch: { size: 4 },
      learningRate: { peak: 1e-2, warmupSteps: 2, shape: "cosine" },
      mtpWeight: 0.3,
      balanceAlpha: 1e-4,
      biasGamma: 1e-3,
    });
    const metrics = [];
    while (!trainer.done) metrics.push(await trainer.trainStep());

    const tokens: number[] = [];
    for await (const { id } of deepseek.generate(model, [5, 12, 19], { maxTokens: 12, stopIds: [] })) {
      tokens.push(id);
    }
    return {
      losses: metrics.map((m) => m.loss),
      mtpLosses: metrics.map((m) => m.mtpLoss),
      balanceLosses: metrics.map((m) => m.balanceLoss),
      parameters: await hashOf(model),
      tokens,
      threads: device.backend.threads,
    };
  } finally {
    await device[Symbol.asyncDispose]();
  }
}

/** Logits of five tokens of a tiny Llama, and the buffers that are left afterwards. */
export async function oneForward(
  deepseek: DeepseekPackage,
  threads: number,
): Promise<{ logits: readonly number[]; buffers: number }> {
  const device = await deepseek.createCpuDevice({ threads, relaxed: false, parallelWork: 0 });
  try {
    let logits: readonly number[];
    {
      using model = deepseek.createModel(llama, device, { seed: 1, std: 0.1 });
      using scores = device.tidy(() => model.logits(model.hidden(model.ids([[1, 2, 3, 4, 5]]))));
      logits = Array.from(await scores.data());
    }
    return { logits, buffers: device.backend.memory().buffers };
  } finally {
    await device[Symbol.asyncDispose]();
  }
}

async function hashOf(model: InstanceType<DeepseekPackage["CausalLM"]>): Promise<string> {
  const arrays: Uint8Array[] = [];
  for (const { name } of model.parameters.named()) {
    const values = await model.parameters.get(name).raw();
    arrays.push(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  const bytes = new Uint8Array(arrays.reduce((n, a) => n + a.length, 0));
  let at = 0;
  for (const array of arrays) {
    bytes.set(array, at);
    at += array.length;
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (b) => b.toString(16).padStart(2, "0")).join("");
}
