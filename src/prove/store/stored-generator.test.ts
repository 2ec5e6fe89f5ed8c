import { expect, it } from "vitest";
import type { TextGenerator } from "../search/generator.ts";
import { drawing, ToyGenerator } from "../search/testing-world.ts";
import { ProofStore } from "./store.ts";
import { StoredGenerator } from "./stored-generator.ts";

const PROMPTS = ["a", "b", "c", "a", "b"];
const SETTINGS = { maxTokens: 50, temperature: 1, topP: 1, stop: [] };
const toy = () => new ToyGenerator(drawing(["one", "two", "three", "four"]));

async function texts(
  generator: TextGenerator,
  seeds = [1, 2, 3, 4, 5],
  most = Number.POSITIVE_INFINITY,
): Promise<string[]> {
  const found: string[] = [];
  let count = 0;
  for await (const { index, text } of generator.generate(PROMPTS, { ...SETTINGS, seeds })) {
    found[index] = text;
    if (++count >= most) break;
  }
  return found;
}

it("goes on behind the texts that are kept, with those that it would have written", async () => {
  using store = await ProofStore.open(":memory:");
  const wanted = await texts(toy());
  const [first, second, third] = [toy(), toy(), toy()];
  await texts(new StoredGenerator(first, store), undefined, 2);
  expect(await texts(new StoredGenerator(second, store))).toEqual(wanted);
  expect(second.batches).toEqual([
    [
      { prompt: "c", seed: 3 },
      { prompt: "a", seed: 4 },
      { prompt: "b", seed: 5 },
    ],
  ]);
  expect(await texts(new StoredGenerator(third, store))).toEqual(wanted);
  expect(third.batches).toEqual([]);
  // Another seed is another text.
  await texts(new StoredGenerator(third, store), [1, 2, 3, 4, 6]);
  expect(third.batches).toEqual([[{ prompt: "b", seed: 6 }]]);
});
