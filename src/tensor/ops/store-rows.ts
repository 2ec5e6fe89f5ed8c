/** Rows of one tensor into rows of several others, in one call for eight of them: new tokens into their caches. */
import { dtypeCode } from "../dtype.ts";
import { ShapeError } from "../errors.ts";
import { defineKernel } from "../kernel.ts";
import type { Tensor } from "../tensor.ts";
import { stored } from "./memory.ts";
import { byMemory, SLOTS, slotKinds, slotNames, slots } from "./slots.ts";

const fields = ["rows", "from", "to"] as const;
const namesAt = slotNames(["y", ...fields]);

const kernel = defineKernel({
  name: "store_rows",
  operands: { x: "in f32", ...slotKinds("y", "inout float?") },
  ints: [
    ...(["targets", "n", "width", "channel", "dtype"] as const),
    ...namesAt.flatMap((names) => fields.map((field) => names[field])),
  ],
  work: (s) => {
    let rows = 0;
    for (let i = 0; i < s.targets; i++) rows += s[namesAt[i].rows];
    return rows * s.n;
  },
  reference: (operands, s) => {
    for (const names of namesAt.slice(0, s.targets)) {
      const y = operands[names.y]!;
      for (let r = 0; r < s[names.rows]; r++) {
        for (let c = 0; c < s.n; c++) {
          const value = operands.x[(s[names.from] + r) * s.n + c];
          y[(s[names.to] + r) * s.width + s.channel + c] = stored(value, s.dtype);
        }
      }
    }
  },
});

/** Where some rows go. */
export interface RowTarget {
  /** `[capacity, width]` f32, bf16 or f16, of one width and dtype in all targets. */
  readonly tensor: Tensor;
  /** First of the rows of x, how many, and the row of `tensor` that the first becomes. */
  readonly from: number;
  readonly rows: number;
  readonly to: number;
}

/**
 * Writes rows of x `[N, ..]` f32 into the channels from `channel` on of the targets' rows, rounded to their dtype
 * (nearest even). No gradients. @throws ShapeError
 */
export function storeRows(x: Tensor, targets: readonly RowTarget[], channel = 0): void {
  if (targets.length === 0) return;
  const [count] = x.shape;
  const n = count === 0 ? 0 : x.size / count;
  const { dtype, shape } = targets[0].tensor;
  const width = shape[1];
  for (const { tensor, from, rows, to } of targets) {
    const [capacity, own] = tensor.shape;
    const fits = from >= 0 && rows >= 0 && from + rows <= count && to >= 0 && to + rows <= capacity;
    if (!fits || own !== width || tensor.dtype !== dtype || channel < 0 || channel + n > width) {
      throw new ShapeError("rows do not fit the target", {
        where: "storeRows",
        expected: `rows within ${count}, then within ${capacity}; ${n} channels within ${width} of ${dtype}`,
        found: `${from} to ${from + rows}, then ${to} to ${to + rows}; from channel ${channel} of ${own} of ${tensor.dtype}`,
      });
    }
  }
  for (const group of byMemory(targets, ({ tensor }) => tensor)) {
    for (let begin = 0; begin < group.length; begin += SLOTS) {
      const some = group.slice(begin, begin + SLOTS);
      const operands: Record<string, Tensor | null> = { x };
      const ints: Record<string, number> = {
        targets: some.length,
        n,
        width,
        channel,
        dtype: dtypeCode(dtype),
      };
      for (const i of slots) {
        const own = some[i] as RowTarget | undefined;
        const names = namesAt[i];
        operands[names.y] = own?.tensor ?? null;
        ints[names.rows] = own?.rows ?? 0;
        ints[names.from] = own?.from ?? 0;
        ints[names.to] = own?.to ?? 0;
      }
      kernel.run(
        x.device,
        operands as Parameters<typeof kernel.run>[1],
        ints as Parameters<typeof kernel.run>[2],
      );
    }
  }
}
