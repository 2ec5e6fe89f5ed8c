import { describe, expect, it } from "vitest";
import { Random } from "../random.ts";
import { createReferenceDevice } from "../reference/backend.ts";
import { type Device, Scope, type Tensor } from "../tensor.ts";
import { checkBackends, checkGradients, cpuDevice } from "../testing.ts";
import { expertCapacity, keptChoices } from "./expert-capacity.ts";
import { multiply } from "./multiply.ts";
import { type RouteOptions, route } from "./routing.ts";

const softmax: RouteOptions = {
  ...{ topK: 2, scoring: "softmax", groups: 1, topGroups: 1, groupScore: "max", maskWith: "zero" },
  ...{ normalize: true, scale: 1 },
};

const backends: readonly [string, () => Promise<Device>][] = [
  ["reference", async () => createReferenceDevice()],
  ["cpu", () => cpuDevice(2, true)],
];

describe.each(backends)("places of experts on %s", (_, create) => {
  async function dealt(ids: number[][], scores: number[][], capacity: number) {
    const device = await create();
    using _scope = new Scope(device);
    const choices = device.tensor(ids.flat(), [ids.length, ids[0].length], "i32");
    const made = keptChoices(
      choices,
      device.tensor(scores.flat(), [scores.length, scores[0].length]),
      capacity,
    );
    return { kept: [...(await made.kept.data())], taken: [...(await made.taken.data())] };
  }

  it("go to first choices in reading order before any second one", async () => {
    const ids = [
      [0, 1],
      [0, 1],
      [0, 1],
      [0, 2],
    ];
    const scores = [
      [0.6, 0.3, 0.1],
      [0.2, 0.7, 0.1],
      [0.5, 0.4, 0.1],
      [0.5, 0.1, 0.4],
    ];
    // Expert 0 is full after rows 0 and 2; row 0, an earlier token, gets expert 1 as second choice before row 2.
    expect(await dealt(ids, scores, 2)).toEqual({ kept: [1, 1, 0, 1, 1, 0, 0, 1], taken: [2, 2, 1] });
    expect((await dealt(ids.toReversed(), scores.toReversed(), 2)).kept).toEqual([1, 1, 1, 1, 0, 1, 0, 0]);
  });

  it("go to the lower id where scores are equal, and to NaN before all", async () => {
    const both = [
      [1, 2],
      [1, 2],
    ];
    const tied = [
      [0, 0.5, 0.5],
      [0, 0.2, 0.8],
    ];
    expect((await dealt(both, tied, 1)).kept).toEqual([1, 0, 0, 1]);
    tied[0] = [0, 0.5, Number.NaN];
    expect((await dealt(both, tied, 1)).kept).toEqual([1, 1, 0, 0]);
  });

  it("are none with a capacity of 0 and enough with one of all tokens", async () => {
    const scores = [
      [0.6, 0.4],
      [0.7, 0.3],
    ];
    const ids = [[0], [0]];
    expect(await dealt(ids, scores, 0)).toEqual({ kept: [0, 0], taken: [0, 0] });
    expect(await dealt(ids, scores, 2)).toEqual({ kept: [1, 1], taken: [2, 0] });
  });
});

describe("keptChoices", () => {
  for (const [rows, experts, topK, capacity] of [
    [0, 4, 2, 0],
    [1, 1, 1, 1],
    [33, 7, 3, 6],
    [130, 16, 6, 20],
  ]) {
    it(`agrees on all backends, ${rows} tokens, ${topK} of ${experts} experts`, async () => {
      const choose = ([logits]: Tensor[]) => {
        const { ids, scores } = route(logits, null, { ...softmax, topK });
        const { kept, taken } = keptChoices(ids, scores, capacity);
        return [kept, taken];
      };
      await checkBackends(choose, [[rows, experts]]);
    });
  }

  it("passes the gradient of weights that are kept", async () => {
    const random = new Random(4);
    const values = Array.from({ length: 9 * 4 }, () => 2 * random.normal());
    let dropped = 0;
    const device = createReferenceDevice();
    {
      using _scope = new Scope(device);
      const { ids, scores } = route(device.tensor(values, [9, 4]), null, softmax);
      dropped = [...(await keptChoices(ids, scores, 3).kept.data())].filter((each) => each === 0).length;
    }
    expect(dropped).toBeGreaterThan(3);
    await checkGradients(
      ([logits]) => {
        const { ids, scores, weights } = route(logits, null, softmax);
        return multiply(weights, keptChoices(ids, scores, 3).kept);
      },
      [{ shape: [9, 4], values }],
    );
  });

  it("refuses shapes that differ, counts that are none, and ids that no expert has", () => {
    const device = createReferenceDevice();
    const ids = device.tensor([0, 1], [2, 1], "i32");
    expect(() => keptChoices(ids, device.zeros([3, 2]), 1)).toThrow(/found: \[2,1\] and \[3,2\]/);
    for (const wrong of [-1, 0.5, 3, Number.NaN]) {
      expect(() => keptChoices(ids, device.zeros([2, 2]), wrong)).toThrow(/from 0 to 2/);
    }
    expect(() => keptChoices(ids, device.zeros([2, 1]), 1)).toThrow(/expected: 0 to 0; found: 1/);
  });
});

describe("expertCapacity", () => {
  it.each([
    [1, 2, 48, 8, 12],
    [1.25, 1, 48, 8, 8],
    [0.01, 1, 10, 8, 1],
    [1e300, 2, 48, 8, 48],
    [1, 2, 0, 8, 0],
  ])(
    "a factor of %f, %i choices of %i tokens over %i experts: %i",
    (factor, topK, tokens, experts, places) => {
      expect(expertCapacity(factor, topK, tokens, experts)).toBe(places);
    },
  );
});
