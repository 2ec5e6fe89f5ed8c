/**
 * The children of a node grouped by what they have earned, so that choosing among thousands of them scores each combination of
 * value and visits once. Most have few visits, so there are few combinations; of equal ones the oldest is taken.
 */
import { type Counts, score } from "./bandit.ts";

/** A child as its parent chooses it. */
export interface GroupedArm {
  /** Number among its siblings. */
  readonly index: number;
  readonly subtree: Counts;
  group: ArmGroup | null;
}

/** Arms of equal value and weight. */
interface ArmGroup {
  readonly value: number;
  readonly weight: number;
  count: number;
  /** A heap of arms by age; those that have left are dropped when they come up. */
  readonly heap: GroupedArm[];
}

export class ArmGroups {
  /** By weight, then by value. */
  readonly #groups = new Map<number, Map<number, ArmGroup>>();

  /** Puts an arm that is new, or has changed, into its group. */
  place(arm: GroupedArm): void {
    const { value, weight } = arm.subtree;
    if (arm.group !== null) {
      if (arm.group.value === value && arm.group.weight === weight) return;
      this.#leave(arm.group);
    }
    let values = this.#groups.get(weight);
    if (values === undefined) this.#groups.set(weight, (values = new Map()));
    let group = values.get(value);
    if (group === undefined) values.set(value, (group = { value, weight, count: 0, heap: [] }));
    group.count++;
    arm.group = group;
    push(group.heap, arm);
  }

  /** Sum of the weights of all arms. */
  total(): number {
    let sum = 0;
    for (const [weight, values] of this.#groups) {
      for (const { count } of values.values()) sum += count * weight;
    }
    return sum;
  }

  /** The arm with the highest score if that is above `least`; of several the oldest. */
  best(total: number, least: number): GroupedArm | null {
    let highest = least;
    let best: GroupedArm | null = null;
    for (const values of this.#groups.values()) {
      for (const group of values.values()) {
        const value = score(group, total);
        if (value < highest || (value === highest && best === null)) continue;
        const arm = oldest(group);
        if (value > highest || arm.index < (best as GroupedArm).index) best = arm;
        highest = value;
      }
    }
    return best;
  }

  #leave(group: ArmGroup): void {
    group.count--;
    if (group.count > 0) return;
    const values = this.#groups.get(group.weight);
    values?.delete(group.value);
    if (values?.size === 0) this.#groups.delete(group.weight);
  }
}

/** The oldest arm that is still in the group, which has one. */
function oldest(group: ArmGroup): GroupedArm {
  while (group.heap[0].group !== group) pop(group.heap);
  return group.heap[0];
}

function push(heap: GroupedArm[], arm: GroupedArm): void {
  let at = heap.length;
  heap.push(arm);
  while (at > 0) {
    const above = (at - 1) >> 1;
    if (heap[above].index <= arm.index) break;
    heap[at] = heap[above];
    at = above;
  }
  heap[at] = arm;
}

function pop(heap: GroupedArm[]): void {
  const arm = heap.pop() as GroupedArm;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let below = 2 * at + 1;
    if (below >= heap.length) break;
    if (below + 1 < heap.length && heap[below + 1].index < heap[below].index) below++;
    if (heap[below].index >= arm.index) break;
    heap[at] = heap[below];
    at = below;
  }
  heap[at] = arm;
}
