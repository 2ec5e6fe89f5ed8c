/** Settings of a conversation: what differs from the default is shown as chips, each taken back by a click. */
import { useState } from "preact/hooks";
import type { ModelEntry } from "../backend/wire.ts";
import { Icon } from "../frame/icons.tsx";
import { Popover } from "../frame/popover.tsx";
import { useChat } from "./chat.ts";
import type { Conversation, Settings } from "./conversation.ts";

type NumberSetting = {
  readonly [K in keyof Settings]-?: NonNullable<Settings[K]> extends number ? K : never;
}[keyof Settings];

interface NumberField {
  readonly key: NumberSetting;
  readonly name: string;
  readonly otherwise: string;
  readonly least: number;
  readonly most: number;
  readonly step: number;
}

const NUMBERS: readonly NumberField[] = [
  { key: "temperature", name: "Temperature", otherwise: "1", least: 0, most: 2, step: 0.1 },
  { key: "top_p", name: "Top p", otherwise: "1", least: 0, most: 1, step: 0.05 },
  { key: "top_k", name: "Top k", otherwise: "all", least: 0, most: 100_000, step: 1 },
  { key: "min_p", name: "Min p", otherwise: "0", least: 0, most: 1, step: 0.01 },
  { key: "repetition_penalty", name: "Repetition", otherwise: "1", least: 0.1, most: 10, step: 0.05 },
  { key: "max_tokens", name: "Most tokens", otherwise: "all that fit", least: 1, most: 10_000_000, step: 1 },
  { key: "seed", name: "Seed", otherwise: "by chance", least: 0, most: 2 ** 53 - 1, step: 1 },
];

/** What differs, in words. */
function chipsOf(
  conversation: Conversation,
): readonly { readonly key: keyof Settings | "system" | "mode"; readonly text: string }[] {
  const { settings, system, mode } = conversation;
  const chips: { key: keyof Settings | "system" | "mode"; text: string }[] = [];
  if (mode === "raw") chips.push({ key: "mode", text: "raw completion" });
  if (system.trim() !== "") chips.push({ key: "system", text: "system prompt" });
  for (const { key, name } of NUMBERS)
    if (settings[key] !== undefined) chips.push({ key, text: `${name.toLowerCase()} ${settings[key]}` });
  if (settings.thinking)
    chips.push({ key: "thinking", text: settings.thinking === "enabled" ? "thinks" : "does not think" });
  if (settings.grounding) chips.push({ key: "grounding", text: "boxes" });
  if (settings.stop) chips.push({ key: "stop", text: "stop strings" });
  if (settings.schema) chips.push({ key: "schema", text: "JSON schema" });
  if (settings.tools) chips.push({ key: "tools", text: "tools" });
  if (settings.suffix) chips.push({ key: "suffix", text: "text after the hole" });
  return chips;
}

function jsonFault(text: string | undefined): string | null {
  if (!text?.trim()) return null;
  try {
    JSON.parse(text);
    return null;
  } catch (error) {
    return (error as Error).message;
  }
}

interface TextSettingProps {
  readonly name: string;
  readonly hint: string;
  readonly value: string;
  readonly json?: boolean;
  readonly onInput: (text: string) => void;
}

function TextSetting({ name, hint, value, json = false, onInput }: TextSettingProps) {
  const fault = json ? jsonFault(value) : null;
  return (
    <label class="stack-label">
      {name}
      <textarea
        class={`field ${json ? "mono" : ""}`}
        rows={json ? 4 : 3}
        placeholder={hint}
        spellcheck={!json}
        value={value}
        aria-invalid={fault !== null}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      {fault !== null && <span class="tiny danger">{fault}</span>}
    </label>
  );
}

interface PanelProps {
  readonly conversation: Conversation;
  readonly model: ModelEntry | null;
}

