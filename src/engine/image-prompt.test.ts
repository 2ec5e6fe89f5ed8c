/** Prompts with images, from pixels to tokens: what the reference continues DeepSeek-VL's prompts with. */
import { afterAll, describe, expect, it } from "vitest";
import type { PromptPiece } from "../chat/image-messages.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { loadVisionModel } from "../checkpoint/vision-model.ts";
import { ConfigError } from "../tensor/errors.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { ModelSource } from "./conversation.ts";
import { generate } from "./generate.ts";
import { imagePrompt } from "./image-prompt.ts";
import { commonPrefix, contentsOf } from "./prompt.ts";

const device = createReferenceDevice();
afterAll(() => device[Symbol.asyncDispose]());
const folder = nodeFolder(new URL("../../test/fixtures/vl/chat", import.meta.url).pathname);
const IMAGE = 60;

/** A prompt of the fixture, whose image ids are places. */
function piecesOf(ids: readonly number[]): PromptPiece[] {
  let image = 0;
  return ids.map((id) => (id === IMAGE ? { image: image++ } : { ids: [id], learned: false }));
}

describe("imagePrompt", () => {
  it("puts encoded images into a prompt that a model continues", async () => {
    const { buffers } = device.backend.memory();
    {
      using model = await loadVisionModel(folder, device);
      const side = model.imageSize;
      const view = (phase: number) =>
        Float32Array.from({ length: side * side * 3 }, (_, i) => Math.sin(phase + i * 0.37));
      const pixels = Float32Array.from([...view(1), ...view(2), ...view(1)]);
      const encoded = await model.encodeImages({
        pixels,
        tiles: [
          [0, 0],
          [0, 0],
          [0, 0],
        ],
      });
      const [a, b, c] = encoded;
      expect(a.embeddings.shape).toEqual([16, 32]);
      expect([a.hash === c.hash, a.hash === b.hash, a.hash.length]).toEqual([true, false, 64]);
      const prompt = imagePrompt(piecesOf([0, 17, IMAGE, 33, IMAGE, 5]), [a, b], IMAGE);
      const { tokens, spans } = contentsOf(prompt);
      expect(tokens).toHaveLength(4 + 2 * 16);
      expect(spans.map(({ start, length, hash }) => [start, length, hash])).toEqual([
        [2, 16, a.hash],
        [19, 16, b.hash],
      ]);
      // The same picture under another number shares a cache, another one does not.
      const other = (images: readonly (typeof a)[]) =>
        contentsOf(imagePrompt(piecesOf([0, 17, IMAGE, 33, IMAGE, 5]), images, IMAGE));
      expect(commonPrefix(contentsOf(prompt), other([c, b]))).toBe(36);
      expect(commonPrefix(contentsOf(prompt), other([b, a]))).toBe(2);
      const found: number[] = [];
      const options = { maxTokens: 5, temperature: 0 };
      for await (const { id } of generate(model.language, prompt, options)) found.push(id);
      // Against the whole sequence at once, without a cache.
      const expected: number[] = [];
      const ids = [...tokens];
      while (expected.length < 5) {
        using logits = device.inference(() => {
          const inputs = model.inputs(ids, [1, ids.length], [a.embeddings, b.embeddings], IMAGE);
          return model.language.logits(model.language.last(model.language.hidden(inputs)));
        });
        const scores = Array.from(await logits.data());
        const best = scores.indexOf(Math.max(...scores));
        // A generated image id is no place for an image.
        expect(best).not.toBe(IMAGE);
        expected.push(best);
        ids.push(best);
      }
      expect(found).toEqual(expected);
      for (const each of encoded) each[Symbol.dispose]();
    }
    expect(device.backend.memory().buffers).toBe(buffers);
  });

  it("gives the same tokens in pieces of any length, and in a second turn that keeps what it can", async () => {
    using model = await loadVisionModel(folder, device);
    const side = model.imageSize;
    const pixels = Float32Array.from({ length: 2 * side * side * 3 }, (_, i) => Math.sin(i * 0.37));
    const tiles = [
      [0, 0],
      [0, 0],
    ] as const;
    const encoded = await model.encodeImages({ pixels, tiles });
    const [a, b] = encoded;
    const first = [0, 17, IMAGE, 33];
    const maxTokens = 4;
    const options = { maxTokens, temperature: 0, stopIds: [] };
    const tokensOf = async (tokens: AsyncIterable<{ id: number }>) => {
      const ids: number[] = [];
      for await (const { id } of tokens) ids.push(id);
      return ids;
    };
    const prompt = imagePrompt(piecesOf(first), [a], IMAGE);
    const answer = await tokensOf(generate(model.language, prompt, options));
    // An image is cut by the ends of the pieces.
    for (const prefillChunk of [1, 7, 18, 19]) {
      const same = await tokensOf(generate(model.language, prompt, { ...options, prefillChunk }));
      expect(same, `${prefillChunk}`).toEqual(answer);
    }
    using source = new ModelSource(model.language);
    expect(await tokensOf(source.generate(prompt, options).tokens)).toEqual(answer);
    const second = imagePrompt(
      [...piecesOf(first), ...piecesOf(answer), { image: 1 }, ...piecesOf([5])],
      [a, b],
      IMAGE,
    );
    const stream = source.generate(second, options);
    const continued = await tokensOf(stream.tokens);
    expect(continued).toEqual(await tokensOf(generate(model.language, second, options)));
    // The first turn but for its last token, which no pass has read yet.
    const { cachedTokens } = stream.stats();
    expect(cachedTokens).toBe(3 + 16 + maxTokens - 1);
    // Another picture in the first turn: nothing from it on is kept.
    const other = source.generate(imagePrompt(piecesOf(first), [b], IMAGE), options);
    await tokensOf(other.tokens);
    expect(other.stats().cachedTokens).toBe(2);
    for (const each of encoded) each[Symbol.dispose]();
  });

  it("compares places and images before anything runs", () => {
    const image = { embeddings: {} as never, hash: "x" };
    const wrong = (pieces: PromptPiece[], count: number) => () =>
      imagePrompt(pieces, new Array(count).fill(image), IMAGE);
    expect(wrong(piecesOf([0, IMAGE]), 2)).toThrow(/expected: 1 image, one for each place; found: 2/);
    expect(wrong(piecesOf([0, 1]), 1)).toThrow(/expected: 0 images/);
    expect(wrong(piecesOf([0, IMAGE, IMAGE]), 1)).toThrow(ConfigError);
    expect(imagePrompt(piecesOf([0, 1]), [], IMAGE)).toEqual([[0], [1]]);
  });

  it("refuses images of another number or size by name", async () => {
    using model = await loadVisionModel(folder, device);
    const pixels = new Float32Array(model.imageSize ** 2 * 3);
    await expect(
      model.encodeImages({
        pixels,
        tiles: [
          [0, 0],
          [0, 0],
        ],
      }),
    ).rejects.toThrow(/pixels of fewer views; expected: 2 views of 32 x 32 pixels/);
    using small = device.zeros([1, 30, 32, 3]);
    expect(() => model.encodeViews(small)).toThrow(/expected: \[views, 32, 32, 3\]/);
    using tokens = device.zeros([16, 32]);
    expect(() => model.inputs([1, IMAGE], [1, 2], [tokens], IMAGE)).toThrow(
      /expected: 16 places for 1 image; found: 1 places/,
    );
  });
});
