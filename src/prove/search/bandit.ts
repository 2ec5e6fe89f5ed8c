/**
 * Discounted upper confidence bounds (Garivier and Moulines 2011) as RMaxTS uses them: rewards and visits of an arm fade with
 * each further visit to it, and visits that have not ended count as visits without reward.
 */

/** Of one arm. */
export interface Counts {
  /** Discounted sums over visits that have ended, W and N. */
  reward: number;
  visits: number;
  /** Visits that have begun and not ended. */
  running: number;
  /** Q and n, of these and of the running ones: what `discounted` makes of the others. */
  value: number;
  weight: number;
}

/** Arms without visits are taken to have a hundredth of one. */
const LEAST_VISITS = 0.01;

/** Brings `value` and `weight` up to date. `gamma` 1 is the limit: every running visit counts one. */
export function discounted(arm: Counts, gamma: number): void {
  const { reward, visits, running } = arm;
  let [sum, weight] = [reward, visits];
  if (running > 0) {
    const fade = gamma ** running;
    sum = reward * fade;
    weight = gamma === 1 ? visits + running : visits * fade + (1 - fade) / (1 - gamma);
  }
  arm.weight = weight;
  arm.value = sum / Math.max(weight, LEAST_VISITS);
}

/** Upper confidence bound of an arm. `total`: visits of all arms beside it and its own. */
export const score = ({ value, weight }: Pick<Counts, "value" | "weight">, total: number): number =>
  value + Math.sqrt((2 * Math.log(Math.max(total, 2))) / Math.max(weight, LEAST_VISITS));
