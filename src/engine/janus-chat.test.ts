/** Pictures in chats with Janus and JanusFlow, from the template's pieces to tokens: what the reference answers. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { ContentPart } from "../chat/image-messages.ts";
import { type VlFamily, vlPieces } from "../chat/vl-prompt.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { VisionCase } from "../parity/vision-values.ts";
import { loadFolder } from "../pretrained/load.ts";
import type { Device } from "../tensor/tensor.ts";
import { cpuDevice } from "../tensor/testing.ts";
import { finish } from "../tokenizer/slices.ts";
import type { Tokenizer } from "../tokenizer/tokenizer.ts";
import { Engine } from "./engine.ts";
import { imagePrompt } from "./image-prompt.ts";

interface Inputs {
  readonly prompts: readonly (readonly number[])[];
  readonly token_ids: { readonly image: number; readonly start: number; readonly end: number };
  readonly images_per_prompt: readonly number[];
}

/** A character is an id; the tokens around images have those of the fixture. */
function tokenizerOf({ token_ids: { start, end } }: Inputs, [begin]: readonly number[]): Tokenizer {
  const tokens: Record<string, number> = { "<begin_of_image>": start, "<end_of_image>": end };
  const tokenizer = {
    prefixIds: [begin],
    idOf: (token: string) => tokens[token],
    *encodeSlices(text: string) {
      return Array.from(text, (c) => c.charCodeAt(0));
    },
  };
  return tokenizer as unknown as Tokenizer;
}

let device: Device;
beforeAll(async () => {
  device = await cpuDevice(1, true);
});
afterAll(() => device[Symbol.asyncDispose]());

describe.each([
  ["janus/understand", "janus"],
  ["janus/understand", "janus-pro"],
  ["janusflow/understand", "janusflow"],
] as const)("%s as %s", (name, family: VlFamily) => {
  it("answers what the reference answers, opened without what draws", async () => {
    const tree = nodeFolder(new URL(`../../test/fixtures/${name}`, import.meta.url).pathname);
    const run = await VisionCase.open(tree, device);
    const inputs = run.json as unknown as Inputs;
    const { pixels, shape } = await run.images("pixel_values");
    const expected = Array.from(await run.expected.values("greedy_tokens"));
    await using loaded = await loadFolder(tree, { device });
    expect(loaded.drawing).toBeNull();
    const { model } = loaded.vision!;
    await using engine = new Engine(loaded.model);
    const [rows, slots] = shape;
    const found: number[] = [];
    for (let row = 0; row < rows; row++) {
      const used = inputs.images_per_prompt[row];
      const size = pixels.length / rows / slots;
      const own = pixels.subarray(row * slots * size, (row * slots + used) * size);
      const images = await model.encodeImages({ pixels: own, tiles: new Array(used).fill([0, 0]) });
      const ids = inputs.prompts[row];
      const parts = ids.slice(1).map((id): ContentPart => {
        return id === inputs.token_ids.image
          ? { type: "image" }
          : { type: "text", text: String.fromCharCode(id) };
      });
      const pieces = finish(vlPieces(parts, tokenizerOf(inputs, ids), family));
      const prompt = imagePrompt(pieces, images, inputs.token_ids.image);
      for await (const { id } of engine.submit({ prompt, maxTokens: 8, stopIds: [] })) found.push(id);
      for (const each of images) each[Symbol.dispose]();
    }
    expect(found).toEqual(expected);
    await run.close();
  });
});
