/**
 * Steps of `sft`, `dpo` and `grpo` beside the same steps in plain PyTorch (`tuned_torch.py`), from the same weights on the same data: a Llama
 * of 4 layers, 192 wide. `sft` learns rows of 256 tokens packed with conversations; the peer has them packed with a mask, and padded a row
 * each, as programs without packing do. Losses of the first steps are compared: what differs there is not the same work.
 *   --python FILE          a Python with torch (default /usr/bin/python3)
 *   --rounds N --steps N   N rounds of N steps of each, in turn (5 of 2)
 *   --threads N            of both sides (default: the machine's cores)
 *   --only NAMES           of sft, dpo and grpo, with commas
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { availableParallelism, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { modelEntries } from "../../src/checkpoint/entries.ts";
import { nodeFolderSink } from "../../src/checkpoint/node-files.ts";
import { saveCheckpoint } from "../../src/checkpoint/save.ts";
import { Engine } from "../../src/engine/engine.ts";
import { type CausalLM, createModel } from "../../src/models/causal-lm.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import { Random } from "../../src/tensor/random.ts";
import type { Batch, BatchSource, TokenBatch } from "../../src/train/batches.ts";
import { type Objective, tokenObjective } from "../../src/train/objectives/objective.ts";
import {
  type PreferenceBatch,
  preferenceBatches,
  preferenceObjective,
  scorePairs,
} from "../../src/train/objectives/preference.ts";
import { type Lesson, PackedRows } from "../../src/train/packed-rows.ts";
import { PolicyTrainer } from "../../src/train/policy/policy-trainer.ts";
import { Trainer, type TrainOptions } from "../../src/train/trainer.ts";
import type { BenchmarkResult } from "../run.ts";
import { median, round, table } from "../support/numbers.ts";
import { startChild } from "./child.ts";

export const name = "peers/tuned";

const VOCABULARY = 2048;
const CONFIG = {
  ...{ model_type: "llama", vocab_size: VOCABULARY, hidden_size: 192, intermediate_size: 512 },
  ...{ num_hidden_layers: 4, num_attention_heads: 6, num_key_value_heads: 6, rms_norm_eps: 1e-6 },
  ...{ max_position_embeddings: 512, rope_theta: 10000, bos_token_id: 0, eos_token_id: 1 },
  tie_word_embeddings: false,
};
const [ROWS, LENGTH, BATCHES] = [8, 256, 4];
/** Conversations of so many tokens, a third of them the question. */
const [SHORTEST, LONGEST] = [24, 120];
/** Groups of prompts of so many tokens, completions of each, and their tokens. */
const [GROUPS, PROMPT, SAMPLES, TOKENS] = [8, 32, 8, 32];

const options: TrainOptions = {
  ...{ steps: 1e6, batch: { size: ROWS } },
  learningRate: { peak: 1e-5, warmupSteps: 0, shape: "constant" },
  optimizer: { weightDecay: 0.1, clipNorm: 1 },
};

const idsOf = (random: Random, count: number) =>
  Array.from({ length: count }, () => 2 + random.int(VOCABULARY - 2));

function conversation(random: Random): Lesson {
  const length = SHORTEST + random.int(LONGEST - SHORTEST + 1);
  return {
    ids: idsOf(random, length),
    learned: Array.from({ length }, (_, i) => (3 * i < length ? 0 : 1)),
  };
}

/** Batches that come again and again, as on the other side. */
function again<B extends Batch>(batches: readonly (B | readonly B[])[]): BatchSource<B> {
  let taken = 0;
  return {
    next: async () => batches[taken++ % batches.length],
    state: () => null,
    restore: () => undefined,
  };
}

