/** DeepSeek-VL2 from image files and messages to tokens: pixels, ids and greedy answers of its own processor and model. */
import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type ImageMessage, markedContent, vl2Prompt } from "../src/chat/index.ts";
import { loadVisionModel } from "../src/checkpoint/index.ts";
import { nodeFileSource, nodeFolder } from "../src/checkpoint/node-files.ts";
import { openSafetensors } from "../src/checkpoint/safetensors.ts";
import { Engine, imagePrompt } from "../src/engine/index.ts";
import { contentsOf } from "../src/engine/prompt.ts";
import { type EncodedImage, parseTileProcessor, tiledPixels } from "../src/models/index.ts";
import { createCpuDevice } from "../src/tensor/cpu/backend.ts";
import type { Device } from "../src/tensor/tensor.ts";
import type { Slices } from "../src/tokenizer/slices.ts";
import type { Tokenizer } from "../src/tokenizer/tokenizer.ts";
import { decodeImage } from "../src/vision/index.ts";

const root = new URL("fixtures/vl2/", import.meta.url).pathname;
const [BOS, EOS, IMAGE] = [0, 1, 94];

/** The stand-in of the fixtures: an id for each byte. */
const tokenizer = {
  idOf: () => undefined,
  specialTokens: new Set(),
  tokenOf: () => undefined,
  *encodeSlices(text: string): Slices<number[]> {
    return Array.from(new TextEncoder().encode(text), (byte) => 3 + (byte % 90));
  },
} as unknown as Tokenizer;

async function tensorsOf(path: string) {
  const source = await nodeFileSource(path);
  const file = await openSafetensors(source);
  const found = new Map<string, { shape: readonly number[]; values: ArrayLike<number> }>();
  for (const [name, { dtype, shape }] of file.tensors) {
    const { buffer } = (await file.read(name)).slice();
    const values = dtype === "F32" ? new Float32Array(buffer) : dtype === "I32" ? new Int32Array(buffer) : [];
    found.set(name, { shape, values });
  }
  await source.close?.();
  return (name: string) => found.get(name)!;
}

interface Inputs {
  readonly messages: readonly (readonly { readonly role: string; readonly content: string }[])[];
  readonly image_sizes: readonly (readonly unknown[])[];
}

describe.each(["mla", "mha", "mla-noaux"])("%s", (name) => {
  let device: Device;
  beforeAll(async () => {
    device = await createCpuDevice({ threads: 2 });
  });
  afterAll(() => device[Symbol.asyncDispose]());

  it("answers about its pictures as the reference does", async () => {
    const folder = `${root}${name}/`;
    const json = (file: string) => JSON.parse(readFileSync(folder + file, "utf8"));
    const { candidate_resolutions, vision_config, projector_config } = json("config.json");
    const processor = parseTileProcessor({
      candidate_resolutions,
      patch_size: vision_config.patch_size,
      downsample_ratio: projector_config.downsample_ratio,
    });
    const given = await tensorsOf(`${folder}inputs.safetensors`);
    const expected = await tensorsOf(`${folder}expected.safetensors`);
    const [rows, steps] = expected("greedy_tokens").shape;
    const length = given("input_ids").shape[1];
    const [, slots, channels, side] = given("images").shape;
    using model = await loadVisionModel(nodeFolder(folder), device);
    await using engine = new Engine(model.language);
    const { messages, image_sizes } = json("inputs.json") as Inputs;
    expect(messages).toHaveLength(rows);
    const answers: number[][] = [];
    for (const [row, conversation] of messages.entries()) {
      const images = [];
      for (const index of image_sizes[row].keys()) {
        const file = `image-${row}-${index}.png`;
        images.push(await decodeImage(readFileSync(folder + file), { name: file }));
      }
      const { pixels, plans } = await tiledPixels(images, processor, { device });
      // The reference's views, channels first, after those of the rows before.
      const { values } = given("images");
      const start = row * slots * channels * side ** 2;
      for (let i = 0; i < pixels.length; i++) {
        const [view, place, c] = [Math.floor(i / (3 * side ** 2)), Math.floor(i / 3) % side ** 2, i % 3];
        const value = values[start + (view * 3 + c) * side ** 2 + place];
        if (pixels[i] !== value) expect.fail(`row ${row}, value ${i}: ${pixels[i]} for ${value}`);
      }
      const turns = conversation
        .filter(({ content }, i) => i < conversation.length - 1 || content !== "")
        .map(
          ({ role, content }): ImageMessage => ({
            role: role === "<|User|>" ? "user" : "assistant",
            content: markedContent(content, "<image>"),
          }),
        );
      const encoded: EncodedImage[] =
        images.length === 0
          ? []
          : await model.encodeImages({ pixels, tiles: plans.map(({ tiles }) => tiles) });
      const pieces = vl2Prompt(turns, tokenizer, { bos: BOS, eos: EOS });
      const prompt = imagePrompt(pieces, encoded, IMAGE);
      const ids = Array.from(given("input_ids").values).slice(row * length, (row + 1) * length);
      const mask = Array.from(given("attention_mask").values).slice(row * length, (row + 1) * length);
      expect(contentsOf(prompt).tokens).toEqual(ids.slice(mask.indexOf(1)));
      const answer: number[] = [];
      const request = { prompt, maxTokens: steps, temperature: 0, stopIds: [] };
      for await (const { id } of engine.submit(request)) answer.push(id);
      answers.push(answer);
      for (const image of encoded) image[Symbol.dispose]();
    }
    expect(answers.flat()).toEqual(Array.from(expected("greedy_tokens").values));
  });
});
