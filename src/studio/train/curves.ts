/** Curves: their names and order, numbers as text, several runs over one axis of steps, settings that differ. */
import { formatCount } from "../../text/units.ts";
import type { PlainObject, RunSeries } from "../backend/wire.ts";

/** What people look at first comes first. */
const ORDER = [/bitsPerByte|heldOut|evaluation/i, /^loss$/i, /loss/i, /grad/i, /rate/i, /tokens|speed/i];
const NAMES: Readonly<Record<string, string>> = {
  "heldOut.bitsPerByte": "Held-out bits a byte",
  "heldOut.loss": "Held-out loss",
  loss: "Loss",
  mtpLoss: "Loss of multi-token prediction",
  balanceLoss: "Balance loss",
  gradientNorm: "Gradient norm",
  learningRate: "Learning rate",
  maxViolation: "Largest violation of the even load",
  speed: "Tokens a second",
};

export const curveName = (name: string): string => NAMES[name] ?? name;

const rank = (name: string) => {
  const found = ORDER.findIndex((pattern) => pattern.test(name));
  return found < 0 ? ORDER.length : found;
};

export const orderedCurves = (names: Iterable<string>) =>
  [...names].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b));

/** A number with four digits that count. */
export function figure(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(2);
  return size >= 1000 ? formatCount(value) : String(Number(value.toPrecision(4)));
}

/** The last values of a curve of several runs over the steps that any of them has; null where a run has none. */
export function joined(
  runs: readonly RunSeries[],
  curve: string,
): { readonly steps: readonly number[]; readonly values: readonly (readonly (number | null)[])[] } {
  const steps = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
  const at = new Map(steps.map((step, i) => [step, i]));
  const values = runs.map((run) => {
    const row = new Array<number | null>(steps.length).fill(null);
    run.curves[curve]?.last.forEach((value, i) => {
      row[at.get(run.steps[i])!] = value;
    });
    return row;
  });
  return { steps, values };
}

/** The value of a curve at a step: the last one up to it; null before the first. @param step null: the end */
export function valueAt(run: RunSeries, curve: string, step: number | null): number | null {
  const last = run.curves[curve]?.last;
  if (last === undefined) return null;
  for (let i = run.steps.length - 1; i >= 0; i--) {
    if ((step === null || run.steps[i] <= step) && last[i] !== null) return last[i];
  }
  return null;
}

/** Settings of a run that are told, and levels that are gone into. */
const MOST_SETTINGS = 2000;
const DEEPEST = 12;

/** Settings by their dotted names; lists are one value. */
function flat(config: PlainObject): ReadonlyMap<string, unknown> {
  const found = new Map<string, unknown>();
  const visit = (value: PlainObject, prefix: string, depth: number) => {
    for (const [key, inner] of Object.entries(value)) {
      if (found.size >= MOST_SETTINGS) return;
      const name = prefix === "" ? key : `${prefix}.${key}`;
      const isGroup = typeof inner === "object" && inner !== null && !Array.isArray(inner);
      if (isGroup && depth < DEEPEST) visit(inner as PlainObject, name, depth + 1);
      else found.set(name, inner);
    }
  };
  visit(config, "", 0);
  return found;
}

export interface Setting {
  readonly name: string;
  /** As JSON, of each run; null where it has none. */
  readonly values: readonly (string | null)[];
  readonly differs: boolean;
}

/** The settings of several runs side by side, in the order in which they come. */
export function settingsOf(configs: readonly PlainObject[]): readonly Setting[] {
  const each = configs.map(flat);
  return [...new Set(each.flatMap((settings) => [...settings.keys()]))].map((name) => {
    const values = each.map((settings) =>
      settings.has(name) ? (JSON.stringify(settings.get(name)) ?? null) : null,
    );
    return { name, values, differs: values.some((value) => value !== values[0]) };
  });
}
