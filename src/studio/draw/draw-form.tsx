/** What is asked for, with the two ends of each setting in words. */
import { signal } from "@preact/signals";
import { useRef } from "preact/hooks";
import type { ModelEntry } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { shortName } from "../frame/top-line.tsx";
import { goTo } from "../state/route.ts";
import { useStudio } from "../state/studio.ts";
import type { DrawFields } from "./png-settings.ts";

/** The form, which outlives its screen. */
export const formFields = signal<DrawFields>({
  prompt: "",
  count: 4,
  seed: null,
  guidance: null,
  temperature: null,
  steps: null,
});

interface SliderProps {
  readonly name: string;
  readonly ends: readonly [low: string, high: string];
  readonly value: number | null;
  /** What it is where nothing is chosen. */
  readonly middle: number;
  readonly least: number;
  readonly most: number;
  readonly step: number;
  readonly onInput: (value: number | null) => void;
}

function Slider({ name, ends, value, middle, least, most, step, onInput }: SliderProps) {
  return (
    <div class="slider">
      <label>
        <span>{name}</span>
        <output>{value ?? "as the model has it"}</output>
        <input
          type="range"
          min={least}
          max={most}
          step={step}
          value={value ?? middle}
          onInput={(event) => onInput(event.currentTarget.valueAsNumber)}
        />
      </label>
      <span class="ends tiny soft" aria-hidden="true">
        <span>{ends[0]}</span>
        <span>{ends[1]}</span>
      </span>
      {value !== null && (
        <button
          type="button"
          class="quiet tiny"
          aria-label={`${name} as the model has it`}
          onClick={() => onInput(null)}
        >
          reset
        </button>
      )}
    </div>
  );
}

interface FormProps {
  readonly models: readonly ModelEntry[];
  readonly onDraw: (model: string, fields: DrawFields) => void;
  readonly onFile: (file: File | undefined) => void;
}

export function DrawForm({ models, onDraw, onFile }: FormProps) {
  const studio = useStudio();
  const file = useRef<HTMLInputElement>(null);
  const fields = formFields.value;
  const set = (change: Partial<DrawFields>) => {
    formFields.value = { ...formFields.value, ...change };
  };
  const current =
    models.find(({ model }) => model === studio.current?.model) ??
    models.find(({ state }) => state === "open") ??
    models[0];
  const output = current?.info?.imageOutput ?? null;
  const flow = output ? output.kind === "flow" : /flow/i.test(`${current?.system} ${current?.architecture}`);
  const blank = fields.prompt.trim() === "";
  const draw = () => {
    if (!current || blank) return;
    const { temperature, steps } = fields;
    onDraw(current.model, {
      ...fields,
      prompt: fields.prompt.trim(),
      temperature: flow ? null : temperature,
      steps: flow ? steps : null,
    });
  };
  return (
    <form
      class="card stack draw-form"
      onSubmit={(event) => {
        event.preventDefault();
        draw();
      }}
    >
      <label class="stack-label">
        What to draw
        <textarea
          class="field"
          rows={4}
          dir="auto"
          value={fields.prompt}
          placeholder="a red cube on a blue sphere"
          onInput={(event) => set({ prompt: event.currentTarget.value })}
          onKeyDown={(event) => {
            if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || event.isComposing) return;
            event.preventDefault();
            draw();
          }}
        />
      </label>
      {models.length > 1 && (
        <label class="stack-label">
          Model
          <select
            class="field"
            value={current?.model}
            onChange={(event) => {
              studio.chosen.value = event.currentTarget.value;
            }}
          >
            {models.map(({ model, state }) => (
              <option key={model} value={model}>
                {shortName(model)}
                {state === "open" ? "" : " (opened first)"}
              </option>
            ))}
          </select>
        </label>
      )}
      <div class="draw-numbers">
        <label class="stack-label">
          Pictures
          <input
            class="field"
            type="number"
            min={1}
            max={10}
            required
            value={fields.count}
            onInput={({ currentTarget: { valueAsNumber: count } }) => {
              if (count >= 1 && count <= 10) set({ count: Math.round(count) });
            }}
          />
        </label>
        <label class="stack-label">
          Seed
          <input
            class="field"
            type="number"
            min={0}
            max={2 ** 53 - 1}
            step={1}
            placeholder="by chance"
            value={fields.seed ?? ""}
            onInput={({ currentTarget: { value, valueAsNumber } }) =>
              set({ seed: value === "" || !Number.isSafeInteger(valueAsNumber) ? null : valueAsNumber })
            }
          />
        </label>
        <button
          type="button"
          class="outlined icon-only"
          aria-label={fields.seed === null ? "Take a seed and keep it" : "Seed by chance"}
          title={fields.seed === null ? "Take a seed and keep it" : "Seed by chance"}
          onClick={() =>
            set({ seed: fields.seed === null ? crypto.getRandomValues(new Uint32Array(1))[0] : null })
          }
        >
          <Icon name={fields.seed === null ? "dice" : "close"} />
        </button>
      </div>
      <Slider
        name="Guidance"
        ends={["freer", "closer to the words"]}
        value={fields.guidance}
        middle={flow ? 2 : 5}
        least={1}
        most={10}
        step={0.5}
        onInput={(guidance) => set({ guidance })}
      />
      {flow ? (
        <Slider
          name="Steps"
          ends={["faster", "finer"]}
          value={fields.steps}
          middle={30}
          least={1}
          most={100}
          step={1}
          onInput={(steps) => set({ steps })}
        />
      ) : (
        <Slider
          name="Temperature"
          ends={["likeliest", "more varied"]}
          value={fields.temperature}
          middle={1}
          least={0}
          most={2}
          step={0.1}
          onInput={(temperature) => set({ temperature })}
        />
      )}
      {output?.missing && <p class="fault">{output.missing}</p>}
      <div class="row">
        {current ? (
          <button type="submit" class="solid" aria-disabled={blank} title="Draw (Ctrl Enter)">
            <Icon name="draw" />
            {current.state === "open" ? "Draw" : `Open ${shortName(current.model)}, draw`}
          </button>
        ) : (
          <button type="button" class="solid" onClick={() => goTo("models")}>
            Get a model that draws
          </button>
        )}
        <button
          type="button"
          class="quiet"
          title="Also by dropping the file"
          onClick={() => file.current?.click()}
        >
          Settings from a file
        </button>
        <input
          ref={file}
          type="file"
          accept="image/png"
          hidden
          aria-label="PNG file with settings"
          onChange={(event) => {
            onFile(event.currentTarget.files?.[0]);
            event.currentTarget.value = "";
          }}
        />
      </div>
      {!current && <p class="small soft">Janus, Janus-Pro and JanusFlow draw; none of them is here yet.</p>}
    </form>
  );
}
