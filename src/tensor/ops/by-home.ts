/** Work on many tensors, by where they lie. */
import type { Tensor } from "../tensor.ts";

/**
 * The items whose tensors lie in one memory, memory by memory, in their order: operands of one call that lie in several
 * are copied for it.
 */
export function byHome<T>(items: readonly T[], tensorOf: (item: T) => Tensor): readonly (readonly T[])[] {
  const [first] = items;
  if (items.length === 0) return [];
  const home = tensorOf(first).home;
  if (items.every((item) => tensorOf(item).home === home)) return [items];
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(tensorOf(item).home);
    if (group) group.push(item);
    else groups.set(tensorOf(item).home, [item]);
  }
  return [...groups.values()];
}
