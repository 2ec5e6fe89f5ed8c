/** Fine-tuning, preferences and rewards against recorded losses, gradients, updates, rows and spans. */
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { describeCases, failingOutputs, type ParityCase } from "./checked-cases.ts";

const root = new URL("../fixtures/align/", import.meta.url).pathname;

const cases: readonly ParityCase[] = [
  ["dpo", 60],
  ["dpo-steps", 24],
  ["grpo", 83],
  ["sft-packed", 27],
  ["advantages", 50],
  ["kl-and-clip", 23],
  ["packing", 12],
  ["chat-spans", 27],
];

describeCases(
  cases,
  (name) => nodeFolder(root + name),
  (name) => `align/${name}`,
);

describe("a comparison that can fail", () => {
  const changed = (name: string, file: string, from: string, to: string) =>
    failingOutputs(nodeFolder(root + name), file, from, to);

  it.each([
    ["dpo", "inputs.json", '"beta": 0.1', '"beta": 0.11', "loss.sigmoid"],
    ["dpo-steps", "inputs.json", '"beta": 0.1', '"beta": 0.2', "grad_norm"],
    ["grpo", "inputs.json", '"epsilon": 0.2', '"epsilon": 0.25', "loss.grpo"],
    ["sft-packed", "inputs.json", '"trained": [[0, 0,', '"trained": [[0, 1,', "targets"],
    ["kl-and-clip", "inputs.json", '"dual_clip": 3.0', '"dual_clip": 2.0', "clip -1.objective_dual_clip_3"],
    ["packing", "inputs.json", '"sequence_length": 16', '"sequence_length": 20', "1.truncate_first.rows"],
    ["chat-spans", "inputs.json", '"content": "Hello."', '"content": "Hello!"', "1 llm-v2.text"],
    ["advantages", "inputs.json", "[1, 0, 0, 1]", "[1, 0, 0, 2]", "groups.0.sample"],
  ])("%s with another input", async (name, file, from, to, expected) => {
    expect(await changed(name, file, from, to)).toContain(expected);
  });

  it("names a case that nobody knows", async () => {
    await expect(changed("packing", "meta.json", "align/packing", "align/other")).rejects.toThrow(
      /unknown case.*align\/other/,
    );
  });
});
