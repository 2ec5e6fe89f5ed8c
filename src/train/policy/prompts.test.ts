import { expect, it } from "vitest";
import { PromptOrder } from "./prompts.ts";

const prompts = Array.from({ length: 7 }, (_, i) => ({ ids: [i] }));
const take = (order: PromptOrder, count: number) => order.take(count).map(({ ids }) => ids[0]);

it("takes every prompt once in a pass, in another order each time, and goes on from any place", () => {
  const order = new PromptOrder(prompts, 5);
  const all = take(order, 21);
  const passes = [0, 1, 2].map((pass) => all.slice(7 * pass, 7 * pass + 7));
  for (const pass of passes) expect([...pass].sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
  expect(new Set(passes.map(String)).size).toBe(3);
  expect(take(new PromptOrder(prompts, 6), 7)).not.toEqual(passes[0]);
  const again = new PromptOrder(prompts, 5);
  again.taken = 10;
  expect([...take(again, 5), ...take(again, 6)]).toEqual(all.slice(10));
  again.taken = 3;
  expect(take(again, 4)).toEqual(all.slice(3, 7));
  expect(() => {
    again.taken = -1;
  }).toThrow(/taken/);
});
