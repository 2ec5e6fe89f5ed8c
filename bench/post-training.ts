/**
 * Steps of post-training on the model of `train` (19.6 million parameters, a DeepSeek-V3), 2,048 tokens at once:
 *   train      8 sequences of 256 random tokens, each one document: what `sft` is held against
 *   sft        8 rows of 256 packed with short conversations, isolated, answers learned
 *   unpacked   the same conversations a row each, padded to the longest of their batch, as programs without packing have them
 *   dpo        pairs of answers after shared prompts, as many tokens
 * Each round takes all of them in turn. Ratios are by wall time and by processor time: the second holds on a busy machine too.
 *   --rounds N --steps N   N rounds of N steps of each (5 of 2)
 *   --threads N            default: the machine's cores
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { type CausalLM, createModel } from "../src/models/causal-lm.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import type { Batch, BatchSource, TokenBatch } from "../src/train/batches.ts";
import type { Objective } from "../src/train/objectives/objective.ts";
import { tokenObjective } from "../src/train/objectives/objective.ts";
import {
  type PreferenceBatch,
  preferenceBatches,
  preferenceObjective,
  scorePairs,
} from "../src/train/objectives/preference.ts";
import { type Lesson, PackedRows } from "../src/train/packed-rows.ts";
import { Trainer, type TrainOptions } from "../src/train/trainer.ts";
import { median, round, spread, table } from "./support/numbers.ts";

export const name = "post-training";

const ROWS = 8;
const LENGTH = 256;
const TOKENS = ROWS * LENGTH;
const WARMUP = 2;
/** Conversations: of this many tokens at least and at most, a third of them the question. */
const [SHORTEST, LONGEST] = [24, 120];
const CONVERSATIONS = 400;

/** A step of one kind; tokens that are not padding, and all that the model reads. */
interface Step {
  readonly tokens: number;
  readonly read: number;
}

interface Side {
  readonly name: string;
  step(): Promise<Step>;
  dispose(): void;
}

const options: TrainOptions = {
  steps: 1e6,
  batch: { size: ROWS },
  learningRate: { peak: 1e-5, warmupSteps: 0, shape: "constant" },
  optimizer: { weightDecay: 0.1, clipNorm: 1 },
};

const source = <B extends Batch>(next: (size: number) => Promise<B | B[]>): BatchSource<B> => ({
  ...{ next, state: () => null, restore: () => undefined },
});

/** A trainer of its own over a shared model; `counted` says how many tokens of a batch are not padding. */
function sideOf<B extends Batch>(
  label: string,
  model: CausalLM,
  batches: BatchSource<B>,
  objective: Objective<CausalLM, B>,
  counted: (batch: B) => Step,
): Side {
  let last: readonly B[] = [];
  const watched = source<B>(async (size) => {
    const next = await batches.next(size);
    last = Array.isArray(next) ? next : [next as B];
    return [...last];
  });
  const trainer = new Trainer<CausalLM, B>(model, watched, options, objective as never);
  return {
    name: label,
    async step() {
      await trainer.trainStep();
      const steps = last.map(counted);
      return {
        tokens: steps.reduce((sum, { tokens }) => sum + tokens, 0),
        read: steps.reduce((sum, { read }) => sum + read, 0),
      };
    },
    dispose: () => trainer[Symbol.dispose](),
  };
}

const idsOf = (random: Random, count: number, vocabulary: number) =>
  Array.from({ length: count }, () => 2 + random.int(vocabulary - 2));

function conversations(random: Random, vocabulary: number): Lesson[] {
  return Array.from({ length: CONVERSATIONS }, () => {
    const length = SHORTEST + random.int(LONGEST - SHORTEST + 1);
    return {
      ids: idsOf(random, length, vocabulary),
      learned: Array.from({ length }, (_, i) => (3 * i < length ? 0 : 1)),
    };
  });
}

/** Lessons in their order, each a row, so many together that their batch has at most `TOKENS` places. */
function unpackedRows(lessons: readonly Lesson[]): BatchSource<TokenBatch> {
  let at = 0;
  return source(async () => {
    const some: Lesson[] = [];
    let longest = 0;
    for (;;) {
      const lesson = lessons[at % lessons.length];
      const next = Math.max(longest, lesson.ids.length);
      if ((some.length + 1) * next > TOKENS) break;
      some.push(lesson);
      longest = next;
      at++;
    }
    const tokens = new Int32Array(some.length * (longest + 1));
    const targets = new Int32Array(some.length * longest).fill(-1);
    some.forEach(({ ids, learned }, b) => {
      for (let i = 0; i < ids.length; i++) {
        tokens[b * (longest + 1) + i] = ids[i];
        if (i > 0 && learned[i]) targets[b * longest + i - 1] = ids[i];
      }
    });
    return { tokens, targets, batch: some.length, length: longest };
  });
}

