import { describe, expect, it } from "vitest";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { divergence, textLogits } from "./divergence.ts";
import { smallV3 } from "./testing.ts";

describe("divergence", () => {
  const row = (...values: number[]) => Float32Array.from(values);

  it("is nothing between equal logits, whatever their shift", () => {
    const ids = [0, 1, 2];
    const before = { ids, rows: [row(1, 2, 3), row(0, 0, 1)] };
    const after = { ids, rows: [row(11, 12, 13), row(5, 5, 6)] };
    const found = divergence(before, after);
    expect(found.meanKl).toBeCloseTo(0, 12);
    expect(found.perplexityAfter).toBeCloseTo(found.perplexityBefore, 9);
    expect(found.sameTop).toBe(1);
    expect(found.tokens).toBe(2);
  });

  it("has the values of its definition", () => {
    const ln = Math.log;
    // p = (1/2, 1/2), q = (3/4, 1/4); the next token is the second.
    const found = divergence({ ids: [0, 1], rows: [row(0, 0)] }, { ids: [0, 1], rows: [row(ln(3), 0)] });
    expect(found.meanKl).toBeCloseTo(0.5 * ln(0.5 / 0.75) + 0.5 * ln(0.5 / 0.25), 6);
    expect(found.maxKl).toBeCloseTo(found.meanKl, 12);
    expect(found.perplexityBefore).toBeCloseTo(2, 6);
    expect(found.perplexityAfter).toBeCloseTo(4, 6);
    expect(found.rmsLogits).toBeCloseTo(ln(3) / Math.SQRT2, 6);
  });

  it("refuses logits of another text", () => {
    expect(() => divergence({ ids: [0, 1], rows: [row(0, 0)] }, { ids: [0], rows: [] })).toThrow(
      "texts or vocabularies differ",
    );
  });

  it("reads a text in chunks as a whole pass would", async () => {
    const device = createReferenceDevice();
    using model = smallV3(device, { vocabulary: 40, hidden: 32, layers: 2, std: 0.1 });
    const ids = Array.from({ length: 300 }, (_, i) => (i * 7) % 40);
    const { rows } = await textLogits(model, ids);
    expect(rows.length).toBe(299);
    using whole = model.logits(model.hidden(model.ids([ids])));
    const flat = await whole.data();
    for (const i of [0, 255, 256, 298]) {
      rows[i].forEach((value, v) => {
        expect(value).toBeCloseTo(flat[i * rows[i].length + v], 4);
      });
    }
  });
});
