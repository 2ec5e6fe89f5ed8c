/**
 * Checkpoints that transformers or llama.cpp load, as found in public bug reports: logits of transformers 5.18, greedy
 * tokens of llama.cpp (node-llama-cpp 3.22.1).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { loadModel } from "../../src/checkpoint/model.ts";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { generate } from "../../src/engine/generate.ts";
import { load } from "../../src/pretrained/node-load.ts";
import { createCpuDevice } from "../../src/tensor/cpu/backend.ts";
import type { Device } from "../../src/tensor/tensor.ts";
import { faults } from "./request-cases.ts";

interface CheckpointCase {
  readonly title: string;
  readonly path: string;
  readonly ids: number[];
  /** Of the last token. */
  readonly logits?: readonly number[];
  readonly tolerance?: number;
  readonly greedy?: readonly number[];
}

const cases = JSON.parse(readFileSync(join(faults, "checkpoints.json"), "utf8")) as CheckpointCase[];
let device: Device;
beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
});
afterAll(() => device[Symbol.asyncDispose]());

it.each(cases)("$title: $path", async ({ path, ids, logits, tolerance, greedy }) => {
  const folder = join(faults, "checkpoints", path);
  if (greedy !== undefined) {
    await using opened = await load(folder, { device });
    const found: number[] = [];
    const options = { maxTokens: greedy.length, temperature: 0 };
    for await (const { id } of generate(opened.model, ids, options)) found.push(id);
    expect(found).toEqual(greedy);
  } else {
    const model = await loadModel(nodeFolder(folder), device);
    using scores = device.tidy(() => model.logits(model.last(model.hidden(model.ids([ids])))));
    const found = await scores.data();
    const off = Math.max(...logits!.map((value, i) => Math.abs(value - found[i])));
    expect(off).toBeLessThanOrEqual(tolerance!);
    model[Symbol.dispose]();
  }
});
