/** Holes and places that trained models are asked about; and arms that must have equal parameters. */
import { describe, expect, it } from "vitest";
import { parseOwnConfig } from "../../src/models/config.ts";
import { countParameters } from "../../src/models/count.ts";
import { attention } from "../attention/recipe.ts";
import { experts } from "../experts/recipe.ts";
import type { TextArm, TextRecipe } from "./declaration.ts";
import { holesIn, placesIn } from "./exams.ts";

const document = Array.from({ length: 12 }, (_, i) => `const value${i} = compute(${i * 7});`).join("\n");

describe("questions about held-out documents", () => {
  it("holes put together give the document, a third of each kind", () => {
    const holes = holesIn(new Array<string>(9).fill(document), 9);
    expect(holes.map(({ kind }) => kind).filter((kind) => kind === "lines")).toHaveLength(3);
    for (const { kind, prefix, middle, suffix } of holes) {
      expect(prefix + middle + suffix).toBe(document);
      if (kind === "span") expect(middle.length).toBeGreaterThanOrEqual(5);
      else expect(middle.split("\n")).toHaveLength(kind === "line" ? 1 : 3);
      if (kind !== "span") expect([prefix.at(-1), suffix[0]]).toEqual(["\n", "\n"]);
    }
    expect(holesIn(["short"], 3)).toEqual([]);
  });

  it("places stand before whole lines", () => {
    const places = placesIn([document, "no lines"], 5);
    expect(places).toHaveLength(5);
    for (const { prefix, line } of places) expect(document.startsWith(`${prefix}${line}`)).toBe(true);
  });
});

/** Parameters of an arm's model, and those that a token uses. */
function counted({ settings }: TextRecipe, arm: TextArm) {
  const model = (each: unknown) => (each as { model?: object }).model ?? {};
  const own = model(arm.settings) as { model_type?: string };
  const base = own.model_type === undefined ? model(settings) : {};
  return countParameters(parseOwnConfig({ ...base, ...own, vocab_size: 1024 }, arm.name, ""));
}

describe("arms of equal size", () => {
  it("forms of attention within 0.1 %", () => {
    const [first, ...others] = attention.arms.map((arm) => counted(attention, arm).total);
    for (const total of others) expect(Math.abs(total / first - 1)).toBeLessThan(1e-3);
  });

  it("mixtures of experts but for their routers", () => {
    const of = (name: string) => counted(experts, experts.arms.find((arm) => arm.name === name)!);
    const [ours, gshard, hash] = [of("deepseekmoe"), of("gshard"), of("hash")];
    // A router has a row of the width for each expert, in each of 3 layers.
    expect(ours.total - gshard.total).toBe((63 - 16) * 64 * 3);
    expect(gshard.total - hash.total).toBe(16 * 64 * 3);
    expect(ours.activated - gshard.activated).toBe((63 - 16) * 64 * 3);
  });
});
