/**
 * One training step of a DeepSeek-V3-shaped model of 19.6 million parameters: forward, backward, clipping and AdamW on
 * 8 sequences of 256 random tokens. Options:
 *   --rounds N --steps N   N rounds of N steps (5 of 3)
 *   --threads N            default: the machine's cores
 *   --profile              where the time goes, by kernel and phase
 *   --peer PYTHON          a Python with torch and transformers: the same step there, rounds alternating
 *                          (or DEEPSEEK_TS_PEER_PYTHON)
 */
import { readFile } from "node:fs/promises";
import { parseArgs } from "node:util";
import { type CausalLM, createModel } from "../src/models/causal-lm.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import { Random } from "../src/tensor/random.ts";
import type { BatchSource } from "../src/train/batches.ts";
import { type StepMetrics, Trainer } from "../src/train/trainer.ts";
import { type Peer, startPeer } from "./peers/torch.ts";
import { median, round, spread } from "./support/numbers.ts";
import { Profile } from "./support/profile.ts";
import { type TrainingCost, trainingCost } from "./support/training-cost.ts";

export const name = "train";

const BATCH = 8;
const LENGTH = 256;
const WARMUP = 3;
/** Milliseconds between the sides of a round: threads of the one that stopped may spin for a while. */
const PAUSE = 400;
/** Share of the processors that a step gets on an idle machine, at least. */
const IDLE_SHARE = 0.85;

/** Uniform token ids without end. */
function randomBatches(random: Random, vocabulary: number): BatchSource {
  return {
    next: async (batch) => {
      const row = LENGTH + 1;
      const tokens = Int32Array.from({ length: batch * row }, () => random.int(vocabulary));
      const targets = Int32Array.from(
        { length: batch * LENGTH },
        (_, i) => tokens[Math.floor(i / LENGTH) * row + (i % LENGTH) + 1],
      );
      return { tokens, targets, batch, length: LENGTH };
    },
    state: () => null,
    restore: () => undefined,
  };
}

interface Measured {
  readonly ours: number[];
  readonly peer: number[];
  /** Peer's time over ours of each round: our tokens per second over the peer's. */
  readonly ratios: number[];
  /** Processor time of all threads: below wall time times threads, the machine was busy with something else. */
  cpuOurs: number;
  cpuPeer: number;
  peerLoss: number;
  last: StepMetrics | null;
}

const pause = () => new Promise((resolve) => setTimeout(resolve, PAUSE));

async function measure(
  trainer: Trainer<CausalLM>,
  peer: Peer | null,
  rounds: number,
  steps: number,
): Promise<Measured> {
  const result: Measured = {
    ours: [],
    peer: [],
    ratios: [],
    cpuOurs: 0,
    cpuPeer: 0,
    peerLoss: 0,
    last: null,
  };
  for (let r = 0; r < rounds; r++) {
    const ours: number[] = [];
    const before = process.cpuUsage();
    for (let s = 0; s < steps; s++) {
      const start = performance.now();
      result.last = await trainer.trainStep();
      ours.push(performance.now() - start);
    }
    const { user, system } = process.cpuUsage(before);
    result.cpuOurs += (user + system) / 1000;
    result.ours.push(...ours);
    if (!peer) continue;
    await pause();
    const { ms, cpuMs, loss } = await peer.steps(steps);
    result.cpuPeer += cpuMs;
    result.peerLoss = loss;
    result.peer.push(...ms);
    result.ratios.push(median(ms) / median(ours));
    await pause();
  }
  return result;
}

/** Runs `steps` steps with every kernel timed, and prints the tables. */
async function profiled(
  trainer: Trainer<CausalLM>,
  steps: number,
  log: (line: string) => void,
): Promise<void> {
  const { model, optimizer } = trainer;
  using profile = new Profile(model.device);
  const { objective } = trainer;
  const { step, squaredNorm } = optimizer;
  trainer.objective = (...args) => {
    profile.enter("forward");
    const result = objective(...args);
    profile.enter("backward");
    return result;
  };
  optimizer.squaredNorm = () => {
    profile.enter("update");
    return squaredNorm.call(optimizer);
  };
  optimizer.step = (rate, squared) => {
    profile.enter("update");
    step.call(optimizer, rate, squared);
    profile.enter("rest");
  };
  try {
    for (let s = 0; s < steps; s++) {
      profile.enter("rest");
      await trainer.trainStep();
    }
    profile.enter("");
  } finally {
    trainer.objective = objective;
    Reflect.deleteProperty(optimizer, "step");
    Reflect.deleteProperty(optimizer, "squaredNorm");
  }
  log("");
  profile.report(steps, log);
  log("");
}

async function withPeer<T>(
  python: string | undefined,
  threads: number,
  body: (peer: Peer | null) => Promise<T>,
) {
  if (!python) return await body(null);
  const shape = ["--batch", `${BATCH}`, "--length", `${LENGTH}`, "--threads", `${threads}`];
  await using peer = await startPeer(python, ["--warmup", `${WARMUP}`, ...shape]);
  return await body(peer);
}

