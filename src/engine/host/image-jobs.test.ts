/** How many embeddings requests hold at once. */
import { expect, it } from "vitest";
import type { EncodedImage } from "../../models/vision-language.ts";
import type { ImageEncoder } from "../image-encoder.ts";
import { ImageJobs } from "./image-jobs.ts";
import type { PromptImages } from "./image-plan.ts";

const TOKENS = 10;
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** Images by the name of their content, with which of them were encoded. */
function jobs(most: number) {
  const encoded: string[] = [];
  const freed: string[] = [];
  const encoder = {
    async encode(parts: readonly { readonly name: string }[], signal: AbortSignal): Promise<EncodedImage[]> {
      await turn();
      signal.throwIfAborted();
      encoded.push(...parts.map(({ name }) => name));
      return parts.map(({ name }) => ({
        hash: name,
        embeddings: { shape: [TOKENS, 4] } as unknown as EncodedImage["embeddings"],
        [Symbol.dispose]: () => freed.push(name),
      }));
    },
    [Symbol.dispose]() {},
  };
  const all = new ImageJobs(encoder as unknown as ImageEncoder, 16, most * 16);
  const ends = new Map<number, () => void>();
  const failed: unknown[] = [];
  const add = (id: number, ...names: string[]) => {
    const parts = names.map((name) => ({ type: "image", image: new Uint8Array(1), name }));
    const images = { parts, tokens: names.length * TOKENS } as unknown as PromptImages;
    const begin = () => new Promise<void>((resolve) => ends.set(id, resolve));
    all.add(id, images, begin, (error) => failed.push(error));
  };
  const settle = async () => {
    for (let i = 0; i < 10; i++) await turn();
  };
  return { all, add, ends, encoded, freed, failed, settle };
}

it("encodes no more than may be held, in order, and one that is too large alone", async () => {
  const { all, add, ends, encoded, settle } = jobs(25);
  add(1, "a");
  add(2, "b");
  add(3, "c", "d", "e");
  add(4, "f");
  await settle();
  expect(encoded).toEqual(["a", "b"]);
  expect(all.size).toBe(2);
  ends.get(1)!();
  await settle();
  expect(encoded.length).toBe(2);
  ends.get(2)!();
  await settle();
  expect(encoded).toEqual(["a", "b", "c", "d", "e"]);
  ends.get(3)!();
  await settle();
  expect(encoded.at(-1)).toBe("f");
  expect(all.size).toBe(0);
});

it("counts a content that several requests hold once", async () => {
  const { add, ends, encoded, settle } = jobs(20);
  for (const id of [1, 2, 3, 4]) add(id, "a");
  await settle();
  expect([...ends.keys()]).toEqual([1, 2, 3, 4]);
  add(5, "b");
  add(6, "c");
  await settle();
  expect(encoded.at(-1)).toBe("b");
  for (const id of [1, 2, 3]) ends.get(id)!();
  await settle();
  expect(encoded.at(-1)).toBe("b");
  ends.get(4)!();
  await settle();
  expect(encoded.at(-1)).toBe("c");
});

it("gives up at once what is canceled, and lets the next one in", async () => {
  const { all, add, ends, encoded, freed, failed, settle } = jobs(20);
  add(1, "a", "b");
  add(2, "c", "d", "e");
  add(3, "f");
  await settle();
  expect(all.cancel(2)).toBe(true);
  expect(all.cancel(2)).toBe(false);
  ends.get(1)!();
  await settle();
  expect(encoded).toEqual(["a", "b", "f"]);
  add(4, "g");
  all.cancel(4);
  await settle();
  expect(ends.has(4)).toBe(false);
  expect(failed).toEqual([]);
  expect(freed).toEqual(["a", "b", "f"]);
  add(5, "h");
  await all.close();
  expect(all.size).toBe(0);
});
