/**
 * A model from random weights learns to add: first the form of an answer from examples that are often wrong, then, by a reward
 * that checks the sum, the answers themselves (GRPO). An engine samples with the weights that are trained.
 */
import { createCpuDevice, createModel } from "deepseek-ts";
import { Engine } from "deepseek-ts/engine";
import { type Lesson, PackedRows, type PolicyPrompt, PolicyTrainer, Trainer } from "deepseek-ts/train";

// Tokens: the numbers 0 to 8, plus, equals, the end.
const [plus, equals, end] = [9, 10, 11];
const config = {
  model_type: "llama",
  vocab_size: 12,
  hidden_size: 48,
  intermediate_size: 96,
  num_hidden_layers: 2,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  eos_token_id: end,
};
const sums = Array.from({ length: 25 }, (_, i) => [i % 5, Math.floor(i / 5)]);
const question = ([a, b]: readonly number[]) => [a, plus, b, equals];

await using device = await createCpuDevice();
using model = createModel(config, device, { seed: 1, std: 0.1 });

// Every third example is right, the others are off by some: the form can be learned from them, the sums hardly.
const lessons: Lesson[] = sums.map(([a, b], i) => ({
  ids: [...question([a, b]), (a + b + (i % 3) * 2) % 9, end],
  learned: [0, 0, 0, 0, 1, 1],
}));
const rows = new PackedRows(lessons, { length: 24 });
{
  using trainer = new Trainer(model, rows, {
    steps: 12,
    batch: { size: rows.rows },
    learningRate: { peak: 3e-3, warmupSteps: 2, shape: "constant" },
  });
  let loss = 0;
  while (!trainer.done) ({ loss } = await trainer.trainStep());
  console.log(`learned from ${lessons.length} examples in ${rows.rows} rows, loss ${loss.toFixed(2)}`);
}

await using engine = new Engine(model, { maxBatch: 64 });
const prompts = sums.map(([a, b]): PolicyPrompt => ({ ids: question([a, b]), key: String(a + b) }));
using policy = new PolicyTrainer(
  {
    model,
    engine,
    prompts,
    // Right, and nothing after it.
    reward: (samples) =>
      samples.map(({ completionIds: [first, second], key }) =>
        first === Number(key) && second === end ? 1 : 0,
      ),
  },
  {
    steps: 40,
    groups: prompts.length,
    samples: 8,
    maxTokens: 4,
    equalGroups: "skip",
    learningRate: { peak: 3e-3, warmupSteps: 2, shape: "constant" },
  },
);
const rewards: number[] = [];
while (!policy.done) {
  const { step, reward, length, equalGroups } = await policy.step();
  rewards.push(reward);
  if (step % 8 !== 1 && !policy.done) continue;
  const [right, same] = [reward, equalGroups].map((share) => `${(100 * share).toFixed(0)}%`);
  console.log(
    `step ${String(step).padStart(2)}: ${right} right, ${length.toFixed(1)} tokens, ${same} of groups all alike`,
  );
}
if (rewards[39] < rewards[0] + 0.3) throw new Error("the policy has not learned to add");
