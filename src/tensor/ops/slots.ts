/**
 * Kernels over several tensors of one kind: a call has eight slots for them, with operands and integers numbered by
 * slot.
 */
import type { Tensor } from "../tensor.ts";

export const slots = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** Most tensors of a call. */
export const SLOTS = slots.length;

export type Slot = (typeof slots)[number];

/** `fields` with the number of each slot behind them, made once: a call has dozens of such names. */
export function slotNames<const F extends string>(
  fields: readonly F[],
): readonly { readonly [K in F]: `${K}${Slot}` }[] {
  return slots.map(
    (slot) =>
      Object.fromEntries(fields.map((field) => [field, `${field}${slot}`])) as { [K in F]: `${K}${Slot}` },
  );
}

/** One kind for the operand `name` of every slot. */
export function slotKinds<const N extends string, const K>(name: N, kind: K): Record<`${N}${Slot}`, K> {
  return Object.fromEntries(slots.map((slot) => [`${name}${slot}`, kind])) as Record<`${N}${Slot}`, K>;
}

/**
 * The items whose tensors lie in one memory, memory by memory, in their order: operands of one call that lie in several
 * are copied for it.
 */
export function byMemory<T>(items: readonly T[], tensorOf: (item: T) => Tensor): readonly (readonly T[])[] {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const { memoryIndex } = tensorOf(item);
    const group = groups.get(memoryIndex);
    if (group) group.push(item);
    else groups.set(memoryIndex, [item]);
  }
  return [...groups.values()];
}
