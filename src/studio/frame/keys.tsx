/** Keys of the whole page, and the table that tells all of them. */
import { signal } from "@preact/signals";
import { shortcuts } from "../state/preferences.ts";
import { Dialog } from "./dialog.tsx";

export const shownDialog = signal<"palette" | "keys" | null>(null);

const mac = /Mac|iPhone|iPad/.test(navigator.platform);
const MOD = mac ? "⌘" : "Ctrl";

/** Keys, and what they do. */
const TABLE: readonly (readonly [string, string])[] = [
  [`${MOD} K`, "Palette: every action and screen by name"],
  ["Enter · Shift Enter", "Send · new line"],
  [`${MOD} Enter`, "Send, also while editing"],
  ["Escape", "Stop what runs in this screen; then close the drawer; then leave the field"],
  ["Alt ↑ · Alt ↓", "Previous · next message"],
  ["E · R · C · ← →", "In a message: edit, retry, copy, other versions of it"],
  [`${MOD} Shift O`, "New conversation"],
  [`${MOD} B`, "Show or hide the list"],
  [`${MOD} I`, "Inside of the answer"],
  ["↑ ↓ ← → · Enter · + -", "In the tree of a proof: walk, open and close · pick · zoom"],
  ["?", "This table"],
];

/** Actions that screens offer by key while they are shown. */
export interface ScreenKeys {
  readonly create?: () => void;
  /** Whether there was something to stop. */
  readonly stop?: () => boolean;
  readonly list?: () => void;
  readonly inside?: () => void;
  /** Whether there was something to close. */
  readonly close?: () => boolean;
}

let current: ScreenKeys = {};

/** @returns what takes them back */
export function offerKeys(keys: ScreenKeys): () => void {
  current = keys;
  return () => {
    if (current === keys) current = {};
  };
}

const inField = (target: EventTarget | null) =>
  target instanceof HTMLElement &&
  (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));

/** What the event began at, also inside of a shadow root. */
const targetOf = (event: Event) => event.composedPath()[0] ?? null;

/** Begins to listen. */
export function listenToKeys(): void {
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || shownDialog.value !== null) return;
    const act = (action: (() => void) | undefined) => {
      if (!action) return;
      event.preventDefault();
      action();
    };
    if (event.key === "Escape") {
      if (document.querySelector("dialog[open]")) return;
      if (current.stop?.() || current.close?.()) event.preventDefault();
      else if (inField(targetOf(event))) (targetOf(event) as HTMLElement).blur();
      return;
    }
    if (shortcuts.value === "off") return;
    const mod = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (mod && !event.shiftKey && !event.altKey && key === "k")
      act(() => {
        shownDialog.value = "palette";
      });
    else if (mod && event.shiftKey && key === "o") act(current.create);
    else if (mod && !event.shiftKey && key === "b") act(current.list);
    else if (mod && !event.shiftKey && !event.altKey && key === "i") act(current.inside);
    else if (!mod && key === "?" && !inField(targetOf(event)))
      act(() => {
        shownDialog.value = "keys";
      });
  });
}

const close = () => {
  shownDialog.value = null;
};

export const KeysTable = () => (
  <Dialog title="Keys" onClose={close}>
    <div class="dialog-body">
      <table class="keys-table">
        <tbody>
          {TABLE.map(([keys, does]) => (
            <tr key={keys}>
              <td>
                {keys.split(" · ").map((combination, i) => (
                  <span key={combination}>
                    {i > 0 && " · "}
                    <kbd>{combination}</kbd>
                  </span>
                ))}
              </td>
              <td>{does}</td>
            </tr>
          ))}
        </tbody>
      </table>
      <label class="row">
        <input
          type="checkbox"
          checked={shortcuts.value === "on"}
          onChange={(event) => {
            shortcuts.value = event.currentTarget.checked ? "on" : "off";
          }}
        />
        Keys do something outside of fields
      </label>
    </div>
  </Dialog>
);
