import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { schedule } from "./scheduler.ts";

describe("schedule", () => {
  it("lets decoding sequences go on beside a piece of the oldest prompt", () => {
    expect(schedule([1, 700, 1, 30], 512)).toEqual([1, 512, 1, 0]);
    expect(schedule([188, 1, 30, 400, 200], 512)).toEqual([188, 1, 30, 0, 200]);
    expect(schedule([], 8)).toEqual([]);
  });

  it("keeps to its limits for any load, and finishes it", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 3000 }), { maxLength: 20 }),
        fc.integer({ min: 2, max: 600 }),
        (prompts, chunk) => {
          const unread = [...prompts];
          const cuts: number[][] = prompts.map(() => []);
          for (let steps = 0; unread.some((count) => count > 0); steps++) {
            expect(steps).toBeLessThan(prompts.length * 3002);
            const waiting = unread.map((count, i) => ({ count, i })).filter(({ count }) => count > 0);
            const plan = schedule(
              waiting.map(({ count }) => count),
              chunk,
            );
            let prompt = 0;
            let first = true;
            plan.forEach((tokens, k) => {
              const { count, i } = waiting[k];
              expect(tokens).toBeLessThanOrEqual(count);
              if (count === 1) expect(tokens).toBe(1);
              else {
                if (first) expect(tokens).toBeGreaterThan(0);
                first = false;
                prompt += tokens;
              }
              if (tokens > 0) cuts[i].push(tokens);
              unread[i] -= tokens;
            });
            expect(prompt).toBeLessThanOrEqual(chunk);
          }
          // Every prompt was cut as if it had been alone.
          cuts.forEach((pieces, i) => {
            const alone = Array.from({ length: Math.ceil(prompts[i] / chunk) }, (_, n) =>
              Math.min(chunk, prompts[i] - n * chunk),
            );
            expect(pieces).toEqual(alone);
          });
        },
      ),
      { numRuns: 200 },
    );
  });
});