/** A packed batch as the peer reads it: in rows, and its conversations a row each. */
function forPeer({ tokens, targets, documents = [], batch, length }: TokenBatch) {
  const ids = Array.from({ length: batch }, (_, b) => [
    ...tokens.subarray(b * (length + 1), b * (length + 1) + length),
  ]);
  const learned = Array.from({ length: batch }, (_, b) => [
    ...targets.subarray(b * length, (b + 1) * length),
  ]);
  const [flat, flatTargets] = [ids.flat(), learned.flat()];
  let at = 0;
  const parts = documents.map((count) => {
    const part = { ids: flat.slice(at, at + count), targets: flatTargets.slice(at, at + count) };
    at += count;
    return part;
  });
  const conversations = parts.filter((part) => part.targets.some((target) => target >= 0));
  return {
    ...{ ids, targets: learned, documents },
    rows: conversations.map((each) => each.ids),
    rowTargets: conversations.map((each) => each.targets),
  };
}

/** A step, and its loss where it has one to compare. */
interface Side extends AsyncDisposable {
  step(): Promise<number | null>;
}

function trainerSide<B extends Batch>(
  model: CausalLM,
  batches: BatchSource<B>,
  objective: Objective<CausalLM, B>,
): Side {
  const trainer = new Trainer<CausalLM, B>(model, batches, options, objective as never);
  return {
    step: async () => (await trainer.trainStep()).loss,
    async [Symbol.asyncDispose]() {
      trainer[Symbol.dispose]();
      model[Symbol.dispose]();
    },
  };
}

/** What a side of each kind trains on, and the same for the peer. */
async function workOf(fresh: () => CausalLM) {
  const random = new Random(3);
  const packed = new PackedRows(
    Array.from({ length: 400 }, () => conversation(random)),
    { length: LENGTH, seed: 4 },
  );
  const sft: TokenBatch[] = [];
  for (let i = 0; i < BATCHES; i++) sft.push(await packed.next(ROWS));
  using reference = fresh();
  const pairs = await scorePairs(
    reference,
    Array.from({ length: 16 * BATCHES }, () => {
      const { ids } = conversation(random);
      const asked = Math.ceil(ids.length / 3);
      const prompt = Array.from(ids).slice(0, asked);
      return { prompt, chosen: Array.from(ids).slice(asked), rejected: idsOf(random, ids.length - asked) };
    }),
  );
  const dpo = Array.from({ length: BATCHES }, (_, i) => pairs.slice(16 * i, 16 * (i + 1)));
  const prompts = Array.from({ length: GROUPS }, () => idsOf(random, PROMPT));
  return {
    peer: { sft: sft.map(forPeer), dpo, grpo: [{ prompts, samples: SAMPLES, tokens: TOKENS }] },
    sides: {
      sft: () => trainerSide(fresh(), again<TokenBatch>(sft), tokenObjective),
      dpo: () =>
        trainerSide<PreferenceBatch>(
          fresh(),
          again(dpo.map((some) => preferenceBatches(some, 4096))),
          preferenceObjective({ beta: 0.1 }),
        ),
      grpo: (): Side => {
        const [model, frozen] = [fresh(), fresh()];
        const together = GROUPS * SAMPLES;
        const engine = new Engine(model, {
          ...{ maxBatch: together, maxQueue: together, cacheTokens: 4 * together * (PROMPT + TOKENS) },
        });
        const trainer = new PolicyTrainer(
          {
            ...{ model, engine, reference: frozen, prompts: prompts.map((ids) => ({ ids })) },
            reward: (group) => group.map((_, i) => i),
          },
          {
            ...{ steps: null, groups: GROUPS, samples: SAMPLES, maxTokens: TOKENS, stopIds: [] },
            ...{ learningRate: options.learningRate, objective: { beta: 0.04 } },
            trainer: { optimizer: options.optimizer },
          },
        );
        return {
          async step() {
            await trainer.step();
            return null;
          },
          async [Symbol.asyncDispose]() {
            trainer[Symbol.dispose]();
            await engine[Symbol.asyncDispose]();
            for (const each of [model, frozen]) each[Symbol.dispose]();
          },
        };
      },
    },
  };
}

interface PeerDescription {
  readonly torch: string;
  readonly threads: number;
  readonly parameters: number;
  readonly attention: string;
}

interface PeerSteps {
  readonly ms: readonly number[];
  readonly cpuMs: number;
  readonly losses: readonly number[];
}

/** Kinds of the peer beside each of ours. */
const PEERS = { sft: ["sft", "sft-padded"], dpo: ["dpo"], grpo: ["grpo"] } as const;
type Kind = keyof typeof PEERS;
/** Losses of the first step may differ so much: sums in another order. */
const SAME = 1e-4;

