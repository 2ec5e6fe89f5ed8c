/** Fits of scaling laws against numpy and scipy; no device computes anything in them. */
import { describe, expect, it } from "vitest";
import { nodeFolder } from "../../src/checkpoint/node-files.ts";
import { checkParity } from "../../src/parity/parity.ts";
import { createReferenceDevice } from "../../src/tensor/reference/backend.ts";
import { failingOutputs } from "./checked-cases.ts";

const root = new URL("../fixtures/scaling/", import.meta.url).pathname;

it.each([
  ["isoflop-exact", 42],
  ["isoflop-noise", 42],
  ["parametric", 5],
  ["hyperparameters", 28],
  ["parabola", 24],
  ["small", 39],
])("scaling/%s, %i outputs", async (name, count) => {
  const { outputs, case: found } = await checkParity(nodeFolder(root + name), createReferenceDevice());
  expect(outputs.filter(({ within }) => !within)).toEqual([]);
  expect(outputs).toHaveLength(count);
  expect(found).toBe(`scaling/${name}`);
});

describe("a comparison that can fail", () => {
  const changed = (name: string, file: string, from: string, to: string) =>
    failingOutputs(nodeFolder(root + name), file, from, to);

  it.each([
    ["isoflop-exact", "inputs.json", "5.44688193588126", "5.44688293588126", "per_budget.0.model_optimum"],
    ["isoflop-exact", "meta.json", '"alpha": 0.36', '"alpha": 0.3601', "per_budget.0.exact_optimum"],
    ["isoflop-noise", "inputs.json", "4.71498674816359", "4.81498674816359", "per_budget.0.curvature"],
    ["parametric", "expected.json", "0.000365157559545706", "0.000364", "objective"],
    ["hyperparameters", "inputs.json", "4.98698225357189", "4.90698225357189", "per_budget.0.near_optimal"],
    ["parabola", "expected.json", '"outside"', '"ok"', "cases.3.verdict"],
    ["small", "expected.json", "0.824397166222265", "0.824397166223265", "bits_per_byte.0"],
  ])("%s with another %s", async (name, file, from, to, expected) => {
    expect(await changed(name, file, from, to)).toContain(expected);
  });

  it("names a case that nobody knows", async () => {
    await expect(changed("parabola", "meta.json", "scaling/parabola", "scaling/other")).rejects.toThrow(
      /unknown case.*scaling\/other/,
    );
  });
});
