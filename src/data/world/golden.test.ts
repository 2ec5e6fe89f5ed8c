/** The picture world against the values that programs in two languages agree on. */
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { mix32 } from "../hash.ts";
import { WorldRandom } from "./generator.ts";
import { worldSample } from "./sample.ts";
import { golden, imageOf, streamOf } from "./testing.ts";

describe("the generator", () => {
  it("mixes and draws the golden numbers", () => {
    for (const [x, mixed] of golden.mix) expect(mix32(x)).toBe(mixed);
    expect(golden.generator.length).toBeGreaterThan(5);
    for (const { seed, stream, index, state, next, ints } of golden.generator) {
      const random = new WorldRandom(seed, stream, index);
      expect(random.state).toBe(state);
      expect(next.map(() => random.next())).toEqual(next);
      const again = new WorldRandom(seed, stream, index);
      for (const [n, drawn] of ints) expect(again.int(n)).toBe(drawn);
    }
  });
});

describe("samples", () => {
  it.each(golden.hashes.map((hash) => [`${hash.name} from ${hash.from}, ${hash.n}`, hash] as const))(
    "%s have the golden hash",
    (_, { stream, size, faint, seed, from, n, sha256 }) => {
      const hash = createHash("sha256");
      for (let i = 0; i < n; i++) {
        const options = size > 0 ? { size, faint } : {};
        const { image, task, question, answer } = worldSample(streamOf(stream), seed, from + i, options);
        if (image !== null) hash.update(image.rgb);
        hash.update(JSON.stringify([task, question, answer]));
      }
      expect(hash.digest("hex").slice(0, 32)).toBe(sha256);
    },
  );

  it("have the golden texts at the sizes that are the default", () => {
    for (const [stream, triples] of Object.entries(golden.texts)) {
      triples.forEach((triple, i) => {
        const { task, question, answer } = worldSample(streamOf(Number(stream)), 1, i);
        expect([task, question, answer]).toEqual(triple);
      });
    }
  });

  it("tell what is in a scene", () => {
    expect(golden.scenes.length).toBeGreaterThan(2);
    for (const scene of golden.scenes) {
      const { seed, stream, index, size, text, objects } = scene;
      const sample = worldSample(streamOf(stream), seed, index, { size });
      expect(sample.objects).toEqual(objects);
      expect(sample.image).toEqual(imageOf(scene));
      expect([sample.task, sample.question, sample.answer]).toEqual(text);
    }
  });
});
