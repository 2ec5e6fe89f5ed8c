/** What a batch of conversations asks of a model: which tokens count, where images stand, and how rows are put together. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { nodeFolder } from "../../checkpoint/node-files.ts";
import { loadVisionModel } from "../../checkpoint/vision-model.ts";
import { worldConversation } from "../../data/world/conversation.ts";
import { worldSample } from "../../data/world/sample.ts";
import { worldCheckpoint } from "../../data/world/testing-checkpoints.ts";
import type { VisionLanguageModel } from "../../models/vision-language.ts";
import type { Device } from "../../tensor/tensor.ts";
import { cpuDevice } from "../../tensor/testing.ts";
import { cutRows, imageBatches, type Lesson } from "../../train/image-rows.ts";
import { imageObjective } from "../../train/objectives/images.ts";
import { LessonMaker } from "./lessons.ts";
import { folderReader } from "./model.ts";

let root: string;
let device: Device;
const made = new Map<
  string,
  { model: VisionLanguageModel; lessons: LessonMaker; decode: (ids: number[]) => string }
>();
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), "lessons-"));
  device = await cpuDevice(2, true);
  for (const kind of ["vl", "vl2"] as const) {
    const folder = join(root, kind);
    mkdirSync(folder);
    for (const [name, bytes] of await worldCheckpoint(kind, device)) writeFileSync(join(folder, name), bytes);
    const model = await loadVisionModel(nodeFolder(folder), device);
    const reader = await folderReader(folder, model, 512);
    const decode = (ids: number[]) => reader.tokenizer.decode(ids);
    made.set(kind, { model, lessons: new LessonMaker(reader), decode });
  }
});
afterAll(async () => {
  for (const { model } of made.values()) model[Symbol.dispose]();
  rmSync(root, { recursive: true, force: true });
  await device[Symbol.asyncDispose]();
});

const rows = (lessons: LessonMaker) => ({ imageId: lessons.imageId, padId: lessons.padId, maxTokens: 4096 });

describe.each(["vl", "vl2"] as const)("conversations of %s", (kind) => {
  it("cost the mean over answers and their ends, as computed row by row", async () => {
    const { model, lessons, decode } = made.get(kind)!;
    const samples = [0, 1, 2].map((i) => worldSample("questions", 7, i));
    const read = await Promise.all(
      samples.map((sample, i) => lessons.make(worldConversation(sample), "answers", `sample ${i}`)),
    );
    for (const [i, { ids, learned }] of read.entries()) {
      const text = decode([...ids].filter((_, at) => at > 0 && learned[at] === 1)).replace(
        /\s*<[^>]*sentence[^>]*>$/,
        "",
      );
      expect(text.replaceAll(" ", "")).toBe(samples[i].answer.replaceAll(" ", ""));
    }
    const batches = imageBatches(read, rows(lessons));
    let total = 0;
    let count = 0;
    for (const batch of batches) {
      using loss = device.inference(() => imageObjective(model, batch, {}).crossEntropy!);
      total += (await loss.item()) * batch.weight;
      count += batch.weight;
    }
    let nats = 0;
    let targets = 0;
    for (const lesson of read) {
      const [row] = imageBatches([lesson], rows(lessons));
      const logits = (await logitsOf(model, row).data()) as Float32Array;
      const vocabulary = model.config.language.vocabSize;
      for (let at = 1; at < lesson.ids.length; at++) {
        if (lesson.learned[at] === 0) continue;
        const values = logits.subarray((at - 1) * vocabulary, at * vocabulary);
        const sum = values.reduce((s, value) => s + Math.exp(value), 0);
        nats += Math.log(sum) - values[lesson.ids[at]];
        targets++;
      }
    }
    expect(count).toBe(targets);
    expect(total / count).toBeCloseTo(nats / targets, 4);
  });

  it("learn questions too if all is asked for, and never images", async () => {
    const { lessons } = made.get(kind)!;
    const conversation = worldConversation(worldSample("questions", 7, 0));
    const [answers] = imageBatches([await lessons.make(conversation, "answers", "a")], rows(lessons));
    const [all] = imageBatches([await lessons.make(conversation, "all", "a")], rows(lessons));
    expect(all.weight).toBeGreaterThan(answers.weight);
    expect([...all.targets]).not.toContain(lessons.imageId);
    const places = [...all.ids].filter((id) => id === lessons.imageId).length;
    expect(all.weight).toBe(all.length - places);
  });
});

/** Logits of a batch of one row, `[T, V]`. */
function logitsOf(
  model: VisionLanguageModel,
  { ids, length, images, imageId }: ReturnType<typeof imageBatches>[number],
) {
  const { pixels, order, tiles } = images!;
  const { imageSize: side } = model;
  const size = side * side * 3;
  const places = order ?? Int32Array.from({ length: pixels.length / size }, (_, i) => i);
  const all = new Float32Array(places.length * size);
  places.forEach((view, i) => {
    all.set(pixels.subarray(view * size, (view + 1) * size), i * size);
  });
  return device.inference(() => {
    const views = model.encodeViews(device.tensor(all, [places.length, side, side, 3]));
    const inputs = model.inputs(ids, [1, length], model.arrange(views, tiles), imageId);
    return model.language.logits(model.language.hidden(inputs));
  });
}

describe("rows", () => {
  const lesson = (length: number): Lesson => ({
    ids: new Int32Array(length + 1).fill(5),
    learned: new Uint8Array(length + 1).fill(1),
    images: [],
  });

  it("of similar length are put together, within the tokens that may run at once", () => {
    expect(cutRows([10, 10, 10, 10], 4096)).toEqual([4]);
    expect(cutRows([10, 10, 900, 900], 4096)).toEqual([2, 4]);
    const ends = cutRows([100, 100, 100, 100, 100], 200);
    const sizes = ends.map((each, i) => each - (ends[i - 1] ?? 0));
    expect(Math.max(...sizes)).toBe(2);
    expect([ends.length, ends.at(-1)]).toEqual([3, 5]);
    // One that is longer than allowed runs alone.
    expect(cutRows([10, 5000], 4096)).toEqual([1, 2]);
  });

  it("are padded with what is not learned", () => {
    const [batch] = imageBatches([lesson(3), lesson(5)], { imageId: 9, padId: 0, maxTokens: 100 });
    expect([batch.batch, batch.length, batch.weight]).toEqual([2, 5, 8]);
    expect([...batch.targets.subarray(0, 5)]).toEqual([5, 5, 5, -1, -1]);
    expect([...batch.ids.subarray(0, 5)]).toEqual([5, 5, 5, 0, 0]);
  });

  it("without anything to learn are refused", () => {
    const nothing = { ...lesson(3), learned: new Uint8Array(4) };
    expect(() => imageBatches([nothing], { imageId: 9, padId: 0, maxTokens: 100 })).toThrow(
      /no token to learn/,
    );
  });
});