function Panel({ conversation, model }: PanelProps) {
  const chat = useChat();
  const { settings, mode, system } = conversation;
  const raw = mode === "raw";
  const info = model?.info ?? null;
  const set = (fields: Partial<Settings>) => {
    const next = { ...settings, ...fields };
    chat.change({
      settings: Object.fromEntries(
        Object.entries(next).filter(([, value]) => value !== undefined && value !== ""),
      ),
    });
  };
  return (
    <div class="settings">
      <div class="segments" role="group" aria-label="What is asked">
        {(["chat", "raw"] as const).map((each) => (
          <button
            key={each}
            type="button"
            class="outlined"
            aria-pressed={mode === each}
            onClick={() => chat.change({ mode: each })}
          >
            {each === "chat" ? "Chat" : "Raw completion"}
          </button>
        ))}
      </div>
      {raw ? (
        <p class="tiny soft">
          The text goes to the model as it is, without a chat template; the model writes on.
        </p>
      ) : (
        <TextSetting
          name="System prompt"
          hint="What the model is told before everything"
          value={system}
          onInput={(text) => chat.change({ system: text })}
        />
      )}
      <div class="number-grid">
        {NUMBERS.map(({ key, name, otherwise, least, most, step }) => (
          <label key={key} class="stack-label">
            {name}
            <input
              class="field"
              type="number"
              min={least}
              max={most}
              step={step}
              placeholder={otherwise}
              value={settings[key] ?? ""}
              onInput={({ currentTarget: { value, valueAsNumber } }) =>
                set({
                  [key]:
                    value === "" || Number.isNaN(valueAsNumber)
                      ? undefined
                      : Math.min(most, Math.max(least, valueAsNumber)),
                })
              }
            />
          </label>
        ))}
      </div>
      {!raw && (
        <div class="row">
          <label class="row">
            <select
              class="field"
              value={settings.thinking ?? ""}
              aria-label="Thinking"
              onChange={(event) =>
                set({ thinking: (event.currentTarget.value || undefined) as Settings["thinking"] })
              }
            >
              <option value="">Thinking: as the model does</option>
              <option value="enabled">Thinks first</option>
              <option value="disabled">Answers at once</option>
            </select>
          </label>
          {info?.imageInput && (
            <label class="row">
              <input
                type="checkbox"
                checked={settings.grounding ?? false}
                onChange={(event) => set({ grounding: event.currentTarget.checked || undefined })}
              />
              Draw boxes that the answer names
            </label>
          )}
        </div>
      )}
      <details open={Boolean(settings.schema || settings.tools || settings.stop || settings.suffix)}>
        <summary class="small">
          {raw ? "Schema, stop strings, text after the hole" : "Schema, tools, stop strings"}
        </summary>
        <div class="stack">
          <TextSetting
            name="JSON schema that the answer must have"
            hint={'{"type": "object", "properties": {…}}'}
            json
            value={settings.schema ?? ""}
            onInput={(schema) => set({ schema })}
          />
          {!raw && (
            <TextSetting
              name="Tools that may be called"
              hint={'[{"type": "function", "function": {"name": …}}]'}
              json
              value={settings.tools ?? ""}
              onInput={(tools) => set({ tools })}
            />
          )}
          <TextSetting
            name="Strings that end the answer, one a line"
            hint=""
            value={settings.stop ?? ""}
            onInput={(stop) => set({ stop })}
          />
          {raw && (
            <TextSetting
              name="Text after the hole (fill in the middle)"
              hint={info && !info.fill ? "This model cannot fill in the middle" : ""}
              value={settings.suffix ?? ""}
              onInput={(suffix) => set({ suffix })}
            />
          )}
        </div>
      </details>
    </div>
  );
}

export function SettingsButton({ conversation, model }: PanelProps) {
  const [open, setOpen] = useState(false);
  return (
    <div class="anchor upward">
      <button type="button" class="quiet" aria-expanded={open} onClick={() => setOpen(!open)}>
        <Icon name="settings" />
        Settings
      </button>
      {open && (
        <Popover label="Settings" onClose={() => setOpen(false)}>
          <Panel conversation={conversation} model={model} />
        </Popover>
      )}
    </div>
  );
}

export function Chips({ conversation }: { readonly conversation: Conversation }) {
  const chat = useChat();
  const take = (key: keyof Settings | "system" | "mode") => {
    if (key === "system") chat.change({ system: "" });
    else if (key === "mode") chat.change({ mode: "chat" });
    else {
      const { [key]: _, ...rest } = conversation.settings;
      chat.change({ settings: rest });
    }
  };
  return (
    <>
      {chipsOf(conversation).map(({ key, text }) => (
        <button key={key} type="button" class="chip" title="Take it back" onClick={() => take(key)}>
          {text}
          <Icon name="close" />
        </button>
      ))}
    </>
  );
}
