/** Bits per byte count the bytes of the targets: tokens of unequal lengths, special tokens, padding, unequal batches. */
import { expect, it } from "vitest";
import { createModel } from "../models/causal-lm.ts";
import { tinyConfigs } from "../models/testing.ts";
import { createReferenceDevice } from "../tensor/reference/backend.ts";
import { doubles } from "../tensor/testing.ts";
import type { TokenBatch } from "./batches.ts";
import { evaluate } from "./evaluate.ts";

const END = 1;
const batches: readonly TokenBatch[] = [
  {
    batch: 2,
    length: 3,
    tokens: Int32Array.of(5, 6, 7, 8, 9, 10, END, 12),
    targets: Int32Array.of(6, 7, 8, 10, END, -1),
  },
  { batch: 1, length: 2, tokens: Int32Array.of(8, 8, 30), targets: Int32Array.of(8, 30) },
];
/** Token n stands for n bytes of text, the end of a text for none. */
const tokenBytes = Array.from({ length: 61 }, (_, id) => (id === END ? 0 : id));

it("divides the bits of all targets by the bytes of the targets", async () => {
  const device = createReferenceDevice();
  const model = createModel(tinyConfigs.llama, device, { seed: 2, std: 0.3 });
  let nats = 0;
  for (const { tokens, targets, batch, length } of batches) {
    const rows = Array.from({ length: batch }, (_, r) => [
      ...tokens.subarray(r * (length + 1), r * (length + 1) + length),
    ]);
    const logits = doubles(model.logits(model.hidden(model.ids(rows))));
    targets.forEach((target, i) => {
      if (target < 0) return;
      const row = logits.subarray(i * 61, (i + 1) * 61);
      nats += Math.log(row.reduce((sum, v) => sum + Math.exp(v), 0)) - row[target];
    });
  }
  const bytes = 6 + 7 + 8 + 10 + 0 + 8 + 30;
  const found = await evaluate(model, batches, tokenBytes);
  expect(found.tokens).toBe(7);
  expect(found.bytes).toBe(bytes);
  expect(found.loss).toBeCloseTo(nats / 7, 5);
  expect(found.bitsPerByte).toBeCloseTo(nats / Math.LN2 / bytes, 6);
  expect(await evaluate(model, batches)).toMatchObject({ tokens: 7, bytes: null, bitsPerByte: null });
});
