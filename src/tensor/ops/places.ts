/**
 * Kernels over several tensors of one kind: a call has eight places for them, with operands and integers numbered by
 * place.
 */
import type { Tensor } from "../tensor.ts";

export const places = [0, 1, 2, 3, 4, 5, 6, 7] as const;

/** Most tensors of a call. */
export const PLACES = places.length;

export type Place = (typeof places)[number];

/** `fields` with the number of each place behind them, made once: a call has dozens of such names. */
export function namesOfPlaces<const F extends string>(
  fields: readonly F[],
): readonly { readonly [K in F]: `${K}${Place}` }[] {
  return places.map(
    (place) =>
      Object.fromEntries(fields.map((field) => [field, `${field}${place}`])) as { [K in F]: `${K}${Place}` },
  );
}

/** One kind for the operand `name` of every place. */
export function ofPlaces<const N extends string, const K>(name: N, kind: K): Record<`${N}${Place}`, K> {
  return Object.fromEntries(places.map((place) => [`${name}${place}`, kind])) as Record<`${N}${Place}`, K>;
}

/**
 * The items whose tensors lie in one memory, memory by memory, in their order: operands of one call that lie in several
 * are copied for it.
 */
export function byHome<T>(items: readonly T[], tensorOf: (item: T) => Tensor): readonly (readonly T[])[] {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const { home } = tensorOf(item);
    const group = groups.get(home);
    if (group) group.push(item);
    else groups.set(home, [item]);
  }
  return [...groups.values()];
}