function describePeer({ description: d }: Peer, cost: TrainingCost, log: (line: string) => void): void {
  log(
    `peer: torch ${d.torch}, transformers ${d.transformers}, ${d.threads} threads, ${d.attention} attention, ` +
      `${d.experts} experts, ${d.optimizer} AdamW, ${d.parameters} parameters (ours ${cost.parameters})`,
  );
  for (const { choice, ms, error } of d.trials)
    log(`  tried ${Object.values(choice).join(", ")}: ${ms === undefined ? error : `${ms} ms`}`);
}

async function bench(
  model: CausalLM,
  options: { rounds: number; steps: number; profile: boolean },
  peer: Peer | null,
  log: (line: string) => void,
) {
  const { device } = model;
  const cost = trainingCost(model.config, BATCH, LENGTH);
  const { rounds, steps } = options;
  using trainer = new Trainer(model, randomBatches(new Random(2), model.config.vocabSize), {
    steps: 1e6,
    batch: { size: BATCH },
    learningRate: { peak: 3e-4, warmupSteps: 0, shape: "constant" },
    optimizer: { weightDecay: 0.1, clipNorm: 1 },
  });
  for (let s = 0; s < WARMUP; s++) await trainer.trainStep();
  const measured = await measure(trainer, peer, rounds, steps);
  const { ours, peer: theirs, ratios, last } = measured;
  const { peakBytes } = device.backend.memory();

  const tokens = BATCH * LENGTH;
  const ms = median(ours);
  const mega = (bytes: number) => bytes / 2 ** 20;
  const computed = cost.stateBytes + cost.activationBytes;
  const metrics: Record<string, number> = {
    "ms per step": round(ms),
    "ms per step, least": round(Math.min(...ours)),
    "spread %": round(100 * spread(ours)),
    "processor ms per step": round(measured.cpuOurs / ours.length),
    "tokens/s": round((1000 * tokens) / ms, 0),
    "GFLOP per step, computed": round(cost.operations / 1e9, 2),
    "GFLOP/s": round(cost.operations / ms / 1e6),
    "peak MiB": round(mega(peakBytes)),
    "weights, gradients and moments MiB, computed": round(mega(cost.stateBytes)),
    "activations MiB, computed": round(mega(cost.activationBytes)),
    "loss of the last step": round(last!.loss, 3),
  };
  const wall = ours.reduce((a, b) => a + b, 0) + theirs.reduce((a, b) => a + b, 0);
  const processors = (measured.cpuOurs + measured.cpuPeer) / (wall * device.backend.threads);
  const result: Record<string, number> = {
    "peak memory over computed sum": round(peakBytes / computed, 3),
    "processor time over wall time and threads": round(processors, 3),
  };
  if (peer) {
    metrics["peer ms per step"] = round(median(theirs));
    metrics["peer ms per step, least"] = round(Math.min(...theirs));
    metrics["peer spread %"] = round(100 * spread(theirs));
    metrics["peer processor ms per step"] = round(measured.cpuPeer / theirs.length);
    metrics["peer loss of the last step"] = round(measured.peerLoss, 3);
    metrics["peer tokens/s"] = round((1000 * tokens) / median(theirs), 0);
    result["tokens/s over peer, least steps"] = round(Math.min(...theirs) / Math.min(...ours), 3);
    result["tokens/s over peer"] = round(median(ratios), 3);
    result["tokens/s over peer, least round"] = round(Math.min(...ratios), 3);
    result["tokens/s over peer, best round"] = round(Math.max(...ratios), 3);
  }
  if (peer) describePeer(peer, cost, log);
  log(`${cost.parameters} parameters, ${tokens} tokens a step, ${device.backend.threads} threads`);
  for (const [label, value] of Object.entries({ ...metrics, ...result })) log(`${label.padEnd(46)} ${value}`);
  if (processors < IDLE_SHARE)
    log(
      `the steps got ${round(100 * processors, 0)} % of ${device.backend.threads} processors: ` +
        "another program was running, and these figures are not to be quoted",
    );
  if (options.profile) await profiled(trainer, Math.max(3, steps), log);
  return { metrics, ratios: result };
}

/** Prints milliseconds, speed and memory of a step; with a peer, the ratio of speeds, median over rounds. */
export async function run(
  log: (line: string) => void,
  args: string[] = [],
): Promise<{ metrics: Record<string, number>; ratios: Record<string, number> }> {
  const { values } = parseArgs({
    args,
    options: {
      rounds: { type: "string", default: "5" },
      steps: { type: "string", default: "3" },
      threads: { type: "string" },
      profile: { type: "boolean", default: false },
      peer: { type: "string" },
    },
  });
  await using device = await createCpuDevice(values.threads ? { threads: Number(values.threads) } : {});
  const config = await readFile(new URL("train-config.json", import.meta.url), "utf8");
  using model = createModel(JSON.parse(config), device, { seed: 1 });
  const options = {
    rounds: Number(values.rounds),
    steps: Number(values.steps),
    profile: values.profile,
  };
  const python = values.peer ?? process.env.DEEPSEEK_TS_PEER_PYTHON;
  return await withPeer(python, device.backend.threads, (peer) => bench(model, options, peer, log));
}
