/**
 * A small checkpoint that has learned a few samples of the picture world by heart, for tests of what comes after an answer:
 * boxes that a model wrote itself, text that is not noise.
 */
import { memoryFolder, memoryFolderSink } from "../../checkpoint/byte-source.ts";
import { saveCheckpoint } from "../../checkpoint/save.ts";
import { visionEntries } from "../../checkpoint/vision-model.ts";
import { worldConversation } from "../../data/world/conversation.ts";
import { type WorldSample, worldSample } from "../../data/world/sample.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import { loadFolder } from "../../pretrained/load.ts";
import type { Device } from "../../tensor/tensor.ts";
import { imageBatches } from "../../train/image-rows.ts";
import { imageObjective } from "../../train/objectives/images.ts";
import { Trainer } from "../../train/trainer.ts";
import { LessonMaker } from "./lessons.ts";

/** The first samples of a task in the stream of questions. */
export function questionsOf(task: WorldSample["task"], count: number, seed = 1): WorldSample[] {
  const found: WorldSample[] = [];
  for (let i = 0; found.length < count; i++) {
    const sample = worldSample("questions", seed, i);
    if (sample.task === task) found.push(sample);
  }
  return found;
}

/** Mean cross entropy, in nats a token, below which greedy answers are those that were learned. */
const LEARNED = 0.03;
const MOST_STEPS = 2000;

/** The files of `worldCheckpoint(kind)` after it has learned the samples. @throws Error if it does not learn them */
export async function taughtCheckpoint(
  kind: "vl" | "vl2",
  samples: readonly WorldSample[],
  device: Device,
): Promise<Map<string, Uint8Array>> {
  const files = await worldCheckpoint(kind, device, { std: 0.1 });
  await using opened = await loadFolder(memoryFolder(files), { device });
  const { vision, tokenizer } = opened;
  const lessons = new LessonMaker({ vision: vision!, tokenizer: tokenizer!, sequenceLength: 512 });
  const read = await Promise.all(
    samples.map((sample, i) => lessons.make(worldConversation(sample), "answers", `sample ${i}`)),
  );
  const { imageId, padId } = lessons;
  const batches = imageBatches(read, { imageId, padId, maxTokens: 4096 });
  const source = { next: async () => batches, state: () => null, restore: () => {} };
  using trainer = new Trainer(
    vision!.model,
    source,
    {
      ...{ steps: MOST_STEPS, batch: { size: samples.length }, optimizer: { weightDecay: 0 } },
      learningRate: { peak: 4e-3, warmupSteps: 10, shape: "constant" },
    },
    imageObjective,
  );
  let loss = Number.POSITIVE_INFINITY;
  while (loss > LEARNED && !trainer.done) ({ loss } = await trainer.trainStep());
  if (loss > LEARNED)
    throw new Error(`the samples were not learned: loss ${loss} after ${trainer.step} steps`);
  const { "config.json": config, ...others } = Object.fromEntries(
    [...files]
      .filter(([name]) => name.endsWith(".json"))
      .map(([name, bytes]) => [name, new TextDecoder().decode(bytes)]),
  );
  const written = new Map<string, Uint8Array>();
  await saveCheckpoint(memoryFolderSink(written), visionEntries(vision!.model), {
    config: JSON.parse(config),
    files: others,
  });
  return written;
}
