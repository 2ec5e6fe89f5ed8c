/** Packed lessons against `test/fixtures/align/sft-packed`: rows, loss and gradients equal those of the lessons alone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { loadModel } from "../checkpoint/model.ts";
import { nodeFolder } from "../checkpoint/node-files.ts";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { differentiate } from "../tensor/tape.ts";
import type { Tensor } from "../tensor/tensor.ts";
import { cpuDevice, doubles } from "../tensor/testing.ts";
import type { TokenBatch } from "./batches.ts";
import { bestFitRows } from "./best-fit.ts";
import { nextTokenLoss } from "./objectives/next-token.ts";
import { tokenObjective } from "./objectives/objective.ts";
import { gradientError, recordedTensors } from "./objectives/testing.ts";
import { type Lesson, PackedRows, packedRow } from "./packed-rows.ts";

const CASE = "align/sft-packed";
const folder = join(import.meta.dirname, "../../test/fixtures", CASE);
const read = (name: string) => JSON.parse(readFileSync(join(folder, name), "utf8"));
const inputs = read("inputs.json");
const { tolerance, mistakes, trained_tokens: TRAINED } = read("meta.json");
const LENGTH: number = inputs.sequence_length;
const lessons: Lesson[] = inputs.conversations.map((ids: number[], i: number) => ({
  ...{ ids, learned: inputs.trained[i] },
}));
const rows = bestFitRows(
  lessons.map(({ ids }) => ids.length),
  LENGTH,
);

describe("packedRow", () => {
  it("gives the reference's rows, targets and positions", () => {
    expect(rows).toEqual(inputs.rows);
    rows.forEach((row, r) => {
      const { ids, targets, documents } = packedRow(lessons, row, LENGTH);
      expect(Array.from(ids)).toEqual(inputs.input_ids[r]);
      expect(Array.from(targets)).toEqual(inputs.targets[r].map((target: number) => Math.max(-1, target)));
      expect(documents.reduce((a, b) => a + b)).toBe(LENGTH);
      const begins = inputs.position_ids[r].slice(
        0,
        documents.slice(0, row.length).reduce((a, b) => a + b),
      );
      const positions = documents.slice(0, row.length).flatMap((n) => Array.from({ length: n }, (_, i) => i));
      expect(positions).toEqual(begins);
    });
  });
});

describe.each([
  ["reference", async () => createReferenceDevice()],
  ["relaxed kernels", () => cpuDevice(1, true)],
])("the loss of packed lessons on the %s device", (_, make) => {
  it("and its gradients are the reference's, in one batch and row by row", async () => {
    using model = await loadModel(nodeFolder(folder), await make());
    const { device } = model;
    const [expected] = await recordedTensors(CASE, "expected.safetensors", ["loss"]);
    const source = new PackedRows(lessons, { length: LENGTH });
    expect(source).toMatchObject({ rows: 3, targets: TRAINED, truncated: 0, dropped: 0 });
    const batch = await source.next(3);
    expect(batch.weight).toBe(TRAINED);
    const { loss } = device.tidy(() => {
      const { loss } = differentiate(device, () => tokenObjective(model, batch, {}));
      return { loss };
    });
    const found = await loss.item();
    loss.dispose();
    expect(Math.abs(found - Array.from(expected.values)[0])).toBeLessThan(tolerance.loss_max_abs);
    for (const [name, value] of Object.entries(mistakes) as [string, number][]) {
      // Rotary positions are relative: only this one is none.
      if (name !== "loss_isolated_positions_run_on") expect(Math.abs(found - value)).toBeGreaterThan(1e-3);
    }
    const error = await gradientError(CASE, "grads.safetensors", model.parameters);
    expect(error).toBeLessThan(tolerance.grads_max_abs_over_tensor_max_abs);
    model.parameters.clearGradients();
  });
});

describe.each(["v3", "v2", "llama"] as const)("isolation (%s)", (name) => {
  it("gives each lesson the states and losses that it has alone", () => {
    const device = createReferenceDevice();
    using model = createModel(tinyConfigs[name], device, { seed: 4, std: 0.3 });
    const lengths = [5, 9, 1, 4];
    const ids = lengths.map((n, d) => Int32Array.from({ length: n }, (_, i) => (17 * i + 5 * d + 3) % 61));
    const targets = ids.map((each) => Int32Array.from(each, (_, i) => each[i + 1] ?? -1));
    const mtpWeight = model.config.mtpLayers > 0 ? 0.5 : 0;
    const losses = (sequences: number, own: Int32Array[], wanted: Int32Array[], documents?: number[]) => {
      const flat = (arrays: Int32Array[]) => Int32Array.from(arrays.flatMap((each) => Array.from(each)));
      const batch = { sequences, ids: flat(own), targets: flat(wanted), ...(documents && { documents }) };
      const states: Float64Array[] = [];
      const capture = (name: string, tensor: Tensor) => {
        if (name === "final_norm" || name === "mtp.hidden") states.push(doubles(tensor).slice());
        tensor.dispose();
      };
      const output = nextTokenLoss(model, batch, { mtpWeight, capture });
      const [main, mtp] = [doubles(output.crossEntropy)[0], output.mtp ? doubles(output.mtp)[0] : 0];
      const { tokens } = output;
      return { states, main: main * tokens, mtp: mtp * tokens };
    };
    const together = losses(1, ids, targets, lengths);
    const alone = ids.map((each, i) => losses(1, [each], [targets[i]]));
    together.states.forEach((states, s) => {
      const parts = alone.flatMap((each) => Array.from(each.states[s]));
      // The last state of a module is made of a token that does not exist.
      const width = states.length / 19;
      parts.forEach((value, i) => {
        const last = [4, 13, 14, 18].includes(Math.floor(i / width));
        if (s === 0 || !last) expect(Math.abs(states[i] - value)).toBeLessThan(1e-9);
      });
    });
    const sum = (of: "main" | "mtp") =>
      alone.filter((_, i) => lengths[i] > 1).reduce((all, each) => all + each[of], 0);
    expect(together.main).toBeCloseTo(sum("main"), 8);
    expect(together.mtp).toBeCloseTo(sum("mtp"), 8);
    expect(() => losses(1, ids, targets, [5, 9, 1])).toThrow(/documents/);
  });
});

describe("PackedRows", () => {
  it("shows every row once in a pass and goes on from a saved place", async () => {
    const many = Array.from({ length: 40 }, (_, i) => {
      const ids = Array.from({ length: 3 + (i % 9) }, () => i);
      return { ids, learned: ids.map((_, t) => (t > 1 ? 1 : 0)) };
    });
    const make = () => new PackedRows(many, { length: 12, seed: 4, padId: 50 });
    const source = make();
    const taken = async (of: PackedRows, count: number) => Array.from((await of.next(count)).tokens);
    const first = await taken(source, source.rows);
    const seen = new Set(first);
    expect(seen).toEqual(new Set([...many.keys(), 50]));
    const second = await taken(source, source.rows);
    expect(second).not.toEqual(first);
    expect([...second].sort()).toEqual([...first].sort());
    const saved = source.state();
    const next = await taken(source, 7);
    const again = make();
    again.restore(JSON.parse(JSON.stringify(saved)));
    expect(await taken(again, 7)).toEqual(next);
    expect(() => new PackedRows(many, { length: 12, seed: 5 }).restore(saved)).toThrow(/seed 5.*seed 4/);
    expect(source.density).toBeGreaterThan(0.9);
  });

  it("takes lessons from a list by number, in parts of a few rows", async () => {
    const many = Array.from({ length: 12 }, (_, i) => {
      const ids = Array.from({ length: 2 + (i % 4) }, (_, t) => 10 * i + t);
      return { ids, learned: ids.map((_, t) => (t > i % 2 ? 1 : 0)) };
    });
    const whole = new PackedRows(many, { length: 8, seed: 3 });
    const list = new PackedRows(
      {
        lengths: Uint32Array.from(many, ({ ids }) => ids.length),
        targets: many.map(({ learned }) => learned.slice(1).filter((mark) => mark === 1).length),
        read: async (index) => many[index],
      },
      { length: 8, seed: 3 },
    );
    expect(list).toMatchObject({ rows: whole.rows, targets: whole.targets, dropped: whole.dropped });
    expect(list.density).toBe(whole.density);
    const parts = (await list.inParts(20).next(5)) as TokenBatch[];
    expect(parts.map(({ batch }) => batch)).toEqual([2, 2, 1]);
    const { tokens, targets, documents, weight } = await whole.next(5);
    expect(parts.flatMap((part) => Array.from(part.tokens))).toEqual(Array.from(tokens));
    expect(parts.flatMap((part) => Array.from(part.targets))).toEqual(Array.from(targets));
    expect(parts.flatMap((part) => part.documents ?? [])).toEqual(documents);
    expect(parts.reduce((sum, part) => sum + part.weight!, 0)).toBe(weight);
    let seen = 0;
    for await (const batch of list.once(2)) seen += batch.weight!;
    expect(seen).toBe(list.targets);
  });

  it("cuts long lessons, leaves out what teaches nothing, and refuses what does not fit together", async () => {
    const long = { ids: [1, 2, 3, 4, 5, 6], learned: [0, 0, 1, 1, 1, 1] };
    const late = { ids: [1, 2, 3, 4, 5, 6], learned: [0, 0, 0, 0, 0, 1] };
    const source = new PackedRows([long, late], { length: 4 });
    expect(source).toMatchObject({ truncated: 1, dropped: 1, rows: 1, targets: 2 });
    const { tokens, targets, documents } = await source.next(1);
    expect(Array.from(tokens)).toEqual([1, 2, 3, 4, 0]);
    expect(Array.from(targets)).toEqual([-1, 3, 4, -1]);
    expect(documents).toEqual([4]);
    expect(() => new PackedRows([late], { length: 4 })).toThrow(/teaches/);
    expect(() => new PackedRows([{ ids: [1, 2], learned: [1] }], { length: 4 })).toThrow(/lesson 0.*2.*1/);
    expect(() => new PackedRows([long], { length: 1 })).toThrow(/length/);
  });
});