export async function run(log: (line: string) => void, args: string[] = []): Promise<BenchmarkResult> {
  const { values } = parseArgs({
    args,
    options: {
      ...{
        python: { type: "string", default: "/usr/bin/python3" },
        rounds: { type: "string", default: "5" },
      },
      ...{ steps: { type: "string", default: "2" }, threads: { type: "string" } },
      only: { type: "string", default: "sft,dpo,grpo" },
    },
  });
  const threads = Number(values.threads ?? availableParallelism());
  const [rounds, steps] = [Number(values.rounds), Number(values.steps)];
  const kinds = values.only.split(",").map((each) => {
    if (Object.hasOwn(PEERS, each)) return each as Kind;
    throw new Error(`--only: expected ${Object.keys(PEERS).join(", ")}, found ${JSON.stringify(each)}`);
  });
  await using device = await createCpuDevice({ threads });
  const fresh = () => createModel(CONFIG, device, { seed: 1, std: 0.05 });
  const folder = await mkdtemp(join(tmpdir(), "tuned-peer-"));
  try {
    const work = await workOf(fresh);
    {
      using model = fresh();
      await saveCheckpoint(await nodeFolderSink(join(folder, "model")), modelEntries(model), {
        config: CONFIG,
      });
    }
    await writeFile(join(folder, "model", "data.json"), JSON.stringify(work.peer));
    const script = fileURLToPath(new URL("tuned_torch.py", import.meta.url));
    await using peer = await startChild<PeerDescription>(values.python, [
      ...[script, join(folder, "model"), "--threads", `${threads}`],
    ]);
    const { torch, parameters, attention } = peer.description;
    log(`PyTorch ${torch}, ${attention}; ${parameters} parameters, ${threads} threads`);
    const [ratios, metrics]: Record<string, number>[] = [{}, {}];
    const rows: string[][] = [];
    for (const kind of kinds) {
      await using side = work.sides[kind]();
      const found = PEERS[kind].map((each) => ({
        name: each,
        wall: [] as number[],
        cpu: [] as number[],
        ms: [] as number[],
      }));
      const own: number[] = [];
      // The first step of each warms up, and has the loss to compare.
      const loss = await side.step();
      for (const each of found) {
        const { losses } = (await peer.ask<PeerSteps>(`${each.name} 1`)) as PeerSteps;
        if (loss !== null && Math.abs(losses[0] / loss - 1) > SAME)
          throw new Error(`${each.name}: the peer's first loss is ${losses[0]}, ours ${loss}`);
      }
      for (let r = 0; r < rounds; r++) {
        const [began, before] = [performance.now(), process.cpuUsage()];
        for (let i = 0; i < steps; i++) await side.step();
        const wall = (performance.now() - began) / steps;
        const { user, system } = process.cpuUsage(before);
        const cpu = (user + system) / 1e3 / steps;
        own.push(wall);
        for (const each of found) {
          const { ms, cpuMs } = await peer.ask<PeerSteps>(`${each.name} ${steps}`);
          const theirs = ms.reduce((a, b) => a + b, 0) / steps;
          each.ms.push(theirs);
          each.wall.push(theirs / wall);
          each.cpu.push(cpuMs / steps / cpu);
        }
      }
      metrics[`${kind} ms per step`] = round(median(own));
      for (const each of found) {
        metrics[`peer ${each.name} ms per step`] = round(median(each.ms));
        ratios[`${kind} over the peer's ${each.name}`] = round(median(each.wall), 2);
        ratios[`${kind} over the peer's ${each.name}, by processor time`] = round(median(each.cpu), 2);
        const figures = [median(own), median(each.ms), median(each.wall), median(each.cpu)];
        rows.push([each.name, ...figures.map((value, i) => `${round(value, i < 2 ? 0 : 2)}`)]);
      }
    }
    for (const line of table([
      ["", "ms a step", "the peer's", "times as fast", "by processor time"],
      ...rows,
    ]))
      log(line);
    return { metrics, ratios };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
