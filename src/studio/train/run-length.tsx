/** How long a run trains: by minutes, which the speed of the first steps turns into steps, or by steps. */
import { formatCount } from "../../text/units.ts";
import type { TrainPreset } from "../backend/wire.ts";
import { type RunForm, stepsWithin } from "./new-run-settings.ts";

/** "about 3 minutes", "about 2 hours". */
export function aboutTime(seconds: number): string {
  const minutes = seconds / 60;
  if (minutes < 1.5) return "about a minute";
  if (minutes < 90) return `about ${Math.round(minutes)} minutes`;
  const hours = minutes / 60;
  return hours < 36 ? `about ${Math.round(hours)} hours` : `about ${Math.round(hours / 24)} days`;
}

interface LengthProps {
  readonly form: RunForm;
  readonly preset: TrainPreset | null;
  readonly change: (fields: Partial<RunForm>) => void;
  readonly byHand: boolean;
}

export function LengthField({ form, preset, change, byHand }: LengthProps) {
  const training = preset?.config.training as {
    readonly steps: number | null;
    readonly seconds: number | null;
  };
  const given: NonNullable<RunForm["length"]> =
    form.length ??
    (preset === null
      ? { amount: 5, unit: "minutes" }
      : training.seconds !== null
        ? { amount: training.seconds / 60, unit: "minutes" }
        : { amount: training.steps!, unit: "steps" });
  const set = (fields: Partial<typeof given>) => change({ length: { ...given, ...fields } });
  const stepsAMinute = preset && stepsWithin(60, preset);
  const words =
    stepsAMinute === null
      ? ""
      : given.unit === "minutes"
        ? `about ${formatCount(Math.round(given.amount * stepsAMinute))} steps: the speed of the first ones decides`
        : aboutTime((60 * given.amount) / stepsAMinute);
  return (
    <fieldset>
      <legend>How long</legend>
      <div class="row">
        <input
          class="field amount"
          type="number"
          aria-label="Length"
          required
          disabled={byHand}
          min={given.unit === "steps" ? 1 : 0.1}
          step={given.unit === "steps" ? 1 : "any"}
          value={given.amount}
          onInput={(event) => {
            const { valueAsNumber } = event.currentTarget;
            if (Number.isFinite(valueAsNumber) && valueAsNumber > 0) set({ amount: valueAsNumber });
          }}
        />
        <select
          class="field unit"
          aria-label="Unit of the length"
          value={given.unit}
          disabled={byHand}
          onChange={(event) => {
            const unit = event.currentTarget.value as "minutes" | "steps";
            if (unit === given.unit) return;
            const rate = stepsAMinute ?? 60;
            const amount =
              unit === "steps"
                ? Math.max(1, Math.round(given.amount * rate))
                : Math.max(1, Math.round(given.amount / rate));
            set({ unit, amount });
          }}
        >
          <option>minutes</option>
          <option>steps</option>
        </select>
        <span class="small soft">{byHand ? "as the settings below say" : words}</span>
      </div>
    </fieldset>
  );
}
