import { afterAll, beforeAll, expect, it } from "vitest";
import { testTokenizer } from "../chat/testing.ts";
import { JobCanceledError } from "../jobs/errors.ts";
import { MemoryQueue } from "../jobs/memory-queue.ts";
import type { CausalLM } from "../models/causal-lm.ts";
import { createCpuDevice } from "../tensor/cpu/backend.ts";
import type { Device } from "../tensor/tensor.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { smallV3 } from "./testing.ts";
import { completeText, fillText, type TextChunk } from "./text.ts";
import { processText, type TextResult, type TextTask } from "./text-job.ts";

let device: Device;
let model: CausalLM;
let tokenizer: Tokenizer;

beforeAll(async () => {
  device = await createCpuDevice({ threads: 1 });
  tokenizer = await testTokenizer("v3");
  model = smallV3(device, { vocabulary: tokenizer.vocabSize });
});
afterAll(() => device[Symbol.asyncDispose]());

const options = { maxTokens: 24, temperature: 1, seed: 4, stopIds: [] };
const add = (queue: MemoryQueue, task: TextTask) =>
  queue.add<TextTask, TextChunk, TextResult>("generate", task);

async function textOf(chunks: AsyncIterable<TextChunk>): Promise<string> {
  let text = "";
  for await (const chunk of chunks) text += chunk.text;
  return text;
}

it("writes what the functions write, with any reader", async () => {
  await using queue = new MemoryQueue();
  processText(queue, model, tokenizer);
  const completed = await add(queue, { prompt: "Hello", options });
  const filled = await add(queue, { prefix: "a = ", suffix: ";", options });
  const expected = await textOf(completeText(model, tokenizer, "Hello", options));
  const { text, stats } = await completed.result();
  expect(text).toBe(expected);
  expect(stats).toMatchObject({ generatedTokens: 24, stopReason: "length", stopString: null });
  expect((await filled.result()).text).toBe(await textOf(fillText(model, tokenizer, "a = ", ";", options)));
  const chunks: TextChunk[] = [];
  for await (const { event } of completed.events()) chunks.push(event);
  expect(chunks.map((chunk) => chunk.text).join("")).toBe(expected);
  let tail = "";
  for await (const { event } of completed.events(5)) tail += event.text;
  expect(tail).toBe(
    chunks
      .slice(5)
      .map((chunk) => chunk.text)
      .join(""),
  );
});

it("frees what it holds when it is canceled", async () => {
  await using queue = new MemoryQueue();
  processText(queue, model, tokenizer);
  const { buffers } = device.backend.memory();
  const job = await add(queue, { prompt: "Hello", options: { ...options, maxTokens: 4000 } });
  for await (const _ of job.events()) break;
  expect(device.backend.memory().buffers).toBeGreaterThan(buffers);
  await job.cancel("enough");
  await expect(job.result()).rejects.toBeInstanceOf(JobCanceledError);
  expect(device.backend.memory().buffers).toBe(buffers);
});