async function sidesOf(model: CausalLM): Promise<Side[]> {
  const { vocabSize } = model.config;
  const random = new Random(2);
  const plain = source<TokenBatch>(async (batch) => {
    const tokens = Int32Array.from(idsOf(random, batch * (LENGTH + 1), vocabSize));
    const targets = Int32Array.from({ length: batch * LENGTH }, (_, i) => {
      return tokens[Math.floor(i / LENGTH) * (LENGTH + 1) + (i % LENGTH) + 1];
    });
    return { tokens, targets, batch, length: LENGTH };
  });
  const lessons = conversations(new Random(3), vocabSize);
  const packed = new PackedRows(lessons, { length: LENGTH, seed: 4 });
  const whole = ({ batch, length }: Batch): Step => ({ tokens: batch * length, read: batch * length });
  const held = (batch: TokenBatch): Step => ({
    tokens: batch.tokens.reduce((count, id) => count + (id === 0 ? 0 : 1), 0),
    read: batch.batch * batch.length,
  });
  // Prompts of a third and answers of two thirds; both sides of a pair read the prompt.
  const pairs = await scorePairs(
    model,
    Array.from({ length: 48 }, () => {
      const length = SHORTEST + random.int(LONGEST - SHORTEST + 1);
      const answer = () => idsOf(random, Math.ceil((2 * length) / 3), vocabSize);
      return {
        prompt: idsOf(random, Math.ceil(length / 3), vocabSize),
        chosen: answer(),
        rejected: answer(),
      };
    }),
  );
  let at = 0;
  const preferred = source<PreferenceBatch>(async () => {
    const some = [];
    for (let tokens = 0; tokens < TOKENS; at++) {
      const pair = pairs[at % pairs.length];
      tokens += 2 * (pair.prompt.length + pair.chosen.length);
      some.push(pair);
    }
    return preferenceBatches(some, TOKENS);
  });
  const both = ({ pairs: some, batch, length }: PreferenceBatch): Step => ({
    tokens: some.reduce(
      (sum, { prompt, chosen, rejected }) => sum + 2 * prompt.length + chosen.length + rejected.length,
      0,
    ),
    read: batch * length,
  });
  return [
    sideOf("train", model, plain, tokenObjective, whole),
    sideOf("sft, packed", model, packed, tokenObjective, held),
    sideOf("sft, unpacked", model, unpackedRows(lessons), tokenObjective, held),
    sideOf("dpo", model, preferred, preferenceObjective(), both),
  ];
}

/** Rates of a side in tokens a second, a number for each round. */
interface Rates {
  /** Tokens that are not padding, by wall time and by processor time. */
  readonly held: number[];
  readonly heldByProcessor: number[];
  /** All places that the model reads. */
  readonly read: number[];
  readonly readByProcessor: number[];
}

export async function run(
  log: (line: string) => void,
  args: string[] = [],
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "5" },
      steps: { type: "string", default: "2" },
      threads: { type: "string" },
    },
  });
  await using device = await createCpuDevice(values.threads ? { threads: Number(values.threads) } : {});
  const config = await readFile(new URL("train-config.json", import.meta.url), "utf8");
  using model = createModel(JSON.parse(config), device, { seed: 1 });
  const sides = await sidesOf(model);
  const rates = sides.map((): Rates => ({ held: [], heldByProcessor: [], read: [], readByProcessor: [] }));
  let [wall, processor] = [0, 0];
  for (const side of sides) for (let i = 0; i < WARMUP; i++) await side.step();
  for (let r = 0; r < Number(values.rounds); r++) {
    for (const [s, side] of sides.entries()) {
      const [before, began] = [process.cpuUsage(), performance.now()];
      let [tokens, read] = [0, 0];
      for (let i = 0; i < Number(values.steps); i++) {
        const step = await side.step();
        tokens += step.tokens;
        read += step.read;
      }
      const seconds = (performance.now() - began) / 1000;
      const { user, system } = process.cpuUsage(before);
      const cpu = (user + system) / 1e6;
      wall += seconds;
      processor += cpu;
      const found = rates[s];
      found.held.push(tokens / seconds);
      found.read.push(read / seconds);
      found.heldByProcessor.push((tokens * device.backend.threads) / cpu);
      found.readByProcessor.push((read * device.backend.threads) / cpu);
    }
  }
  for (const side of sides) side.dispose();
  const ratio = (of: number, to: number, key: keyof Rates) =>
    round(median(rates[of][key].map((rate, r) => rate / rates[to][key][r])), 3);
  const share = processor / (wall * device.backend.threads);
  const ratios = {
    "sft over train": ratio(1, 0, "read"),
    "sft over train, by processor time": ratio(1, 0, "readByProcessor"),
    "dpo over train": ratio(3, 0, "read"),
    "dpo over train, by processor time": ratio(3, 0, "readByProcessor"),
    "packed over unpacked": ratio(1, 2, "held"),
    "packed over unpacked, by processor time": ratio(1, 2, "heldByProcessor"),
    "processor time over wall time and threads": round(share, 3),
  };
  const rows = sides.map(({ name: label }, s) => {
    const { held, read, heldByProcessor } = rates[s];
    const figures = [median(read), median(held), median(heldByProcessor)].map((rate) => `${round(rate, 0)}`);
    return [label, ...figures, `${round(100 * spread(read), 0)} %`];
  });
  const head = ["", "tokens/s, padding too", "without padding", "by processor time", "spread"];
  for (const line of table([head, ...rows])) log(line);
  log("");
  for (const [label, value] of Object.entries(ratios)) log(`${label.padEnd(46)} ${value}`);
  if (share < 0.85) log("another program was running: only ratios by processor time are to be quoted");
  const metrics = Object.fromEntries(
    sides.map(({ name: label }, s) => [`${label} tokens/s`, round(median(rates[s].held), 0)]),
  );
  return { metrics, ratios };
}
