/**
 * The capacity of experts in GShard (arXiv 2006.16668 section 2.2) and Switch (arXiv 2101.03961 section 2.2): an expert
 * takes so many tokens of a batch and no more. Models of the family drop none.
 */
import { ConfigError, ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";

const capacityKernel = defineKernel({
  name: "expert_capacity",
  operands: { ids: "in i32", scores: "in f32", kept: "out f32", taken: "out i32" },
  ints: ["rows", "experts", "topK", "capacity"],
  // One thread: a place depends on all before it.
  work: () => 0,
  reference: ({ ids, scores, kept, taken }, { rows, experts, topK, capacity }) => {
    taken.fill(0);
    const unknown = ids.find((id) => id < 0 || id >= experts);
    if (unknown !== undefined) {
      throw new ShapeError("expert id out of range", {
        where: "keptChoices",
        expected: `0 to ${experts - 1}`,
        found: unknown,
      });
    }
    const order = Array.from({ length: rows }, (_, r) => {
      const score = (i: number) => {
        const value = scores[r * experts + ids[i]];
        return Number.isNaN(value) ? Number.POSITIVE_INFINITY : value;
      };
      const choices = Array.from({ length: topK }, (_, j) => r * topK + j);
      return choices.sort((a, b) => (score(a) === score(b) ? a - b : score(b) - score(a)));
    });
    for (let rank = 0; rank < topK; rank++) {
      for (const choices of order) {
        const choice = choices[rank];
        const fits = taken[ids[choice]] < capacity;
        if (fits) taken[ids[choice]]++;
        kept[choice] = fits ? 1 : 0;
      }
    }
  },
});

/** Tokens of a batch of N that one of E experts takes: `ceil(factor K N / E)`, at most all of them. */
export function expertCapacity(factor: number, topK: number, tokens: number, experts: number): number {
  return Math.min(tokens, Math.ceil((factor * topK * tokens) / experts));
}

/** Which choices find room, no gradient. */
export interface KeptChoices {
  /** 1 for a choice that finds room, else 0: [N, K] f32, in the order of the ids. */
  readonly kept: Tensor;
  /** Places taken at each expert: [E] i32. */
  readonly taken: Tensor;
}

/**
 * Deals out `capacity` places of each expert: all first choices (the best score of a row, NaN before all, ties to the
 * lower place) take theirs in the order of the rows, then all second ones, and so on. ids [N, K] i32, distinct in a row;
 * scores [N, E]. An id out of range stops the kernel. @throws ShapeError, ConfigError
 */
export function keptChoices(ids: Tensor, scores: Tensor, capacity: number): KeptChoices {
  const where = "keptChoices";
  const [rows, topK] = ids.shape;
  if (ids.shape.length !== 2 || scores.shape.length !== 2 || scores.shape[0] !== rows) {
    throw new ShapeError("scores do not have one row per token of the choices", {
      where,
      expected: "[N, K] and [N, E]",
      found: `[${ids.shape}] and [${scores.shape}]`,
    });
  }
  if (!Number.isInteger(capacity) || capacity < 0 || capacity > rows) {
    throw new ConfigError("capacity out of range", {
      where,
      name: "capacity",
      expected: `a whole number of tokens from 0 to ${rows}`,
      found: capacity,
    });
  }
  const { device } = ids;
  const experts = scores.shape[1];
  const kept = device.empty([rows, topK]);
  const taken = device.empty([experts], "i32");
  capacityKernel.run(device, { ids, scores, kept, taken }, { rows, experts, topK, capacity });
  return { kept, taken };
}
